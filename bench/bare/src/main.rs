//! The yardstick: the three task routes of the Bailiwick server, written by hand on axum and rusqlite.
//!
//! It looks up token and membership and answers the same JSON, and has none of the server's controls: no throttle,
//! limits, host check, request id, log, problem documents or versions. What it costs is what the work itself costs.
//!
//! Usage: `bare DATABASE ADDRESS`. The database is made from `schema.sql`.

mod db;
mod time;

use std::{borrow::Cow, error::Error, path::Path as FilePath};

use axum::{
    Json, Router,
    extract::{FromRequestParts, Path, Query, RawPathParams, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::get,
    serve::ListenerExt as _,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{
    db::{Caller, Member, NewRow, Reader, RowStream, TaskView, WriteError, Writer},
    time::Micros,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [database, address] = arguments.as_slice() else { return Err("usage: bare DATABASE ADDRESS".into()) };
    db::set_path(FilePath::new(database));
    let writer = Writer::start()?;

    let app = Router::new()
        .route("/api/v1/orgs/{org}/tasks/", get(list).post(create))
        .route("/api/v1/orgs/{org}/tasks/{id}/", get(retrieve))
        .with_state(writer);

    // The runtime's default is one worker thread for each core that this process may run on.
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(address.as_str()).await?.tap_io(|stream| {
            // A socket that refuses this is about to fail by itself.
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, app).with_graceful_shutdown(stop()).await?;
        Ok(())
    })
}

async fn stop() {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .expect("SIGTERM can be listened for");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// Every answer that is not a success.
enum Refusal {
    Unauthenticated,
    Forbidden,
    NotFound,
    Invalid(Cow<'static, str>),
    Failed,
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        eprintln!("database: {error}");
        Self::Failed
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, detail) = match self {
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "a valid token is required".into()),
            Self::Forbidden => (StatusCode::FORBIDDEN, "your role may not do this".into()),
            Self::NotFound => (StatusCode::NOT_FOUND, "not found".into()),
            Self::Invalid(detail) => (StatusCode::UNPROCESSABLE_ENTITY, detail),
            Self::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "internal error".into()),
        };
        #[derive(Serialize)]
        struct Body {
            detail: Cow<'static, str>,
        }
        let mut response = (status, Json(Body { detail })).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Token"));
        }
        response
    }
}

/// The digest of the token that the request carries.
fn digest(headers: &HeaderMap) -> Result<[u8; 32], Refusal> {
    let value = headers.get(header::AUTHORIZATION).ok_or(Refusal::Unauthenticated)?.as_bytes();
    match value.split_at_checked(6) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"token ") => Ok(Sha256::digest(token).into()),
        _ => Err(Refusal::Unauthenticated),
    }
}

fn member(reader: &mut Reader, digest: &[u8; 32], org: &str) -> Result<Member, Refusal> {
    match reader.caller(digest, org)? {
        Caller::Unknown => Err(Refusal::Unauthenticated),
        Caller::Outsider => Err(Refusal::NotFound),
        Caller::Member(member) => Ok(member),
    }
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

#[derive(Deserialize)]
struct PageQuery {
    page: Option<u32>,
    page_size: Option<u32>,
}

#[derive(Serialize)]
struct Page<'a> {
    count: i64,
    next: Option<String>,
    previous: Option<String>,
    results: RowStream<'a>,
}

