//! Follows where requests begin and end in the bytes of a connection, to catch what hyper lets pass (LIM-10).
//!
//! hyper parses; this only watches. Where the two could disagree, such as on a number with more digits than it needs, the request
//! is refused, and the connection ends: nothing that a client sends makes this lose its place and look away.

/// What was seen so far.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    /// The number of the request whose bytes are being read.
    request: u32,
    /// The beginning of a line that went on past the end of a read.
    carried: Carried,
}

#[derive(Debug)]
enum State {
    Head(Head),
    /// So many bytes of body; then the next request.
    Body(u64),
    ChunkSize,
    /// So many bytes of a chunk, with the end of its line; then the next chunk.
    Chunk(u64),
    Trailers,
    /// Nothing can be said any more.
    Lost,
}

#[derive(Debug, Default)]
struct Head {
    /// The request line is there.
    begun: bool,
    chunked: bool,
    length: Option<u64>,
}

/// Enough of a line to tell the fields that matter, and the length that one of them gives.
#[derive(Debug)]
struct Carried {
    bytes: [u8; Carried::KEPT],
    len: u8,
    /// The last byte of the line so far, also where it is longer than what is kept.
    last: u8,
    any: bool,
}

/// What two readers could understand differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The head of the request with this number, which must be refused.
    Head(u32),
    /// The body of a request that is being answered, in a line that begins after so many of the bytes: it must not be read on.
    Body(usize),
}

impl Framing {
    pub(super) fn new() -> Self {
        Self { state: State::Head(Head::default()), request: 0, carried: Carried::EMPTY }
    }

    /// Whether the bytes so far end with a whole request, or are none.
    pub(super) fn is_between_requests(&self) -> bool {
        matches!(&self.state, State::Head(Head { begun: false, .. })) && !self.carried.any
    }

    /// Takes the next bytes; says what in them is not to be trusted.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Option<Finding> {
        let all = bytes.len();
        while !bytes.is_empty() {
            match &mut self.state {
                State::Lost => return None,
                State::Body(left) | State::Chunk(left) => {
                    let skipped = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= skipped as u64;
                    bytes = &bytes[skipped..];
                    if *left == 0 {
                        self.state = match self.state {
                            State::Body(_) => State::Head(Head::default()),
                            _ => State::ChunkSize,
                        };
                    }
                }
                State::Head(_) | State::ChunkSize | State::Trailers => {
                    let Some(end) = memchr::memchr(b'\n', bytes) else {
                        self.carried.extend(bytes);
                        return None;
                    };
                    let (begun, request) = (all - bytes.len(), self.request);
                    let in_head = matches!(self.state, State::Head(_));
                    let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
                    bytes = rest;
                    let trusted = if self.carried.any {
                        self.carried.extend(line);
                        let carried = std::mem::replace(&mut self.carried, Carried::EMPTY);
                        match carried.last {
                            b'\r' => self.line(carried.line()),
                            _ => Err(Untrusted),
                        }
                    } else {
                        line.strip_suffix(b"\r").ok_or(Untrusted).and_then(|line| self.line(line))
                    };
                    if trusted.is_err() {
                        self.state = State::Lost;
                        return Some(if in_head { Finding::Head(request) } else { Finding::Body(begun) });
                    }
                }
            }
        }
        None
    }

    /// Takes one line, without its end.
    fn line(&mut self, line: &[u8]) -> Result<(), Untrusted> {
        match &mut self.state {
            State::Head(head) => {
                if !line.is_empty() {
                    if head.begun {
                        head.field(line)?;
                    }
                    head.begun = true;
                } else if head.begun {
                    let head = std::mem::take(head);
                    self.request += 1;
                    self.state = match (head.chunked, head.length) {
                        (true, Some(_)) => return Err(Untrusted),
                        (true, None) => State::ChunkSize,
                        (false, Some(length)) if length > 0 => State::Body(length),
                        (false, _) => State::Head(Head::default()),
                    };
                }
            }
            State::ChunkSize => {
                self.state = match chunk_size(line).ok_or(Untrusted)? {
                    0 => State::Trailers,
                    size => State::Chunk(size.saturating_add(2)),
                };
            }
            State::Trailers if line.is_empty() => self.state = State::Head(Head::default()),
            State::Trailers | State::Body(_) | State::Chunk(_) | State::Lost => {}
        }
        Ok(())
    }
}

