//! How private keys lie in the database: encrypted under the master key (KEY-12).
use bailiwick_core::{clock::Entropy, secret::Secret, store::KeyRecord};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use data_encoding::HEXLOWER;

/// The table whose rows are encrypted: part of what the encryption vouches for.
const TABLE: &str = "signing_keys";
const NONCE_BYTES: usize = 24;

/// The master key, and former ones, which only read what was written with them.
#[derive(Clone, Debug)]
pub struct MasterKeys(Vec<MasterKey>);

#[derive(Clone, Debug)]
struct MasterKey {
    /// Names the key in what was encrypted with it; it tells nothing of the key.
    id: String,
    sealing: Secret<[u8; 32]>,
    successors: Secret<[u8; 32]>,
}

/// What is stored cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// It was encrypted under a master key that is not known here.
    #[error("it is encrypted under a master key that is not known")]
    UnknownMasterKey,
    /// It is not what was encrypted for this row.
    #[error("it was changed, or belongs to another row")]
    Broken,
}

impl MasterKeys {
    /// These 32 random bytes, or what is derived of them, as the current key; and former ones.
    pub fn new<'k>(
        current: &'k Secret<[u8; 32]>,
        former: impl IntoIterator<Item = &'k Secret<[u8; 32]>>,
    ) -> Self {
        Self(std::iter::once(current).chain(former).map(MasterKey::new).collect())
    }

    fn current(&self) -> &MasterKey {
        self.0.first().expect("there is a current key")
    }

    /// The id of the current key.
    pub(super) fn id(&self) -> &str {
        &self.current().id
    }

    /// Encrypts the private key `kid` under the current key.
    pub(super) fn seal(
        &self,
        kid: &str,
        private: &Secret<Vec<u8>>,
        entropy: &dyn Entropy,
    ) -> Secret<Vec<u8>> {
        let key = self.current();
        let mut nonce = [0; NONCE_BYTES];
        entropy.fill(&mut nonce);
        let aad = associated(kid, &key.id);
        let payload = Payload { msg: private.expose(), aad: &aad };
        let encrypted = key.cipher().encrypt(&XNonce::from(nonce), payload).expect("a key is short");
        Secret::new([nonce.as_slice(), &encrypted].concat())
    }

    /// Decrypts a private key.
    ///
    /// # Errors
    /// If it was encrypted under another key, or is not what was encrypted for this row.
    pub(super) fn open(&self, record: &KeyRecord) -> Result<Secret<Vec<u8>>, SealError> {
        let key = self.0.iter().find(|key| key.id == record.sealed_by).ok_or(SealError::UnknownMasterKey)?;
        let (nonce, encrypted) =
            record.sealed.expose().split_first_chunk::<NONCE_BYTES>().ok_or(SealError::Broken)?;
        let aad = associated(&record.kid, &key.id);
        let payload = Payload { msg: encrypted, aad: &aad };
        key.cipher().decrypt(&XNonce::from(*nonce), payload).map(Secret::new).map_err(|_| SealError::Broken)
    }

    /// The keys from which successors of refresh tokens are derived, the current one first.
    pub(in crate::authn) fn successors(&self) -> impl Iterator<Item = &Secret<[u8; 32]>> {
        self.0.iter().map(|key| &key.successors)
    }
}

impl MasterKey {
    fn new(root: &Secret<[u8; 32]>) -> Self {
        Self {
            id: HEXLOWER.encode(&root.derive("id").expose()[..8]),
            sealing: root.derive("sealing"),
            successors: root.derive("successors of refresh tokens"),
        }
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&(*self.sealing.expose()).into())
    }
}

/// What the encryption vouches for besides the key: a row cannot pass for another.
fn associated(kid: &str, master: &str) -> Vec<u8> {
    // No part can have a NUL.
    [TABLE, kid, master].join("\0").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;
    use bailiwick_core::{clock::OsEntropy, store::KeyState};

    // KEY-12
    #[test]
    fn a_private_key_is_read_with_the_key_that_it_was_written_with_and_in_its_row_only() {
        let roots = [1, 2, 3].map(|byte| Secret::new([byte; 32]));
        let old = MasterKeys::new(&roots[0], []);
        let private = Secret::new(b"private".to_vec());
        let mut row = record("kid", KeyState::Active);
        (row.sealed_by, row.sealed) = (old.id().to_owned(), old.seal("kid", &private, &OsEntropy));
        assert!(!row.sealed.expose().windows(7).any(|window| window == b"private"));
        assert_eq!(old.open(&row).unwrap(), private);
        let new = MasterKeys::new(&roots[1], [&roots[0]]);
        assert_eq!(new.open(&row).unwrap(), private);
        assert_eq!(MasterKeys::new(&roots[2], []).open(&row), Err(SealError::UnknownMasterKey));
        let mut other = row.clone();
        other.kid = "other".to_owned();
        assert_eq!(old.open(&other), Err(SealError::Broken));
        let mut claims = row.clone();
        claims.sealed_by = new.id().to_owned();
        assert_eq!(new.open(&claims), Err(SealError::Broken));
        for at in 0..row.sealed.expose().len() {
            let mut bytes = row.sealed.expose().clone();
            bytes[at] ^= 1;
            let changed = KeyRecord { sealed: Secret::new(bytes), ..row.clone() };
            assert_eq!(old.open(&changed), Err(SealError::Broken), "{at}");
        }
        let empty = KeyRecord { sealed: Secret::new(Vec::new()), ..row };
        assert_eq!(old.open(&empty), Err(SealError::Broken));
        assert_ne!(old.seal("kid", &private, &OsEntropy), old.seal("kid", &private, &OsEntropy));
        assert!(!format!("{old:?}").contains("[1, 1"));
    }
}
