//! Answers with a file (LIM-18 to LIM-20).
use std::ops::Range;

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{FileId, FileStore};
use crate::{
    problem::Problem,
    resource::{ETag, answer},
};

const CORP: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// A page that is made of the file, should a browser ever make one, may do nothing.
const SANDBOX: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox");
/// RFC 8187 §3.2.1: `attr-char`.
const ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// A file that is to be sent, as the row that names it tells.
#[derive(Clone, Debug)]
pub struct Download<'f> {
    /// Which file.
    pub file: FileId,
    /// What its uploader calls it.
    pub name: &'f str,
    /// Its media type.
    pub media_type: &'f str,
    /// Its length in bytes.
    pub size: u64,
    /// What names this content; a file is never changed.
    pub tag: Option<ETag>,
}

impl Download<'_> {
    /// 200 with the file; 206 with the one range that is asked for; 304 and 412 by its tag; 416 for a range that is past the
    /// end. A `HEAD` is answered alike, without reading the file.
    ///
    /// Several ranges at once are answered with the whole (RFC 9110 §14.2 lets a server ignore them): many small ones cost
    /// more than they are worth.
    ///
    /// # Errors
    /// 416, 412, 400 for tags that cannot be read, 503 if the store fails.
    ///
    /// # Security
    /// The answer is an attachment of the type that the content has, which no browser may guess anew, in a sandbox, and kept
    /// by no cache.
    pub async fn answer(
        &self,
        files: &FileStore,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Response, Problem> {
        if let Some(unchanged) = answer::unchanged(headers, self.tag)? {
            return Ok(unchanged);
        }
        // A range has a meaning for GET alone (RFC 9110 §14.2).
        let asked = if method == Method::GET { self.asked(headers) } else { Asked::Whole };
        let (status, range) = match asked {
            Asked::Whole => (StatusCode::OK, 0..self.size),
            Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
            Asked::Nothing => return Err(Problem::range_not_satisfiable(self.size)),
        };
        let length = range.end - range.start;
        let body = match *method {
            Method::HEAD => Body::empty(),
            _ => Body::from_stream(files.get(self.file, range.clone()).await?),
        };
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        let value =
            |text: String| HeaderValue::try_from(text).map_err(|error| Problem::internal().because(error));
        headers.insert(header::CONTENT_TYPE, value(self.content_type())?);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(header::CONTENT_DISPOSITION, value(disposition(self.name))?);
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(header::CONTENT_SECURITY_POLICY, SANDBOX);
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CORP, HeaderValue::from_static("same-origin"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
        if let Some(tag) = self.tag {
            headers.insert(header::ETAG, tag.to_value());
        }
        if status == StatusCode::PARTIAL_CONTENT {
            let text = format!("bytes {}-{}/{}", range.start, range.end - 1, self.size);
            headers.insert(header::CONTENT_RANGE, value(text)?);
        }
        Ok(response)
    }

    /// Text is UTF-8, which was looked at when it came.
    fn content_type(&self) -> String {
        let charset = if self.media_type.starts_with("text/") { "; charset=utf-8" } else { "" };
        format!("{}{charset}", self.media_type)
    }

    fn asked(&self, headers: &HeaderMap) -> Asked {
        let mut fields = headers.get_all(header::RANGE).iter();
        let (Some(range), None) = (fields.next(), fields.next()) else { return Asked::Whole };
        // The part of another content would not fit what the client has (RFC 9110 §13.1.5).
        let current = self.tag.map(ETag::to_value);
        if headers.get(header::IF_RANGE).is_some_and(|known| Some(known) != current.as_ref()) {
            return Asked::Whole;
        }
        range.to_str().map_or(Asked::Whole, |range| parse_range(range, self.size))
    }
}

/// What of a file is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Part(Range<u64>),
    /// A range in which there is nothing.
    Nothing,
}

/// Reads one range of bytes; whatever else stands there is as good as nothing (RFC 9110 §14.2).
fn parse_range(field: &str, size: u64) -> Asked {
    let Some((unit, ranges)) = field.split_once('=') else { return Asked::Whole };
    let Some((first, last)) = ranges.trim().split_once('-') else { return Asked::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || ranges.contains(',') {
        return Asked::Whole;
    }
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // More than there can be is past every end.
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let range = match (first, last, number(first), number(last)) {
        // The last bytes.
        ("", _, None, Some(count)) => size.saturating_sub(count)..size,
        (_, "", Some(first), None) => first..size,
        (_, _, Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        _ => return Asked::Whole,
    };
    if range.start < range.end { Asked::Part(range) } else { Asked::Nothing }
}

/// `attachment` with both forms of the name, the one for everybody first (RFC 6266 Appendix D).
fn disposition(name: &str) -> String {
    // What is no plain character, or would need to be escaped, some clients read wrong however it is written.
    let plain = |character: char| match character {
        '"' | '\\' | '%' => '_',
        ' '..='~' => character,
        _ => '_',
    };
    let ascii: String = name.chars().map(plain).collect();
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{}", utf8_percent_encode(name, ATTR_CHAR))
}

#[cfg(test)]
mod tests {
    use super::*;

    // LIM-20
    #[test]
    fn one_range_is_read_and_whatever_is_none_is_the_whole() {
        for (field, asked) in [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=2-5", Asked::Part(2..6)),
            ("Bytes = 2-5", Asked::Part(2..6)),
            ("bytes=2-", Asked::Part(2..10)),
            ("bytes=2-99", Asked::Part(2..10)),
            ("bytes=2-99999999999999999999999", Asked::Part(2..10)),
            ("bytes=-3", Asked::Part(7..10)),
            ("bytes=-99", Asked::Part(0..10)),
            ("bytes=10-", Asked::Nothing),
            ("bytes=99999999999999999999999-", Asked::Nothing),
            ("bytes=10-11", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=0-1,3-4", Asked::Whole),
            ("bytes=5-2", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("lines=0-1", Asked::Whole),
            ("0-1", Asked::Whole),
        ] {
            assert_eq!(parse_range(field, 10), asked, "{field}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Asked::Nothing);
        assert_eq!(parse_range("bytes=-5", 0), Asked::Nothing);
    }

    // LIM-18
    #[test]
    fn a_name_is_written_in_both_forms_and_breaks_out_of_neither() {
        for (name, written) in [
            ("a.png", "filename=\"a.png\"; filename*=UTF-8''a.png"),
            ("Zoë 100%.txt", "filename=\"Zo_ 100_.txt\"; filename*=UTF-8''Zo%C3%AB%20100%25.txt"),
            ("a\"; x=\".txt", "filename=\"a_; x=_.txt\"; filename*=UTF-8''a%22%3B%20x%3D%22.txt"),
            ("it's (1)*.txt", "filename=\"it's (1)*.txt\"; filename*=UTF-8''it%27s%20%281%29%2A.txt"),
            ("!#$&+-.^_`|~", "filename=\"!#$&+-.^_`|~\"; filename*=UTF-8''!#$&+-.^_`|~"),
            ("a\r\nb", "filename=\"a__b\"; filename*=UTF-8''a%0D%0Ab"),
        ] {
            assert_eq!(disposition(name), format!("attachment; {written}"));
        }
    }
}
