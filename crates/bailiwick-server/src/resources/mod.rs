//! What the server keeps for its users. A new resource is one file here, one migration, and one line below.
pub(crate) mod attachment;
mod member;
mod my_org;
mod org_token;
mod organisation;
pub(crate) mod task;

use bailiwick::app::Resources;

pub(crate) use self::{
    attachment::{AttachedTask, Attachment, AttachmentView},
    my_org::{MyOrg, MyPlace, MyPlaceView},
    org_token::OrgToken,
    organisation::{Organisation, OrganisationView},
    task::Task,
};

/// All resources.
pub(crate) fn all() -> Resources {
    Resources::new()
        .resource::<Task>()
        .resource::<member::Member>()
        .resource::<MyOrg>()
        .guarded::<Organisation>()
        .guarded::<OrgToken>()
        .guarded::<Attachment>()
        .guarded::<AttachedTask>()
}
