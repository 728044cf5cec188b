//! Frames as bytes, for what no client would send.
use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use super::{PATIENCE, Secure};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) const NO_ERROR: u32 = 0;
pub(super) const PROTOCOL_ERROR: u32 = 1;
pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const CANCEL: u32 = 8;
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// The code of a RST_STREAM or a GOAWAY.
    pub(super) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field in HPACK: a literal, never indexed.
pub(super) fn field(name: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name.as_bytes(), value] {
        let mut length = text.len();
        if length < 127 {
            bytes.push(u8::try_from(length).unwrap());
        } else {
            bytes.push(127);
            length -= 127;
            while length >= 128 {
                bytes.push(u8::try_from(length % 128).unwrap() | 128);
                length /= 128;
            }
            bytes.push(u8::try_from(length).unwrap());
        }
        bytes.extend(text);
    }
    bytes
}

/// The fields of a request: those that every one has, and more.
pub(super) fn fields(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut block = field(":method", method.as_bytes());
    block.extend(field(":scheme", b"https"));
    block.extend(field(":path", path.as_bytes()));
    block.extend(more.iter().flat_map(|(name, value)| field(name, value.as_bytes())));
    block
}

pub(super) fn get(path: &str, stream: u32) -> Vec<u8> {
    let block = fields("GET", path, &[(":authority", "localhost")]);
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block)
}

pub(super) fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

/// A connection on which anything may be sent.
pub(super) struct Raw(pub(super) TlsStream<TcpStream>);

impl Raw {
    /// One whose settings are agreed on.
    pub(super) async fn open(server: &Secure, settings: &[(u16, u32)]) -> Self {
        let mut raw = Self(server.connect(&[b"h2"]).await);
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat())
            .collect();
        hello.extend(frame(SETTINGS, 0, 0, &payload));
        raw.send(&hello).await;
        raw.until(|frame| frame.kind == SETTINGS && frame.flags == 1).await;
        raw.send(&frame(SETTINGS, 1, 0, &[])).await;
        raw
    }

    /// Sends what it can: the server may close before it has read everything.
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        let _ = timeout(PATIENCE, async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        })
        .await
        .expect("the server reads or closes");
    }

    pub(super) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        let read =
            timeout(PATIENCE, self.0.read_exact(&mut head)).await.expect("the server speaks or closes");
        read.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        timeout(PATIENCE, self.0.read_exact(&mut payload)).await.unwrap().ok()?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Reads until such a frame comes; gives all.
    pub(super) async fn until(&mut self, is_last: impl Fn(&Frame) -> bool) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
            if is_last(&frames[frames.len() - 1]) {
                return frames;
            }
        }
        panic!("the connection ended after {frames:?}");
    }

    /// Reads until the server closes.
    pub(super) async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// The code with which the server ended the connection.
    pub(super) async fn goaway(&mut self) -> Option<u32> {
        self.rest().await.iter().rfind(|frame| frame.kind == GOAWAY).map(Frame::code)
    }

    /// Waits for the end of a stream; the status of its answer, unless it was reset.
    pub(super) async fn answer(&mut self, stream: u32) -> Result<Vec<Frame>, u32> {
        let ends = |frame: &Frame| {
            frame.stream == stream
                && (frame.kind == RST_STREAM || (frame.kind <= HEADERS && frame.flags & END_STREAM != 0))
        };
        let mut frames = self.until(ends).await;
        frames.retain(|frame| frame.stream == stream);
        match frames.last() {
            Some(last) if last.kind == RST_STREAM => Err(last.code()),
            _ => Ok(frames),
        }
    }

    /// Whether the connection is still answered on.
    pub(super) async fn is_alive(&mut self) -> bool {
        self.send(&frame(PING, 0, 0, b"01234567")).await;
        timeout(Duration::from_secs(5), self.until(|frame| frame.kind == PING)).await.is_ok()
    }
}
