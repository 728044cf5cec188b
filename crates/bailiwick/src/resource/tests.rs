use axum::{body::Body, extract::FromRequest};
use bailiwick_core::{
    access::{Create, Delete, List, Retrieve, Rules, Update, authenticated},
    id::Id,
    identity::{OrgId, UserId},
    model::{FromJson, NoInput, View, json::Json},
    query::Precondition,
};
use bailiwick_macros::Model;
use http::{HeaderMap, HeaderValue, Method, Request};
use serde::Serialize;

use super::{ETag, JsonBody, PublicUrl, Resource, Settings, answer, etag, routes};
use crate::app::State;

/// Resources that differ in what they offer.
macro_rules! resource {
    ($name:ident, $owner:ident: $type:ty, $scope:ident, $($op:ident)*) => {
        mod $name {
            use super::*;

            #[derive(Model)]
            #[model(table = "things", scope = $scope)]
            pub(super) struct Thing {
                #[model(id)]
                id: Id<Thing>,
                #[model(tenant)]
                $owner: $type,
            }

            #[derive(Serialize)]
            pub(super) struct ThingView;

            impl From<Thing> for ThingView {
                fn from(_: Thing) -> Self {
                    Self
                }
            }

            impl View for ThingView {
                type Of = Thing;
                const FIELDS: &'static [&'static str] = &[];
            }

            impl Resource for Thing {
                const PATH: &'static str = "things";
                type New = NoInput<Self>;
                type Patch = NoInput<Self>;
                type View = ThingView;

                fn rules() -> Rules<Self> {
                    Rules::deny_all()$(.allow::<$op>(authenticated()))*
                }
            }
        }
    };
}

resource!(whole, org_id: OrgId, Org, List Retrieve Create Update Delete);
resource!(listed, org_id: OrgId, Org, List);
resource!(private, user_id: UserId, Caller, Retrieve Delete);
resource!(closed, org_id: OrgId, Org,);

fn table<R: Resource>() -> Vec<(String, Vec<Method>)> {
    routes::<R, State>().into_iter().map(|path| (path.path, path.methods)).collect()
}

// ACL-01
#[test]
fn an_operation_that_the_rules_allow_nobody_has_no_route() {
    let row = |path: &str, methods: &[Method]| (path.to_owned(), methods.to_vec());
    assert_eq!(
        table::<whole::Thing>(),
        [
            row("/orgs/{org}/things/", &[Method::GET, Method::POST]),
            row("/orgs/{org}/things/{id}/", &[Method::GET, Method::PUT, Method::PATCH, Method::DELETE]),
        ]
    );
    assert_eq!(table::<listed::Thing>(), [row("/orgs/{org}/things/", &[Method::GET])]);
    assert_eq!(table::<private::Thing>(), [row("/things/{id}/", &[Method::GET, Method::DELETE])]);
    assert_eq!(table::<closed::Thing>(), []);
}

fn fields(name: &'static str, values: &[&'static str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(name, HeaderValue::from_static(value));
    }
    headers
}

// CND-02, CND-10: weak comparison.
#[test]
fn if_none_match_says_whether_the_client_has_it() {
    let seven = Some(ETag::of_version(7));
    for (values, has) in [
        (&[][..], false),
        (&["\"v1-7\""], true),
        (&["W/\"v1-7\""], true),
        (&["\"v1-6\", \"v1-7\""], true),
        (&["\"v1-6\"", "\"v1-7\""], true),
        (&["*"], true),
        (&["\"v1-6\""], false),
        (&["\"v2-7\""], false),
        (&["\"v1-7-gzip\""], false),
    ] {
        assert_eq!(etag::client_has(&fields("if-none-match", values), seven).unwrap(), has, "{values:?}");
    }
    // What has no version is had by nobody, but `*` asks for no version.
    assert!(!etag::client_has(&fields("if-none-match", &["\"v1-7\""]), None).unwrap());
    assert!(etag::client_has(&fields("if-none-match", &["*"]), None).unwrap());
    for wrong in ["v1-7", "\"v1-7", "*, \"v1-7\"", "", "\"a\" \"b\""] {
        assert!(etag::client_has(&fields("if-none-match", &[wrong]), seven).is_err(), "{wrong}");
    }
}

