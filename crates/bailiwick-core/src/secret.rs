//! Values that must not be seen.
use std::fmt;

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
}
