//! Files that are attached to tasks (contract §3).
use std::sync::Arc;

use axum::{
    extract::{FromRef, FromRequestParts, Path, Request, State},
    response::Response,
};
use bailiwick::{
    access::{Create, Delete, List, Retrieve, Update},
    app::{self, Given},
    audit::{SecurityEvent, SecurityEventKind, Target},
    clock::{Clock, Entropy},
    db::{Db, DbError},
    gate::Access,
    id::Id,
    model::{Assignments, Ref},
    problem::Problem,
    query::Quota,
    request::Facts,
    resource::{CanonicalUrl, ETag, Expected, RowPages, answer},
    trace::RequestFacts,
    units::ByteSize,
    upload::{Download, FileId, FileStore, Received, UploadError, Uploads},
};
use http::{HeaderMap, Method, StatusCode, request::Parts};

use crate::resources::{AttachedTask, Attachment, AttachmentView, attachment::attachment};

/// What handlers of attachments are given.
#[derive(Clone, Debug)]
pub(crate) struct Attachments {
    /// Receives files.
    pub(crate) uploads: Uploads,
    /// Keeps them.
    pub(crate) files: FileStore,
    /// What all files of one user may add up to, in whatever organisation they are.
    pub(crate) user_quota: ByteSize,
    /// What all files of one organisation may add up to.
    pub(crate) org_quota: ByteSize,
}

impl Attachments {
    fn quotas(&self) -> [Quota<Attachment>; 2] {
        [
            Quota::of_owner(attachment::size, self.user_quota.as_u64()),
            Quota::of_scope(attachment::size, self.org_quota.as_u64()),
        ]
    }
}

/// What attachments are made and deleted with.
pub(super) struct Means {
    db: Db,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    attachments: Attachments,
    facts: Facts,
}

impl FromRequestParts<app::State> for Means {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &app::State) -> Result<Self, Problem> {
        let Given(attachments) = Given::from_request_parts(parts, state).await?;
        let Ok(RequestFacts(facts)) = RequestFacts::from_request_parts(parts, state).await;
        Ok(Self {
            db: Db::from_ref(state),
            clock: FromRef::from_ref(state),
            entropy: FromRef::from_ref(state),
            attachments,
            facts,
        })
    }
}

/// `GET …/tasks/{id}/attachments/`
pub(super) async fn list(
    of_task: Access<AttachedTask, Retrieve>,
    access: Access<Attachment, List>,
    State(db): State<Db>,
    Path((_, task)): Path<(String, String)>,
    pages: RowPages<Attachment>,
) -> Result<Response, Problem> {
    let task = id(&task)?;
    db.retrieve(&of_task, task).await?;
    pages.only(attachment::task_id, task).answer::<AttachmentView>(&access, &db).await
}

/// `POST …/tasks/{id}/attachments/`: no byte of the body is read before it is known that the caller may change the task
/// (PIP-02).
pub(super) async fn upload(
    of_task: Access<AttachedTask, Update>,
    access: Access<Attachment, Create>,
    Means { db, clock, entropy, attachments, facts }: Means,
    Path((_, task)): Path<(String, String)>,
    url: CanonicalUrl,
    request: Request,
) -> Result<Response, Problem> {
    let task = id(&task)?;
    db.changeable(&of_task, task).await?;
    let received = attachments.uploads.receive(request).await;
    let received = received.map_err(|error| refused(error, &access, &facts))?;
    // The body may have taken its time: who has lost the task meanwhile adds nothing to it any more.
    db.changeable(&of_task, task).await?;

    // The file first, on disk, and then the row that names it.
    let file = FileId::new(&*clock, &*entropy);
    attachments.files.put(file, received.bytes.clone()).await?;
    let row = match db.create_within(&access, columns(task, file, received), &attachments.quotas()).await {
        Ok(row) => row,
        Err(error) => {
            // Whether a store that failed has committed, nobody knows: then the file waits for whoever collects.
            if !matches!(error, DbError::Store(_)) {
                let _ = attachments.files.delete(file).await;
            }
            return Err(match error {
                // The task went a moment ago.
                DbError::Dangling(_) => Problem::not_found(),
                other => other.into(),
            });
        }
    };
    let event = SecurityEvent::new(SecurityEventKind::UploadComplete);
    facts.tell(&event.within(access.org_id()).on(Target::attachment(row.id)).with("size", row.size));
    let tag = ETag::of(&row);
    answer::created(&url.child(&row.id.to_string()), tag, &AttachmentView::from(row))
}

