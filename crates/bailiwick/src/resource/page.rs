//! Pages, with links to their neighbours.
use axum::{
    extract::{FromRef, FromRequestParts},
    response::Response,
};
use bailiwick_core::{
    access::{Access, List},
    db::Db,
    model::{Column, FieldType, Model, View},
    query::{ListQuery, Page, PageQuery, QueryError},
};
use http::{HeaderValue, StatusCode, header, request::Parts};
use serde::Serialize;

use super::{CanonicalUrl, Settings, answer};
use crate::problem::Problem;

/// A page of a list of version 1: `{count, next, previous, results}`.
#[derive(Clone, Debug, Serialize)]
pub struct PageBody<V> {
    count: u64,
    next: Option<String>,
    previous: Option<String>,
    results: Vec<V>,
}

impl<V: View> PageBody<V> {
    /// The page as clients see it. `url` is the absolute URL of the list without its query, and `query` the query
    /// that was asked for: links keep all of it but the page (PAG-10).
    pub fn new(page: Page<V::Of>, url: &str, query: &str) -> Self {
        Self::of(page, V::from, url, query)
    }
}

impl<V> PageBody<V> {
    fn of<R>(page: Page<R>, view: impl FnMut(R) -> V, url: &str, query: &str) -> Self {
        let next = page.has_next().then(|| link(url, query, page.number + 1));
        let previous = (page.number > 1).then(|| link(url, query, page.number - 1));
        Self { count: page.count, next, previous, results: page.rows.into_iter().map(view).collect() }
    }

    /// The same links as a `Link` field (RFC 8288), if there are any.
    pub fn link_header(&self) -> Option<HeaderValue> {
        let relation =
            |url: &Option<String>, name: &str| url.as_ref().map(|url| format!("<{url}>; rel=\"{name}\""));
        let links: Vec<_> =
            [relation(&self.next, "next"), relation(&self.previous, "prev")].into_iter().flatten().collect();
        if links.is_empty() { None } else { HeaderValue::try_from(links.join(", ")).ok() }
    }
}

/// The page that a client asked for of a list that a handler has whole: for lists that are short by nature, such as the
/// sessions of a user. It is the last argument but the body.
#[derive(Debug)]
pub struct Pages {
    asked: PageQuery,
    url: CanonicalUrl,
    query: String,
}

impl Pages {
    /// 200 with the page of `all` that was asked for.
    ///
    /// # Errors
    /// 404 if the list has no such page (PAG-02); 500 if it cannot be written as JSON.
    pub fn answer<V: Serialize>(self, all: Vec<V>) -> Result<Response, Problem> {
        let page = self.asked.of(all);
        if !page.exists() {
            return Err(Problem::not_found());
        }
        page_answer(&PageBody::of(page, |view| view, self.url.as_str(), &self.query))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Pages
where
    Settings: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let pages = Settings::from_ref(state).pages;
        let asked = PageQuery::parse(form_urlencoded::parse(query.as_bytes()), &pages).map_err(refused)?;
        let Ok(url) = CanonicalUrl::from_request_parts(parts, state).await;
        Ok(Self { asked, url, query })
    }
}

/// The page of rows that a client asked for, with the filters, the order and the search that the model declares. It is the
/// last argument but the body.
#[derive(Debug)]
pub struct RowPages<R> {
    asked: ListQuery<R>,
    url: CanonicalUrl,
    query: String,
}

impl<R: Model> RowPages<R> {
    /// The same of those rows alone that have `value` in `column`: of what belongs to one row.
    #[must_use]
    pub fn only<T: FieldType, W>(mut self, column: Column<R, T, W>, value: T) -> Self {
        self.asked = self.asked.only(column, value);
        self
    }

    /// 200 with the page.
    ///
    /// # Errors
    /// 404 if the list has no such page (PAG-02); what the store says otherwise.
    pub async fn answer<V: View<Of = R>>(
        self,
        access: &Access<R, List>,
        db: &Db,
    ) -> Result<Response, Problem> {
        let page = db.list(access, &self.asked).await?;
        page_answer(&PageBody::<V>::new(page, self.url.as_str(), &self.query))
    }
}

impl<R: Model, S: Send + Sync> FromRequestParts<S> for RowPages<R>
where
    Settings: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let pages = Settings::from_ref(state).pages;
        let asked = ListQuery::parse(form_urlencoded::parse(query.as_bytes()), &pages).map_err(refused)?;
        let Ok(url) = CanonicalUrl::from_request_parts(parts, state).await;
        Ok(Self { asked, url, query })
    }
}

/// 200 with a page.
fn page_answer<V: Serialize>(page: &PageBody<V>) -> Result<Response, Problem> {
    let about_bytes = (page.results.len() + 1) * answer::OBJECT_BYTES;
    let mut response = answer::json(StatusCode::OK, page, about_bytes)?;
    if let Some(link) = page.link_header() {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

pub(super) fn refused(error: QueryError) -> Problem {
    match error {
        QueryError::NoSuchPage => Problem::not_found(),
        QueryError::Invalid(errors) => Problem::validation(errors),
    }
}

/// The URL of page `number`; that of the first has no `page` (PAG-01).
fn link(url: &str, query: &str, number: u64) -> String {
    let mut kept: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty() && !is_page(pair)).collect();
    let page = format!("page={number}");
    if number > 1 {
        kept.push(&page);
    }
    if kept.is_empty() { url.to_owned() } else { format!("{url}?{}", kept.join("&")) }
}

fn is_page(pair: &str) -> bool {
    let name = pair.split('=').next().unwrap_or_default();
    percent_encoding::percent_decode_str(name).eq("page".bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    // PAG-10
    #[test]
    fn a_link_keeps_every_other_parameter() {
        assert_eq!(link("http://h/t/", "", 1), "http://h/t/");
        assert_eq!(link("http://h/t/", "page=3", 1), "http://h/t/");
        assert_eq!(link("http://h/t/", "page=3", 4), "http://h/t/?page=4");
        assert_eq!(
            link("http://h/t/", "status=todo&p%61ge=3&search=a%20b&&page_size=5", 2),
            "http://h/t/?status=todo&search=a%20b&page_size=5&page=2"
        );
    }
}
