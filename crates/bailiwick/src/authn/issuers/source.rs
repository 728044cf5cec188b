//! Reads a key set from where it is.
use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};

use super::KeySource;
use crate::authn::jwt::InvalidKeySet;

/// The longest document that is read, in bytes. One of a hundred RSA keys has 60 KiB.
pub(super) const MAX_BYTES: usize = 256 * 1024;
/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a document may take in all.
pub(super) const TOTAL: Duration = Duration::from_secs(5);

/// Why a key set could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The system has no certificates to tell servers by, or TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// The URL is neither `https` nor `http`.
    #[error("{0} is no URL of https or http")]
    Url(Uri),
    /// Nobody answers there, or not by HTTP, or without a certificate that is trusted.
    #[error("there is no answer: {0}")]
    NoAnswer(String),
    /// It took too long.
    #[error("the answer took longer than {} s", TOTAL.as_secs())]
    Slow,
    /// Another status than 200. No redirect is followed.
    #[error("the answer is {0}")]
    Status(StatusCode),
    /// It is longer than 256 KiB.
    #[error("the document is longer than {} KiB", MAX_BYTES / 1024)]
    TooLong,
    /// It is no key set.
    #[error("the document is no key set: {0}")]
    NoKeySet(#[from] InvalidKeySet),
}

/// A document, and how long it may be kept if its server says so.
pub(super) struct Document {
    pub(super) bytes: Vec<u8>,
    pub(super) max_age: Option<Duration>,
}

type HttpClient = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// Where a key set is, and what is needed to read it.
pub(super) enum Source {
    File(PathBuf),
    Url(Uri, Box<HttpClient>),
}

impl Source {
    pub(super) fn new(source: KeySource) -> Result<Self, SourceError> {
        match source {
            KeySource::File(path) => Ok(Self::File(path)),
            KeySource::Url(url) => {
                let client = Box::new(client(&url)?);
                Ok(Self::Url(url, client))
            }
        }
    }

    pub(super) const fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Reads the document.
    pub(super) async fn read(&self) -> Result<Document, SourceError> {
        match self {
            Self::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read_file(&path)).await;
                // Only a runtime that ends breaks it off.
                read.unwrap_or_else(|error| Err(SourceError::NoAnswer(error.to_string())))
            }
            Self::Url(url, client) => {
                let read = tokio::time::timeout(TOTAL, get(client, url)).await;
                read.unwrap_or(Err(SourceError::Slow))
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Url(url, _) => write!(f, "{url}"),
        }
    }
}

/// Reads a document from a file.
pub(super) fn read_file(path: &Path) -> Result<Document, SourceError> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| SourceError::File { path: path.to_owned(), error })?;
    if bytes.len() > MAX_BYTES { Err(SourceError::TooLong) } else { Ok(Document { bytes, max_age: None }) }
}

fn client(url: &Uri) -> Result<HttpClient, SourceError> {
    let tls = |error: &dyn std::error::Error| SourceError::Tls(error.to_string());
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| tls(&error))?;
    let config = match url.scheme_str() {
        Some("https") => config.with_native_roots().map_err(|error| tls(&error))?,
        // It has no use for certificates, and a system without any can have an issuer on the loopback.
        Some("http") => config.with_root_certificates(RootCertStore::empty()),
        _ => return Err(SourceError::Url(url.clone())),
    };
    let mut http = HttpConnector::new();
    http.set_connect_timeout(Some(CONNECT));
    http.enforce_http(false);
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(config.with_no_client_auth())
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    // A connection that is asked once in minutes is another one each time.
    Ok(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(https))
}

async fn get(client: &HttpClient, url: &Uri) -> Result<Document, SourceError> {
    let no_answer = |error: &dyn std::error::Error| SourceError::NoAnswer(with_causes(error));
    let request = Request::get(url)
        .header(header::ACCEPT, "application/jwk-set+json, application/json")
        .body(Empty::new())
        .map_err(|error| no_answer(&error))?;
    let response = client.request(request).await.map_err(|error| no_answer(&error))?;
    if response.status() != StatusCode::OK {
        return Err(SourceError::Status(response.status()));
    }
    let max_age = max_age(response.headers());
    let body = Limited::new(response.into_body(), MAX_BYTES).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() { SourceError::TooLong } else { no_answer(&*error) }
    })?;
    Ok(Document { bytes: body.to_bytes().to_vec(), max_age })
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// RFC 9111 §5.2.2. What must not be kept is kept as short as anything.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let fields = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|field| field.to_str().ok());
    let ages = fields.flat_map(|field| field.split(',')).filter_map(|directive| {
        let directive = directive.trim().to_ascii_lowercase();
        if matches!(directive.as_str(), "no-store" | "no-cache") {
            return Some(Duration::ZERO);
        }
        let seconds = directive.strip_prefix("max-age=")?.trim_matches('"').parse().ok()?;
        Some(Duration::from_secs(seconds))
    });
    ages.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_of_how_long_its_document_keeps_is_read() {
        let of = |fields: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::CACHE_CONTROL, http::HeaderValue::from_static(field));
            }
            max_age(&headers).map(|age| age.as_secs())
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["public, max-age=300"]), Some(300));
        assert_eq!(of(&["Max-Age=\"60\",public"]), Some(60));
        assert_eq!(of(&["max-age=600", "max-age=60"]), Some(60));
        assert_eq!(of(&["max-age=600, no-cache"]), Some(0));
        assert_eq!(of(&["no-store"]), Some(0));
        for nonsense in ["max-age=", "max-age=-1", "max-age=1e9", "s-maxage=5", "public", ",,"] {
            assert_eq!(of(&[nonsense]), None, "{nonsense}");
        }
    }
}
