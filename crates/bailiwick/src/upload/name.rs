//! The names that clients give their files.
use std::fmt;

use bailiwick_core::text::Lines;
use unicode_normalization::UnicodeNormalization as _;

/// A file's name as its uploader calls it, made harmless (LIM-17): of 1 to 255 bytes in NFC, without a path, without
/// characters that control, hide or turn text or that file systems give a meaning, with neither a dot nor a hyphen in
/// front, and none that Windows keeps for a device.
///
/// It is only ever shown: a file is stored under an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName(Box<str>);

/// Characters that separate paths, or mean something to a shell or a file system.
const DROPPED: [char; 9] = ['/', '\\', ':', '*', '?', '"', '<', '>', '|'];

/// What Windows takes for a device, whatever follows after a dot.
const RESERVED: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];

impl FileName {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 255;

    /// The harmless form of what a client sent; none if nothing is left of it, or it stays harmful.
    pub fn sanitised(sent: &str) -> Option<Self> {
        let last = sent.rsplit(['/', '\\']).next().unwrap_or_default();
        let mut buffer = [0; 4];
        let kept: String = last
            .nfc()
            .filter(|character| {
                !DROPPED.contains(character)
                    && Lines::One.first_forbidden(character.encode_utf8(&mut buffer)).is_none()
            })
            .collect();
        // Windows does not see what a name ends with, and then it is another name.
        let name = kept.trim().trim_end_matches(['.', ' ']);
        let harmless = (1..=Self::MAX_BYTES).contains(&name.len())
            && !name.starts_with(['.', '-'])
            && !bailiwick_core::text::visible(name).is_empty()
            && !is_reserved(name);
        harmless.then(|| Self(name.into()))
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows the last dot, in lower case; none without a dot.
    pub fn extension(&self) -> Option<String> {
        self.0.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase())
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim().to_lowercase();
    let port = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt"));
    // The superscript digits are digits to Windows too.
    let is_port = port.is_some_and(|number| {
        let mut characters = number.chars();
        matches!(characters.next(), Some('0'..='9' | '¹' | '²' | '³')) && characters.next().is_none()
    });
    is_port || RESERVED.contains(&stem.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sanitised(sent: &str) -> Option<String> {
        FileName::sanitised(sent).map(|name| name.to_string())
    }

    // LIM-17
    #[test]
    fn a_name_keeps_what_people_write_and_loses_what_systems_read() {
        for (sent, kept) in [
            ("report.pdf", "report.pdf"),
            ("Übersicht 2026 (endgültig).pdf", "Übersicht 2026 (endgültig).pdf"),
            ("e\u{301}te\u{301}.png", "été.png"),
            ("/etc/passwd.txt", "passwd.txt"),
            ("C:\\Users\\ann\\photo.jpg", "photo.jpg"),
            ("../../../a.txt", "a.txt"),
            ("..\\..\\a.txt", "a.txt"),
            ("a:b*c?d\"e<f>g|h.txt", "abcdefgh.txt"),
            ("a\r\nSet-Cookie: x.txt", "aSet-Cookie x.txt"),
            ("photo\u{202e}gpj.exe.png", "photogpj.exe.png"),
            ("a\0b\u{1b}[31m\u{200b}.png", "ab[31m.png"),
            ("می\u{200c}خواهم.txt", "می\u{200c}خواهم.txt"),
            ("  spaced  .txt  . .", "spaced  .txt"),
            ("a.txt....", "a.txt"),
            ("콘.txt", "콘.txt"),
            ("console.txt", "console.txt"),
            ("com10.txt", "com10.txt"),
            ("<svg onload=alert(1)>.png", "svg onload=alert(1).png"),
        ] {
            assert_eq!(sanitised(sent).as_deref(), Some(kept), "{sent:?}");
        }
    }

    // LIM-17
    #[test]
    fn a_name_that_stays_harmful_is_none() {
        for sent in [
            "",
            ".",
            "..",
            "...",
            "/",
            "a/",
            "\\",
            " ",
            "\u{202e}",
            "\u{3000}",
            "\u{200d}",
            ".htaccess",
            ".png",
            "-rf.txt",
            "- x.txt",
            "con",
            "CON.txt",
            "nul.tar.gz",
            "Aux .txt",
            "com1",
            "LPT9.png",
            "com¹.txt",
            "COM0.csv",
            "conin$.txt",
            "*?.",
        ] {
            assert_eq!(sanitised(sent), None, "{sent:?}");
        }
        let longest = format!("{}.txt", "é".repeat(125));
        assert_eq!(sanitised(&longest).map(|name| name.len()), Some(254));
        assert_eq!(sanitised(&format!("{longest}xx")), None);
    }

    #[test]
    fn the_extension_is_what_follows_the_last_dot() {
        let extension = |name| FileName::sanitised(name).unwrap().extension();
        assert_eq!(extension("a.tar.GZ").as_deref(), Some("gz"));
        assert_eq!(extension("Makefile"), None);
    }
}
