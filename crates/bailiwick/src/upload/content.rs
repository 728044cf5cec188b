//! What a file is: its name, its declared type and its content must agree (LIM-15).
use super::{FileName, Rejection};

/// The kinds of files that are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An image in PNG.
    Png,
    /// An image in JPEG.
    Jpeg,
    /// An image or an animation in GIF.
    Gif,
    /// An image in WebP.
    WebP,
    /// A document in PDF.
    Pdf,
    /// Plain text in UTF-8.
    Text,
    /// A table in CSV, in UTF-8.
    Csv,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Png, Self::Jpeg, Self::Gif, Self::WebP, Self::Pdf, Self::Text, Self::Csv];

    /// The media type that it is served as.
    pub const fn media_type(self) -> &'static str {
        self.media_types()[0]
    }

    /// The media types that clients declare for it; the first is the right one. Windows takes CSV for Excel's, and there have
    /// been other names.
    const fn media_types(self) -> &'static [&'static str] {
        match self {
            Self::Png => &["image/png"],
            Self::Jpeg => &["image/jpeg", "image/jpg", "image/pjpeg"],
            Self::Gif => &["image/gif"],
            Self::WebP => &["image/webp"],
            Self::Pdf => &["application/pdf"],
            Self::Text => &["text/plain"],
            Self::Csv => &["text/csv", "application/csv", "application/vnd.ms-excel"],
        }
    }

    const fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Png => &["png"],
            Self::Jpeg => &["jpg", "jpeg"],
            Self::Gif => &["gif"],
            Self::WebP => &["webp"],
            Self::Pdf => &["pdf"],
            Self::Text => &["txt"],
            Self::Csv => &["csv"],
        }
    }

    pub(super) const fn image_format(self) -> Option<image::ImageFormat> {
        match self {
            Self::Png => Some(image::ImageFormat::Png),
            Self::Jpeg => Some(image::ImageFormat::Jpeg),
            Self::Gif => Some(image::ImageFormat::Gif),
            Self::WebP => Some(image::ImageFormat::WebP),
            Self::Pdf | Self::Text | Self::Csv => None,
        }
    }

    /// What the content begins with; of text nothing tells.
    fn begins(self, content: &[u8]) -> bool {
        match self {
            Self::Png => content.starts_with(b"\x89PNG\r\n\x1a\n"),
            Self::Jpeg => content.starts_with(b"\xff\xd8\xff"),
            Self::Gif => content.starts_with(b"GIF87a") || content.starts_with(b"GIF89a"),
            Self::WebP => content.starts_with(b"RIFF") && content.get(8..12) == Some(b"WEBP"),
            Self::Pdf => content.starts_with(b"%PDF-"),
            Self::Text | Self::Csv => !Self::ALL[..5].iter().any(|kind| kind.begins(content)),
        }
    }
}

/// The kind that a file says it is, by its name and by the type that the client declares. `None` declares nothing.
pub(super) fn claimed(name: &FileName, declared: Option<&str>) -> Result<Kind, Rejection> {
    let extension = name.extension().ok_or(Rejection::Kind)?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.extensions().contains(&extension.as_str()));
    let kind = kind.ok_or(Rejection::Kind)?;
    match declared {
        Some(declared) if !kind.media_types().contains(&declared) => Err(Rejection::Kind),
        _ => Ok(kind),
    }
}

/// Whether the content is of `kind`. Of an image this is only how it begins: it is decoded besides.
pub(super) fn check(kind: Kind, content: &[u8]) -> Result<(), Rejection> {
    if !kind.begins(content) {
        return Err(Rejection::Content);
    }
    match kind {
        Kind::Pdf => check_pdf(content),
        Kind::Text | Kind::Csv => check_text(content),
        Kind::Png | Kind::Jpeg | Kind::Gif | Kind::WebP => Ok(()),
    }
}

/// It ends with its end marker: what follows it, such as an archive, would make another file of it.
fn check_pdf(content: &[u8]) -> Result<(), Rejection> {
    let end = memchr::memmem::rfind(content, b"%%EOF").ok_or(Rejection::Damaged)?;
    let after = &content[end + b"%%EOF".len()..];
    // No further from the end of a file: 22 bytes, and a comment of 65,535.
    let has_archive =
        memchr::memmem::find(&content[content.len().saturating_sub(65_557)..], ZIP_END).is_some();
    if after.iter().all(u8::is_ascii_whitespace) && !has_archive {
        Ok(())
    } else {
        Err(Rejection::TrailingData)
    }
}

/// Where the directory of a ZIP archive ends. Its comment may go on to the end of the document, past another end marker.
const ZIP_END: &[u8] = b"PK\x05\x06";

