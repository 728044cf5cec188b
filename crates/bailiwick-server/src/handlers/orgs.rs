//! Organisations: found one, and read it.
use axum::{extract::State, response::Response};
use bailiwick::{
    Input,
    access::Retrieve,
    app::{Chance, Identity, Now},
    db::Db,
    gate::{Access, Authenticated},
    id::Id,
    identity::{InvalidSlug, Slug},
    problem::{FieldError, Problem},
    resource::{CanonicalUrl, ETag, JsonBody, answer},
    store::{DirectoryError, NewOrg},
};
use http::HeaderMap;

use crate::resources::{Organisation, OrganisationView};

/// An organisation to found.
#[derive(Input)]
pub(super) struct NewOrganisation {
    slug: String,
    #[input(chars(1..=100))]
    name: String,
}

/// `POST /orgs/`: the maker becomes the owner.
pub(super) async fn create(
    Authenticated(principal): Authenticated,
    State(Identity(store)): State<Identity>,
    State(Now(clock)): State<Now>,
    State(Chance(entropy)): State<Chance>,
    url: CanonicalUrl,
    JsonBody(new): JsonBody<NewOrganisation>,
) -> Result<Response, Problem> {
    let slug: Slug = new.slug.parse().map_err(|error: InvalidSlug| {
        Problem::validation(vec![FieldError::body("#/slug", "invalid-format", error.to_string())])
    })?;
    let org = NewOrg {
        id: Id::new(&*clock, &*entropy),
        slug,
        name: new.name,
        owner: principal.user_id(),
        created_at: clock.now(),
    };
    let location = url.child(org.slug.as_str());
    let view = OrganisationView::founded(&org);
    store.create_org(org).await.map_err(|error| match error {
        DirectoryError::Taken => Problem::conflict("the slug is taken"),
        DirectoryError::Store(error) => error.into(),
        other => Problem::internal().because(other),
    })?;
    answer::created(&location, Some(ETag::of_version(NewOrg::VERSION)), &view)
}

/// `GET /orgs/{org}/`
pub(super) async fn show(
    access: Access<Organisation, Retrieve>,
    State(db): State<Db>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let org = access.org_id().ok_or_else(Problem::internal)?;
    let row = db.retrieve(&access, org).await?;
    let tag = ETag::of(&row);
    answer::found(&headers, tag, || OrganisationView::from(row))
}