// CND-06
#[test]
fn a_missing_if_match_is_a_problem_only_where_it_is_required() {
    assert_eq!(etag::precondition(&HeaderMap::new(), false).unwrap(), Precondition::None);
    assert_eq!(etag::precondition(&HeaderMap::new(), true).unwrap_err().status(), 428);
    assert_eq!(etag::precondition(&fields("if-match", &["*"]), true).unwrap(), Precondition::None);
    assert_eq!(etag::precondition(&fields("if-match", &["x"]), true).unwrap_err().status(), 400);
}

#[test]
fn answers_carry_what_a_client_keeps() {
    let tag = Some(ETag::of_version(7));
    let found = answer::found(&HeaderMap::new(), tag, || "x").unwrap();
    assert_eq!((found.status().as_u16(), found.headers()["etag"].to_str().unwrap()), (200, "\"v1-7\""));
    assert_eq!(found.headers()["cache-control"], "private, no-cache");
    let known = fields("if-none-match", &["\"v1-7\""]);
    let spared = answer::found::<&str>(&known, tag, || panic!("the view is not needed")).unwrap();
    assert_eq!((spared.status().as_u16(), spared.headers()["etag"].to_str().unwrap()), (304, "\"v1-7\""));
    let made = answer::created("http://localhost/things/1/", tag, &"x").unwrap();
    assert_eq!(
        (made.status().as_u16(), made.headers()["location"].to_str().unwrap()),
        (201, "http://localhost/things/1/")
    );
    // Without a version there is nothing to keep.
    let untagged = answer::changed(None, &"x").unwrap();
    assert_eq!((untagged.headers().get("etag"), untagged.headers().get("cache-control")), (None, None));
    assert_eq!(answer::created("a\nb", None, &"x").unwrap_err().status(), 500);
}

// HST-05
#[test]
fn links_begin_with_the_public_url_or_with_the_host_that_was_asked() {
    let parts = |uri: &str, host: Option<&'static str>| {
        let mut request = Request::builder().uri(uri);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        request.body(()).unwrap().into_parts().0
    };
    let settings = Settings::default();
    assert_eq!(settings.base_url(&parts("/x", Some("localhost:8000"))), "http://localhost:8000");
    assert_eq!(settings.base_url(&parts("http://127.0.0.1/x", Some("localhost"))), "http://127.0.0.1");
    assert_eq!(settings.base_url(&parts("/x", None)), "http://localhost");
    let public_url = Some("https://api.example.com/base/".parse().unwrap());
    let settings = Settings { public_url, ..settings };
    assert_eq!(settings.base_url(&parts("/x", Some("localhost"))), "https://api.example.com/base");
}

#[test]
fn a_public_url_is_one_that_links_can_begin_with() {
    for right in ["http://localhost", "https://api.example.com:8443", "https://example.com/api"] {
        assert_eq!(right.parse::<PublicUrl>().unwrap().as_str(), right);
    }
    assert!("https://a.b".parse::<PublicUrl>().unwrap().is_https());
    for wrong in [
        "",
        "example.com",
        "ftp://example.com",
        "https://",
        "https://a.b/?x=1",
        "https://a.b/#x",
        "https://me@a.b",
        "//a.b",
    ] {
        assert!(wrong.parse::<PublicUrl>().is_err(), "{wrong}");
    }
}

/// Whatever JSON there is.
#[derive(Debug)]
struct Anything(String);

impl FromJson for Anything {
    fn from_json(body: Json<'_>) -> Result<Self, Vec<bailiwick_core::model::FieldError>> {
        Ok(Self(format!("{body:?}")))
    }
}

#[tokio::test]
async fn a_body_is_read_strictly_to_the_depth_that_is_set() {
    let read = async |content_type: &'static str, body: &'static str, depth: usize| {
        let request = Request::builder().header("content-type", content_type).body(Body::from(body)).unwrap();
        let settings = Settings { json_depth: depth, ..Settings::default() };
        match JsonBody::<Anything>::from_request(request, &settings).await {
            Ok(JsonBody(Anything(text))) => Ok(text),
            Err(problem) => Err(problem.status().as_u16()),
        }
    };
    assert_eq!(read("application/json", "[true]", 1).await.unwrap(), "Array([Bool(true)])");
    assert_eq!(read("application/json", "[[true]]", 1).await, Err(400));
    assert_eq!(read("application/json", "{\"a\":1,\"a\":1}", 9).await, Err(400));
    assert_eq!(read("application/json", "1 2", 9).await, Err(400));
    assert_eq!(read("text/plain", "1", 9).await, Err(415));
}