/// Text is UTF-8 without NUL, and no markup that a program which guesses would take for a page or an image.
fn check_text(content: &[u8]) -> Result<(), Rejection> {
    let text = std::str::from_utf8(content).map_err(|_| Rejection::Content)?;
    let begin = text.trim_start_matches('\u{feff}').trim_start().as_bytes();
    let is_markup = MARKUP.iter().any(|tag| {
        let named = begin.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag.as_bytes()));
        named && begin.get(tag.len()).is_none_or(|byte| !byte.is_ascii_alphanumeric())
    });
    if is_markup || text.contains('\0') { Err(Rejection::Content) } else { Ok(()) }
}

/// How pages, images and documents in markup begin (MIME Sniffing §7.1).
const MARKUP: &[&str] = &[
    "<!doctype",
    "<html",
    "<head",
    "<body",
    "<script",
    "<iframe",
    "<svg",
    "<?xml",
    "<!--",
    "<h1",
    "<div",
    "<font",
    "<table",
    "<a",
    "<style",
    "<title",
    "<b",
    "<br",
    "<p",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(name: &str, declared: Option<&str>) -> Option<Kind> {
        claimed(&FileName::sanitised(name).unwrap(), declared).ok()
    }

    // LIM-15
    #[test]
    fn the_name_and_the_declared_type_agree() {
        assert_eq!(claim("a.png", Some("image/png")), Some(Kind::Png));
        assert_eq!(claim("a.PNG", None), Some(Kind::Png));
        assert_eq!(claim("a.jpeg", Some("image/jpg")), Some(Kind::Jpeg));
        assert_eq!(claim("a.csv", Some("application/vnd.ms-excel")), Some(Kind::Csv));
        assert_eq!(claim("a.exe.txt", Some("text/plain")), Some(Kind::Text));
        for (name, declared) in [
            ("a.png", Some("image/jpeg")),
            ("a.png", Some("text/html")),
            ("a.png", Some("")),
            ("a.txt", Some("text/csv")),
            ("a.svg", Some("image/svg+xml")),
            ("a.html", Some("text/html")),
            ("a.svg", Some("image/png")),
            ("a.txt.exe", None),
            ("png", Some("image/png")),
        ] {
            assert_eq!(claim(name, declared), None, "{name} {declared:?}");
        }
    }

    // LIM-15, LIM-16
    #[test]
    fn the_content_is_of_the_kind_that_the_file_says_it_is() {
        for (kind, content) in [
            (Kind::Text, &b""[..]),
            (Kind::Text, "Grüße <b>\n".as_bytes()),
            (Kind::Text, b"\xef\xbb\xbfwith a mark"),
            (Kind::Text, b"<article is a word"),
            (Kind::Csv, b"a,b\r\n1,2\r\n"),
            (Kind::Pdf, b"%PDF-1.7\n...\n%%EOF\r\n"),
            (Kind::Pdf, b"%PDF-1.7\n%%EOF\nan update\n%%EOF"),
        ] {
            assert_eq!(check(kind, content), Ok(()), "{}", String::from_utf8_lossy(content));
        }
        for (kind, content, why) in [
            (Kind::Png, &b"<html>"[..], Rejection::Content),
            (Kind::Png, b"<svg xmlns='http://www.w3.org/2000/svg'/>", Rejection::Content),
            (Kind::Jpeg, b"\x89PNG\r\n\x1a\n", Rejection::Content),
            (Kind::WebP, b"RIFF\x04\0\0\0WAVE", Rejection::Content),
            (Kind::Text, b"a\0b", Rejection::Content),
            (Kind::Text, b"\xff\xfea\0", Rejection::Content),
            (Kind::Text, b"caf\xe9", Rejection::Content),
            (Kind::Text, b"GIF89a/*", Rejection::Content),
            (Kind::Text, b"%PDF-1.7\n%%EOF", Rejection::Content),
            (Kind::Text, b" \n<!DOCTYPE html><p>x", Rejection::Content),
            (Kind::Text, b"\xef\xbb\xbf<sCript>alert(1)</script>", Rejection::Content),
            (Kind::Csv, b"<svg onload=alert(1)>", Rejection::Content),
            (Kind::Csv, b"<?xml version='1.0'?>", Rejection::Content),
            (Kind::Pdf, b"x%PDF-1.7\n%%EOF", Rejection::Content),
            (Kind::Pdf, b"%PDF-1.7\n", Rejection::Damaged),
            (Kind::Pdf, b"%PDF-1.7\n%%EOF\nPK\x03\x04", Rejection::TrailingData),
            (Kind::Pdf, b"%PDF-1.7\n%%EOF\nPK\x03\x04..PK\x05\x06..\n%%EOF\n", Rejection::TrailingData),
        ] {
            assert_eq!(check(kind, content), Err(why), "{}", String::from_utf8_lossy(content));
        }
    }
}
