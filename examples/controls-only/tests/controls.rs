//! What the controls make of an ordinary application, asked over a socket.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// The application. It is killed with the test.
struct Application {
    child: Child,
    address: String,
}

impl Drop for Application {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Application {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_controls-only"));
        command.arg("127.0.0.1:0").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit('/').next().unwrap().to_owned();
        Self { child, address }
    }

    /// The answer to a request, in lower case.
    fn ask(&self, head: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let length = body.len();
        write!(stream, "{head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.to_ascii_lowercase()
    }
}

#[test]
fn an_ordinary_application_gets_ids_headers_cors_hosts_limits_and_quotas() {
    let application = Application::start();
    let hello = "GET /hello HTTP/1.1\r\nHost: localhost\r\nOrigin: https://app.example.com";
    let answer = application.ask(hello, "");
    assert!(answer.starts_with("http/1.1 200 ") && answer.ends_with("{\"hello\":\"world\"}"), "{answer}");
    for field in [
        "x-request-id: ",
        "x-content-type-options: nosniff",
        "access-control-allow-origin: https://app.example.com",
        "ratelimit: \"anon\";r=59;t=",
        "vary: origin",
    ] {
        assert!(answer.contains(&format!("\r\n{field}")), "no {field}: {answer}");
    }
    let other = application.ask(&hello.replace("app.example.com", "evil.example"), "");
    assert!(!other.contains("access-control-allow-origin"), "{other}");
    let echo = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json";
    assert!(application.ask(echo, "[1]").ends_with("[1]"));
    let preflight = "OPTIONS /echo HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\
                     Access-Control-Request-Method: POST";
    for (head, body, status, code) in [
        (&hello.replace("localhost", "evil.test"), "", 400, "bad-host"),
        (&hello.replace("/hello", &format!("/hello?{}", "x".repeat(9000))), "", 414, "uri-too-long"),
        (&echo.to_owned(), &*format!("\"{}\"", "x".repeat(70_000)), 413, "payload-too-large"),
        (&preflight.to_owned(), "", 403, "forbidden"),
    ] {
        let answer = application.ask(head, body);
        assert!(answer.starts_with(&format!("http/1.1 {status} ")), "{answer}");
        assert!(answer.contains("\r\ncontent-type: application/problem+json"), "{answer}");
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
    }
    // Three requests came as far as the router; one more comes back each second.
    let statuses: Vec<_> = (0..70).map(|_| application.ask(hello, "")[9..12].to_owned()).collect();
    let refused = statuses.iter().filter(|status| *status == "429").count();
    assert!((3..=13).contains(&refused), "60 a minute: {statuses:?}");
}
