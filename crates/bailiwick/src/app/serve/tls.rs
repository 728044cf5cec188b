//! TLS by a certificate and a key in files, which may be replaced while the server runs.
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// HTTP/2, as ALPN names it. It is spoken over TLS alone.
pub(super) const HTTP_2: &[u8] = b"h2";

/// Serves https by a certificate chain and its key, in PEM files. Cheap to clone: clones share the certificate.
///
/// TLS 1.2 and 1.3 are spoken (TLS-03), with the cipher suites that rustls recommends.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    held: Arc<Held>,
}

/// Why a certificate cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no certificate in the file for certificates.
    #[error("there is no certificate in {}: it must be PEM, the server's own certificate first", .0.display())]
    NoCertificate(PathBuf),
    /// There is no private key in the file for it.
    #[error("there is no private key in {}: it must be PEM, unencrypted", .0.display())]
    NoKey(PathBuf),
    /// The certificate is of another key, or the key is of a kind that cannot sign here.
    #[error("the certificate in {} and the key in {} do not fit together", certificate.display(), key.display())]
    Unfit {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
}

impl Tls {
    /// How often the files are looked at.
    pub const LOOK_EVERY: Duration = Duration::from_secs(5);

    /// TLS by the certificate chain in `certificate`, whose first is the server's own, and the private key in `key`.
    ///
    /// # Errors
    /// If the files cannot be read, or do not fit together.
    pub fn from_files(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let files = Files { certificate: certificate.into(), key: key.into() };
        let read = files.read()?;
        let certified = files.parse(&read, &provider)?;
        let held =
            Arc::new(Held { files, provider: Arc::clone(&provider), now: RwLock::new((read, certified)) });
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider speaks TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&held) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![HTTP_2.to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), held })
    }

    pub(super) fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        Arc::clone(&self.config).into()
    }

    /// Looks at the files again, and serves what is in them from the next connection on. Answers whether that is new.
    ///
    /// # Errors
    /// If they cannot be served. Then what was served is served on.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let read = self.held.files.read()?;
        if self.held.now.read().unwrap_or_else(PoisonError::into_inner).0 == read {
            return Ok(false);
        }
        let certified = self.held.files.parse(&read, &self.held.provider)?;
        *self.held.now.write().unwrap_or_else(PoisonError::into_inner) = (read, certified);
        Ok(true)
    }

    /// Serves what is in the files, whenever they change. It never ends.
    ///
    /// While they do not fit together, as in the middle of being replaced, what was served is served on; the log says so
    /// once.
    pub(super) async fn keep(&self) {
        let mut last_failure = String::new();
        loop {
            tokio::time::sleep(Self::LOOK_EVERY).await;
            let tls = self.clone();
            // Files may be on a disk that is slow.
            let Ok(reloaded) = tokio::task::spawn_blocking(move || tls.reload()).await else { continue };
            match reloaded {
                Ok(true) => tracing::info!("another certificate is served from now on"),
                Ok(false) => {}
                Err(error) => {
                    let failure = error.to_string();
                    if failure != last_failure {
                        let error: &dyn std::error::Error = &error;
                        tracing::error!(
                            error,
                            "the certificate was replaced by one that cannot be served; the former is"
                        );
                    }
                    last_failure = failure;
                    continue;
                }
            }
            last_failure.clear();
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.held.files).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// The bytes of both files.
type Read = (Vec<u8>, zeroize::Zeroizing<Vec<u8>>);

impl Files {
    fn read(&self) -> Result<Read, TlsError> {
        let read = |path: &Path| {
            fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
        };
        Ok((read(&self.certificate)?, read(&self.key)?.into()))
    }

    fn parse(
        &self,
        (certificate, key): &Read,
        provider: &CryptoProvider,
    ) -> Result<Arc<CertifiedKey>, TlsError> {
        let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| TlsError::NoCertificate(self.certificate.clone()))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey(self.key.clone()))?;
        let unfit = |source| {
            let (certificate, key) = (self.certificate.clone(), self.key.clone());
            TlsError::Unfit { certificate, key, source }
        };
        CertifiedKey::from_der(chain, key, provider).map(Arc::new).map_err(unfit)
    }
}

/// What is served now, and what was in the files when it was read.
struct Held {
    files: Files,
    provider: Arc<CryptoProvider>,
    now: RwLock<(Read, Arc<CertifiedKey>)>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Held {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner).1))
    }
}
