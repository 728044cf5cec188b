//! One line of the log, escaped so that what a client sent cannot be taken for anything else (LOG-04).
use std::{borrow::Cow, cell::RefCell, fmt::Debug, io::Write, time::Duration};

use bailiwick_core::{
    clock::Timestamp,
    text::{is_deceptive, without_secrets},
};
use percent_encoding::percent_decode_str;
use tracing::{
    Level,
    field::{Field, Visit},
};

use super::Format;

/// A line that is being written.
pub(super) struct Line<'a> {
    buffer: &'a mut Vec<u8>,
    format: Format,
}

/// The longest text of one member, in bytes; the rest is cut off.
pub(super) const MAX_TEXT: usize = 2048;

thread_local! {
    /// Reused, so that a line costs no allocation.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Line<'_> {
    /// Writes the line that `fill` fills in, and gives it to `done`.
    pub(super) fn with(
        format: Format,
        now: Timestamp,
        level: Level,
        event: &str,
        fill: impl FnOnce(&mut Line<'_>),
        done: impl FnOnce(&[u8]),
    ) {
        SCRATCH.with_borrow_mut(|buffer| {
            buffer.clear();
            let mut line = Line { buffer, format };
            line.begin(now, level, event);
            fill(&mut line);
            if format == Format::Json {
                line.buffer.push(b'}');
            }
            line.buffer.push(b'\n');
            done(line.buffer);
        });
    }

    fn begin(&mut self, now: Timestamp, level: Level, event: &str) {
        match self.format {
            Format::Json => {
                self.buffer.extend_from_slice(b"{\"timestamp\":\"");
                self.timestamp(now);
                self.buffer.extend_from_slice(b"\",\"level\":\"");
                self.buffer.extend_from_slice(level_name(level).as_bytes());
                self.buffer.push(b'"');
                self.text("event", Some(event));
            }
            Format::Pretty => {
                self.timestamp(now);
                // Written to memory, which cannot fail.
                let _ = write!(self.buffer, " {:<5} ", level_name(level));
                escape(self.buffer, event, MAX_TEXT);
            }
        }
    }

    fn timestamp(&mut self, now: Timestamp) {
        let _ = write!(self.buffer, "{now}");
    }

    /// Begins a member. In text for people, what is not known is left out.
    fn name(&mut self, name: &str) {
        match self.format {
            Format::Json => {
                self.buffer.extend_from_slice(b",\"");
                self.buffer.extend_from_slice(name.as_bytes());
                self.buffer.extend_from_slice(b"\":");
            }
            Format::Pretty => {
                self.buffer.push(b' ');
                self.buffer.extend_from_slice(name.as_bytes());
                self.buffer.push(b'=');
            }
        }
    }

    fn null(&mut self, name: &str) {
        if self.format == Format::Json {
            self.name(name);
            self.buffer.extend_from_slice(b"null");
        }
    }

    /// A member that is text, or not known.
    pub(super) fn text(&mut self, name: &str, text: Option<&str>) {
        self.text_within(name, text, MAX_TEXT);
    }

    fn text_within(&mut self, name: &str, text: Option<&str>, max_bytes: usize) {
        let Some(text) = text else { return self.null(name) };
        self.name(name);
        let quoted = self.format == Format::Json || text.contains(' ');
        if quoted {
            self.buffer.push(b'"');
        }
        escape(self.buffer, text, max_bytes);
        if quoted {
            self.buffer.push(b'"');
        }
    }

    /// A member whose text a client chose: at most so many bytes of it, and no token (LOG-03).
    pub(super) fn of_client(&mut self, name: &str, text: Option<&str>, max_bytes: usize) {
        let text = text.map(without_tokens);
        self.text_within(name, text.as_deref(), max_bytes);
    }

    /// A member whose text is safe to write as it is, such as an id or an address.
    pub(super) fn plain(&mut self, name: &str, value: Option<impl std::fmt::Display>) {
        let Some(value) = value else { return self.null(name) };
        self.name(name);
        let quote: &[u8] = if self.format == Format::Json { b"\"" } else { b"" };
        self.buffer.extend_from_slice(quote);
        let _ = write!(self.buffer, "{value}");
        self.buffer.extend_from_slice(quote);
    }

    /// A member that is a number.
    pub(super) fn number(&mut self, name: &str, number: u64) {
        self.integer(name, number);
    }

    fn integer(&mut self, name: &str, number: impl itoa::Integer) {
        self.name(name);
        self.buffer.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// A member that is a number of milliseconds, to the microsecond.
    pub(super) fn millis(&mut self, name: &str, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.number(name, micros / 1000);
        let fraction = micros % 1000;
        let digit = |divisor: u64| b'0' + u8::try_from(fraction / divisor % 10).unwrap_or(0);
        self.buffer.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
    }
}

/// The fields of a `tracing` event, as members.
impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field.name(), Some(&format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), Some(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.integer(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.integer(field.name(), value);
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// How often what is encoded may be encoded again. Who hides a token deeper than that does not do so by mistake.
const ENCODINGS: usize = 3;

/// The text, with only its beginning left of whatever looks like a credential. One that is percent-encoded is as easily read: the
/// text is then written decoded.
fn without_tokens(text: &str) -> Cow<'_, str> {
    let clean = without_secrets(text);
    if !clean.contains('%') {
        return clean;
    }
    let decode = |text: String, _| percent_decode_str(&text).decode_utf8_lossy().into_owned();
    let decoded = (0..ENCODINGS).fold(clean.clone().into_owned(), decode);
    match without_secrets(&decoded) {
        Cow::Owned(redacted) => Cow::Owned(redacted),
        Cow::Borrowed(_) => clean,
    }
}

/// Writes at most `max_bytes` of `text` as the inside of a JSON string in visible characters only.
fn escape(buffer: &mut Vec<u8>, text: &str, max_bytes: usize) {
    let cut = text.len() > max_bytes;
    let text = if cut { &text[..text.floor_char_boundary(max_bytes)] } else { text };
    // Almost all text needs nothing.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
        buffer.extend_from_slice(text.as_bytes());
    } else {
        for character in text.chars() {
            match character {
                '"' => buffer.extend_from_slice(b"\\\""),
                '\\' => buffer.extend_from_slice(b"\\\\"),
                ' '..='~' => buffer.push(character as u8),
                _ if is_deceptive(character) => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        let _ = write!(buffer, "\\u{unit:04x}");
                    }
                }
                _ => buffer.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
    if cut {
        buffer.extend_from_slice("…".as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut buffer = Vec::new();
        escape(&mut buffer, text, MAX_TEXT);
        String::from_utf8(buffer).unwrap()
    }

    // LOG-04
    #[test]
    fn text_cannot_end_its_line_or_its_string() {
        assert_eq!(escaped("a\"b\\c"), r#"a\"b\\c"#);
        assert_eq!(escaped("a\r\nb\tc\u{1b}[31m\0"), r"a\u000d\u000ab\u0009c\u001b[31m\u0000");
        assert_eq!(escaped("\u{2028}\u{202e}\u{2066}\u{85}\u{7f}"), r"\u2028\u202e\u2066\u0085\u007f");
        assert_eq!(escaped("\u{e0041}"), r"\udb40\udc41");
        assert_eq!(escaped("café 東"), "café 東");
    }

    #[test]
    fn what_is_escaped_reads_back_as_json() {
        for text in ["", "plain", "a\"b\\c\r\n\u{1b}\u{202e}é\u{e0041}"] {
            let json = format!("\"{}\"", escaped(text));
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let cut = escaped(&"é".repeat(MAX_TEXT));
        assert_eq!(cut.len(), MAX_TEXT + "…".len());
        assert!(cut.ends_with("é…"));
    }
}
