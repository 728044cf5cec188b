//! The master key: how it is read, made, and told from a weak one.
use std::{
    borrow::Cow,
    fs::{self, OpenOptions},
    io::{self, Write},
    path::Path,
};

use data_encoding::{BASE64, BASE64URL, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde_json::Value;
use zeroize::Zeroize;

use bailiwick::{clock::Entropy, secret::Secret};

use super::value::{REDACTED, Setting};

/// The key from which all other keys are derived: 32 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterKey(Secret<[u8; Self::LENGTH]>);

impl MasterKey {
    /// The length of the key, in bytes.
    pub const LENGTH: usize = 32;

    /// A fresh key.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; Self::LENGTH];
        entropy.fill(&mut bytes);
        let key = Self(Secret::new(bytes));
        bytes.zeroize();
        key
    }

    /// The bytes of the key.
    #[must_use]
    pub fn expose(&self) -> &[u8; Self::LENGTH] {
        self.0.expose()
    }

    /// The key for one purpose, which tells nothing of the others (KEY-07): the expansion of HKDF (RFC 5869 §2.3) to one
    /// block, with the purpose as its info.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> Secret<[u8; Self::LENGTH]> {
        self.0.derive(format!("bailiwick {purpose}\u{1}"))
    }

    /// Writes the key in hex to a new file that only its owner may read.
    ///
    /// The file is complete from the moment it has its name, so two starting servers never see half a key.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if there is such a file: a key is never overwritten, since everything
    /// that was encrypted with it would be lost. Else whatever the file system says.
    pub fn write_new(&self, path: &Path) -> io::Result<()> {
        let unfinished = path.with_extension(format!("key.{}.new", std::process::id()));
        let written = create_private(&unfinished).and_then(|mut file| {
            let mut text = HEXLOWER.encode(self.expose());
            text.push('\n');
            let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
            text.zeroize();
            written?;
            // Unlike a rename, a link fails where the name is taken.
            fs::hard_link(&unfinished, path)
        });
        // Only a copy of the key is left behind if this fails, with the same permissions.
        let _ = fs::remove_file(&unfinished);
        written
    }

    /// Why the key does not look like 32 random bytes, if it does not (KEY-11).
    ///
    /// Each test is one that random bytes fail less than once in 10^12 keys.
    #[must_use]
    pub fn weakness(&self) -> Option<&'static str> {
        let bytes = self.expose();
        let step = bytes[1].wrapping_sub(bytes[0]);
        let mut distinct = bytes.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let count = distinct.len();
        distinct.zeroize();
        if bytes.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == step) {
            Some("its bytes are a simple sequence")
        } else if bytes.iter().all(|byte| (b' '..=b'~').contains(byte)) {
            Some("its bytes are text, not random")
        } else if count < 16 {
            Some("its bytes repeat")
        } else {
            None
        }
    }
}

/// Creates a file that only its owner may read and write, and fails if there is one.
///
/// # Errors
/// Whatever the file system says.
pub fn create_private(path: &Path) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

impl Setting for MasterKey {
    const SECRET: bool = true;

    fn accepts() -> Cow<'static, str> {
        "32 random bytes as 64 hexadecimal digits or in base64; `openssl rand -hex 32` makes some".into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        let text = text.trim();
        let bytes = match text.len() {
            64 => HEXLOWER_PERMISSIVE.decode(text.as_bytes()),
            43 | 44 => {
                // Both alphabets, with padding or without, as the common tools write them.
                let padded = format!("{}=", text.trim_end_matches('='));
                let alphabet = if text.contains(['-', '_']) { BASE64URL } else { BASE64 };
                alphabet.decode(padded.as_bytes())
            }
            _ => return Err("this has not the length of 32 bytes in hexadecimal or base64".to_owned()),
        };
        let mut bytes = bytes.map_err(|_| "this is neither hexadecimal nor base64".to_owned())?;
        let key = <[u8; Self::LENGTH]>::try_from(bytes.as_slice());
        bytes.zeroize();
        key.map(|key| Self(Secret::new(key))).map_err(|_| "these are not 32 bytes".to_owned())
    }

    fn show(&self) -> Value {
        REDACTED.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailiwick::clock::OsEntropy;

    fn read(text: &str) -> Result<MasterKey, String> {
        MasterKey::from_text(text, Path::new(""))
    }

    // KEY-07
    #[test]
    fn the_key_of_one_purpose_is_not_that_of_another() {
        let key = MasterKey::generate(&OsEntropy);
        let (csrf, other) = (key.derive("csrf"), key.derive("cursors"));
        assert!(csrf == key.derive("csrf") && csrf != other);
        assert!(csrf.expose() != key.expose());
        assert!(csrf != MasterKey::generate(&OsEntropy).derive("csrf"));
        // What is kept under a derived key is to be read by every later version.
        let known = MasterKey(Secret::new(std::array::from_fn(|at| at as u8)));
        let derived = HEXLOWER.encode(known.derive("audit trail").expose());
        assert_eq!(derived, "369c6e6832494ab08e75b7247f36c5c4ac1fd8100736d5dfc4eb51539f53bcea");
    }

    #[test]
    fn a_key_reads_from_hex_and_from_every_kind_of_base64() {
        let bytes: [u8; 32] = std::array::from_fn(|at| 0xff_u8.wrapping_sub((at * at) as u8));
        let hex = HEXLOWER.encode(&bytes);
        let base64 = BASE64.encode(&bytes);
        let url = BASE64URL.encode(&bytes);
        assert_ne!(base64, url, "the test key tells the alphabets apart");
        for text in [
            hex.as_str(),
            &hex.to_uppercase(),
            &format!("{hex}\n"),
            &base64,
            base64.trim_end_matches('='),
            &url,
            url.trim_end_matches('='),
        ] {
            assert_eq!(read(text).unwrap().expose(), &bytes, "{text}");
        }
    }

    #[test]
    fn what_is_not_32_bytes_is_no_key() {
        for wrong in [
            "",
            "changeme",
            &"0".repeat(63),
            &"g".repeat(64),
            &"é".repeat(32),
            &"=".repeat(44),
            &"!".repeat(43),
            &"A".repeat(44),
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    // KEY-11
    #[test]
    fn weak_keys_are_told_from_random_ones() {
        let weakness = |bytes: [u8; 32]| MasterKey(Secret::new(bytes)).weakness();
        assert_eq!(weakness([0; 32]), Some("its bytes are a simple sequence"));
        assert_eq!(weakness(std::array::from_fn(|at| at as u8)), Some("its bytes are a simple sequence"));
        assert_eq!(weakness(std::array::from_fn(|at| at as u8 % 15 * 17)), Some("its bytes repeat"));
        assert_eq!(weakness(*b"correct horse battery staple now"), Some("its bytes are text, not random"));
        for _ in 0..1_000 {
            assert_eq!(MasterKey::generate(&OsEntropy).weakness(), None);
        }
    }

    #[test]
    fn a_key_file_is_private_and_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bailiwick.key");
        let key = MasterKey::generate(&OsEntropy);
        key.write_new(&path).unwrap();
        assert!(read(&fs::read_to_string(&path).unwrap()).unwrap() == key);
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
        let error = MasterKey::generate(&OsEntropy).write_new(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(read(&fs::read_to_string(&path).unwrap()).unwrap() == key);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn a_key_is_never_printed() {
        let key = MasterKey::generate(&OsEntropy);
        assert_eq!(key.show(), Value::from("[redacted]"));
        assert_eq!(format!("{key:?}"), "MasterKey([redacted])");
    }
}
