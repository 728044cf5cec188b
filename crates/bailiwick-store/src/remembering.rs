//! A store that remembers for a moment whom a credential speaks for.
//!
//! Every request asks that first, and mostly about a credential that was asked about just before. The answer is kept
//! for half a second: on the warm path a credential costs no look-up at all.
//!
//! # Security
//! What ends a credential, a membership or a role through this store is in force when it answers: a look-up that began
//! before the change is not used after it, whenever it came back. What another process changes is in force
//! [`IN_FORCE_AFTER`] it was answered there (ACL-09: at once here, within a second on every replica). Only answers that
//! let somebody in are kept: a new credential or membership works at once everywhere, and nobody can fill the memory with
//! guesses. A change whose caller goes away before it is answered may be made all the same, and is then in force here
//! too [`IN_FORCE_AFTER`] it was made.
use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bailiwick_core::{
    audit::{Act, Chain, Entry, Head, SecurityEvent},
    clock::{Clock, Timestamp},
    identity::{
        ApiTokenId, Credential, FamilyId, Membership, OrgId, Principal, Role, Slug, UserId, Username,
    },
    meter::{Meter, Metered},
    model::TableDef,
    query::Plan,
    secret::Secret,
    store::{
        Addressee, Answer, AuditStore, CredentialDigest, Directory, DirectoryError, EachRow, FamilyStore,
        KeyPurpose, KeyRecord, KeyRingRecord, KeyStore, Login, NewFamily, NewOrg, NewPasswordReset,
        NewSession, NewToken, NewUser, OrgRecord, OrgTokenRecord, PasswordChange, PasswordStore,
        PrincipalStore, Proof, Refresh, Refreshed, Right, RowStore, SessionRecord, SessionStore,
        TokenCreation, TokenRecord, TokenRef, TokenStore, UserRecord, WhichSessions, Written,
    },
};
use moka::{Equivalent, sync::Cache};
use uuid::Uuid;

/// How long after it was answered in one process a change of who may do what is in force in all that have the database
/// open. In the process that made it, it is so at once.
pub const IN_FORCE_AFTER: Duration = Duration::from_millis(500);
/// How many answers are kept at most; each takes about 300 bytes.
const MOST: u64 = 10_000;
/// How long an answer takes up memory. Whether it may still be used is decided each time.
const KEPT: Duration = Duration::from_secs(60);

/// Remembers whom credentials speak for, in front of another store.
pub(crate) struct RememberingStore<S> {
    inner: S,
    answers: Cache<Question, Found>,
    changes: Changes,
    clock: Arc<dyn Clock>,
}

/// Whose a credential is and, where it is asked for an organisation, which place its owner has there.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Question {
    proof: Proof,
    slug: Option<Box<str>>,
}

/// The same, borrowed.
#[derive(Hash)]
struct Asked<'q> {
    proof: Proof,
    slug: Option<&'q str>,
}

impl Asked<'_> {
    /// What stands for the text that was shown, among what may have changed.
    fn slot(&self) -> Uuid {
        match self.proof {
            Proof::ApiToken(digest) | Proof::Session(digest) => slot_of(&digest),
            Proof::Family(family) => family.as_uuid(),
            // No change is of a name alone.
            Proof::External(_) => Uuid::nil(),
        }
    }
}

fn slot_of(digest: &CredentialDigest) -> Uuid {
    let [first, ..] = digest.as_chunks::<16>().0 else { return Uuid::nil() };
    Uuid::from_bytes(*first)
}

impl Equivalent<Question> for Asked<'_> {
    fn equivalent(&self, key: &Question) -> bool {
        self.proof == key.proof && self.slug == key.slug.as_deref()
    }
}

#[derive(Clone, Debug)]
struct Found {
    principal: Principal,
    membership: Option<Membership>,
    asked: When,
}

/// When the store was asked.
#[derive(Clone, Copy, Debug)]
struct When {
    /// After which changes that were made here.
    moment: Moment,
    /// At what time, by the clock. Not when it answered: a slow answer is old when it comes.
    time: Duration,
}

