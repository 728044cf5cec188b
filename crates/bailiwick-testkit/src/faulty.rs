//! Stores that fail when the test says so.
//!
//! A control that cannot decide must refuse (I9), and nothing that was acknowledged may be lost: put a
//! [`FaultyStore`] or [`FaultyCounters`] where the application expects its store, and see that it holds.
//!
//! ```
//! use bailiwick_core::store::Store;
//! use bailiwick_testkit::{Fault, FaultyStore, Operation};
//! # use std::sync::Arc;
//!
//! # fn example(store: Arc<dyn Store>) {
//! let store = FaultyStore::new(store);
//! store.fail_next(Operation::Write, Fault::Unavailable); // once
//! store.fail_all(Operation::Membership, Fault::Unavailable); // until mended
//! store.mend();
//! # }
//! ```
use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bailiwick_core::{
    audit::{Act, Chain, Entry, Head, SecurityEvent},
    clock::Timestamp,
    error::{DecodeError, StoreError},
    identity::{
        ApiTokenId, Credential, FamilyId, Membership, OrgId, Principal, Role, Slug, UserId, Username,
    },
    meter::{Meter, Metered},
    model::TableDef,
    query::Plan,
    secret::Secret,
    store::{
        Addressee, Answer, AuditStore, Charge, CounterKey, CounterStore, CredentialDigest, Directory,
        DirectoryError, EachRow, FamilyStore, KeyPurpose, KeyRecord, KeyRingRecord, KeyStore, Login,
        NewFamily, NewOrg, NewPasswordReset, NewSession, NewToken, NewUser, OrgRecord, OrgTokenRecord,
        PasswordChange, PasswordStore, PrincipalStore, Proof, Refresh, Refreshed, Right, RowStore,
        SessionRecord, SessionStore, Store, TokenCreation, TokenRecord, TokenRef, TokenStore, UserRecord,
        Verdict, WhichSessions, Written,
    },
};
use uuid::Uuid;

/// A call to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// [`RowStore::read`].
    Read,
    /// [`RowStore::write`].
    Write,
    /// [`RowStore::named`].
    Named,
    /// [`Directory::membership`].
    Membership,
    /// [`Directory::login`].
    Login,
    /// [`Directory::user_id`].
    UserId,
    /// [`Directory::create_user`].
    CreateUser,
    /// [`Directory::users`].
    Users,
    /// [`Directory::set_active`].
    SetActive,
    /// [`Directory::set_password`].
    SetPassword,
    /// [`Directory::renew_password_hash`].
    RenewPasswordHash,
    /// [`Directory::set_right`].
    SetRight,
    /// [`Directory::create_org`].
    CreateOrg,
    /// [`Directory::orgs`].
    Orgs,
    /// [`Directory::put_member`].
    PutMember,
    /// [`Directory::remove_member`].
    RemoveMember,
    /// [`PrincipalStore::principal_of`] and [`PrincipalStore::principal_in`].
    PrincipalOf,
    /// [`PrincipalStore::note_use`].
    NoteUse,
    /// [`SessionStore::create_session`].
    CreateSession,
    /// [`SessionStore::end_sessions`].
    EndSessions,
    /// [`SessionStore::sessions_of`].
    SessionsOf,
    /// [`TokenStore::create_token`].
    CreateToken,
    /// [`TokenStore::rotate_token`].
    RotateToken,
    /// [`TokenStore::revoke_token`].
    RevokeToken,
    /// [`TokenStore::tokens_of`].
    TokensOf,
    /// [`TokenStore::org_tokens`].
    OrgTokens,
    /// [`FamilyStore::create_family`].
    CreateFamily,
    /// [`FamilyStore::refresh_family`].
    RefreshFamily,
    /// [`FamilyStore::revoke_family`].
    RevokeFamily,
    /// [`FamilyStore::live_access_tokens`].
    LiveAccessTokens,
    /// [`KeyStore::key_ring_version`] and [`KeyStore::key_ring`].
    KeyRing,
    /// [`KeyStore::change_keys`].
    ChangeKeys,
    /// [`PasswordStore::change_password`].
    ChangePassword,
    /// [`PasswordStore::users_of_email`].
    UsersOfEmail,
    /// [`PasswordStore::create_password_reset`].
    CreatePasswordReset,
    /// [`PasswordStore::password_reset`].
    PasswordReset,
    /// [`PasswordStore::use_password_reset`].
    UsePasswordReset,
    /// [`AuditStore::append_events`].
    AppendEvents,
    /// [`AuditStore::audit_heads`] and [`AuditStore::audit_head`].
    AuditHeads,
    /// [`AuditStore::audit_entries`].
    AuditEntries,
    /// [`CounterStore::spend`].
    Spend,
    /// [`CounterStore::refill`].
    Refill,
    /// [`CounterStore::give_back`].
    GiveBack,
}

