//! Passwords: which may be set, and how they are hashed and verified.
//!
//! | file | says |
//! |---|---|
//! | `rules` | which passwords may be set, and which are too common |
//! | `hasher` | argon2id, on a pool that is bounded |
//! | `formats` | how a stored hash is read: ours, and those of Django |
//!
//! # Security
//! A hash is made with the present [`HashCost`] only. One of another format or of lower parameters is still verified, and
//! replaced by a present one when its user logs in (PWD-04).
mod formats;
mod hasher;
mod rules;

use std::io;

pub use self::{
    hasher::PasswordHasher,
    rules::{UnfitPassword, check},
};

/// The longest password that is accepted, in characters (contract §2).
pub const MAX_CHARS: usize = 256;

/// How much work a hash is. The default is OWASP's first choice: 19 MiB, 2 passes, 1 lane (PWD-01).
#[derive(Clone, Copy, Debug)]
pub struct HashCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
}

impl Default for HashCost {
    fn default() -> Self {
        Self { memory_kib: 19_456, iterations: 2, parallelism: 1 }
    }
}

/// Why there is no hasher.
#[derive(Debug, thiserror::Error)]
pub enum HasherError {
    /// The parameters are none that argon2id takes.
    #[error("argon2id does not take these parameters: {0}")]
    Cost(argon2::Error),
    /// The system gives no threads to hash on.
    #[error("a thread to hash passwords on cannot be started")]
    Threads(#[source] io::Error),
}
