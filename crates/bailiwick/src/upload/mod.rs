//! Files that clients upload: read within limits, judged by what they are, and kept outside of the database.
//!
//! An upload goes through here from its first byte to its place:
//!
//! ```text
//! body ─ multipart   one part `file`, its headers and its bytes counted            413, 400, 422
//!   spool            in memory while it is short, then in a file without a name: it is gone with the request (LIM-22)
//!   name, content    name, declared type and content agree on one kind that is accepted (LIM-15, LIM-17)   422
//!   image            dimensions first, then decoded whole and encoded anew, without metadata (LIM-13, LIM-14)
//!   scanner          sees what was sent, if there is one                           422, 503
//!   file store       under an id of its own, on disk when it answers
//!   row              the application's, with its quotas, in one transaction        413
//! ```
//!
//! [`Uploads::receive`] is all of it but the last two, which the handler does: [`FileStore::put`], then the row that names
//! the file.
//!
//! # No row without a file, no file without a row
//! A file is durable before the transaction that names it begins, and files are never changed: so whatever a crash leaves,
//! a row that is there has its file. What a crash, a refusal or a client that left does leave is a file that no row names.
//! [`FileStore::collect`] removes those once they are older than any request can be: the id of a file is made for one
//! upload alone, so one that no row names by then never will be named. A deletion takes the row first, and the file after
//! its commit, for the same reason.
//!
//! # Security
//! Nothing of what a client sends decides where a file is stored or how it is served: [`Download`] answers with the type
//! that the content has, as an attachment, sandboxed, and never to be sniffed.
mod content;
mod download;
mod image;
mod multipart;
mod name;
mod scanner;
mod spool;
mod store;
mod workshop;

use std::sync::Arc;

use axum::extract::Request;
use bailiwick_core::units::ByteSize;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

#[cfg(feature = "s3")]
pub use self::store::S3;
pub use self::{
    content::Kind,
    download::Download,
    name::FileName,
    scanner::{InvalidScanner, Scanner},
    store::{Collected, FileError, FileId, FileStore, StoredFile},
};
use self::{
    multipart::Part,
    spool::Spool,
    workshop::{Place, Workshop},
};
use crate::problem::Problem;

/// How large what is uploaded may be.
#[derive(Clone, Copy, Debug)]
pub struct UploadLimits {
    /// A file, as it is sent.
    pub file: ByteSize,
    /// The pixels of an image, those of all its frames together.
    pub pixels: u64,
}

impl UploadLimits {
    /// How long the body of a request may be that brings such a file: what its route declares by
    /// [`spooled_body`](crate::routes::Routes::spooled_body), with [`HELD`](Self::HELD).
    pub fn body(&self) -> ByteSize {
        ByteSize::new(self.file.as_u64().saturating_add(multipart::OVERHEAD)).unwrap_or(self.file)
    }

    /// How much of a body is in memory while it comes: 256 KiB. What waits for its place in a file is half of that, in a buffer
    /// that grows by doubling.
    pub const HELD: ByteSize = ByteSize::kib(256);
}

/// Receives files. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Uploads {
    limits: UploadLimits,
    scanner: Option<Arc<Scanner>>,
    workshop: Workshop,
}

/// A file that is accepted, as it is to be kept.
#[derive(Clone, Debug)]
pub struct Received {
    /// What its uploader calls it.
    pub name: FileName,
    /// What it is.
    pub kind: Kind,
    /// Its bytes: of an image not those that were sent.
    pub bytes: Bytes,
    /// The SHA-256 of those, in hexadecimal.
    pub sha256: String,
    /// The width and the height of an image, as it is shown.
    pub dimensions: Option<(u32, u32)>,
    // Of so many at once there is room in memory, and no more: keep this value until the file is stored.
    #[expect(dead_code, reason = "to be dropped")]
    place: Place,
}

impl Received {
    /// How many bytes are kept.
    pub fn size(&self) -> i64 {
        i64::try_from(self.bytes.len()).unwrap_or(i64::MAX)
    }
}

impl Uploads {
    /// Within these limits, without a scanner.
    pub fn new(limits: UploadLimits) -> Self {
        Self { limits, scanner: None, workshop: Workshop::new() }
    }

    /// Shows every file to `scanner` before it is accepted.
    #[must_use]
    pub fn scanner(mut self, scanner: Scanner) -> Self {
        self.scanner = Some(Arc::new(scanner));
        self
    }

