//! A browser: it keeps cookies, and sends them.
use bailiwick_testkit::{Call, Person, Reply, TestApp};
use http::Method;
use serde_json::json;

/// Somebody's browser. It sends its cookies, and the CSRF token that it was given last, with every request.
#[derive(Clone)]
pub(crate) struct Browser {
    anonymous: Person,
    pub(crate) cookies: Vec<(String, String)>,
    pub(crate) csrf_token: Option<String>,
}

impl Browser {
    pub(crate) fn new(app: &TestApp) -> Self {
        Self { anonymous: app.anonymous(), cookies: Vec::new(), csrf_token: None }
    }

    /// A browser that has a session of the user called `username`.
    pub(crate) async fn logged_in(app: &TestApp, username: &str) -> Self {
        let mut browser = Self::new(app);
        browser.log_in(username).await.expect(200);
        browser
    }

    pub(crate) async fn fetch_csrf_token(&mut self) -> String {
        let reply = self.request(Method::GET, "/auth/csrf/").await.expect(200);
        self.keep(&reply);
        self.csrf_token.clone().unwrap()
    }

    pub(crate) async fn log_in(&mut self, username: &str) -> Reply {
        self.fetch_csrf_token().await;
        let credentials = json!({"username": username, "password": TestApp::PASSWORD});
        let reply = self.request(Method::POST, "/auth/session/").json(&credentials).await;
        self.keep(&reply);
        reply
    }

    /// What a page of the application itself sends.
    pub(crate) fn request(&self, method: Method, path: &str) -> Call {
        let call = self.bare(method, path);
        match &self.csrf_token {
            Some(token) => call.header("x-csrftoken", token),
            None => call,
        }
    }

    /// The same with the cookies alone, as a page of anybody can have it sent.
    pub(crate) fn bare(&self, method: Method, path: &str) -> Call {
        let call = self.anonymous.request(method, path);
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if cookies.is_empty() { call } else { call.header("cookie", cookies.join("; ")) }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.request(Method::GET, path).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.request(Method::DELETE, path).await
    }

    /// What its cookie for the session holds.
    pub(crate) fn session(&self) -> Option<&str> {
        self.cookie("bailiwick_session")
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Does what the answer's `Set-Cookie` say, and keeps a CSRF token that it holds.
    pub(crate) fn keep(&mut self, reply: &Reply) {
        for field in reply.headers().get_all("set-cookie") {
            let text = field.to_str().unwrap();
            let (pair, attributes) = text.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.retain(|(found, _)| found != name);
            if !attributes.contains("Max-Age=0") {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        if reply.bytes().starts_with(b"{")
            && let Some(token) = reply.json()["csrf_token"].as_str()
        {
            self.csrf_token = Some(token.to_owned());
        }
    }
}