impl Operation {
    /// All of them, so that a test can let each fail in turn.
    pub const ALL: [Self; 43] = [
        Self::Read,
        Self::Write,
        Self::Named,
        Self::Membership,
        Self::Login,
        Self::UserId,
        Self::CreateUser,
        Self::Users,
        Self::SetActive,
        Self::SetPassword,
        Self::RenewPasswordHash,
        Self::SetRight,
        Self::CreateOrg,
        Self::Orgs,
        Self::PutMember,
        Self::RemoveMember,
        Self::PrincipalOf,
        Self::NoteUse,
        Self::CreateSession,
        Self::EndSessions,
        Self::SessionsOf,
        Self::CreateToken,
        Self::RotateToken,
        Self::RevokeToken,
        Self::TokensOf,
        Self::OrgTokens,
        Self::CreateFamily,
        Self::RefreshFamily,
        Self::RevokeFamily,
        Self::LiveAccessTokens,
        Self::KeyRing,
        Self::ChangeKeys,
        Self::ChangePassword,
        Self::UsersOfEmail,
        Self::CreatePasswordReset,
        Self::PasswordReset,
        Self::UsePasswordReset,
        Self::AppendEvents,
        Self::AuditHeads,
        Self::AuditEntries,
        Self::Spend,
        Self::Refill,
        Self::GiveBack,
    ];
}

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing happens, and the answer is [`StoreError::Unavailable`].
    Unavailable,
    /// Nothing happens, and the answer is [`StoreError::NotWritable`].
    NotWritable,
    /// Nothing happens, and the answer is [`StoreError::Corrupt`].
    Corrupt,
    /// Nothing happens, and the answer is [`StoreError::Refused`].
    Refused,
    /// It happens, but the answer is [`StoreError::Unavailable`]: the connection broke during the commit.
    AnswerLost,
    /// It happens, after so long.
    Delay(Duration),
    /// Nothing happens, and no answer ever comes.
    Hang,
}

/// The cause of an injected failure.
#[derive(Debug, thiserror::Error)]
#[error("a test made the store fail")]
struct Injected;

/// What fails, shared by the clones of a store.
#[derive(Debug, Default)]
struct Faults(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    next: HashMap<Operation, VecDeque<Fault>>,
    all: HashMap<Operation, Fault>,
    everything: Option<Fault>,
    calls: HashMap<Operation, u64>,
}

impl Faults {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and says what goes wrong with it.
    fn meet(&self, operation: Operation) -> Option<Fault> {
        let mut table = self.table();
        *table.calls.entry(operation).or_default() += 1;
        let once = table.next.get_mut(&operation).and_then(VecDeque::pop_front);
        once.or_else(|| table.all.get(&operation).copied()).or(table.everything)
    }

    async fn run<T, E: From<StoreError>>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        let error = match self.meet(operation) {
            None => return call.await,
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                return call.await;
            }
            Some(Fault::Hang) => return std::future::pending().await,
            Some(Fault::AnswerLost) => {
                call.await?;
                StoreError::Unavailable(Injected.into())
            }
            Some(Fault::Unavailable) => StoreError::Unavailable(Injected.into()),
            Some(Fault::NotWritable) => StoreError::NotWritable(Injected.into()),
            Some(Fault::Refused) => StoreError::Refused(Injected.into()),
            Some(Fault::Corrupt) => {
                StoreError::Corrupt(DecodeError { column: 0, expected: "a value that a test spoiled" })
            }
        };
        Err(error.into())
    }
}

/// A [`Store`] whose calls fail when the test says so. Clones fail together.
#[derive(Clone, Debug)]
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    faults: Arc<Faults>,
}

/// A [`CounterStore`] that fails when the test says so. Clones fail together.
#[derive(Clone)]
pub struct FaultyCounters {
    inner: Arc<dyn CounterStore>,
    faults: Arc<Faults>,
}

