//! Organisations: found one, and read it.
use axum::{extract::State, response::Response};
use bailiwick::{
    Input,
    access::{Create, Retrieve},
    db::Db,
    gate::{Access, InScope},
    identity::{InvalidSlug, Slug},
    problem::{FieldError, Problem},
    resource::{CanonicalUrl, ETag, JsonBody, answer},
    store::NewOrg,
    tenancy::Founding,
    trace::RequestFacts,
};
use http::HeaderMap;

use crate::resources::{MyOrg, Organisation, OrganisationView};

/// An organisation to found.
#[derive(Input)]
pub(super) struct NewOrganisation {
    slug: String,
    #[input(chars(1..=100))]
    name: String,
}

/// `POST /orgs/`: the maker becomes the owner.
pub(super) async fn create(
    InScope { principal, .. }: InScope<MyOrg, Create>,
    State(founding): State<Founding>,
    url: CanonicalUrl,
    RequestFacts(facts): RequestFacts,
    JsonBody(new): JsonBody<NewOrganisation>,
) -> Result<Response, Problem> {
    let slug: Slug = new.slug.parse().map_err(|error: InvalidSlug| {
        Problem::validation(vec![FieldError::body("#/slug", "invalid-format", error.to_string())])
    })?;
    let org = founding.found(&principal, slug, new.name, &facts).await?;
    let location = url.child(org.slug.as_str());
    let tag = ETag::of_version(NewOrg::VERSION);
    answer::created(&location, Some(tag), &OrganisationView::founded(&org))
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
