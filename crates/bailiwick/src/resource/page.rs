//! Pages, with links to their neighbours.
use bailiwick_core::{model::View, query::Page};
use http::HeaderValue;
use serde::Serialize;

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
        let next = page.has_next().then(|| link(url, query, page.number + 1));
        let previous = (page.number > 1).then(|| link(url, query, page.number - 1));
        let results = page.rows.into_iter().map(V::from).collect();
        Self { count: page.count, next, previous, results }
    }
}

impl<V> PageBody<V> {
    /// The same links as a `Link` field (RFC 8288), if there are any.
    pub fn link_header(&self) -> Option<HeaderValue> {
        let relation =
            |url: &Option<String>, name: &str| url.as_ref().map(|url| format!("<{url}>; rel=\"{name}\""));
        let links: Vec<_> =
            [relation(&self.next, "next"), relation(&self.previous, "prev")].into_iter().flatten().collect();
        if links.is_empty() { None } else { HeaderValue::try_from(links.join(", ")).ok() }
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