macro_rules! controls {
    ($name:ident) => {
        impl $name {
            /// Lets the next call of `operation` fail; said twice, the next two.
            pub fn fail_next(&self, operation: Operation, fault: Fault) {
                self.faults.table().next.entry(operation).or_default().push_back(fault);
            }

            /// Lets every call of `operation` fail until [`mend`](Self::mend).
            pub fn fail_all(&self, operation: Operation, fault: Fault) {
                self.faults.table().all.insert(operation, fault);
            }

            /// Lets every call of every operation fail until [`mend`](Self::mend).
            pub fn fail_everything(&self, fault: Fault) {
                self.faults.table().everything = Some(fault);
            }

            /// Lets nothing fail any more.
            pub fn mend(&self) {
                let mut table = self.faults.table();
                table.next.clear();
                table.all.clear();
                table.everything = None;
            }

            /// How often `operation` was called, also when it failed.
            pub fn calls(&self, operation: Operation) -> u64 {
                self.faults.table().calls.get(&operation).copied().unwrap_or(0)
            }
        }
    };
}

controls!(FaultyStore);
controls!(FaultyCounters);

impl FaultyStore {
    /// A store that does what `inner` does until it is told to fail.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, faults: Arc::default() }
    }

    /// `call` must be lazy: a store may begin its work when it is asked, not only when it is awaited.
    fn run<'a, T: Send + 'a, E: From<StoreError> + Send + 'a>(
        &'a self,
        operation: Operation,
        call: impl Future<Output = Result<T, E>> + Send + 'a,
    ) -> Answer<'a, T, E> {
        Box::pin(self.faults.run(operation, call))
    }
}

impl FaultyCounters {
    /// Counters that do what `inner` does until they are told to fail.
    pub fn new(inner: Arc<dyn CounterStore>) -> Self {
        Self { inner, faults: Arc::default() }
    }
}

impl std::fmt::Debug for FaultyCounters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultyCounters").field("faults", &self.faults).finish_non_exhaustive()
    }
}

impl CounterStore for FaultyCounters {
    fn spend<'a>(&'a self, charges: &'a [Charge]) -> Answer<'a, Vec<Verdict>> {
        Box::pin(self.faults.run(Operation::Spend, async move { self.inner.spend(charges).await }))
    }

    fn refill<'a>(&'a self, key: &'a CounterKey) -> Answer<'a, ()> {
        Box::pin(self.faults.run(Operation::Refill, async move { self.inner.refill(key).await }))
    }

    fn give_back<'a>(&'a self, charge: &'a Charge) -> Answer<'a, ()> {
        Box::pin(self.faults.run(Operation::GiveBack, async move { self.inner.give_back(charge).await }))
    }
}

impl RowStore for FaultyStore {
    fn read<'a>(&'a self, plan: &'a Plan, each: &'a mut EachRow<'_>) -> Answer<'a, u64> {
        self.run(Operation::Read, async move { self.inner.read(plan, each).await })
    }

    fn write(&self, plan: Plan) -> Answer<'_, Written> {
        self.run(Operation::Write, async move { self.inner.write(plan).await })
    }

    fn named<'a>(
        &'a self,
        table: &'static TableDef,
        column: usize,
        keys: &'a [Uuid],
    ) -> Answer<'a, Vec<Uuid>> {
        self.run(Operation::Named, async move { self.inner.named(table, column, keys).await })
    }
}

impl Directory for FaultyStore {
    fn membership<'a>(&'a self, user: UserId, slug: &'a str) -> Answer<'a, Option<Membership>> {
        self.run(Operation::Membership, async move { self.inner.membership(user, slug).await })
    }

    fn login<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Login>> {
        self.run(Operation::Login, async move { self.inner.login(name).await })
    }

    fn user_id<'a>(&'a self, name: &'a Username) -> Answer<'a, Option<UserId>> {
        self.run(Operation::UserId, async move { self.inner.user_id(name).await })
    }

