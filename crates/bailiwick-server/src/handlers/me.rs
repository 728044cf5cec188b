//! Who the caller is.
use axum::{Json, extract::State};
use bailiwick::{
    access::List,
    clock::Timestamp,
    db::Db,
    gate::Access,
    identity::{Role, UserId},
    problem::Problem,
    query::ListQuery,
};
use serde::Serialize;

use crate::resources::MyOrg;

/// The caller, as only they see themselves.
#[derive(Serialize)]
pub(super) struct Me {
    id: UserId,
    username: String,
    email: String,
    is_staff: bool,
    created_at: Timestamp,
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
    let user = access.principal();
    Ok(Json(Me {
        id: user.user_id,
        username: user.username.clone(),
        email: user.email.clone(),
        is_staff: user.is_staff,
        created_at: user.created_at,
        orgs,
    }))
}
