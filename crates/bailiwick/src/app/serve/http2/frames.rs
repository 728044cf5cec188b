//! Counts what a client makes the connection do for nothing.
use std::sync::atomic::{AtomicU64, Ordering};

/// How many frames a client may send that ask for nothing and carry nothing, beyond those that it pays for.
///
/// A browser sends a dozen with a connection. A thousand PINGs are answered in a millisecond.
const MAX_IDLE_FRAMES: u64 = 1_000;
/// What pays for one such frame: so many bytes of a body, either way. A client that takes an answer grants
/// room for what it has read, mostly thousands of bytes at a time, and in two frames.
const BYTES_A_FRAME: u64 = 256;
/// How many a request pays for.
const FRAMES_A_REQUEST: u64 = 16;

/// What the frames of a connection have cost so far, in bytes that were not carried.
#[derive(Debug, Default)]
pub(super) struct Cost(AtomicU64);

impl Cost {
    /// Whether the client is to be sent away.
    pub(super) fn is_too_high(&self) -> bool {
        self.0.load(Ordering::Relaxed) > MAX_IDLE_FRAMES * BYTES_A_FRAME
    }

    /// So many bytes were carried.
    pub(super) fn pay(&self, bytes: u64) {
        let pay = |cost: u64| Some(cost.saturating_sub(bytes));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay);
    }

    /// A piece of an answer was sent, however short: the client may grant as much room again, for the stream
    /// and for the connection.
    pub(super) fn pay_for_piece(&self) {
        self.pay(2 * BYTES_A_FRAME);
    }

    fn charge(&self) {
        self.0.fetch_add(BYTES_A_FRAME, Ordering::Relaxed);
    }
}

/// Follows where frames begin and end in what a client sends (RFC 9113 §4.1).
///
/// `h2` bounds what its frames make it keep: streams, resets, CONTINUATIONs, small DATA. It answers PING and
/// SETTINGS, and reads the rest, without an end. What they say is left to it.
#[derive(Debug)]
pub(super) struct Frames {
    /// What has come of the next frame's head.
    head: [u8; Self::HEAD],
    filled: usize,
    /// How much of the present payload is still to come.
    payload: usize,
}

impl Frames {
    const HEAD: usize = 9;
    /// The preface that every connection begins with, up to its first frame.
    const PREFACE: usize = 24;

    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    /// Part of a HEADERS; `h2` bounds how many there are.
    const CONTINUATION: u8 = 9;

    pub(super) fn new() -> Self {
        Self { head: [0; Self::HEAD], filled: 0, payload: Self::PREFACE }
    }

    /// Takes note of what has just been read.
    pub(super) fn feed(&mut self, mut bytes: &[u8], cost: &Cost) {
        while !bytes.is_empty() {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            let taken = (Self::HEAD - self.filled).min(bytes.len());
            self.head[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == Self::HEAD {
                self.begin(cost);
            }
        }
    }

    fn begin(&mut self, cost: &Cost) {
        let [high, middle, low, kind, ..] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.filled = 0;
        self.payload = length as usize;
        match kind {
            Self::DATA if length > 0 => cost.pay(length.into()),
            Self::HEADERS => cost.pay(FRAMES_A_REQUEST * BYTES_A_FRAME),
            Self::CONTINUATION => {}
            _ => cost.charge(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: u32) -> Vec<u8> {
        let [_, high, middle, low] = length.to_be_bytes();
        let mut bytes = vec![high, middle, low, kind, 0, 0, 0, 0, 0];
        // A payload that would be frames if it were read as such.
        bytes.extend((0..length).map(|_| 6));
        bytes
    }

    fn cost_of(pieces: &[Vec<u8>], step: usize) -> u64 {
        let bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), pieces.concat()].concat();
        let (mut frames, cost) = (Frames::new(), Cost::default());
        for piece in bytes.chunks(step) {
            frames.feed(piece, &cost);
        }
        cost.0.into_inner() / BYTES_A_FRAME
    }

    // LIM-11
    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let ping = || frame(6, 8);
        for step in [1, 2, 8, 9, 10, 17, 1000] {
            assert_eq!(cost_of(&[frame(4, 0), frame(4, 18), ping(), frame(8, 4), ping()], step), 5, "{step}");
            assert_eq!(
                cost_of(&[frame(0, 0), frame(3, 4), frame(2, 5), frame(0xfa, 300)], step),
                4,
                "{step}"
            );
        }
    }

    // LIM-11
    #[test]
    fn requests_and_bodies_pay_for_frames_and_not_in_advance() {
        let pings = |count| vec![frame(6, 8); count];
        assert_eq!(cost_of(&[pings(20), vec![frame(1, 30)]].concat(), 7), 4);
        assert_eq!(cost_of(&[vec![frame(1, 30)], pings(20)].concat(), 7), 20);
        assert_eq!(cost_of(&[pings(20), vec![frame(0, 512)]].concat(), 7), 18);
        assert_eq!(cost_of(&[pings(20), vec![frame(9, 512)]].concat(), 7), 20);
    }

    // LIM-11
    #[test]
    fn the_limit_is_what_it_says() {
        let cost = Cost::default();
        for _ in 0..MAX_IDLE_FRAMES {
            cost.charge();
        }
        assert!(!cost.is_too_high());
        cost.charge();
        assert!(cost.is_too_high());
        cost.pay(BYTES_A_FRAME);
        assert!(!cost.is_too_high());
    }
}