impl<S> RememberingStore<S> {
    /// Goes by the monotonic time of `clock`.
    pub(crate) fn new(inner: S, clock: Arc<dyn Clock>) -> Self {
        let answers = Cache::builder().max_capacity(MOST).time_to_live(KEPT).build();
        Self { inner, answers, changes: Changes::new(), clock }
    }

    fn recall(&self, asked: &Asked<'_>, now: Timestamp) -> Option<Found> {
        let found = self.answers.get(asked)?;
        let principal = &found.principal;
        let ids = [principal.credential.as_uuid(), principal.user_id().as_uuid(), asked.slot()];
        let is_good = principal.expires_at > now
            && self.clock.monotonic().saturating_sub(found.asked.time) < IN_FORCE_AFTER
            && self.changes.none_since(found.asked.moment, ids);
        is_good.then_some(found)
    }

    fn when(&self) -> When {
        When { moment: self.changes.now(), time: self.clock.monotonic() }
    }

    fn remember(&self, asked: &Asked<'_>, found: Found) {
        self.answers.insert(Question { proof: asked.proof, slug: asked.slug.map(Into::into) }, found);
    }
}

impl<S: PrincipalStore + Sync> PrincipalStore for RememberingStore<S> {
    fn principal_of(&self, proof: Proof, now: Timestamp) -> Answer<'_, Option<Principal>> {
        Box::pin(async move {
            let asked = Asked { proof, slug: None };
            if let Some(found) = self.recall(&asked, now) {
                return Ok(Some(found.principal));
            }
            let when = self.when();
            let principal = self.inner.principal_of(proof, now).await?;
            if let Some(principal) = principal.clone() {
                self.remember(&asked, Found { principal, membership: None, asked: when });
            }
            Ok(principal)
        })
    }

    fn principal_in<'a>(
        &'a self,
        proof: Proof,
        now: Timestamp,
        slug: &'a str,
    ) -> Answer<'a, Option<(Principal, Option<Membership>)>> {
        Box::pin(async move {
            let asked = Asked { proof, slug: Some(slug) };
            if let Some(found) = self.recall(&asked, now) {
                return Ok(Some((found.principal, found.membership)));
            }
            let when = self.when();
            let found = self.inner.principal_in(proof, now, slug).await?;
            if let Some((principal, membership @ Some(_))) = found.clone() {
                self.remember(&asked, Found { principal, membership, asked: when });
            }
            Ok(found)
        })
    }

    fn note_use(
        &self,
        credential: Credential,
        now: Timestamp,
        idle: Duration,
    ) -> Answer<'_, Option<Timestamp>> {
        // What is remembered has the use before, and would be noted again.
        self.then(self.inner.note_use(credential, now, idle), move |changes| changes.of(credential.as_uuid()))
    }
}

impl<S: TokenStore + Sync> TokenStore for RememberingStore<S> {
    fn create_token(&self, token: NewToken, act: Act) -> Answer<'_, TokenCreation> {
        // It may end the oldest log-in tokens of the same user.
        let user = token.user_id.as_uuid();
        self.then(self.inner.create_token(token, act), move |changes| changes.of(user))
    }

    fn rotate_token(
        &self,
        replaced: ApiTokenId,
        token: NewToken,
        old_expires_at: Timestamp,
        act: Act,
    ) -> Answer<'_, Option<TokenRecord>> {
        let user = token.user_id.as_uuid();
        let change = self.inner.rotate_token(replaced, token, old_expires_at, act);
        // It may end the one before that, too.
        self.then(change, move |changes| changes.of(user))
    }

    fn revoke_token(&self, which: TokenRef, act: Act) -> Answer<'_, Option<UserId>> {
        self.then(self.inner.revoke_token(which, act), move |changes| match which {
            TokenRef::Id(id) | TokenRef::Of(_, id) => changes.of(id.as_uuid()),
            // Anybody may report a leak. That must cost the others nothing, so it is noted for this text alone.
            TokenRef::Digest(digest) => changes.of(slot_of(&digest)),
        })
    }

    fn tokens_of(&self, user: UserId) -> Answer<'_, Vec<TokenRecord>> {
        self.inner.tokens_of(user)
    }

    fn org_tokens(&self, org: OrgId) -> Answer<'_, Vec<OrgTokenRecord>> {
        self.inner.org_tokens(org)
    }
}

