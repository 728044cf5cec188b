//! `GET /problems/{code}`: what a kind of problem means, for programs and for people.
use axum::{
    Json, Router,
    extract::Path,
    response::{Html, IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{CATALOGUE, Problem, ProblemKind};

/// Where they are, as a template.
pub(crate) const PATH: &str = "/problems/{code}/";

/// The pages that the `type` of each problem points to: JSON, or HTML where `Accept` prefers it. They are public.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/problems/{code}", get(explain)).route("/problems/{code}/", get(explain))
}

async fn explain(Path(code): Path<String>, headers: HeaderMap) -> Response {
    let Some(kind) = CATALOGUE.iter().find(|kind| kind.code == code) else {
        return Problem::not_found().into_response();
    };
    let vary: [(HeaderName, HeaderValue); 1] = [(header::VARY, HeaderValue::from_static("accept"))];
    if prefers_html(&headers) {
        (vary, Html(page(kind))).into_response()
    } else {
        (vary, Json(kind)).into_response()
    }
}

/// Whether `text/html` is wanted more than JSON.
fn prefers_html(headers: &HeaderMap) -> bool {
    let mut html = None;
    let mut json = None;
    // A more exact range outweighs a wider one, whatever the order (RFC 9110 §12.5.1).
    let keep = |slot: &mut Option<(u8, f32)>, exact: u8, weight: f32| {
        if slot.is_none_or(|(known, _)| known < exact) {
            *slot = Some((exact, weight));
        }
    };
    let ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in ranges.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts
            .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
            .map_or(1.0, |q| q.parse().unwrap_or(0.0));
        match media_type.as_str() {
            "text/html" => keep(&mut html, 2, weight),
            "text/*" => keep(&mut html, 1, weight),
            "application/json" | "application/problem+json" => keep(&mut json, 2, weight),
            "application/*" => keep(&mut json, 1, weight),
            "*/*" => {
                keep(&mut html, 0, weight);
                keep(&mut json, 0, weight);
            }
            _ => {}
        }
    }
    let weight = |slot: Option<(u8, f32)>| slot.map_or(0.0, |(_, weight)| weight);
    weight(html) > weight(json)
}

fn page(kind: &ProblemKind) -> String {
    let (code, title) = (escape(kind.code), escape(kind.title));
    let (explanation, fix) = (escape(kind.explanation), escape(kind.fix));
    let status = kind.status;
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
         <body>\n<h1>{title}</h1>\n<p><code>{code}</code>, status {status}</p>\n<p>{explanation}</p>\n\
         <h2>What to do</h2>\n<p>{fix}</p>\n</body>\n</html>\n"
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
