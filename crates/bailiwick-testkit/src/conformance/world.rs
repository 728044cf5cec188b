//! Users, organisations and what they do, in few words.
use std::{borrow::Cow, sync::Arc};

use bailiwick_core::{
    access::{self, Access, Operation, Rules},
    audit::Act,
    clock::{Clock, Entropy, Timestamp},
    db::{Db, DbError},
    id::Id,
    identity::{
        ApiTokenId, Credential, Membership, OrgId, Principal, PrincipalParts, Role, Scopes, Slug, UserId,
        Username,
    },
    model::{Assignments, InputValue, Model, Ref, json::Json},
    query::{ListQuery, OverLimit, Page, PageSettings, Precondition},
    secret::Secret,
    store::{NewOrg, NewSession, NewToken, NewUser, Store, TokenCreation},
};
use uuid::Uuid;

use super::{
    Subject,
    model::{Member, Note, Rank, note, rules},
};
use crate::act;
use crate::{FakeClock, SeededEntropy};

/// A store and whom the tests put into it.
pub(super) struct World {
    pub(super) store: Arc<dyn Store>,
    pub(super) db: Db,
    pub(super) clock: FakeClock,
    pub(super) entropy: SeededEntropy,
    pub(super) subject: Subject,
}

/// A user, acting in one organisation.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) principal: Principal,
    pub(super) membership: Option<Membership>,
    pub(super) db: Db,
}

pub(super) fn username(name: &str) -> Username {
    name.parse().unwrap_or_else(|_| panic!("{name} is a user name"))
}

pub(super) fn slug(slug: &str) -> Slug {
    slug.parse().unwrap_or_else(|_| panic!("{slug} is a slug"))
}

pub(super) fn at(time: &str) -> Timestamp {
    time.parse().unwrap_or_else(|_| panic!("{time} is a time"))
}

pub(super) fn version(version: i64) -> Precondition {
    Precondition::VersionIn([version].into_iter().collect())
}

/// A reference as a client sends it.
pub(super) fn reference<M: Model<Key: From<Uuid>>>(to: Uuid) -> Ref<M> {
    Ref::from_json(&Json::String(to.to_string().into())).unwrap_or_else(|_| panic!("{to} is an id"))
}

/// What a test wants to be so, with what it found instead.
pub(super) fn refused<T: std::fmt::Debug>(done: Result<T, DbError>) -> DbError {
    match done {
        Ok(done) => panic!("it should have been refused: {done:?}"),
        Err(error) => error,
    }
}

macro_rules! assert_refused {
    ($done:expr, $pattern:pat $(if $guard:expr)? $(, $told:literal)?) => {{
        let error = $crate::conformance::world::refused($done);
        assert!(matches!(&error, $pattern $(if $guard)?), "{error:?} {}", concat!("", $($told)?));
    }};
}
pub(super) use assert_refused;

impl World {
    pub(super) async fn new(subject: Subject) -> Self {
        let store = subject.open().await;
        let (clock, entropy) = (FakeClock::new(), SeededEntropy::new(1));
        let db = Db::new(Arc::clone(&store), Arc::new(clock.clone()), Arc::new(entropy.clone()));
        Self { store, db, clock, entropy, subject }
    }

    pub(super) fn new_user(&self, name: &str) -> NewUser {
        NewUser {
            id: Id::new(&self.clock, &self.entropy),
            username: username(name),
            email: format!("{name}@example.com"),
            password_hash: Secret::new(format!("hash of {name}")),
            is_staff: false,
            created_at: self.clock.now(),
        }
    }

    pub(super) async fn user(&self, name: &str) -> UserId {
        let user = self.new_user(name);
        let id = user.id;
        self.store.create_user(user, act()).await.unwrap_or_else(|error| panic!("user {name}: {error:?}"));
        id
    }

    pub(super) fn new_org(&self, name: &str, owner: UserId) -> NewOrg {
        NewOrg {
            id: Id::new(&self.clock, &self.entropy),
            slug: slug(name),
            name: name.to_uppercase(),
            owner,
            created_at: self.clock.now(),
        }
    }

    /// A user `name` who owns a new organisation `org`.
    pub(super) async fn owner(&self, name: &str, org: &str) -> Person {
        let owner = self.user(name).await;
        let made = self.store.create_org(self.new_org(org, owner), act()).await;
        made.unwrap_or_else(|error| panic!("organisation {org}: {error:?}"));
        self.person(name, owner, org).await
    }

    /// A user `name`, who is there or is made, as a member of `org`.
    pub(super) async fn member(&self, name: &str, org: &str, role: Role) -> Person {
        let user = match self.store.login(name).await.expect("a log-in is looked up") {
            Some(login) => login.user_id,
            None => self.user(name).await,
        };
        let put =
            self.store.put_member(&slug(org), &username(name), role, Act::system(self.clock.now())).await;
        put.unwrap_or_else(|error| panic!("member {name} of {org}: {error:?}"));
        self.person(name, user, org).await
    }

    async fn person(&self, name: &str, user_id: UserId, org: &str) -> Person {
        let membership = self.store.membership(user_id, org).await.expect("a membership is looked up");
        assert!(membership.is_some(), "{name} is a member of {org}");
        let principal = Principal::new(PrincipalParts {
            user_id,
            username: name.to_owned(),
            email: format!("{name}@example.com"),
            is_staff: false,
            service_of: None,
            created_at: self.clock.now(),
            credential: Credential::ApiToken(ApiTokenId::from_uuid(Uuid::nil())),
            scopes: Scopes::ALL,
            last_used_at: None,
            expires_at: Timestamp::MAX,
        });
        Person { principal, membership, db: self.db.clone() }
    }

