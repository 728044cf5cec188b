//! A body of `multipart/form-data` with one part in it, read as it comes (RFC 7578).
//!
//! What an upload needs of the format is little, and what has no bound is refused: one part, named `file`, with a name,
//! and headers of a few KiB. Nothing is held but what a delimiter may begin in.
use std::pin::Pin;

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, HeaderValue, header};
use memchr::memmem;

use super::{FileName, Rejection, UploadError};
use crate::problem::Problem;

/// The name of the part.
const FIELD: &str = "file";
/// How long the headers of a part may be, in bytes.
const MAX_HEADER_BYTES: usize = 4 << 10;
/// How many headers a part may have.
const MAX_HEADERS: usize = 16;
/// RFC 2046 §5.1.1.
const MAX_BOUNDARY_CHARS: usize = 70;
/// How much may stand around the file: delimiters and the headers of its part, generously.
pub(super) const OVERHEAD: u64 = 16 << 10;

type Source = Pin<Box<dyn Stream<Item = Result<Bytes, axum::Error>> + Send>>;

/// The one part of a body.
pub(super) struct Part {
    /// What the client calls the file.
    pub(super) name: FileName,
    /// The media type that the client declares, without parameters and in lower case; none if it says that it does not know.
    pub(super) declared: Option<String>,
    reader: Reader,
}

/// The delimiter that the request declares.
///
/// # Errors
/// 415 if the body is no form, 400 for two types or a form without a boundary.
pub(super) fn boundary(headers: &HeaderMap) -> Result<String, Problem> {
    let mut fields = headers.get_all(header::CONTENT_TYPE).iter();
    let first = fields.next();
    if fields.next().is_some() {
        return Err(Problem::malformed_request("Content-Type may be sent once"));
    }
    let text = first.and_then(|field| field.to_str().ok()).unwrap_or_default();
    let (media_type, parameters) = text.split_once(';').unwrap_or((text, ""));
    if !media_type.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err(Problem::unsupported_media_type(HeaderValue::from_static("multipart/form-data")));
    }
    let no_boundary = || Problem::malformed_request("Content-Type names no boundary of the form");
    let parameters = parameters_of(parameters).ok_or_else(no_boundary)?;
    let boundary = only(&parameters, "boundary").ok_or_else(no_boundary)?.ok_or_else(no_boundary)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    let fits = (1..=MAX_BOUNDARY_CHARS).contains(&boundary.len())
        && boundary.bytes().all(allowed)
        && !boundary.ends_with(' ');
    if fits { Ok(boundary.to_owned()) } else { Err(no_boundary()) }
}

impl Part {
    /// Reads as far as to the first byte of the file.
    ///
    /// # Errors
    /// If the body is no such form, or its part is none that is accepted.
    pub(super) async fn of(body: Body, boundary: &str) -> Result<Self, UploadError> {
        let mut reader = Reader::new(body.into_data_stream(), boundary);
        if !reader.at_part().await? {
            return Err(Rejection::NoFile.into());
        }
        let headers = reader.headers().await?;
        let disposition = header_of(&headers, "content-disposition")?.ok_or(Rejection::OtherField)?;
        let (kind, parameters) = disposition.split_once(';').unwrap_or((disposition, ""));
        let parameters = parameters_of(parameters).ok_or_else(|| malformed("Content-Disposition"))?;
        let parameter = |name| only(&parameters, name).ok_or_else(|| malformed("Content-Disposition"));
        if !kind.trim().eq_ignore_ascii_case("form-data") || parameter("name")? != Some(FIELD) {
            return Err(Rejection::OtherField.into());
        }
        let encoding = header_of(&headers, "content-transfer-encoding")?.unwrap_or("binary");
        if !["binary", "8bit", "7bit"].iter().any(|plain| encoding.eq_ignore_ascii_case(plain)) {
            return Err(Rejection::Encoded.into());
        }
        let name = parameter("filename")?.and_then(FileName::sanitised).ok_or(Rejection::Name)?;
        let declared = header_of(&headers, "content-type")?.map(media_type);
        let declared = declared.filter(|declared| declared != "application/octet-stream");
        Ok(Self { name, declared, reader })
    }

