//! What a storage back-end does.
//!
//! Every back-end passes the one conformance suite of `bailiwick-testkit`. All futures may be dropped at any
//! await: a write then happens whole or not at all, and no transaction stays open (RST-12).
mod audit;
mod counters;
mod directory;
mod families;
mod keys;
mod passwords;
mod principals;
mod rows;
mod sessions;
mod tokens;

use std::{future::Future, pin::Pin};

pub use self::{
    audit::AuditStore,
    counters::{Caller, Charge, CounterKey, CounterStore, Gcra, Verdict},
    directory::{
        Directory, DirectoryError, Login, NewOrg, NewUser, OrgRecord, Right, UserRecord, changed_member,
        switched_user,
    },
    families::{AccessNote, FamilyStore, Grant, NewFamily, Refresh, Refreshed},
    keys::{KeyPurpose, KeyRecord, KeyRingRecord, KeyState, KeyStore},
    passwords::{
        Addressee, NewPasswordReset, PasswordChange, PasswordStore, changed_password, reset_password,
    },
    principals::{CredentialDigest, PrincipalStore, Proof},
    rows::{EachRow, MAX_NAMED, RowStore, Written},
    sessions::{NewSession, SessionRecord, SessionStore, WhichSessions, ended_session},
    tokens::{NewToken, OfOrg, OrgTokenRecord, TokenCreation, TokenRecord, TokenRef, TokenStore},
};
use crate::{error::StoreError, meter::Metered};

/// The answer of a store, when it comes.
pub type Answer<'a, T, E = StoreError> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// A database: rows, users and organisations, and their credentials, which change in one transaction.
pub trait Store:
    RowStore
    + Directory
    + PasswordStore
    + PrincipalStore
    + TokenStore
    + SessionStore
    + FamilyStore
    + KeyStore
    + Metered
    + AuditStore
    + std::fmt::Debug
    + Send
    + Sync
    + 'static
{
}

impl<S> Store for S where
    S: RowStore
        + Directory
        + PasswordStore
        + PrincipalStore
        + TokenStore
        + SessionStore
        + FamilyStore
        + KeyStore
        + Metered
        + AuditStore
        + std::fmt::Debug
        + Send
        + Sync
        + 'static
{
}