async fn list(
    Path(org): Path<String>,
    Query(query): Query<PageQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let digest = digest(&headers)?;
    let body = db::read(|reader| {
        let member = match member(reader, &digest, &org) {
            Ok(member) => member,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let size = i64::from(query.page_size.unwrap_or(25).clamp(1, 100));
        let page = i64::from(query.page.unwrap_or(1));
        let pages = ((member.tasks + size - 1) / size).max(1);
        if page == 0 || page > pages {
            return Ok(Err(Refusal::NotFound));
        }
        let link = |page: i64| {
            let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
            format!("http://{host}/api/v1/orgs/{org}/tasks/?page={page}&page_size={size}")
        };
        reader.page(member.org, size, (page - 1) * size, |results| {
            let next = (page < pages).then(|| link(page + 1));
            let previous = (page > 1).then(|| link(page - 1));
            let mut body = Vec::with_capacity(640 * usize::try_from(size).unwrap_or(100));
            serde_json::to_writer(&mut body, &Page { count: member.tasks, next, previous, results })
                .map(|()| body)
                .map_err(|_| Refusal::Failed)
        })
    })??;
    Ok(json(StatusCode::OK, body))
}

async fn retrieve(Path((org, id)): Path<(String, String)>, headers: HeaderMap) -> Result<Response, Refusal> {
    let digest = digest(&headers)?;
    let body = db::read(|reader| {
        let member = match member(reader, &digest, &org) {
            Ok(member) => member,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Ok(id) = Uuid::parse_str(&id) else { return Ok(Err(Refusal::NotFound)) };
        let body = reader.one(member.org, id, |task| to_json(&task))?;
        Ok(body.ok_or(Refusal::NotFound))
    })??;
    Ok(json(StatusCode::OK, body))
}

fn to_json(task: &TaskView<'_>) -> Vec<u8> {
    let mut body = Vec::with_capacity(512 + task.description.len());
    serde_json::to_writer(&mut body, task).expect("a task without maps is JSON, and a Vec can be written to");
    body
}

/// The caller of a create, checked before the body is read.
struct Author(Member);

impl<S: Send + Sync> FromRequestParts<S> for Author {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let digest = digest(&parts.headers)?;
        let path = RawPathParams::from_request_parts(parts, state).await.map_err(|_| Refusal::NotFound)?;
        let (_, org) = path.iter().next().ok_or(Refusal::NotFound)?;
        let member = db::read(|reader| Ok(member(reader, &digest, org)))??;
        if member.may_write { Ok(Self(member)) } else { Err(Refusal::Forbidden) }
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum Status {
    #[default]
    Todo,
    Doing,
    Done,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum Priority {
    Low,
    #[default]
    Normal,
    High,
    Urgent,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTask {
    title: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    status: Status,
    #[serde(default)]
    priority: Priority,
    assignee: Option<Uuid>,
    due_at: Option<Micros>,
}

async fn create(
    Author(author): Author,
    State(writer): State<Writer>,
    Path(org): Path<String>,
    Json(new): Json<NewTask>,
) -> Result<Response, Refusal> {
    if !(1..=200).contains(&new.title.chars().count()) {
        return Err(Refusal::Invalid("title: 1 to 200 characters".into()));
    }
    if new.description.chars().count() > 10_000 {
        return Err(Refusal::Invalid("description: at most 10000 characters".into()));
    }
    let now = Micros::now();
    let task = TaskView {
        id: Uuid::now_v7(),
        title: new.title.into(),
        description: new.description.into(),
        status: match new.status {
            Status::Todo => "todo",
            Status::Doing => "doing",
            Status::Done => "done",
        },
        priority: match new.priority {
            Priority::Low => "low",
            Priority::Normal => "normal",
            Priority::High => "high",
            Priority::Urgent => "urgent",
        },
        assignee: new.assignee,
        due_at: new.due_at,
        created_by: author.user,
        updated_by: author.user,
        created_at: now,
        updated_at: now,
    };
    match writer.create(NewRow { org: author.org, task }).await {
        Ok(stored) => {
            let mut response = json(StatusCode::CREATED, to_json(&stored.task));
            let location = format!("/api/v1/orgs/{org}/tasks/{}/", stored.task.id);
            let location = HeaderValue::try_from(location).map_err(|_| Refusal::Failed)?;
            response.headers_mut().insert(header::LOCATION, location);
            Ok(response)
        }
        Err(WriteError::Assignee) => Err(Refusal::Invalid("assignee: not a member".into())),
        Err(WriteError::Failed) => Err(Refusal::Failed),
    }
}