    /// Reads the file that a request brings, and judges it. To be called once the caller is known to be allowed: this reads
    /// the body.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing stays of the file.
    ///
    /// # Errors
    /// [`UploadError::Rejected`] for a file that is not accepted, and a problem for whatever else goes wrong: 415, 400 and
    /// 413 of the body, 503 where too many files are judged at once or the scanner does not answer.
    pub async fn receive(&self, request: Request) -> Result<Received, UploadError> {
        let (head, body) = request.into_parts();
        let boundary = multipart::boundary(&head.headers)?;
        let mut part = Part::of(body, &boundary).await?;
        // Before all the bytes have come: of a kind that is not accepted, nobody wants them.
        let kind = content::claimed(&part.name, part.declared.as_deref())?;
        let mut spool = Spool::new();
        while let Some(piece) = part.next().await? {
            if spool.len() + piece.len() as u64 > self.limits.file.as_u64() {
                return Err(Problem::payload_too_large(self.limits.file).into());
            }
            spool.write(&piece).await?;
        }
        let pixels = self.limits.pixels;
        let judged = self.workshop.run(move || {
            let sent = Bytes::from(spool.into_bytes()?);
            content::check(kind, &sent)?;
            let image = match kind.image_format() {
                Some(format) => Some(image::reencoded(format, &sent, pixels)?),
                None => None,
            };
            let dimensions = image.as_ref().map(|image| (image.width, image.height));
            let bytes = image.map_or_else(|| sent.clone(), |image| Bytes::from(image.bytes));
            let sha256 = HEXLOWER.encode(&Sha256::digest(&bytes));
            Ok::<_, UploadError>((sent, bytes, sha256, dimensions))
        });
        let (judged, place) = judged.await?;
        let (sent, bytes, sha256, dimensions) = judged?;
        if let Some(scanner) = &self.scanner {
            scanner.scan(&sent).await?;
        }
        Ok(Received { name: part.name, kind, bytes, sha256, dimensions, place })
    }
}

/// Why a file was not received.
#[derive(Debug)]
pub enum UploadError {
    /// It is none that is accepted.
    Rejected(Rejection),
    /// The request or the server is at fault.
    Failed(Problem),
}

/// Why a file is not accepted: 422 `unsupported-file`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The form has no part.
    #[error("the form has no file")]
    NoFile,
    /// The part is not called `file`.
    #[error("the form may have one part, which is called file")]
    OtherField,
    /// The form has a second part.
    #[error("one file at a time")]
    AnotherPart,
    /// The part has a transfer encoding.
    #[error("the file must be sent as it is, without a transfer encoding")]
    Encoded,
    /// The file has no name, or one that may not be.
    #[error("the file needs a name that is safe on every system, of at most 255 bytes")]
    Name,
    /// The name or the declared type is of no kind that is accepted.
    #[error("accepted are PNG, JPEG, GIF, WebP, PDF, plain text and CSV, named and declared as such")]
    Kind,
    /// The content is not of that kind.
    #[error("the content is not what the name and the type of the file say")]
    Content,
    /// The file ends too early, or cannot be decoded.
    #[error("the file is damaged or ends too early")]
    Damaged,
    /// Something follows the end of the file.
    #[error("the file goes on after its end")]
    TrailingData,
    /// An image of too many pixels.
    #[error("the image has too many pixels")]
    Pixels,
    /// An animation of a kind that cannot be encoded anew.
    #[error("animated PNG and WebP are not accepted")]
    Animated,
    /// The scanner has found something.
    #[error("the scanner takes the file for malicious")]
    Infected,
}

impl Rejection {
    /// The reason in one word, for logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoFile => "no_file",
            Self::OtherField => "other_field",
            Self::AnotherPart => "another_part",
            Self::Encoded => "encoded",
            Self::Name => "name",
            Self::Kind => "kind",
            Self::Content => "content",
            Self::Damaged => "damaged",
            Self::TrailingData => "trailing_data",
            Self::Pixels => "pixels",
            Self::Animated => "animated",
            Self::Infected => "infected",
        }
    }
}

impl From<Rejection> for UploadError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<Problem> for UploadError {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Rejected(rejection) => Self::unsupported_file(rejection.to_string()),
            UploadError::Failed(problem) => problem,
        }
    }
}