/// Two readers could understand this request differently.
struct Untrusted;

impl Head {
    fn field(&mut self, line: &[u8]) -> Result<(), Untrusted> {
        // Most lines are told by their first letter.
        match line.first() {
            Some(b'c' | b'C') => {
                if let Some(value) = value_of(line, b"content-length") {
                    // Once, though twice the same says no more: of what is between two readers, each may take its own.
                    if self.length.is_some() {
                        return Err(Untrusted);
                    }
                    // What is cut off, or longer than a number need be, hyper may read otherwise.
                    let whole = line.len() < Carried::KEPT;
                    self.length = Some(number(value, 10).filter(|_| whole).ok_or(Untrusted)?);
                }
            }
            Some(b't' | b'T') => {
                if let Some(coding) = value_of(line, b"transfer-encoding") {
                    // Once, and nothing else; a line that is longer than what is kept of it may go on with anything.
                    let plain = coding.eq_ignore_ascii_case(b"chunked") && line.len() < Carried::KEPT;
                    if self.chunked || !plain {
                        return Err(Untrusted);
                    }
                    self.chunked = true;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The value of the field `name` in this line, if it is that field's.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let mut parts = line.split(|&byte| byte == b';');
    let size = parts.next().unwrap_or(line);
    // It may be cut off.
    if parts.next().is_none() && line.len() >= Carried::KEPT {
        return None;
    }
    number(size.trim_ascii(), 16)
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &byte| {
        let digit = char::from(byte).to_digit(radix)?;
        number.checked_mul(radix.into())?.checked_add(digit.into())
    })
}

impl Carried {
    const KEPT: usize = 64;
    const EMPTY: Self = Self { bytes: [0; Self::KEPT], len: 0, last: 0, any: false };

    fn extend(&mut self, more: &[u8]) {
        let Some(&last) = more.last() else { return };
        self.any = true;
        self.last = last;
        let len = usize::from(self.len);
        let kept = more.len().min(self.bytes.len() - len);
        self.bytes[len..len + kept].copy_from_slice(&more[..kept]);
        self.len += u8::try_from(kept).unwrap_or(0);
    }

    /// The line without its `\r`, as far as it was kept.
    fn line(&self) -> &[u8] {
        let kept = &self.bytes[..self.len.into()];
        kept.strip_suffix(b"\r").unwrap_or(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` in pieces of every size, and expects the same finding each time.
    fn found(bytes: &str) -> Option<Finding> {
        let bytes = bytes.as_bytes();
        let whole = Framing::new().feed(bytes);
        for size in 1..bytes.len() {
            let mut framing = Framing::new();
            let mut pieces = bytes.chunks(size).map(|piece| framing.feed(piece));
            match (pieces.find_map(|found| found), whole) {
                // Where it stands in the bytes depends on the pieces.
                (Some(Finding::Body(_)), Some(Finding::Body(_))) => {}
                (found, whole) => assert_eq!(found, whole, "in pieces of {size}"),
            }
        }
        whole
    }

    fn refused(bytes: &str) -> Option<u32> {
        match found(bytes) {
            None => None,
            Some(Finding::Head(request)) => Some(request),
            Some(Finding::Body(at)) => panic!("in a body, at {at}"),
        }
    }

    // LIM-10: hyper reads any number of zeros.
    #[test]
    fn numbers_that_another_reader_may_read_otherwise_are_refused() {
        let zeros = "0".repeat(20);
        let padded = " ".repeat(Carried::KEPT);
        for length in
            [format!("{zeros}5"), format!("{padded}5"), "x".to_owned(), "-5".to_owned(), String::new()]
        {
            let post = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\nabcde");
            assert_eq!(refused(&post), Some(0), "{length:?}");
        }
        let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        for size in [format!("{zeros}1"), format!("{padded}1"), "x".to_owned(), String::new()] {
            let finding = found(&format!("{head}{size}\r\na\r\n0\r\n\r\n"));
            assert_eq!(finding, Some(Finding::Body(head.len())), "{size:?}");
        }
        let extended = format!("{head}1;{}\r\na\r\n0\r\n\r\n", "x".repeat(100));
        assert_eq!(found(&extended), None);
    }

    // LIM-10
    #[test]
    fn a_bare_line_feed_within_a_chunked_body_ends_it_where_it_stands() {
        let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let next = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for (good, bad) in
            [("0\r\n", "\n"), ("0\r\nX: a\r\n", "\n"), ("0\r\n", "X: a\n\n"), ("2\r\n{}\r\n", "0\n\r\n")]
        {
            let finding = found(&[next, head, good, bad, next].concat());
            assert_eq!(finding, Some(Finding::Body(next.len() + head.len() + good.len())), "{bad:?}");
        }
    }

    #[test]
    fn plain_requests_pass_one_after_another() {
        let get = "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nContent-Type: x\r\n\r\n";
        let post =
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 29\r\n\r\na\nTransfer-Encoding: b\nb: c\n\n";
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
                       4;a=b\r\nab\n\n\r\n10\r\nContent-Length: \r\n0\r\nA: b\r\n\r\n";
        assert_eq!(refused(&[get, "\r\n", post, get, chunked, chunked, get].concat()), None);
        let mut framing = Framing::new();
        assert!(framing.is_between_requests());
        for request in [get, post, chunked] {
            assert_eq!(framing.feed(&request.as_bytes()[..9]), None);
            assert!(!framing.is_between_requests());
            assert_eq!(framing.feed(&request.as_bytes()[9..]), None);
            assert!(framing.is_between_requests());
        }
    }

    // LIM-10
    #[test]
    fn both_framings_at_once_are_refused_in_either_order_and_case() {
        let get = "GET / HTTP/1.1\r\n\r\n";
        let one = "POST / HTTP/1.1\r\ncontent-length: 5\r\nTRANSFER-ENCODING:chunked\r\n\r\n0\r\n\r\n";
        let other =
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX: y\r\nContent-Length: 5\r\n\r\n0\r\n\r\n";
        assert_eq!(refused(one), Some(0));
        assert_eq!(refused(other), Some(0));
        assert_eq!(refused(&[get, get, one].concat()), Some(2));
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert_eq!(refused(&[chunked, other].concat()), Some(1));
    }

    // LIM-10
    #[test]
    fn any_transfer_encoding_but_chunked_once_is_refused() {
        let post = |fields: &str| refused(&format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n0\r\n\r\n"));
        for right in ["Transfer-Encoding: chunked", "TRANSFER-ENCODING:\tChunked ", "TE: gzip, chunked"] {
            assert_eq!(post(right), None, "{right}");
        }
        let far = format!("Transfer-Encoding: chunked{}, chunked", " ".repeat(80));
        for wrong in [
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: chunked;q=1",
            "Transfer-Encoding:",
            "Transfer-Encoding: chunked\r\nA: b\r\ntransfer-encoding: chunked",
            &far,
        ] {
            assert_eq!(post(wrong), Some(0), "{wrong}");
        }
    }

    // LIM-10
    #[test]
    fn a_bare_line_feed_is_refused() {
        assert_eq!(refused("GET / HTTP/1.1\nHost: a\r\n\r\n"), Some(0));
        assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\n\r\n"), Some(0));
        assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\n\n"), Some(0));
        assert_eq!(refused("\nGET / HTTP/1.1\r\n\r\n"), Some(0));
    }

    #[test]
    fn long_lines_are_followed_to_their_end() {
        let long = format!("GET /{} HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(300), "b".repeat(300));
        assert_eq!(refused(&long), None);
        let bare = format!("GET / HTTP/1.1\r\nA: {}\n\r\n", "b".repeat(300));
        assert_eq!(refused(&bare), Some(0));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(pieces: Vec<Vec<u8>>) {
            let mut framing = Framing::new();
            for piece in pieces {
                framing.feed(&piece);
            }
        }
    }
}
