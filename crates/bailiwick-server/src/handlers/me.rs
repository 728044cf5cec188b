//! Who the caller is.
use axum::{Json, extract::State};
use bailiwick::{
    access::List,
    clock::Timestamp,
    db::Db,
    gate::Access,
    identity::{Principal, Role, UserId},
    problem::Problem,
    query::ListQuery,
};
use serde::Serialize;

use crate::resources::MyOrg;

/// A user, as only they see themselves.
#[derive(Serialize)]
pub(super) struct User {
    id: UserId,
    username: String,
    email: String,
    is_staff: bool,
    created_at: Timestamp,
}

/// The caller.
#[derive(Serialize)]
pub(super) struct Me {
    #[serde(flatten)]
    user: User,
    orgs: Vec<MyPlace>,
}

#[derive(Serialize)]
struct MyPlace {
    slug: String,
    name: String,
    role: Role,
}

/// `GET /me/`
pub(super) async fn show(access: Access<MyOrg, List>, State(db): State<Db>) -> Result<Json<Me>, Problem> {
    let mut orgs = Vec::new();
    let mut query = ListQuery::first_page(100);
    loop {
        let page = db.list(&access, &query).await?;
        let more = page.has_next();
        orgs.extend(page.rows.into_iter().map(|org| MyPlace {
            slug: org.slug,
            name: org.name,
            role: org.role,
        }));
        if !more {
            break;
        }
        query = query.next_page();
    }
    Ok(Json(Me { user: User::from(access.principal()), orgs }))
}

impl From<&Principal> for User {
    fn from(principal: &Principal) -> Self {
        Self {
            id: principal.user_id,
            username: principal.username.clone(),
            email: principal.email.clone(),
            is_staff: principal.is_staff,
            created_at: principal.created_at,
        }
    }
}
