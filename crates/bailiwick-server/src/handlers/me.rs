//! Who the caller is.
use axum::{Json, extract::State};
use bailiwick::{
    access::List,
    clock::Timestamp,
    db::Db,
    gate::Access,
    identity::{Principal, UserId},
    problem::Problem,
    query::ListQuery,
    store::NewUser,
};
use serde::Serialize;

use crate::resources::{MyPlace, MyPlaceView};

/// A user, as only they see themselves.
#[derive(Serialize)]
pub(super) struct User {
    id: UserId,
    username: String,
    /// None for what a token of an organisation speaks for, which is no person.
    email: Option<String>,
    is_staff: bool,
    created_at: Timestamp,
}

/// The caller.
#[derive(Serialize)]
pub(super) struct Me {
    #[serde(flatten)]
    user: User,
    orgs: Vec<MyPlaceView>,
}

/// `GET /me/`
pub(super) async fn show(access: Access<MyPlace, List>, State(db): State<Db>) -> Result<Json<Me>, Problem> {
    let mut orgs = Vec::new();
    let mut query = ListQuery::first_page(100);
    loop {
        let page = db.list(&access, &query).await?;
        let more = page.has_next();
        orgs.extend(page.rows.into_iter().map(MyPlaceView::from));
        if !more {
            break;
        }
        query = query.next_page();
    }
    Ok(Json(Me { user: User::from(access.principal()), orgs }))
}

impl From<NewUser> for User {
    fn from(user: NewUser) -> Self {
        Self {
            id: user.id,
            username: user.username.as_str().to_owned(),
            email: Some(user.email),
            is_staff: user.is_staff,
            created_at: user.created_at,
        }
    }
}

impl From<&Principal> for User {
    fn from(principal: &Principal) -> Self {
        Self {
            id: principal.user_id,
            username: principal.username.clone(),
            email: principal.service_of.is_none().then(|| principal.email.clone()),
            is_staff: principal.is_staff,
            created_at: principal.created_at,
        }
    }
}