    /// The next bytes of the file; none at its end, once the form has ended as it should.
    ///
    /// # Errors
    /// If the body breaks off, or another part follows.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, UploadError> {
        if let Some(piece) = self.reader.piece().await? {
            return Ok(Some(piece));
        }
        if self.reader.at_part().await? {
            return Err(Rejection::AnotherPart.into());
        }
        self.reader.rest_is_blank().await?;
        Ok(None)
    }
}

/// Takes a body apart. The buffer begins where nothing was read yet.
struct Reader {
    source: Source,
    buffer: BytesMut,
    /// `\r\n--` and the boundary.
    delimiter: Vec<u8>,
    ended: bool,
}

impl Reader {
    fn new(source: BodyDataStream, boundary: &str) -> Self {
        // The first delimiter need not follow an end of line: one is put before it, so that all look the same.
        let buffer = BytesMut::from(&b"\r\n"[..]);
        let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
        Self { source: Box::pin(source), buffer, delimiter, ended: false }
    }

    /// Reads more of the body; whether there was any.
    async fn more(&mut self) -> Result<bool, UploadError> {
        if self.ended {
            return Ok(false);
        }
        match self.source.next().await {
            Some(Ok(piece)) => self.buffer.extend_from_slice(&piece),
            Some(Err(error)) => return Err(Problem::from_body_error(&error).into()),
            None => self.ended = true,
        }
        Ok(!self.ended)
    }

    async fn at_least(&mut self, bytes: usize) -> Result<(), UploadError> {
        while self.buffer.len() < bytes {
            if !self.more().await? {
                return Err(broken_off());
            }
        }
        Ok(())
    }

    /// Passes a delimiter; whether a part follows it, or else the end of the form.
    async fn at_part(&mut self) -> Result<bool, UploadError> {
        self.at_least(self.delimiter.len() + 2).await?;
        let after = self.delimiter.len();
        if !self.buffer.starts_with(&self.delimiter) {
            return Err(malformed("the form does not begin with its boundary"));
        }
        let follows = &self.buffer[after..after + 2];
        let is_part = match follows {
            b"\r\n" => true,
            b"--" => false,
            _ => return Err(malformed("a boundary of the form is followed by something else than a line")),
        };
        let _ = self.buffer.split_to(after + 2);
        Ok(is_part)
    }

    /// The headers of a part, by name in lower case.
    async fn headers(&mut self) -> Result<Vec<(String, String)>, UploadError> {
        let end = loop {
            // A part without headers begins with the empty line.
            if self.buffer.starts_with(b"\r\n") {
                break 0;
            }
            let head = &self.buffer[..self.buffer.len().min(MAX_HEADER_BYTES)];
            if let Some(end) = memmem::find(head, b"\r\n\r\n") {
                break end + 2;
            }
            if self.buffer.len() >= MAX_HEADER_BYTES {
                return Err(malformed("the headers of a part are longer than 4 KiB"));
            }
            if !self.more().await? {
                return Err(broken_off());
            }
        };
        let head = self.buffer.split_to(end);
        let _ = self.buffer.split_to(2);
        let text = std::str::from_utf8(&head).map_err(|_| malformed("a header of a part is no UTF-8"))?;
        let mut headers = Vec::new();
        for line in text.split_terminator("\r\n") {
            let (name, value) = line.split_once(':').ok_or_else(|| malformed("a header of a part"))?;
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            if name.is_empty() || !name.bytes().all(is_token) || headers.len() >= MAX_HEADERS {
                return Err(malformed("a header of a part"));
            }
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(headers)
    }

    /// The next bytes before the delimiter; none once it is reached.
    async fn piece(&mut self) -> Result<Option<Bytes>, UploadError> {
        loop {
            if let Some(at) = memmem::find(&self.buffer, &self.delimiter) {
                return Ok((at > 0).then(|| self.buffer.split_to(at).freeze()));
            }
            // A delimiter may have begun in what comes last.
            let safe = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
            if safe > 0 {
                return Ok(Some(self.buffer.split_to(safe).freeze()));
            }
            if !self.more().await? {
                return Err(broken_off());
            }
        }
    }

    /// Reads to the end of the body, where nothing but an end of line is to come.
    async fn rest_is_blank(&mut self) -> Result<(), UploadError> {
        loop {
            if self.buffer.iter().any(|byte| !byte.is_ascii_whitespace()) {
                return Err(malformed("something follows the end of the form"));
            }
            self.buffer.clear();
            if !self.more().await? {
                return Ok(());
            }
        }
    }
}

fn malformed(what: &'static str) -> UploadError {
    Problem::malformed_request(match what {
        "Content-Disposition" => "the Content-Disposition of a part cannot be read",
        "a header of a part" => "a header of a part cannot be read",
        said => said,
    })
    .into()
}

fn broken_off() -> UploadError {
    Problem::malformed_request("the form breaks off before its end").into()
}

/// The value of a header that may be there once.
fn header_of<'h>(headers: &'h [(String, String)], name: &str) -> Result<Option<&'h str>, UploadError> {
    let mut found = headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let first = found.next();
    if found.next().is_some() { Err(malformed("a header of a part")) } else { Ok(first) }
}