impl<S: PasswordStore + Sync> PasswordStore for RememberingStore<S> {
    fn change_password(&self, change: PasswordChange, act: Act) -> Answer<'_, bool> {
        let user = change.user_id.as_uuid();
        self.then(self.inner.change_password(change, act), move |changes| changes.of(user))
    }

    fn users_of_email<'a>(&'a self, email: &'a str) -> Answer<'a, Vec<Addressee>> {
        self.inner.users_of_email(email)
    }

    fn create_password_reset(&self, reset: NewPasswordReset, act: Act) -> Answer<'_, bool> {
        self.inner.create_password_reset(reset, act)
    }

    fn password_reset(&self, digest: CredentialDigest, now: Timestamp) -> Answer<'_, Option<String>> {
        self.inner.password_reset(digest, now)
    }

    fn use_password_reset(
        &self,
        digest: CredentialDigest,
        hash: Secret<String>,
        act: Act,
    ) -> Answer<'_, Option<UserId>> {
        // Whose it was is known only if the answer comes.
        self.then(self.inner.use_password_reset(digest, hash, act), Changes::of_all)
    }
}

impl<S: SessionStore + Sync> SessionStore for RememberingStore<S> {
    fn create_session(&self, session: NewSession, act: Act) -> Answer<'_, bool> {
        // It may end the oldest of the same user, and the one that it replaces, whoever's that is.
        let (user, replaced) = (session.user_id.as_uuid(), session.replaces);
        self.then(self.inner.create_session(session, act), move |changes| {
            changes.of(user);
            if let Some(replaced) = replaced {
                changes.of(slot_of(&replaced));
            }
        })
    }

    fn end_sessions(&self, user: UserId, which: WhichSessions, act: Act) -> Answer<'_, u64> {
        self.then(self.inner.end_sessions(user, which, act), move |changes| changes.of(user.as_uuid()))
    }

    fn sessions_of(&self, user: UserId, now: Timestamp) -> Answer<'_, Vec<SessionRecord>> {
        self.inner.sessions_of(user, now)
    }
}

impl<S: FamilyStore + Sync> FamilyStore for RememberingStore<S> {
    fn create_family(&self, family: NewFamily, act: Act) -> Answer<'_, bool> {
        // It may end the oldest of the same user.
        let user = family.user_id.as_uuid();
        self.then(self.inner.create_family(family, act), move |changes| changes.of(user))
    }

    fn refresh_family(&self, refresh: Refresh, act: Act) -> Answer<'_, Refreshed> {
        Box::pin(async move {
            let made = self.inner.refresh_family(refresh, act).await;
            match &made {
                Ok(Refreshed::Rotated(_) | Refreshed::Repeated(..) | Refreshed::Refused) => {}
                Ok(Refreshed::Reused(grant)) => self.changes.of(grant.family.as_uuid()),
                Err(_) => self.changes.of_all(),
            }
            made
        })
    }

    fn revoke_family(&self, token: CredentialDigest, act: Act) -> Answer<'_, Option<FamilyId>> {
        Box::pin(async move {
            let ended = self.inner.revoke_family(token, act).await;
            match &ended {
                Ok(Some(family)) => self.changes.of(family.as_uuid()),
                Ok(None) => {}
                Err(_) => self.changes.of_all(),
            }
            ended
        })
    }

    fn live_access_tokens(&self, now: Timestamp) -> Answer<'_, Vec<(String, u64)>> {
        self.inner.live_access_tokens(now)
    }
}

