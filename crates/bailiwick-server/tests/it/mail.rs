//! A mail server, small and real: it speaks SMTP on a socket, and keeps what it was sent.
use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// A mail, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    /// The name and password that the sender showed, in base 64.
    pub(crate) credentials: Option<String>,
    pub(crate) from: String,
    pub(crate) to: String,
    /// Headers and text, with transfer encoding.
    pub(crate) data: String,
}

impl Mail {
    /// The token in its text.
    pub(crate) fn token(&self) -> String {
        let start = self.data.find("bw_rst_").unwrap_or_else(|| panic!("no token: {}", self.data));
        self.data[start..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (headers, _) = self.data.split_once("\r\n\r\n")?;
        headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// The server. It ends with the test.
pub(crate) struct MailServer {
    port: u16,
    inbox: Arc<Mutex<Vec<Mail>>>,
}

impl MailServer {
    /// One that takes every mail.
    pub(crate) fn start() -> Self {
        Self::busy_for(0)
    }

    /// One that says to the first `refusals` mails that it is busy.
    pub(crate) fn busy_for(refusals: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let inbox: Arc<Mutex<Vec<Mail>>> = Arc::default();
        let kept = Arc::clone(&inbox);
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                // One after the other: there is one sender. A sender that goes away is no failure of the test.
                let _ = converse(&stream.unwrap(), number < refusals, &kept);
            }
        });
        Self { port, inbox }
    }

    pub(crate) fn url(&self) -> String {
        format!("smtp://mailer:s3cr%40t@127.0.0.1:{}", self.port)
    }

    /// Its mails, once there are so many.
    pub(crate) async fn mails(&self, wanted: usize) -> Vec<Mail> {
        for _ in 0..2000 {
            let inbox = self.inbox.lock().unwrap().clone();
            assert!(inbox.len() <= wanted, "more mail than expected: {inbox:#?}");
            if inbox.len() == wanted {
                return inbox;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{wanted} mails do not come: {:#?}", self.inbox.lock().unwrap())
    }

    /// That no mail comes after those that are there, as far as a moment can tell.
    pub(crate) async fn no_more_than(&self, mails: usize) {
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.mails(mails).await;
    }
}

/// RFC 5321, as much of it as a sender needs.
fn converse(stream: &TcpStream, is_busy: bool, inbox: &Mutex<Vec<Mail>>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let say = |text: &str| (&*stream).write_all(format!("{text}\r\n").as_bytes());
    let mut mail = Mail { credentials: None, from: String::new(), to: String::new(), data: String::new() };
    say("220 mail.test ESMTP")?;
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        let (command, rest) = line.split_at(line.find([' ', ':']).unwrap_or(line.len()));
        match command.to_ascii_uppercase().as_str() {
            "EHLO" => {
                say("250-mail.test")?;
                say("250 AUTH PLAIN")?;
            }
            "AUTH" => {
                mail.credentials = rest.trim().strip_prefix("PLAIN ").map(str::to_owned);
                say("235 welcome")?;
            }
            "MAIL" => {
                mail.from = address(rest);
                say(if is_busy { "451 busy" } else { "250 ok" })?;
            }
            "RCPT" => {
                mail.to = address(rest);
                say("250 ok")?;
            }
            "DATA" => {
                say("354 go on")?;
                loop {
                    let mut line = String::new();
                    lines.read_line(&mut line)?;
                    if line == ".\r\n" {
                        break;
                    }
                    mail.data.push_str(line.strip_prefix('.').unwrap_or(&line));
                }
                inbox.lock().unwrap().push(mail.clone());
                say("250 taken")?;
            }
            "QUIT" => return say("221 bye"),
            _ => say("250 ok")?,
        }
    }
}

fn address(rest: &str) -> String {
    let start = rest.find('<').map_or(0, |at| at + 1);
    let end = rest.find('>').unwrap_or(rest.len());
    rest[start..end].to_owned()
}
