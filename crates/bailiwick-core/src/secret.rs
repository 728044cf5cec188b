//! Values that must not be seen.
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// A secret: prints as `[redacted]`, compares in constant time, and is wiped when dropped.
///
/// # Security
/// There is no `Deref`, no `Serialize` and no `Display`: whoever needs the value says so with
/// [`expose`](Secret::expose), where a reviewer can find it (RST-09, RST-13).
#[derive(Clone)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes charge of `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Do not print it, log it or keep it.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl Secret<[u8; 32]> {
    /// The key for one purpose, which tells nothing of this one nor of those for others (KEY-07): the HMAC-SHA-256, under this
    /// key, of what the purpose is called.
    pub fn derive(&self, purpose: impl AsRef<[u8]>) -> Self {
        let mac = Hmac::<Sha256>::new_from_slice(self.expose()).expect("HMAC takes keys of any length");
        Self::new(mac.chain_update(purpose).finalize().into_bytes().into())
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T: Zeroize + AsRef<[u8]>> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref().ct_eq(other.0.as_ref()).into()
    }
}

impl<T: Zeroize + AsRef<[u8]>> Eq for Secret<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_redacted_and_compares_by_value() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "[redacted]");
        assert!(secret == Secret::new("hunter2".to_owned()));
        assert!(secret != Secret::new("hunter3".to_owned()));
    }

    // KEY-07. What is encrypted and linked in databases depends on these bytes: they stay as they are.
    #[test]
    fn what_is_derived_of_a_key_stays_the_same_in_every_version() {
        let root = Secret::new(std::array::from_fn(|at| at as u8));
        for (purpose, derived) in [
            ("id", "8adc89f941958303437a8bc95f97f9cf2e160dcb63ebfe5a2b5c6b773272401e"),
            ("links", "92809b97fd11c673a29c463bf76b14cd17f067985af0b07f5e8c2e1709157ab4"),
            ("sealing", "62371e5d272ac9e323a7b8ac86b7c58f4f163def19d3300c7359476b0ba724c8"),
        ] {
            let bytes = *root.derive(purpose).expose();
            let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(text, derived, "{purpose}");
        }
    }
}