/// `GET …/attachments/{attachment}/`
pub(super) async fn show(
    access: Access<Attachment, Retrieve>,
    State(db): State<Db>,
    Path(path): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = find(&access, &db, &path).await?;
    let tag = ETag::of(&row);
    answer::found(&headers, tag, || AttachmentView::from(row))
}

/// `GET …/attachments/{attachment}/content/`
pub(super) async fn content(
    access: Access<Attachment, Retrieve>,
    State(db): State<Db>,
    Given(attachments): Given<Attachments>,
    Path(path): Path<(String, String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = find(&access, &db, &path).await?;
    let download = Download {
        file: row.file,
        name: &row.filename,
        media_type: &row.content_type,
        size: row.size.unsigned_abs(),
        tag: ETag::of(&row),
    };
    download.answer(&attachments.files, &method, &headers).await
}

/// `DELETE …/attachments/{attachment}/`
pub(super) async fn delete(
    of_task: Access<AttachedTask, Update>,
    changing: Access<Attachment, Update>,
    access: Access<Attachment, Delete>,
    Means { db, clock, attachments, facts, .. }: Means,
    Path((_, task, attachment)): Path<(String, String, String)>,
    expected: Expected,
) -> Result<StatusCode, Problem> {
    let task = id(&task)?;
    db.changeable(&of_task, task).await?;
    let row = of(task, db.changeable(&changing, id(&attachment)?).await?)?;
    let (precondition, answer) = expected.into_parts();
    let event = SecurityEvent::new(SecurityEventKind::UploadDelete);
    let event = event.within(access.org_id()).on(Target::attachment(row.id)).with("task_id", task);
    let recording = (facts.act(clock.now()), event.with("size", row.size));
    db.delete_recorded(&access, row.id, precondition, recording).await.map_err(answer)?;
    // The row is gone: should this fail, or the server end first, whoever collects finds a file that no row names.
    if let Err(error) = attachments.files.delete(row.file).await {
        tracing::warn!(error = %error, "a file is left for the next collection");
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The attachment that the path names, below its task.
async fn find(
    access: &Access<Attachment, Retrieve>,
    db: &Db,
    (_, task, attachment): &(String, String, String),
) -> Result<Attachment, Problem> {
    of(id(task)?, db.retrieve(access, id(attachment)?).await?)
}

/// The attachment, if it is one of `task`.
fn of(task: Id<AttachedTask>, row: Attachment) -> Result<Attachment, Problem> {
    if row.task_id == task { Ok(row) } else { Err(Problem::not_found()) }
}

/// What is no id names nothing.
fn id<M>(text: &str) -> Result<Id<M>, Problem> {
    text.parse().map_err(|_| Problem::not_found())
}

fn columns(task: Id<AttachedTask>, file: FileId, received: Received) -> Assignments<Attachment> {
    let (width, height) = received.dimensions.unzip();
    let mut columns = Assignments::new()
        .set(attachment::file, file)
        .set(attachment::filename, received.name.to_string())
        .set(attachment::content_type, received.kind.media_type().to_owned())
        .set(attachment::size, received.size())
        .set(attachment::sha256, received.sha256)
        .set(attachment::width, width.map(i64::from))
        .set(attachment::height, height.map(i64::from));
    columns.put(attachment::task_id, "task", Ref::from(task));
    columns
}

/// Tells the log why a file was refused (LOG-06).
fn refused(error: UploadError, access: &Access<Attachment, Create>, facts: &Facts) -> Problem {
    if let UploadError::Rejected(rejection) = &error {
        let event = SecurityEvent::new(SecurityEventKind::UploadRefused);
        let event = event.of(access.principal().user_id()).within(access.org_id());
        facts.tell(&event.with("reason", rejection.as_str()));
    }
    error.into()
}
