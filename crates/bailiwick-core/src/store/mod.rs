//! What a storage back-end does.
//!
//! Every back-end passes the one conformance suite of `bailiwick-testkit`. All futures may be dropped at any
//! await: a write then happens whole or not at all, and no transaction stays open (RST-12).
mod counters;
mod directory;
mod rows;
mod tokens;

use std::{future::Future, pin::Pin};

pub use self::{
    counters::{Caller, Charge, CounterKey, CounterStore, Gcra, Verdict},
    directory::{Directory, DirectoryError, Login, NewOrg, NewUser, OrgRecord, Right, UserRecord},
    rows::{EachRow, RowStore, Written},
    tokens::{NewToken, TokenCreation, TokenDigest, TokenRecord, TokenStore},
};
use crate::error::StoreError;

/// The answer of a store, when it comes.
pub type Answer<'a, T, E = StoreError> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// A database: rows, users and organisations, and tokens, which change in one transaction.
pub trait Store: RowStore + Directory + TokenStore + std::fmt::Debug + Send + Sync + 'static {}

impl<S: RowStore + Directory + TokenStore + std::fmt::Debug + Send + Sync + 'static> Store for S {}
