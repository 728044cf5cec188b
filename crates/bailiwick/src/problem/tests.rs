use std::{convert::Infallible, future::ready, time::Duration};

use axum::{Router, body::Body, routing::get};
use bailiwick_core::{request::RequestId, units::ByteSize};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn};

use super::{CATALOGUE, Cause, Code, FieldError, Problem, ProblemBody, ProblemLayer, Refusal, router};

const ID: &str = "request-0001";

fn request(method: Method) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    request.extensions_mut().insert(RequestId::from_client(ID.as_bytes()).unwrap());
    request
}

/// What a client gets when the inner service answers `answer`.
async fn sent(method: Method, answer: Response<Body>) -> Response<ProblemBody<Body>> {
    let mut answer = Some(answer);
    let inner = service_fn(move |_: Request<Body>| ready(Ok::<_, Infallible>(answer.take().unwrap())));
    ProblemLayer::new().layer(inner).oneshot(request(method)).await.unwrap()
}

async fn text(response: Response<ProblemBody<Body>>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn body(problem: Problem) -> String {
    text(sent(Method::GET, problem.answer()).await).await
}

#[test]
fn the_catalogue_is_permanent() {
    insta::assert_json_snapshot!(CATALOGUE);
}

#[test]
fn every_kind_is_found_by_its_code() {
    assert_eq!(Code::Unavailable.kind().code, CATALOGUE.last().unwrap().code);
    for kind in CATALOGUE {
        assert_eq!(kind.type_uri, format!("/problems/{}", kind.code));
        assert_eq!(CATALOGUE.iter().filter(|other| other.code == kind.code).count(), 1, "{}", kind.code);
    }
    for code in [Code::MalformedRequest, Code::NotFound, Code::ValidationFailed, Code::Throttled] {
        assert_eq!(code.kind().status, code.status().as_u16());
    }
}

// ERR-01, ERR-02, ERR-07, ERR-10
#[tokio::test]
async fn a_problem_is_written_as_the_contract_shows() {
    let errors = vec![
        FieldError::body("#/title", "too-long", "at most 200 characters"),
        FieldError::body("#/status", "unknown-value", "one of todo, doing, done"),
    ];
    let response = sent(Method::POST, Problem::validation(errors).answer()).await;
    assert_eq!(response.status(), 422);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    assert_eq!(
        text(response).await,
        "{\"type\":\"/problems/validation-failed\",\"title\":\"The request is not valid\",\"status\":422,\
         \"detail\":\"2 fields are not valid\",\"code\":\"validation-failed\",\"request_id\":\"request-0001\",\
         \"errors\":[{\"pointer\":\"#/title\",\"code\":\"too-long\",\"detail\":\"at most 200 characters\"},\
         {\"pointer\":\"#/status\",\"code\":\"unknown-value\",\"detail\":\"one of todo, doing, done\"}]}"
    );
    let one = body(Problem::validation(vec![FieldError::body("#/title", "missing", "is needed")])).await;
    assert!(one.contains("\"1 field is not valid\""), "{one}");
}

// ERR-22
#[tokio::test]
async fn hidden_and_missing_rows_have_the_same_bytes() {
    let hidden = Problem::not_found().because(std::io::Error::other("is a row of another tenant"));
    assert_eq!(body(hidden).await, body(Problem::not_found()).await);
}

// I7, ERR-09
#[tokio::test]
async fn the_cause_goes_to_the_log_and_not_to_the_client() {
    let problem = Problem::internal().because(std::io::Error::other("password=hunter2"));
    let response = sent(Method::GET, problem.answer()).await;
    assert_eq!(response.extensions().get::<Cause>().unwrap().0.to_string(), "password=hunter2");
    assert!(response.extensions().get::<Problem>().is_none());
    assert!(response.headers().values().all(|value| !value.to_str().unwrap().contains("hunter2")));
    assert!(!text(response).await.contains("hunter2"));
}

// ERR-30 to ERR-32, ERR-35
#[tokio::test]
async fn a_401_names_the_schemes_and_tells_only_of_a_token_that_was_sent() {
    let challenges = |problem: Problem| {
        let answer: Response<Body> = problem.answer();
        let fields = answer.headers().get_all(header::WWW_AUTHENTICATE).iter();
        fields.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(challenges(Problem::unauthenticated()), [r#"Token realm="api""#, r#"Bearer realm="api""#]);
    assert_eq!(challenges(Problem::invalid_credentials()), challenges(Problem::unauthenticated()));
    assert_eq!(
        challenges(Problem::invalid_token()),
        [r#"Token realm="api""#, r#"Bearer realm="api", error="invalid_token""#]
    );
    assert_eq!(challenges(Problem::forbidden()), Vec::<String>::new());
}

// THR-24, THR-26
#[tokio::test]
async fn a_429_says_when_to_come_back_and_which_quotas_are_spent() {
    for (wait, said) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (59_999, "60")] {
        let problem = Problem::throttled(Duration::from_millis(wait), ["login", "anon"]);
        let response = sent(Method::POST, problem.answer()).await;
        assert_eq!(response.headers()[header::RETRY_AFTER], said, "{wait} ms");
        let body: Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(body["violated-policies"], json!(["login", "anon"]));
    }
}

// ERR-21
#[tokio::test]
async fn a_415_says_what_is_read_and_on_patch_says_it_twice() {
    let accepted = HeaderValue::from_static("application/json, application/merge-patch+json");
    let problem = Problem::unsupported_media_type(accepted.clone());
    let post = sent(Method::POST, problem.clone().answer()).await;
    assert_eq!(post.headers()[header::ACCEPT], accepted);
    assert!(!post.headers().contains_key("accept-patch"));
    let patch = sent(Method::PATCH, problem.answer()).await;
    assert_eq!(patch.headers()["accept-patch"], accepted);
}

// ERR-24
#[tokio::test]
async fn head_is_answered_like_get_without_the_body() {
    let get = sent(Method::GET, Problem::not_found().answer()).await;
    let head = sent(Method::HEAD, Problem::not_found().answer()).await;
    assert_eq!(head.status(), get.status());
    assert_eq!(head.headers()[header::CONTENT_TYPE], get.headers()[header::CONTENT_TYPE]);
    let length: usize = head.headers()[header::CONTENT_LENGTH].to_str().unwrap().parse().unwrap();
    assert_eq!(text(get).await.len(), length);
    assert_eq!(text(head).await, "");
}

// ERR-12
#[tokio::test]
async fn what_the_router_and_the_extractors_answer_becomes_a_problem() {
    let app = Router::new().route(
        "/json",
        axum::routing::post(|_: axum::Json<Vec<u32>>| async {})
            .get(|_: axum::extract::Query<Vec<u32>>| async {}),
    );
    let app = ProblemLayer::new().layer(app);
    let ask = async |method: Method, path: &str, body: &'static str| {
        let request =
            Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        let response = app.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body: Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(body["status"], status.as_u16());
        assert!(!body.to_string().contains("secret"), "{body}");
        (headers, body["code"].as_str().unwrap().to_owned())
    };
    assert_eq!(ask(Method::GET, "/none", "").await.1, "not-found");
    assert_eq!(ask(Method::POST, "/json", "[secret]").await.1, "malformed-request");
    assert_eq!(ask(Method::POST, "/json", "[\"secret\"]").await.1, "validation-failed");
    for method in [Method::PUT, Method::TRACE, Method::CONNECT, Method::from_bytes(b"BREW").unwrap()] {
        let (headers, code) = ask(method, "/json", "").await;
        assert_eq!(code, "method-not-allowed");
        assert!(headers.contains_key(header::ALLOW));
    }
}

#[tokio::test]
async fn an_error_that_is_a_problem_document_already_is_kept_and_any_other_body_is_replaced() {
    for (content_type, is_kept) in [
        ("application/problem+json", true),
        ("text/html", false),
        ("text/plain", false),
        ("application/json", false),
    ] {
        let mut answer = Response::new(Body::from("{\"title\":\"secret\"}"));
        *answer.status_mut() = StatusCode::GONE;
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let body = text(sent(Method::GET, answer).await).await;
        assert_eq!(body.contains("secret"), is_kept, "{content_type}: {body}");
    }
}

#[tokio::test]
async fn headers_of_a_bare_error_stay_and_those_of_its_body_go() {
    let mut answer = Response::new(Body::from("no"));
    *answer.status_mut() = StatusCode::UNAUTHORIZED;
    for (name, value) in
        [("retry-after", "1"), ("content-length", "2"), ("content-encoding", "gzip"), ("etag", "\"1\"")]
    {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let response = sent(Method::GET, answer).await;
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    assert!(response.headers().contains_key(header::WWW_AUTHENTICATE));
    for gone in ["content-length", "content-encoding", "etag"] {
        assert!(!response.headers().contains_key(gone), "{gone}");
    }
}

// ERR-23: to whom there is nothing here, nothing here has methods.
#[tokio::test]
async fn allow_is_sent_with_405_alone() {
    for (status, is_sent) in [(405, true), (404, false), (401, false), (403, false)] {
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET,HEAD"));
        let response = sent(Method::GET, answer).await;
        let allow = is_sent.then_some("GET, HEAD");
        let sent = response.headers().get(header::ALLOW).map(|allow| allow.to_str().unwrap());
        assert_eq!(sent, allow, "{status}");
    }
}

// ERR-05
#[tokio::test]
async fn a_status_without_a_kind_says_no_more_than_its_phrase() {
    for (status, code) in [(418, "client-error"), (502, "server-error"), (599, "server-error")] {
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        let body: Value = serde_json::from_str(&text(sent(Method::GET, answer).await).await).unwrap();
        assert_eq!((&body["type"], &body["status"]), (&json!("about:blank"), &json!(status)));
        assert_eq!(body["code"], code);
    }
}

// ERR-09, RST-10
#[tokio::test]
async fn a_panic_is_a_500_wherever_it_happens() {
    let at_once = service_fn(|_: Request<Body>| -> std::future::Ready<Result<Response<Body>, Infallible>> {
        panic!("secret at once")
    });
    let later = service_fn(|_: Request<Body>| async {
        tokio::task::yield_now().await;
        let number = std::hint::black_box(7);
        assert_eq!(number, 8, "secret {number} later");
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let layer = ProblemLayer::new();
    let first = layer.layer(at_once).oneshot(request(Method::GET)).await.unwrap();
    let second = layer.layer(later).oneshot(request(Method::GET)).await.unwrap();
    for (response, said) in [(first, "secret at once"), (second, "secret 7 later")] {
        assert_eq!(response.status(), 500);
        assert!(response.extensions().get::<Cause>().unwrap().0.to_string().contains(said));
        let body = text(response).await;
        assert!(body.contains("internal-error") && body.contains(ID) && !body.contains("secret"), "{body}");
    }
}

#[tokio::test]
async fn a_refused_request_does_not_reach_the_service() {
    let inner = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
    let mut request = request(Method::GET);
    request.extensions_mut().insert(Refusal(Problem::uri_too_long()));
    let response = ProblemLayer::new().layer(inner).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 414);
}

#[tokio::test]
async fn what_is_no_error_passes_unchanged() {
    let mut answer = Response::new(Body::from("fine"));
    *answer.status_mut() = StatusCode::FOUND;
    let response = sent(Method::GET, answer).await;
    assert!(response.headers().is_empty());
    assert_eq!(text(response).await, "fine");
}

#[tokio::test]
async fn each_kind_has_a_page_for_programs_and_one_for_people() {
    let ask = async |path: &str, accept: &'static str| {
        let request =
            Request::builder().uri(path).header(header::ACCEPT, accept).body(Body::empty()).unwrap();
        let app = ProblemLayer::new().layer(router::<()>());
        let response = app.oneshot(request).await.unwrap();
        let content_type = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        (response.status().as_u16(), content_type, text(response).await)
    };
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for kind in CATALOGUE {
        let (status, content_type, body) = ask(kind.type_uri, "*/*").await;
        assert_eq!((status, content_type.as_str()), (200, "application/json"));
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["code"], kind.code);
        let members: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
        assert_eq!(members.len(), 5, "{members:?}");

        let (status, content_type, body) = ask(kind.type_uri, browser).await;
        assert_eq!((status, content_type.as_str()), (200, "text/html; charset=utf-8"));
        assert!(body.contains("<h1>") && !body.contains("<script"), "{body}");
    }
    for (accept, html) in [
        ("", false),
        ("text/html", true),
        ("application/json, text/html;q=0.9", false),
        ("text/*;q=0.5, application/json;q=0.4", true),
        ("*/*;q=1, text/html;q=0", false),
        ("text/html;q=abc", false),
    ] {
        let (_, content_type, _) = ask("/problems/not-found/", accept).await;
        assert_eq!(content_type.starts_with("text/html"), html, "{accept}");
    }
    assert_eq!(ask("/problems/unheard-of", "*/*").await.0, 404);
    assert_eq!(ask("/problems/%ff", "*/*").await.0, 400);
}

#[test]
fn the_limit_is_said_in_bytes() {
    assert_eq!(Problem::payload_too_large(ByteSize::kib(1)).detail(), Some("at most 1024 bytes"));
}

// A route that takes the problem as the error of a handler.
#[tokio::test]
async fn a_handler_may_answer_with_a_problem() {
    async fn handler() -> Result<&'static str, Problem> {
        Err(Problem::conflict("the slug is taken"))
    }
    let app = ProblemLayer::new().layer(Router::new().route("/", get(handler)));
    let response = app.oneshot(request(Method::GET)).await.unwrap();
    assert_eq!(response.status(), 409);
    // The router measured the body before it was written.
    assert!(!response.headers().contains_key(header::CONTENT_LENGTH));
    assert!(text(response).await.contains("\"detail\":\"the slug is taken\""));
}
