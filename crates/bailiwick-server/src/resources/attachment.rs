//! Files that are attached to tasks.
//!
//! They have routes of their own, below those of their task: see `handlers/attachments.rs`.
use bailiwick::{gate::Guarded, prelude::*, upload::FileId};

use super::task::may_change;

/// What is known of a file. Clients write none of it as JSON: an upload sets what the file turns out to be.
#[derive(Model)]
#[model(table = "attachments", scope = Org)]
pub(crate) struct Attachment {
    #[model(tenant)]
    org_id: OrgId,
    #[model(id)]
    pub(crate) id: Id<Attachment>,
    pub(crate) task_id: Id<AttachedTask>,
    pub(crate) file: FileId,
    pub(crate) filename: String,
    pub(crate) content_type: String,
    pub(crate) size: i64,
    sha256: String,
    width: Option<i64>,
    height: Option<i64>,
    #[model(owner)]
    created_by: UserId,
    #[model(created_at, order(default = desc))]
    created_at: Timestamp,
    #[model(version)]
    version: i64,
}

#[derive(View)]
#[view(of = Attachment)]
pub(crate) struct AttachmentView {
    id: Id<Attachment>,
    filename: String,
    content_type: String,
    size: i64,
    sha256: String,
    width: Option<i64>,
    height: Option<i64>,
    created_by: UserId,
    created_at: Timestamp,
}

/// Who may, as far as the organisation decides it. That only those change attachments who may change their task, the handlers
/// see to by [`AttachedTask`].
impl Guarded for Attachment {
    fn rules() -> Rules<Self> {
        Rules::deny_all()
            .allow::<List>(role(Role::Viewer))
            .allow::<Retrieve>(role(Role::Viewer))
            .allow::<Create>(role(Role::Member))
            .allow::<Update>(role(Role::Member))
            .allow::<Delete>(role(Role::Member))
    }
}

/// A task as far as its attachments go: the same rules, for credentials that are limited to attachments.
#[derive(Model)]
#[model(table = "tasks", scope = Org)]
pub(crate) struct AttachedTask {
    #[model(tenant)]
    org_id: OrgId,
    #[model(id)]
    id: Id<AttachedTask>,
    #[model(managed)]
    assignee: Option<UserId>,
    #[model(owner)]
    created_by: UserId,
}

impl Guarded for AttachedTask {
    fn rules() -> Rules<Self> {
        Rules::deny_all()
            .scope("attachments")
            .allow::<Retrieve>(role(Role::Viewer))
            .allow::<Update>(may_change(attached_task::assignee))
    }
}