    fn create_user(&self, user: NewUser, act: Act) -> Answer<'_, (), DirectoryError> {
        self.run(Operation::CreateUser, async move { self.inner.create_user(user, act).await })
    }

    fn users(&self) -> Answer<'_, Vec<UserRecord>> {
        self.run(Operation::Users, async move { self.inner.users().await })
    }

    fn set_active<'a>(
        &'a self,
        name: &'a Username,
        active: bool,
        act: Act,
    ) -> Answer<'a, (), DirectoryError> {
        self.run(Operation::SetActive, async move { self.inner.set_active(name, active, act).await })
    }

    fn set_password<'a>(
        &'a self,
        name: &'a Username,
        hash: &'a Secret<String>,
        act: Act,
    ) -> Answer<'a, (), DirectoryError> {
        self.run(Operation::SetPassword, async move { self.inner.set_password(name, hash, act).await })
    }

    fn renew_password_hash<'a>(
        &'a self,
        user: UserId,
        old: &'a Secret<String>,
        new: &'a Secret<String>,
    ) -> Answer<'a, bool> {
        let renewed = async move { self.inner.renew_password_hash(user, old, new).await };
        self.run(Operation::RenewPasswordHash, renewed)
    }

    fn set_right<'a>(
        &'a self,
        name: &'a Username,
        right: Right,
        granted: bool,
        act: Act,
    ) -> Answer<'a, (), DirectoryError> {
        self.run(Operation::SetRight, async move { self.inner.set_right(name, right, granted, act).await })
    }

    fn create_org(&self, org: NewOrg, act: Act) -> Answer<'_, (), DirectoryError> {
        self.run(Operation::CreateOrg, async move { self.inner.create_org(org, act).await })
    }

    fn orgs(&self) -> Answer<'_, Vec<OrgRecord>> {
        self.run(Operation::Orgs, async move { self.inner.orgs().await })
    }

    fn put_member<'a>(
        &'a self,
        slug: &'a Slug,
        name: &'a Username,
        role: Role,
        act: Act,
    ) -> Answer<'a, (), DirectoryError> {
        self.run(Operation::PutMember, async move { self.inner.put_member(slug, name, role, act).await })
    }

    fn remove_member<'a>(
        &'a self,
        slug: &'a Slug,
        name: &'a Username,
        act: Act,
    ) -> Answer<'a, (), DirectoryError> {
        self.run(Operation::RemoveMember, async move { self.inner.remove_member(slug, name, act).await })
    }
}

impl PasswordStore for FaultyStore {
    fn change_password(&self, change: PasswordChange, act: Act) -> Answer<'_, bool> {
        self.run(Operation::ChangePassword, async move { self.inner.change_password(change, act).await })
    }

    fn users_of_email<'a>(&'a self, email: &'a str) -> Answer<'a, Vec<Addressee>> {
        self.run(Operation::UsersOfEmail, async move { self.inner.users_of_email(email).await })
    }

    fn create_password_reset(&self, reset: NewPasswordReset, act: Act) -> Answer<'_, bool> {
        self.run(
            Operation::CreatePasswordReset,
            async move { self.inner.create_password_reset(reset, act).await },
        )
    }

    fn password_reset(&self, digest: CredentialDigest, now: Timestamp) -> Answer<'_, Option<String>> {
        self.run(Operation::PasswordReset, async move { self.inner.password_reset(digest, now).await })
    }

    fn use_password_reset(
        &self,
        digest: CredentialDigest,
        hash: Secret<String>,
        act: Act,
    ) -> Answer<'_, Option<UserId>> {
        let used = async move { self.inner.use_password_reset(digest, hash, act).await };
        self.run(Operation::UsePasswordReset, used)
    }
}

impl PrincipalStore for FaultyStore {
    fn principal_of(&self, proof: Proof, now: Timestamp) -> Answer<'_, Option<Principal>> {
        self.run(Operation::PrincipalOf, async move { self.inner.principal_of(proof, now).await })
    }

    fn principal_in<'a>(
        &'a self,
        proof: Proof,
        now: Timestamp,
        slug: &'a str,
    ) -> Answer<'a, Option<(Principal, Option<Membership>)>> {
        self.run(Operation::PrincipalOf, async move { self.inner.principal_in(proof, now, slug).await })
    }

    fn note_use(
        &self,
        credential: Credential,
        now: Timestamp,
        idle: Duration,
    ) -> Answer<'_, Option<Timestamp>> {
        self.run(Operation::NoteUse, async move { self.inner.note_use(credential, now, idle).await })
    }
}