/// Keys are remembered elsewhere, decrypted.
impl<S: KeyStore> KeyStore for RememberingStore<S> {
    fn key_ring_version(&self, purpose: KeyPurpose) -> Answer<'_, u64> {
        self.inner.key_ring_version(purpose)
    }

    fn key_ring(&self, purpose: KeyPurpose) -> Answer<'_, KeyRingRecord> {
        self.inner.key_ring(purpose)
    }

    fn change_keys(
        &self,
        purpose: KeyPurpose,
        from: u64,
        keys: Vec<KeyRecord>,
        act: Act,
    ) -> Answer<'_, bool> {
        self.inner.change_keys(purpose, from, keys, act)
    }
}

impl<S: AuditStore> AuditStore for RememberingStore<S> {
    fn append_events(&self, events: Vec<SecurityEvent>, act: Act) -> Answer<'_, ()> {
        self.inner.append_events(events, act)
    }

    fn audit_heads(&self) -> Answer<'_, Vec<Head>> {
        self.inner.audit_heads()
    }

    fn audit_head(&self, chain: Chain) -> Answer<'_, Head> {
        self.inner.audit_head(chain)
    }

    fn audit_entries(&self, chain: Chain, after: u64, most: u32) -> Answer<'_, Vec<Entry>> {
        self.inner.audit_entries(chain, after, most)
    }
}

impl<S: Directory + Sync> Directory for RememberingStore<S> {
    fn membership<'a>(&'a self, user: UserId, slug: &'a str) -> Answer<'a, Option<Membership>> {
        self.inner.membership(user, slug)
    }

    fn login<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Login>> {
        self.inner.login(name)
    }

    fn user_id<'a>(&'a self, name: &'a Username) -> Answer<'a, Option<UserId>> {
        self.inner.user_id(name)
    }

    fn create_user(&self, user: NewUser, act: Act) -> Answer<'_, (), DirectoryError> {
        self.inner.create_user(user, act)
    }

    fn users(&self) -> Answer<'_, Vec<UserRecord>> {
        self.inner.users()
    }

    fn set_active<'a>(
        &'a self,
        name: &'a Username,
        active: bool,
        act: Act,
    ) -> Answer<'a, (), DirectoryError> {
        self.then(self.inner.set_active(name, active, act), Changes::of_all)
    }

    fn set_password<'a>(
        &'a self,
        name: &'a Username,
        hash: &'a Secret<String>,
        act: Act,
    ) -> Answer<'a, (), DirectoryError> {
        self.then(self.inner.set_password(name, hash, act), Changes::of_all)
    }

    fn renew_password_hash<'a>(
        &'a self,
        user: UserId,
        old: &'a Secret<String>,
        new: &'a Secret<String>,
    ) -> Answer<'a, bool> {
        self.inner.renew_password_hash(user, old, new)
    }

    fn set_right<'a>(
        &'a self,
        name: &'a Username,
        right: Right,
        granted: bool,
        act: Act,
    ) -> Answer<'a, (), DirectoryError> {
        self.then(self.inner.set_right(name, right, granted, act), Changes::of_all)
    }

    fn create_org(&self, org: NewOrg, act: Act) -> Answer<'_, (), DirectoryError> {
        self.inner.create_org(org, act)
    }

    fn orgs(&self) -> Answer<'_, Vec<OrgRecord>> {
        self.inner.orgs()
    }

    fn put_member<'a>(
        &'a self,
        slug: &'a Slug,
        name: &'a Username,
        role: Role,
        act: Act,
    ) -> Answer<'a, (), DirectoryError> {
        self.then(self.inner.put_member(slug, name, role, act), Changes::of_all)
    }

    fn remove_member<'a>(
        &'a self,
        slug: &'a Slug,
        name: &'a Username,
        act: Act,
    ) -> Answer<'a, (), DirectoryError> {
        self.then(self.inner.remove_member(slug, name, act), Changes::of_all)
    }
}

impl<S: RowStore + Sync> RowStore for RememberingStore<S> {
    fn read<'a>(&'a self, plan: &'a Plan, each: &'a mut EachRow<'_>) -> Answer<'a, u64> {
        self.inner.read(plan, each)
    }

