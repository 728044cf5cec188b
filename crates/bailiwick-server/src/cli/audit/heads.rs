//! Signed heads: what another system keeps, to know later that a chain was not cut.
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use bailiwick::audit::{AuditKeys, Chain, Head};
use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};

use crate::cli::failure::Failure;

/// Signs heads, by a key that is derived from the master key: whoever has the public one can check them, and nobody else
/// can make them.
pub(super) struct Signer(Ed25519KeyPair);

/// A line of a head (contract §6).
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line {
    chain: String,
    sequence: u64,
    hash: String,
    signature: String,
}

/// What stands before 32 bytes of an Ed25519 key in a `SubjectPublicKeyInfo` (RFC 8410 §4).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

impl Signer {
    /// The signer of the current key.
    pub(super) fn of(keys: &AuditKeys) -> Self {
        Self::all(keys).next().expect("there is a current key")
    }

    fn all(keys: &AuditKeys) -> impl Iterator<Item = Self> {
        keys.head_seeds().map(|seed| {
            Self(Ed25519KeyPair::from_seed_unchecked(seed.expose()).expect("any 32 bytes are a seed"))
        })
    }

    /// The public key, as PEM.
    pub(super) fn public_key(&self) -> String {
        let der = [&SPKI, self.0.public_key().as_ref()].concat();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(&der))
    }

    /// The head as a line of JSON, with its signature.
    pub(super) fn line(&self, head: &Head) -> String {
        let line = Line {
            chain: head.chain.to_string(),
            sequence: head.sequence,
            hash: HEXLOWER.encode(&head.hash),
            signature: BASE64.encode(self.0.sign(signed(head).as_bytes()).as_ref()),
        };
        serde_json::to_string(&line).expect("texts and numbers are JSON") + "\n"
    }

    fn has_signed(&self, head: &Head, signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, self.0.public_key().as_ref());
        key.verify(signed(head).as_bytes(), signature).is_ok()
    }
}

/// What is signed: four lines, which name the purpose, the chain, the sequence and the hash.
fn signed(head: &Head) -> String {
    format!("bailiwick audit head\n{}\n{}\n{}\n", head.chain, head.sequence, HEXLOWER.encode(&head.hash))
}

/// Reads lines that were printed earlier.
///
/// # Errors
/// If the file cannot be read, a line is none, or it was not signed under a master key that is known here.
pub(super) fn read(file: &Path, keys: &AuditKeys) -> Result<BTreeMap<Chain, Vec<Head>>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::refused(
            format!("cannot read {}: {error}", file.display()),
            "name a file of `audit head` lines",
        )
    };
    let signers: Vec<_> = Signer::all(keys).collect();
    let mut heads: BTreeMap<Chain, Vec<Head>> = BTreeMap::new();
    for (line, number) in BufReader::new(File::open(file).map_err(unreadable)?).lines().zip(1_u64..) {
        let line = line.map_err(unreadable)?;
        if line.trim().is_empty() {
            continue;
        }
        let at = format!("line {number} of {}", file.display());
        let Some((head, signature)) = parse(&line) else {
            return Err(Failure::refused(
                format!("{at} is no line of `bailiwick audit head`"),
                "keep the lines as they were printed",
            ));
        };
        if !signers.iter().any(|signer| signer.has_signed(&head, &signature)) {
            return Err(Failure::no(
                format!("{at} was not signed by a server with this master key"),
                "if the master key was changed, name the former one in secrets.master_key_fallbacks; else somebody has \
                 changed the line",
            ));
        }
        heads.entry(head.chain).or_default().push(head);
    }
    if heads.is_empty() {
        let fix = "write one with `bailiwick audit head`";
        return Err(Failure::refused(format!("{} holds no head", file.display()), fix));
    }
    Ok(heads)
}

fn parse(line: &str) -> Option<(Head, Vec<u8>)> {
    let Line { chain, sequence, hash, signature } = serde_json::from_str(line).ok()?;
    let head = Head { chain: chain.parse().ok()?, sequence, hash: HEXLOWER.decode(hash.as_bytes()).ok()? };
    Some((head, BASE64.decode(signature.as_bytes()).ok()?))
}

#[cfg(test)]
mod tests {
    use bailiwick::secret::Secret;

    use super::*;

    fn keys(bytes: &[u8]) -> AuditKeys {
        let roots: Vec<_> = bytes.iter().map(|byte| Secret::new([*byte; 32])).collect();
        AuditKeys::new(&roots[0], &roots[1..])
    }

    fn read_text(text: &str, keys: &AuditKeys) -> Result<BTreeMap<Chain, Vec<Head>>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path(), keys).map_err(|failure| failure.message().to_owned())
    }

    // LOG-10
    #[test]
    fn a_head_is_read_back_only_as_it_was_signed() {
        let (old, new) = (keys(&[1]), keys(&[2, 1]));
        let head = Head { chain: Chain::Site, sequence: 7, hash: vec![0xab; 32] };
        let line = Signer::of(&old).line(&head);
        assert_eq!(read_text(&line, &old).unwrap()[&Chain::Site], std::slice::from_ref(&head));
        assert_eq!(read_text(&format!("\n{line}\n"), &new).unwrap()[&Chain::Site], [head]);
        assert!(read_text(&line, &keys(&[2])).unwrap_err().contains("line 1"));
        for (from, to) in [
            ("\"sequence\":7", "\"sequence\":6"),
            ("abab", "abac"),
            ("\"site\"", "\"00000000-0000-0000-0000-000000000001\""),
        ] {
            let changed = line.replacen(from, to, 1);
            assert_ne!(changed, line);
            assert!(read_text(&changed, &old).unwrap_err().contains("was not signed"), "{changed}");
        }
        for wrong in ["{}", "site 7", "{\"chain\":\"site\",\"sequence\":-1,\"hash\":\"\",\"signature\":\"\"}"]
        {
            assert!(read_text(wrong, &old).unwrap_err().contains("is no line"), "{wrong}");
        }
        assert!(read_text("", &old).unwrap_err().contains("holds no head"));
    }
}
