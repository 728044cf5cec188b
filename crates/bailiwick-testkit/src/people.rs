//! People, and what they ask.
use std::{
    convert::Infallible,
    future::IntoFuture,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use axum::body::Body;
use bailiwick::{authn::token::TokenText, model::ScopeKind, resource::Resource};
use bailiwick_core::{
    id::Id,
    identity::{Slug, UserId},
    request::ClientAddr,
};
use http::{HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::{ServiceExt, util::BoxCloneService};

use crate::Reply;

/// Where the API of an application begins.
const BASE: &str = "/api/v1";
/// The host that requests name.
const HOST: &str = "localhost";

/// An application that can be asked by many at once. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<Service>>);

type Service = BoxCloneService<Request<Body>, Response<Body>, Infallible>;

impl Shared {
    pub(crate) fn new(service: Service) -> Self {
        Self(Arc::new(Mutex::new(service)))
    }

    async fn ask(&self, request: Request<Body>) -> Response<Body> {
        let service = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match service.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Somebody who uses an application under test. Cheap to clone.
///
/// ```no_run
/// # async fn example(app: &bailiwick_testkit::TestApp) {
/// use serde_json::json;
///
/// let member = app.member();
/// let made = member.post("/orgs/acme/notes/", json!({"title": "x"})).await.expect(201);
/// let path = format!("/orgs/acme/notes/{}/", made.id());
/// member.get(&path).header("if-none-match", "*").await.expect(304);
/// member.from([203, 0, 113, 7]).delete(&path).await.expect(204);
/// # }
/// ```
#[derive(Clone)]
pub struct Person {
    pub(crate) service: Shared,
    pub(crate) name: String,
    pub(crate) user: Option<(UserId, TokenText)>,
    pub(crate) org: Option<Slug>,
    pub(crate) address: IpAddr,
}

impl Person {
    pub(crate) fn anonymous(service: Shared) -> Self {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self { service, name: "anonymous".to_owned(), user: None, org: None, address }
    }

    /// Their user name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Their id.
    ///
    /// # Panics
    /// If they are anonymous.
    #[track_caller]
    pub fn id(&self) -> UserId {
        self.user.as_ref().expect("nobody has no id").0
    }

    /// The text of their token.
    ///
    /// # Panics
    /// If they are anonymous.
    #[track_caller]
    pub fn token(&self) -> &str {
        self.user.as_ref().expect("nobody has no token").1.expose()
    }

    /// The slug of the organisation in which they act when a method names none: the one they belong to.
    ///
    /// # Panics
    /// If they belong to none.
    #[track_caller]
    pub fn org(&self) -> &str {
        self.org.as_ref().expect("they belong to an organisation").as_str()
    }

    /// The same person, at another address. Everybody begins at 127.0.0.1.
    #[must_use]
    pub fn from(&self, address: impl Into<IpAddr>) -> Self {
        Self { address: address.into(), ..self.clone() }
    }

    /// The same person, without a credential.
    #[must_use]
    pub fn without_credential(&self) -> Self {
        Self { user: None, ..self.clone() }
    }

    /// The same person, with another token of theirs.
    #[must_use]
    pub fn with_token(&self, token: TokenText) -> Self {
        Self { user: self.user.clone().map(|(id, _)| (id, token)), ..self.clone() }
    }

    /// Begins a request. `path` is relative to `/api/v1`, as in [`Routes`](bailiwick::routes::Routes); what begins with
    /// `http://`, as a `Location` does, is taken as it is.
    pub fn request(&self, method: Method, path: &str) -> Call {
        let target = match path.strip_prefix("http://localhost") {
            Some(target) => target.to_owned(),
            None if path.starts_with("http://") => path.to_owned(),
            None => format!("{BASE}{path}"),
        };
        let mut fields = vec![(header::HOST, HeaderValue::from_static(HOST))];
        if let Some((_, token)) = &self.user {
            let value = format!("Token {}", token.expose());
            fields.push((header::AUTHORIZATION, HeaderValue::try_from(value).expect("a token is ASCII")));
        }
        Call { person: self.clone(), method, target, fields, body: Body::empty() }
    }

    /// Asks for `path`.
    pub fn get(&self, path: &str) -> Call {
        self.request(Method::GET, path)
    }

    /// Asks what a `GET` would answer, without the body.
    pub fn head(&self, path: &str) -> Call {
        self.request(Method::HEAD, path)
    }

    /// Sends a new object to `path`.
    #[expect(clippy::needless_pass_by_value, reason = "so that json!(…) needs no ampersand")]
    pub fn post(&self, path: &str, body: Value) -> Call {
        self.request(Method::POST, path).json(&body)
    }

    /// Replaces the object at `path`.
    #[expect(clippy::needless_pass_by_value, reason = "so that json!(…) needs no ampersand")]
    pub fn put(&self, path: &str, body: Value) -> Call {
        self.request(Method::PUT, path).json(&body)
    }

    /// Changes the object at `path`.
    #[expect(clippy::needless_pass_by_value, reason = "so that json!(…) needs no ampersand")]
    pub fn patch(&self, path: &str, body: Value) -> Call {
        self.request(Method::PATCH, path).json(&body)
    }

    /// Removes the object at `path`.
    pub fn delete(&self, path: &str) -> Call {
        self.request(Method::DELETE, path)
    }

    /// Creates an `R` in their organisation.
    pub fn create<R: Resource>(&self, body: Value) -> Call {
        self.post(&self.path_of::<R>(), body)
    }

    /// Asks for the list of `R` of their organisation; `query` is what follows the question mark.
    pub fn list<R: Resource>(&self, query: &str) -> Call {
        let separator = if query.is_empty() { "" } else { "?" };
        self.get(&format!("{}{separator}{query}", self.path_of::<R>()))
    }

    /// Asks for one `R` of their organisation.
    pub fn retrieve<R: Resource>(&self, id: Id<R>) -> Call {
        self.get(&format!("{}{id}/", self.path_of::<R>()))
    }

    fn path_of<R: Resource>(&self) -> String {
        match R::TABLE.scope {
            ScopeKind::Org => format!("/orgs/{}/{}/", self.org(), R::PATH),
            ScopeKind::Caller => format!("/{}/", R::PATH),
        }
    }
}

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Person").field("name", &self.name).field("org", &self.org).finish_non_exhaustive()
    }
}

/// A request that is not sent yet: `.await` sends it.
#[must_use = "a request is sent by .await"]
pub struct Call {
    person: Person,
    method: Method,
    target: String,
    fields: Vec<(HeaderName, HeaderValue)>,
    body: Body,
}

impl Call {
    /// Adds a header field; said twice, it is sent twice.
    ///
    /// # Panics
    /// If the name or the value cannot stand in a header.
    #[track_caller]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name = HeaderName::try_from(name).unwrap_or_else(|_| panic!("{name:?} is no header"));
        let value =
            HeaderValue::from_bytes(value.as_ref()).unwrap_or_else(|_| panic!("{name} has no such value"));
        self.fields.push((name, value));
        self
    }

    /// Takes a header field away, such as `host` or `content-type`.
    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(field, _)| field.as_str() != name);
        self
    }

    /// Proves who asks by this value of `Authorization` alone.
    #[track_caller]
    pub fn authorization(self, value: impl AsRef<[u8]>) -> Self {
        self.without("authorization").header("authorization", value)
    }

    /// Sends `body` as JSON.
    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// Sends `bytes` as `content_type`, and with their length.
    #[track_caller]
    pub fn body(self, content_type: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        let length = bytes.len().to_string();
        let mut call = self.without("content-type").without("content-length");
        call.body = Body::from(bytes);
        call.header("content-type", content_type).header("content-length", length)
    }

    /// Sends the request as `person` does.
    async fn send(self) -> Reply {
        let Self { person, method, target, fields, body } = self;
        let asked = format!("{}: {method} {target}", person.name);
        let mut request = Request::new(body);
        *request.uri_mut() =
            target.parse().unwrap_or_else(|error| panic!("{target:?} is no target: {error}"));
        *request.method_mut() = method;
        for (name, value) in fields {
            request.headers_mut().append(name, value);
        }
        request.extensions_mut().insert(ClientAddr(person.address));
        let (parts, body) = person.service.ask(request).await.into_parts();
        let body =
            body.collect().await.unwrap_or_else(|error| panic!("{asked}: the body broke off: {error}"));
        Reply::new(asked, parts.status, parts.headers, body.to_bytes().into())
    }
}

impl IntoFuture for Call {
    type Output = Reply;
    type IntoFuture = Pin<Box<dyn Future<Output = Reply> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