    fn write(&self, plan: Plan) -> Answer<'_, Written> {
        if IDENTITY_TABLES.contains(&plan.table().name) {
            self.then(self.inner.write(plan), Changes::of_all)
        } else {
            self.inner.write(plan)
        }
    }

    fn named<'a>(
        &'a self,
        table: &'static TableDef,
        column: usize,
        keys: &'a [Uuid],
    ) -> Answer<'a, Vec<Uuid>> {
        self.inner.named(table, column, keys)
    }
}

/// The tables of which an answer is made.
const IDENTITY_TABLES: &[&str] = &["api_tokens", "jwt_families", "memberships", "orgs", "sessions", "users"];

impl<S: Sync> RememberingStore<S> {
    /// Notes a change once it was made, and before anyone is told. Also one that failed: a connection that breaks
    /// during the commit leaves open whether it happened.
    fn then<'a, T: Send + 'a, E: Send + 'a>(
        &'a self,
        change: Answer<'a, T, E>,
        note: impl FnOnce(&Changes) + Send + 'a,
    ) -> Answer<'a, T, E> {
        Box::pin(async move {
            let made = change.await;
            note(&self.changes);
            made
        })
    }
}

impl<S: Metered> Metered for RememberingStore<S> {
    fn meters(&self, each: &mut dyn FnMut(Meter)) {
        self.inner.meters(each);
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for RememberingStore<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RememberingStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// A moment, counted in changes.
type Moment = u64;

/// When what was changed last.
#[derive(Debug)]
struct Changes {
    /// How many there were.
    count: AtomicU64,
    /// The last one that may concern anyone.
    of_all: AtomicU64,
    /// The last one that concerns one of the users, credentials or texts of credentials that share a slot. A change in the slot of another
    /// costs a look-up and nothing else.
    slots: Box<[AtomicU64]>,
    hasher: RandomState,
}

/// A power of two.
const SLOTS: usize = 1024;

impl Changes {
    fn new() -> Self {
        let slots = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self { count: AtomicU64::new(0), of_all: AtomicU64::new(0), slots, hasher: RandomState::new() }
    }

    fn now(&self) -> Moment {
        self.count.load(Ordering::SeqCst)
    }

    /// A user or a credential has changed.
    fn of(&self, id: Uuid) {
        let moment = self.next();
        self.slot(id).fetch_max(moment, Ordering::SeqCst);
    }

    /// Any of them may have changed.
    fn of_all(&self) {
        let moment = self.next();
        self.of_all.fetch_max(moment, Ordering::SeqCst);
    }

    fn none_since(&self, moment: Moment, ids: [Uuid; 3]) -> bool {
        let not_after = |last: &AtomicU64| last.load(Ordering::SeqCst) <= moment;
        not_after(&self.of_all) && ids.into_iter().all(|id| not_after(self.slot(id)))
    }

    /// The moment of a change that was just made: whoever asks the store from here on sees it.
    fn next(&self) -> Moment {
        self.count.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn slot(&self, id: Uuid) -> &AtomicU64 {
        let hash = self.hasher.hash_one(id);
        &self.slots[usize::try_from(hash % SLOTS as u64).unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    use bailiwick_core::identity::Scopes;
    use bailiwick_testkit::{FakeClock, Fault, FaultyStore, Operation, act, audit_keys};
    use tempfile::TempDir;

    use super::*;
    use crate::{
        OpenOptions, SqliteStore,
        fixture::{Card, Member, migrations, now, random},
    };

    /// A store that remembers, one behind it that counts what it is asked, and ann with a token, who owns acme.
    struct World {
        store: Arc<RememberingStore<FaultyStore>>,
        behind: FaultyStore,
        clock: FakeClock,
        ann: UserId,
        token: NewToken,
        _directory: TempDir,
    }

    impl World {
        async fn new() -> Self {
            use bailiwick_core::model::Model;
            let directory = TempDir::new().unwrap();
            let (path, options) = (directory.path().join("test.db"), OpenOptions::default());
            crate::sqlite::migrate(&path, &options, &migrations(), &[Card::TABLE, Member::TABLE]).unwrap();
            let opened = SqliteStore::open(path, &options.sqlite, audit_keys()).unwrap();
            let behind = FaultyStore::new(Arc::new(opened));
            let clock = FakeClock::new();
            let store = Arc::new(RememberingStore::new(behind.clone(), Arc::new(clock.clone())));
            let ann = UserId::from_uuid(random());
            let user = NewUser {
                id: ann,
                username: name(),
                email: "ann@example.com".to_owned(),
                password_hash: Secret::new("hash".to_owned()),
                is_staff: false,
                created_at: now(),
            };
            store.create_user(user, act()).await.unwrap();
            let org = NewOrg {
                id: OrgId::from_uuid(random()),
                slug: slug(),
                name: "Acme".to_owned(),
                owner: ann,
                created_at: now(),
            };
            store.create_org(org, act()).await.unwrap();
            let token = token(ann);
            assert_eq!(store.create_token(token.clone(), act()).await.unwrap(), TokenCreation::Created);
            Self { store, behind, clock, ann, token, _directory: directory }
        }

        async fn role(&self) -> Option<Option<Role>> {
            let found = self.store.principal_in(self.token.proof(), now(), "acme").await.unwrap();
            found.map(|(_, membership)| membership.map(|membership| membership.role()))
        }

        fn look_ups(&self) -> u64 {
            self.behind.calls(Operation::PrincipalOf)
        }
    }

    fn name() -> Username {
        "ann".parse().unwrap()
    }

    fn slug() -> Slug {
        "acme".parse().unwrap()
    }

    fn token(owner: UserId) -> NewToken {
        let mut digest = [0; 32];
        digest[..16].copy_from_slice(random().as_bytes());
        NewToken {
            id: ApiTokenId::from_uuid(random()),
            digest,
            user_id: owner,
            of_org: None,
            name: Some("test".to_owned()),
            display: "bw_pat_…test".to_owned(),
            created_at: now(),
            expires_at: Timestamp::from_micros(now().as_micros() + 1_000_000),
            max_per_user: 20,
            scopes: Scopes::ALL,
            password_hash: None,
        }
    }

    #[tokio::test]
    async fn a_credential_that_was_just_asked_about_costs_no_look_up() {
        let world = World::new().await;
        for _ in 0..100 {
            assert_eq!(world.role().await, Some(Some(Role::Owner)));
            assert!(world.store.principal_of(world.token.proof(), now()).await.unwrap().is_some());
        }
        assert_eq!(world.look_ups(), 2, "one for each question");
        world.behind.fail_all(Operation::PrincipalOf, Fault::Unavailable);
        assert_eq!(world.role().await, Some(Some(Role::Owner)), "the store is not asked");
    }

    // ACL-09
    #[tokio::test]
    async fn what_another_process_changes_is_in_force_within_a_second() {
        let world = World::new().await;
        world.role().await;
        // Past the store that remembers, as another process would.
        world.behind.set_active(&name(), false, Act::system(now())).await.unwrap();
        world.clock.advance(IN_FORCE_AFTER - Duration::from_nanos(1));
        assert!(world.role().await.is_some(), "what was remembered is used for as long as it may be");
        world.clock.advance(Duration::from_nanos(1));
        assert_eq!(world.role().await, None);
        const { assert!(IN_FORCE_AFTER.as_millis() < 1000) };
    }

    // What else it is made of must be noted as a change when it is written.
    #[test]
    fn the_tables_of_which_an_answer_is_made_are_there() {
        let schema = concat!(
            include_str!("../migrations/V1__identity.sql"),
            include_str!("../migrations/V2__credentials.sql"),
            include_str!("../migrations/V4__families.sql")
        );
        for table in IDENTITY_TABLES {
            assert!(schema.contains(&format!("CREATE TABLE {table} (")), "{table}");
        }
    }

    // ACL-09
    #[tokio::test]
    async fn what_ends_or_changes_a_credential_here_is_in_force_when_it_is_answered() {
        let world = World::new().await;
        let other = token(world.ann);
        assert_eq!(world.store.create_token(other.clone(), act()).await.unwrap(), TokenCreation::Created);
        assert_eq!(world.role().await, Some(Some(Role::Owner)));

        let bob = NewUser {
            id: UserId::from_uuid(random()),
            username: "bob".parse().unwrap(),
            email: "bob@example.com".to_owned(),
            password_hash: Secret::new("hash".to_owned()),
            is_staff: false,
            created_at: now(),
        };
        world.store.create_user(bob, act()).await.unwrap();
        world
            .store
            .put_member(&slug(), &"bob".parse().unwrap(), Role::Owner, Act::system(now()))
            .await
            .unwrap();
        world.store.put_member(&slug(), &name(), Role::Viewer, Act::system(now())).await.unwrap();
        assert_eq!(world.role().await, Some(Some(Role::Viewer)));
        world.store.remove_member(&slug(), &name(), act()).await.unwrap();
        assert_eq!(world.role().await, Some(None));
        world.store.put_member(&slug(), &name(), Role::Member, Act::system(now())).await.unwrap();
        assert_eq!(world.role().await, Some(Some(Role::Member)), "that there was none is not remembered");

        world.store.set_right(&name(), Right::Staff, true, act()).await.unwrap();
        let known = world.store.principal_of(world.token.proof(), now()).await.unwrap();
        assert!(known.unwrap().is_staff);
        assert!(
            world
                .store
                .revoke_token(TokenRef::Id(world.token.id), Act::system(now()))
                .await
                .unwrap()
                .is_some()
        );
        assert_eq!(world.role().await, None);
        assert!(world.store.principal_of(other.proof(), now()).await.unwrap().is_some());
        world.store.set_active(&name(), false, Act::system(now())).await.unwrap();
        assert!(world.store.principal_of(other.proof(), now()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_credential_that_has_expired_is_none_however_fresh_the_answer() {
        let world = World::new().await;
        assert!(world.role().await.is_some());
        let after = world.token.expires_at;
        assert!(world.store.principal_in(world.token.proof(), after, "acme").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_look_up_that_began_before_a_change_is_not_used_after_it() {
        let world = World::new().await;
        let asked = Asked { proof: world.token.proof(), slug: Some("acme") };
        let when = world.store.when();
        let (principal, membership) =
            world.behind.principal_in(world.token.proof(), now(), "acme").await.unwrap().unwrap();
        world.store.revoke_token(TokenRef::Id(world.token.id), Act::system(now())).await.unwrap();
        // The answer was slow on its way.
        world.store.remember(&asked, Found { principal, membership, asked: when });
        assert_eq!(world.role().await, None);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nobody_of_many_is_let_in_by_a_token_that_was_revoked() {
        let world = Arc::new(World::new().await);
        for _ in 0..40 {
            let token = token(world.ann);
            let (id, proof) = (token.id, token.proof());
            assert_eq!(world.store.create_token(token.clone(), act()).await.unwrap(), TokenCreation::Created);
            let (revoked, let_in) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
            let callers: Vec<_> = (0..4)
                .map(|_| {
                    let (world, revoked, let_in) = (world.clone(), revoked.clone(), let_in.clone());
                    tokio::spawn(async move {
                        loop {
                            let too_late = revoked.load(Ordering::SeqCst);
                            let found = world.store.principal_in(proof, now(), "acme").await.unwrap();
                            assert!(!(too_late && found.is_some()), "a revoked token lets in");
                            let_in.fetch_add(found.is_some().into(), Ordering::SeqCst);
                            if too_late {
                                return;
                            }
                        }
                    })
                })
                .collect();
            while let_in.load(Ordering::SeqCst) < 20 {
                tokio::task::yield_now().await;
            }
            assert!(world.store.revoke_token(TokenRef::Id(id), Act::system(now())).await.unwrap().is_some());
            revoked.store(true, Ordering::SeqCst);
            for caller in callers {
                caller.await.unwrap();
            }
        }
    }
}