fn media_type(field: &str) -> String {
    field.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Parameters such as `name="file"; filename="a.png"`; none if they cannot be read.
///
/// Browsers write a quote in a name as `%22`, others as `\"`; a backslash before anything else is one, as in the paths that
/// old browsers send.
fn parameters_of(text: &str) -> Option<Vec<(String, String)>> {
    let mut parameters = Vec::new();
    let mut rest = text.trim_start_matches([' ', '\t', ';']);
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        parameters.push((name.trim().to_ascii_lowercase(), value));
        let after = after.trim_start_matches([' ', '\t']);
        if !after.is_empty() && !after.starts_with(';') {
            return None;
        }
        rest = after.trim_start_matches([' ', '\t', ';']);
    }
    Some(parameters)
}

/// The text up to the closing quote, and what follows it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => {
                let escaped = characters.next_if(|(_, next)| matches!(next, '"' | '\\'));
                value.push(escaped.map_or('\\', |(_, next)| next));
            }
            other => value.push(other),
        }
    }
    None
}

/// The value of a parameter that may be there once; `None` if it is there twice.
fn only<'p>(parameters: &'p [(String, String)], name: &str) -> Option<Option<&'p str>> {
    let mut found = parameters.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let first = found.next();
    if found.next().is_some() { None } else { Some(first) }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// The name, the declared type and the bytes of the part, from a body that comes in pieces of `size` bytes.
    async fn read(body: &[u8], size: usize) -> Result<(String, Option<String>, Vec<u8>), u16> {
        let pieces: Vec<_> =
            body.chunks(size).map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece))).collect();
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        let whole = async {
            let mut part = Part::of(body, "AaB03x").await?;
            let mut bytes = Vec::new();
            while let Some(piece) = part.next().await? {
                bytes.extend_from_slice(&piece);
            }
            Ok::<_, UploadError>((part.name.to_string(), part.declared.clone(), bytes))
        };
        whole.await.map_err(|error| Problem::from(error).status().as_u16())
    }

    fn form(head: &str, content: &[u8]) -> Vec<u8> {
        [b"--AaB03x\r\n", head.as_bytes(), b"\r\n\r\n", content, b"\r\n--AaB03x--\r\n"].concat()
    }

    const HEAD: &str =
        "Content-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\nContent-Type: image/PNG; x=1";

    #[tokio::test]
    async fn a_file_is_read_alike_however_it_is_cut() {
        let contents: [&[u8]; 7] =
            [b"", b"x", b"\r\n", b"\r\n--AaB03", b"--AaB03x--", b"\r\n--AaB03\r\n--AaB03y", &[0, 255, b'\r']];
        for content in contents {
            let body = form(HEAD, content);
            for size in 1..=body.len() {
                let read = read(&body, size).await;
                assert_eq!(read, Ok(("a.png".into(), Some("image/png".into()), content.to_vec())), "{size}");
            }
        }
    }

    #[tokio::test]
    async fn names_are_read_as_browsers_and_others_write_them() {
        for (written, name) in [
            (r#""a.png""#, "a.png"),
            ("a.png", "a.png"),
            (r#""Zoë; \"x\".png""#, "Zoë; x.png"),
            (r#""C:\temp\a.png""#, "a.png"),
            (r#""a%22b.png""#, "a%22b.png"),
        ] {
            let head = format!("content-disposition: form-data; filename={written}; name=file");
            assert_eq!(
                read(&form(&head, b"x"), 5).await,
                Ok((name.into(), None, b"x".to_vec())),
                "{written}"
            );
        }
    }

    // LIM-05
    #[tokio::test]
    async fn a_form_of_anything_else_is_refused() {
        let named = |field: &str| format!("Content-Disposition: form-data; {field}");
        let long = format!("{HEAD}\r\nX-Long: {}", "x".repeat(MAX_HEADER_BYTES));
        let many = format!("{HEAD}{}", "\r\nX: y".repeat(MAX_HEADERS));
        for (body, status) in [
            (b"--AaB03x--\r\n".to_vec(), 422),
            (form(&named("name=\"other\"; filename=\"a.png\""), b"x"), 422),
            (form(&named("name=\"file\""), b"x"), 422),
            (form(&named("name=\"file\"; filename=\"..\""), b"x"), 422),
            (form(&named("name=\"file\"; filename*=UTF-8''a.png"), b"x"), 422),
            (form("Content-Type: image/png", b"x"), 422),
            (form(&format!("{HEAD}\r\nContent-Transfer-Encoding: base64"), b"eA=="), 422),
            (
                [&form(HEAD, b"x")[..form(HEAD, b"x").len() - 4], b"\r\n", &form(HEAD, b"y")[10..]].concat(),
                422,
            ),
            (form(&named("name=\"file\"; name=\"file\"; filename=\"a.png\""), b"x"), 400),
            (form(&named("name=\"file\"; filename=\"a.png"), b"x"), 400),
            (form(&format!("{HEAD}\r\n{HEAD}"), b"x"), 400),
            (form("no header", b"x"), 400),
            (form(&long, b"x"), 400),
            (form(&many, b"x"), 400),
            ([&form(HEAD, b"x")[..], b"more"].concat(), 400),
            (b"AaB03x\r\n".to_vec(), 400),
            (b"--AaB03x".to_vec(), 400),
            (Vec::new(), 400),
        ] {
            for size in [1, 7, body.len().max(1)] {
                let read = read(&body, size).await;
                assert_eq!(read, Err(status), "{}", String::from_utf8_lossy(&body));
            }
        }
    }

    #[tokio::test]
    async fn a_form_that_breaks_off_anywhere_is_malformed() {
        let body = form(HEAD, b"content");
        // Without its last line end it is whole.
        for length in 0..body.len() - 2 {
            assert_eq!(read(&body[..length], 11).await, Err(400), "{length}");
        }
        assert!(read(&body[..body.len() - 2], 11).await.is_ok());
    }

    #[test]
    fn a_boundary_is_what_the_request_says() {
        let of = |fields: &[&str]| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::CONTENT_TYPE, HeaderValue::from_str(field).unwrap());
            }
            boundary(&headers).map_err(|problem| problem.status().as_u16())
        };
        assert_eq!(of(&["multipart/form-data; boundary=AaB03x"]), Ok("AaB03x".to_owned()));
        assert_eq!(of(&["Multipart/Form-Data; charset=utf-8; boundary=\"a b\""]), Ok("a b".to_owned()));
        for wrong in [&[][..], &["application/json"], &["multipart/mixed; boundary=a"], &["image/png"]] {
            assert_eq!(of(wrong), Err(415), "{wrong:?}");
        }
        let long = format!("multipart/form-data; boundary={}", "a".repeat(71));
        for wrong in [
            &["multipart/form-data"][..],
            &["multipart/form-data; boundary="],
            &["multipart/form-data; boundary=\"a"],
            &["multipart/form-data; boundary=a; boundary=b"],
            &["multipart/form-data; boundary=a\tb"],
            &[&long],
            &["multipart/form-data; boundary=a", "multipart/form-data; boundary=a"],
        ] {
            assert_eq!(of(wrong), Err(400), "{wrong:?}");
        }
    }
}