    pub(super) fn random(&self) -> Uuid {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes);
        Uuid::from_bytes(bytes)
    }

    /// Adds a token that there must be room for.
    pub(super) async fn add(&self, token: NewToken) {
        let made = self.store.create_token(token, act()).await.expect("the store works");
        assert_eq!(made, TokenCreation::Created);
    }

    /// A session that a log-in of `user` makes, who is called `name`: 30 minutes without use, 12 hours in all.
    pub(super) fn session(&self, user: UserId, name: &str) -> NewSession {
        let mut digest = [0; 32];
        self.entropy.fill(&mut digest);
        NewSession {
            id: Id::new(&self.clock, &self.entropy),
            digest,
            user_id: user,
            password_hash: Secret::new(format!("hash of {name}")),
            replaces: None,
            user_agent: "Mozilla/5.0 (X11; Linux)".to_owned(),
            address: "192.0.2.7".to_owned(),
            created_at: self.clock.now(),
            idle: std::time::Duration::from_secs(30 * 60),
            absolute: std::time::Duration::from_secs(12 * 60 * 60),
            max_per_user: 20,
        }
    }

    /// A token that a log-in of `user` makes.
    pub(super) fn token(&self, user: UserId) -> NewToken {
        let mut digest = [0; 32];
        self.entropy.fill(&mut digest);
        let now = self.clock.now();
        NewToken {
            id: Id::new(&self.clock, &self.entropy),
            digest,
            user_id: user,
            of_org: None,
            name: None,
            display: "bw_pat_…abcd".to_owned(),
            created_at: now,
            expires_at: now.saturating_add(std::time::Duration::from_secs(3600)),
            max_per_user: 20,
            scopes: Scopes::ALL,
            password_hash: None,
        }
    }
}

impl Person {
    pub(super) fn id(&self) -> UserId {
        self.principal.user_id()
    }

    pub(super) fn org(&self) -> OrgId {
        self.membership.expect("the person acts in an organisation").org_id()
    }

    /// The proof that this person may do `Op` by the rules.
    pub(super) fn may<R: Model, Op: Operation>(&self, rules: &Rules<R>) -> Access<R, Op> {
        let decided = access::decide(rules, &self.principal, self.membership.as_ref());
        decided.unwrap_or_else(|denied| {
            panic!("{} may {}: {denied}", self.principal.username, Op::KIND.as_str())
        })
    }

    pub(super) async fn create(&self, values: Assignments<Note>) -> Result<Note, DbError> {
        self.db.create(&self.may(&rules()), values).await
    }

    /// A note with this slug, for tests to which nothing else matters.
    pub(super) async fn note(&self, slug: &str) -> Note {
        self.create(values(slug)).await.unwrap_or_else(|error| panic!("note {slug}: {error:?}"))
    }

    pub(super) async fn retrieve(&self, id: Id<Note>) -> Result<Note, DbError> {
        self.db.retrieve(&self.may(&rules()), id).await
    }

    /// The note as it is now.
    pub(super) async fn look(&self, id: Id<Note>) -> Note {
        self.retrieve(id).await.unwrap_or_else(|error| panic!("the note is there: {error:?}"))
    }

    pub(super) async fn update(
        &self,
        id: Id<Note>,
        values: Assignments<Note>,
        precondition: Precondition,
    ) -> Result<Note, DbError> {
        self.db.update(&self.may(&rules()), id, values, precondition).await
    }

    pub(super) async fn delete(&self, id: Id<Note>, precondition: Precondition) -> Result<(), DbError> {
        self.db.delete(&self.may(&rules()), id, precondition).await
    }

    pub(super) async fn list(&self, parameters: &str) -> Result<Page<Note>, DbError> {
        self.db.list(&self.may(&rules()), &query(parameters)).await
    }

    /// The slugs of the notes on the page that `parameters` ask for.
    pub(super) async fn slugs(&self, parameters: &str) -> Vec<String> {
        let page = self.list(parameters).await.unwrap_or_else(|error| panic!("{parameters}: {error:?}"));
        page.rows.into_iter().map(|note| note.slug).collect()
    }

    /// How many notes there are: as it is kept, and as it is counted.
    pub(super) async fn counts(&self) -> (u64, u64) {
        let kept = self.list("page_size=1").await.expect("the list is read").count;
        let counted = self.list("page_size=1&created_at__gte=0001-01-01T00:00:00Z").await;
        (kept, counted.expect("the list is read").count)
    }
}

/// The query that these parameters ask for, written as in a URL but not encoded.
pub(super) fn query<R: Model>(parameters: &str) -> ListQuery<R> {
    let pairs = parameters.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (Cow::Borrowed(name), Cow::Borrowed(value))
    });
    let settings = PageSettings { default_size: 25, max_size: 100, over_limit: OverLimit::Reject };
    ListQuery::parse(pairs, &settings).unwrap_or_else(|error| panic!("{parameters}: {error:?}"))
}

/// What every note must have.
pub(super) fn values(slug: &str) -> Assignments<Note> {
    Assignments::new()
        .set(note::SLUG, slug.to_owned())
        .set(note::TITLE, format!("title of {slug}"))
        .set(note::RANK, Rank::Normal)
        .set(note::DONE, false)
}

pub(super) fn title(title: &str) -> Assignments<Note> {
    Assignments::new().set(note::TITLE, title.to_owned())
}

pub(super) fn with_peer(mut values: Assignments<Note>, peer: UserId) -> Assignments<Note> {
    values.put(note::PEER, "peer", Some(reference::<Member>(peer.as_uuid())));
    values
}

pub(super) fn with_parent(mut values: Assignments<Note>, parent: Uuid) -> Assignments<Note> {
    values.put(note::PARENT, "parent", Some(reference::<Note>(parent)));
    values
}
