//! `bailiwick session`, beside servers that run.
use serde_json::{Value, json};

use crate::site::{Answer, Connection, Output, PASSWORD, Server, Site};

const ME: &str = "/api/v1/me/";

/// A browser of `ann`, as far as its cookies go.
struct Browser {
    cookie: String,
}

impl Browser {
    fn logged_in(server: &Server, user_agent: &str) -> Self {
        let mut client = server.connect();
        let begun = call(&mut client, "GET", "/api/v1/auth/csrf/", "", None);
        let login = json!({"username": "ann", "password": PASSWORD});
        let headers = format!(
            "Cookie: {}\r\nX-CSRFToken: {}\r\nUser-Agent: {user_agent}\r\n",
            cookie(&begun, "bailiwick_csrf"),
            begun.json()["csrf_token"].as_str().unwrap()
        );
        let answer = call(&mut client, "POST", "/api/v1/auth/session/", &headers, Some(&login));
        assert_eq!(answer.status, 200, "{answer:?}");
        Self { cookie: cookie(&answer, "bailiwick_session") }
    }

    /// What its page sees of the user's account.
    fn status(&self, client: &mut Connection) -> u16 {
        call(client, "GET", ME, &format!("Cookie: {}\r\n", self.cookie), None).status
    }
}

fn call(client: &mut Connection, method: &str, path: &str, headers: &str, body: Option<&Value>) -> Answer {
    let body = body.map_or_else(String::new, Value::to_string);
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client.send(request.as_bytes()).unwrap();
    client.answer(false).unwrap()
}

/// The pair of a `Set-Cookie`, as it is sent back.
fn cookie(answer: &Answer, name: &str) -> String {
    let fields = answer.head.lines().filter_map(|line| {
        let (field, value) = line.split_once(": ")?;
        field.eq_ignore_ascii_case("set-cookie").then_some(value)
    });
    let pairs = fields.filter_map(|value| value.split(';').next());
    let mut pairs = pairs.filter(|pair| pair.split('=').next() == Some(name));
    pairs.next().unwrap_or_else(|| panic!("{name} is not set: {answer:?}")).to_owned()
}

fn listed(site: &Site) -> Vec<Value> {
    let out = site.done(&["session", "list", "ANN", "--format", "json"], None);
    serde_json::from_str(&out).unwrap()
}

#[track_caller]
fn says(output: &Output, code: i32, words: &str) {
    assert_eq!(output.code, Some(code), "{}", output.err);
    assert!(output.err.contains(words), "{words} is not in: {}", output.err);
}

fn sessions_are_listed_and_all_of_a_user_are_ended(site: &Site) {
    assert_eq!(listed(site), [] as [Value; 0]);
    let servers = [site.serve(), site.serve()];
    let first = Browser::logged_in(&servers[0], "First/1.0");
    let second = Browser::logged_in(&servers[1], "Second/1.0");
    let [mut one, mut other] = servers.each_ref().map(Server::connect);
    // Each server has asked the database, and remembers the answer for a moment.
    let statuses = |one: &mut Connection, other: &mut Connection| {
        [first.status(one), second.status(one), first.status(other), second.status(other)]
    };
    assert_eq!(statuses(&mut one, &mut other), [200; 4]);

    let sessions = listed(site);
    let mut agents: Vec<_> = sessions.iter().map(|session| session["user_agent"].as_str().unwrap()).collect();
    agents.sort_unstable();
    assert_eq!(agents, ["First/1.0", "Second/1.0"]);
    for session in &sessions {
        assert_eq!(session["address"], "127.0.0.1");
        let [created, seen, expires] = ["created_at", "last_seen_at", "expires_at"]
            .map(|name| session[name].as_str().unwrap_or_else(|| panic!("{name} is missing: {session}")));
        assert!(created <= seen && seen < expires, "{session}");
        assert_eq!(session.as_object().unwrap().len(), 6, "{session}");
    }
    let text = site.done(&["session", "list", "ann"], None);
    assert!(text.starts_with("ID") && text.contains("First/1.0"), "{text}");
    for browser in [&first, &second] {
        let secret = browser.cookie.split_once('=').unwrap().1;
        assert!(!text.contains(secret) && !json!(sessions).to_string().contains(secret));
    }

    says(&site.run(&["session", "revoke", "ann"], None), 0, "logged out of 2 browsers");
    assert_eq!(statuses(&mut one, &mut other), [401; 4], "in force everywhere when the command returns");
    assert_eq!(listed(site), [] as [Value; 0]);
    // Tokens are another matter, and what is done already is done.
    assert_eq!(one.ask("GET", ME, &site.token, None).unwrap().status, 200);
    says(&site.run(&["session", "revoke", "ann"], None), 0, "logged out of 0 browsers");
    for arguments in [["session", "list", "bob"], ["session", "revoke", "bob"]] {
        says(&site.run(&arguments, None), 1, "no such user");
    }
    for server in servers {
        server.stop();
    }
}

// Contract §6, SES-25
#[test]
fn serial_sessions_are_listed_and_all_of_a_user_are_ended_on_every_server() {
    sessions_are_listed_and_all_of_a_user_are_ended(&Site::new());
}

mod postgres {
    use bailiwick_testkit::databases::fresh_postgres;

    use super::*;

    #[test]
    fn serial_sessions_are_listed_and_all_of_a_user_are_ended_on_every_server() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let Some(database) = runtime.block_on(fresh_postgres()) else { return };
        sessions_are_listed_and_all_of_a_user_are_ended(&Site::on(&database.url()));
    }
}
