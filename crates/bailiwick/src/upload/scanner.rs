//! A virus scanner that sees every file: ClamAV's daemon, by its command `INSTREAM`.
use std::{fmt, io, path::PathBuf, str::FromStr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::{Rejection, UploadError};
use crate::problem::Problem;

/// How long a scan may take in all, the connection included.
const PATIENCE: Duration = Duration::from_secs(20);
/// How much is sent at a time.
const PIECE_BYTES: usize = 64 << 10;
/// An answer is one line.
const MAX_ANSWER_BYTES: u64 = 4096;

/// Where `clamd` listens: `clamd://127.0.0.1:3310`, or `clamd:///run/clamav/clamd.ctl` for a socket of this machine.
///
/// # Security
/// A scanner that is out of reach lets nothing pass: the upload is answered 503. Over TCP the files go in the clear.
#[derive(Clone, PartialEq, Eq)]
pub struct Scanner {
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Tcp(String),
    Unix(PathBuf),
}

/// The text names no scanner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a scanner is named `clamd://` and a host with its port, or `clamd://` and the absolute path of a socket"
)]
pub struct InvalidScanner;

impl FromStr for Scanner {
    type Err = InvalidScanner;

    fn from_str(text: &str) -> Result<Self, InvalidScanner> {
        let place = text.strip_prefix("clamd://").ok_or(InvalidScanner)?;
        if place.starts_with('/') {
            return Ok(Self { place: Place::Unix(place.into()) });
        }
        let (host, port) = place.rsplit_once(':').ok_or(InvalidScanner)?;
        let has_port = port.parse::<u16>().is_ok_and(|port| port > 0);
        let is_host = !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']);
        if has_port && is_host {
            Ok(Self { place: Place::Tcp(place.to_owned()) })
        } else {
            Err(InvalidScanner)
        }
    }
}

impl fmt::Display for Scanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Tcp(address) => write!(f, "clamd://{address}"),
            Place::Unix(path) => write!(f, "clamd://{}", path.display()),
        }
    }
}

impl fmt::Debug for Scanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why nobody knows whether a file is harmless.
#[derive(Debug, thiserror::Error)]
enum ScanError {
    #[error("the scanner did not answer within {PATIENCE:?}")]
    TooSlow,
    #[error("the scanner is out of reach")]
    OutOfReach(#[source] io::Error),
    #[error("the scanner answered {0:?}")]
    Refused(String),
}

impl Scanner {
    /// The host, where the files leave this machine's own sockets.
    pub fn host(&self) -> Option<&str> {
        match &self.place {
            Place::Tcp(address) => address.rsplit_once(':').map(|(host, _)| host),
            Place::Unix(_) => None,
        }
    }

    /// Shows the scanner a file.
    ///
    /// # Errors
    /// [`Rejection::Infected`] if it finds anything, and 503 if it does not say.
    pub(super) async fn scan(&self, content: &[u8]) -> Result<(), UploadError> {
        let asked = async {
            match &self.place {
                Place::Tcp(address) => ask(TcpStream::connect(address).await?, content).await,
                Place::Unix(path) => ask(UnixStream::connect(path).await?, content).await,
            }
        };
        let unknown = |error: ScanError| UploadError::from(Problem::unavailable().because(error));
        let answer = match timeout(PATIENCE, asked).await {
            Ok(answer) => answer.map_err(|error| unknown(ScanError::OutOfReach(error)))?,
            Err(_) => return Err(unknown(ScanError::TooSlow)),
        };
        match answer.as_str() {
            "stream: OK" => Ok(()),
            found if found.starts_with("stream: ") && found.ends_with(" FOUND") => {
                Err(Rejection::Infected.into())
            }
            // Too large for it, for example.
            other => Err(unknown(ScanError::Refused(other.to_owned()))),
        }
    }
}

/// Sends the file in pieces, each behind its length, and reads what the daemon says.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, content: &[u8]) -> io::Result<String> {
    let sent = async {
        stream.write_all(b"zINSTREAM\0").await?;
        for piece in content.chunks(PIECE_BYTES) {
            let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            stream.write_all(&length.to_be_bytes()).await?;
            stream.write_all(piece).await?;
        }
        stream.write_all(&0_u32.to_be_bytes()).await?;
        stream.flush().await
    };
    // A daemon that has heard enough answers and closes: what it says is worth more than the broken pipe.
    let sent = sent.await;
    let mut answer = Vec::new();
    let read = stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await;
    if answer.is_empty() {
        sent?;
        read?;
    }
    let text = String::from_utf8_lossy(&answer);
    Ok(text.trim_end_matches(['\0', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A daemon that reads a whole stream and answers; and the bytes that it was shown.
    async fn shown(answer: &'static [u8], content: &[u8]) -> (Result<(), u16>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scanner: Scanner = format!("clamd://{}", listener.local_addr().unwrap()).parse().unwrap();
        let daemon = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut command = [0; 10];
            stream.read_exact(&mut command).await.unwrap();
            assert_eq!(&command, b"zINSTREAM\0");
            let mut content = Vec::new();
            loop {
                let length = stream.read_u32().await.unwrap();
                if length == 0 {
                    break;
                }
                let mut piece = vec![0; length as usize];
                stream.read_exact(&mut piece).await.unwrap();
                content.extend(piece);
            }
            stream.write_all(answer).await.unwrap();
            content
        });
        let scanned = scanner.scan(content).await.map_err(|error| Problem::from(error).status().as_u16());
        (scanned, daemon.await.unwrap())
    }

    #[tokio::test]
    async fn a_file_passes_only_if_the_daemon_says_so() {
        let content: Vec<u8> = (0..200_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        for (answer, verdict) in [
            (&b"stream: OK\0"[..], Ok(())),
            (b"stream: Eicar-Test-Signature FOUND\0", Err(422)),
            (b"stream: Win.Test.EICAR_HDB-1 FOUND\n", Err(422)),
            (b"INSTREAM size limit exceeded. ERROR\0", Err(503)),
            (b"stream: OK but not quite", Err(503)),
            (b"OK", Err(503)),
            (b"", Err(503)),
        ] {
            let (found, seen) = shown(answer, &content).await;
            assert_eq!(found, verdict, "{}", String::from_utf8_lossy(answer));
            assert_eq!(seen, content, "it was shown all of it");
        }
        let nobody: Scanner = "clamd://127.0.0.1:1".parse().unwrap();
        let refused = nobody.scan(b"x").await.unwrap_err();
        assert_eq!(Problem::from(refused).status(), 503);
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_is_silent_lets_nothing_pass() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scanner: Scanner = format!("clamd://{}", listener.local_addr().unwrap()).parse().unwrap();
        let refused = scanner.scan(b"x").await.unwrap_err();
        assert_eq!(Problem::from(refused).status(), 503);
    }

    #[test]
    fn a_scanner_is_named_by_its_place() {
        for place in ["clamd://127.0.0.1:3310", "clamd://[::1]:3310", "clamd://scan:3310", "clamd:///run/x"] {
            assert_eq!(place.parse::<Scanner>().unwrap().to_string(), place);
        }
        for wrong in
            ["", "clamd://", "clamd://host", "clamd://host:0", "clamd://:1", "http://h:1", "clamd://a@b:1"]
        {
            assert_eq!(wrong.parse::<Scanner>(), Err(InvalidScanner), "{wrong}");
        }
    }
}