impl SessionStore for FaultyStore {
    fn create_session(&self, session: NewSession, act: Act) -> Answer<'_, bool> {
        self.run(Operation::CreateSession, async move { self.inner.create_session(session, act).await })
    }

    fn end_sessions(&self, user: UserId, which: WhichSessions, act: Act) -> Answer<'_, u64> {
        self.run(Operation::EndSessions, async move { self.inner.end_sessions(user, which, act).await })
    }

    fn sessions_of(&self, user: UserId, now: Timestamp) -> Answer<'_, Vec<SessionRecord>> {
        self.run(Operation::SessionsOf, async move { self.inner.sessions_of(user, now).await })
    }
}

impl FamilyStore for FaultyStore {
    fn create_family(&self, family: NewFamily, act: Act) -> Answer<'_, bool> {
        self.run(Operation::CreateFamily, async move { self.inner.create_family(family, act).await })
    }

    fn refresh_family(&self, refresh: Refresh, act: Act) -> Answer<'_, Refreshed> {
        self.run(Operation::RefreshFamily, async move { self.inner.refresh_family(refresh, act).await })
    }

    fn revoke_family(&self, token: CredentialDigest, act: Act) -> Answer<'_, Option<FamilyId>> {
        self.run(Operation::RevokeFamily, async move { self.inner.revoke_family(token, act).await })
    }

    fn live_access_tokens(&self, now: Timestamp) -> Answer<'_, Vec<(String, u64)>> {
        self.run(Operation::LiveAccessTokens, async move { self.inner.live_access_tokens(now).await })
    }
}

/// What is measured does not fail.
impl Metered for FaultyStore {
    fn meters(&self, each: &mut dyn FnMut(Meter)) {
        self.inner.meters(each);
    }
}

impl KeyStore for FaultyStore {
    fn key_ring_version(&self, purpose: KeyPurpose) -> Answer<'_, u64> {
        self.run(Operation::KeyRing, async move { self.inner.key_ring_version(purpose).await })
    }

    fn key_ring(&self, purpose: KeyPurpose) -> Answer<'_, KeyRingRecord> {
        self.run(Operation::KeyRing, async move { self.inner.key_ring(purpose).await })
    }

    fn change_keys(
        &self,
        purpose: KeyPurpose,
        from: u64,
        keys: Vec<KeyRecord>,
        act: Act,
    ) -> Answer<'_, bool> {
        self.run(Operation::ChangeKeys, async move { self.inner.change_keys(purpose, from, keys, act).await })
    }
}

impl AuditStore for FaultyStore {
    fn append_events(&self, events: Vec<SecurityEvent>, act: Act) -> Answer<'_, ()> {
        self.run(Operation::AppendEvents, async move { self.inner.append_events(events, act).await })
    }

    fn audit_heads(&self) -> Answer<'_, Vec<Head>> {
        self.run(Operation::AuditHeads, async move { self.inner.audit_heads().await })
    }

    fn audit_head(&self, chain: Chain) -> Answer<'_, Head> {
        self.run(Operation::AuditHeads, async move { self.inner.audit_head(chain).await })
    }

    fn audit_entries(&self, chain: Chain, after: u64, most: u32) -> Answer<'_, Vec<Entry>> {
        let entries = async move { self.inner.audit_entries(chain, after, most).await };
        self.run(Operation::AuditEntries, entries)
    }
}

impl TokenStore for FaultyStore {
    fn create_token(&self, token: NewToken, act: Act) -> Answer<'_, TokenCreation> {
        self.run(Operation::CreateToken, async move { self.inner.create_token(token, act).await })
    }

    fn rotate_token(
        &self,
        replaced: ApiTokenId,
        token: NewToken,
        old_expires_at: Timestamp,
        act: Act,
    ) -> Answer<'_, Option<TokenRecord>> {
        let rotated = async move { self.inner.rotate_token(replaced, token, old_expires_at, act).await };
        self.run(Operation::RotateToken, rotated)
    }

    fn revoke_token(&self, which: TokenRef, act: Act) -> Answer<'_, Option<UserId>> {
        self.run(Operation::RevokeToken, async move { self.inner.revoke_token(which, act).await })
    }

    fn tokens_of(&self, user: UserId) -> Answer<'_, Vec<TokenRecord>> {
        self.run(Operation::TokensOf, async move { self.inner.tokens_of(user).await })
    }

    fn org_tokens(&self, org: OrgId) -> Answer<'_, Vec<OrgTokenRecord>> {
        self.run(Operation::OrgTokens, async move { self.inner.org_tokens(org).await })
    }
}
