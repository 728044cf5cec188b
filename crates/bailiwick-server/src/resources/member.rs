//! Members of an organisation, as they see each other.
use bailiwick::{model::View, prelude::*};
use serde::Serialize;

/// A membership and the name of its user: a view of the database, so that a page is one statement.
#[derive(Model)]
#[model(table = "members", scope = Org)]
pub(crate) struct Member {
    #[model(tenant)]
    org_id: OrgId,
    #[model(id)]
    user_id: UserId,
    #[model(managed)]
    username: String,
    #[model(managed)]
    role: Role,
    #[model(managed)]
    joined_at: Timestamp,
}

/// A member as clients see them. The e-mail address is not theirs to see (ACL-14).
#[derive(Serialize)]
pub(crate) struct MemberView {
    user: UserRef,
    role: Role,
    joined_at: Timestamp,
}

/// A user, named.
#[derive(Serialize)]
struct UserRef {
    id: UserId,
    username: String,
}

impl From<Member> for MemberView {
    fn from(member: Member) -> Self {
        let user = UserRef { id: member.user_id, username: member.username };
        Self { user, role: member.role, joined_at: member.joined_at }
    }
}

impl View for MemberView {
    type Of = Member;
    const FIELDS: &'static [&'static str] = &["user_id", "username", "role", "joined_at"];
}

impl Resource for Member {
    const PATH: &'static str = "members";
    type New = NoInput<Self>;
    type Patch = NoInput<Self>;
    type View = MemberView;

    fn rules() -> Rules<Self> {
        Rules::deny_all().allow::<List>(role(Role::Viewer))
    }
}
