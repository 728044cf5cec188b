//! What an application answered.
use std::fmt;

use bailiwick::model::Model;
use bailiwick_core::id::Id;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// The whole answer to one request.
#[derive(Clone)]
pub struct Reply {
    asked: String,
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// An answer without what differs between two requests that are answered alike: the request id. Two of them that are
/// equal tell a client nothing apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bare {
    /// The status.
    pub status: StatusCode,
    /// The header fields, sorted.
    pub headers: Vec<(String, String)>,
    /// The body; what is no UTF-8 in it is replaced.
    pub body: String,
}

impl Reply {
    pub(crate) fn new(asked: String, status: StatusCode, headers: HeaderMap, body: Vec<u8>) -> Self {
        Self { asked, status, headers, body }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// All header fields.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The value of the header `name`, where it was sent once.
    ///
    /// # Panics
    /// If it was sent twice, or is no visible ASCII.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.headers.get_all(name).iter();
        let first = fields.next()?;
        assert!(fields.next().is_none(), "{name} was sent twice: {self:?}");
        Some(first.to_str().unwrap_or_else(|_| panic!("{name} is no text: {self:?}")))
    }

    /// The body, as it came.
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The body as text.
    ///
    /// # Panics
    /// If it is no UTF-8.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_else(|_| panic!("the body is no text: {self:?}"))
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// The `code` of a problem.
    ///
    /// # Panics
    /// If the answer is none.
    #[track_caller]
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        self.json()["code"].as_str().unwrap_or_else(|| panic!("no code: {self:?}")).to_owned()
    }

    /// What is wrong with each field, of a problem that names them: where (`#/title`, or the name of a query
    /// parameter), and the code.
    ///
    /// # Panics
    /// If the answer is no such problem.
    #[track_caller]
    pub fn errors(&self) -> Vec<(String, String)> {
        let json = self.json();
        let errors = json["errors"].as_array().unwrap_or_else(|| panic!("no errors: {self:?}"));
        let text = |error: &Value, name: &str| error[name].as_str().map(str::to_owned);
        let read = |error: &Value| {
            let place = text(error, "pointer").or_else(|| text(error, "parameter"));
            place.zip(text(error, "code")).unwrap_or_else(|| panic!("a strange error: {self:?}"))
        };
        errors.iter().map(read).collect()
    }

    /// The `id` of the object in the body.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn id(&self) -> String {
        self.json()["id"].as_str().unwrap_or_else(|| panic!("no id: {self:?}")).to_owned()
    }

    /// The same, typed.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn id_of<M: Model>(&self) -> Id<M> {
        self.id().parse().unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// This answer, if it has the status `status`.
    ///
    /// # Panics
    /// If it has another one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }

    /// This answer, if it is a problem with that status and code.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Self {
        let found = self.expect(status);
        assert_eq!(found.code(), code, "{found:?}");
        assert_eq!(found.json()["status"], status, "ERR-02: {found:?}");
        found
    }

    /// The body without the id of the request.
    pub fn body_without_request_id(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        match self.headers.get("x-request-id").and_then(|id| id.to_str().ok()) {
            Some(id) => body.replace(id, "…"),
            None => body.into_owned(),
        }
    }

    /// Status, headers and body without the id of the request, to be compared with another answer's.
    pub fn bare(&self) -> Bare {
        let fields = self.headers.iter().filter(|(name, _)| name.as_str() != "x-request-id");
        let mut headers: Vec<_> = fields
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        headers.sort();
        Bare { status: self.status, headers, body: self.body_without_request_id() }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, status, headers, body } = self;
        writeln!(f, "{asked} → {status}")?;
        for (name, value) in headers {
            writeln!(f, "{name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        write!(f, "{}", String::from_utf8_lossy(body))
    }
}
