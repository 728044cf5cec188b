//! A ring of keys on a real database, with a clock that the test moves.
use std::{sync::Arc, time::Duration};

use bailiwick_core::{
    clock::{Clock, OsEntropy, Timestamp},
    id::Id,
    secret::Secret,
    store::{KeyRecord, KeyState, Store},
};
use bailiwick_testkit::{
    FakeClock, Fault, FaultyStore, Operation,
    conformance::{self, Subject},
};
use tokio::task::JoinSet;

use super::{KeyRing, MasterKeys, Refusal, RingError, Schedule, SealError, Wait};
use crate::authn::jwt::{AccessTokens, Algorithm, Invalid, Subject as Whose};

const SCHEDULE: Schedule = Schedule {
    cache: Duration::from_secs(300),
    access_lifetime: Duration::from_secs(300),
    rotate_every: Duration::from_secs(90 * 24 * 60 * 60),
};
const SECOND: Duration = Duration::from_secs(1);

pub(super) fn record(kid: &str, state: KeyState) -> KeyRecord {
    KeyRecord {
        kid: kid.to_owned(),
        algorithm: "EdDSA".to_owned(),
        state,
        sealed_by: String::new(),
        sealed: Secret::new(Vec::new()),
        created_at: Timestamp::default(),
        promote_at: None,
        activated_at: None,
        retiring_at: None,
        ends_at: None,
    }
}

fn master(byte: u8) -> Secret<[u8; 32]> {
    Secret::new([byte; 32])
}

/// A database, and servers on it.
struct World {
    subject: Subject,
    clock: FakeClock,
    tokens: AccessTokens,
}

impl World {
    async fn new() -> Self {
        let tokens = AccessTokens {
            issuer: "here".to_owned(),
            audience: "here".to_owned(),
            lifetime: SCHEDULE.access_lifetime,
        };
        Self { subject: conformance::sqlite().await.unwrap(), clock: FakeClock::new(), tokens }
    }

    async fn server(&self) -> KeyRing {
        self.server_with(MasterKeys::new(&master(1), []), Algorithm::EdDsa).await
    }

    async fn server_with(&self, master: MasterKeys, algorithm: Algorithm) -> KeyRing {
        self.server_on(self.subject.open().await, master, algorithm)
    }

    fn server_on(&self, store: Arc<dyn Store>, master: MasterKeys, algorithm: Algorithm) -> KeyRing {
        KeyRing::new(store, Arc::new(self.clock.clone()), Arc::new(OsEntropy), master, algorithm, SCHEDULE)
    }

    async fn sign(&self, ring: &KeyRing) -> String {
        let whose = Whose {
            user: Id::from_uuid(uuid::Uuid::from_u128(1)),
            family: Id::from_uuid(uuid::Uuid::from_u128(2)),
        };
        let keys = ring.keys().await.unwrap();
        self.tokens.issue(keys.signing(), whose, self.clock.now(), "name".to_owned()).unwrap()
    }

    async fn verify(&self, ring: &KeyRing, token: &str) -> Result<(), Invalid> {
        ring.keys().await.unwrap().verify(&self.tokens, token, self.clock.now()).map(drop)
    }

    /// Lets time pass while the servers run.
    async fn run(&self, servers: &[&KeyRing], time: Duration) {
        self.clock.advance(time);
        for server in servers {
            server.tend().await.unwrap();
        }
    }
}

async fn states(ring: &KeyRing) -> Vec<KeyState> {
    ring.list().await.unwrap().iter().map(|key| key.state).collect()
}

async fn published(ring: &KeyRing) -> usize {
    let document: serde_json::Value = serde_json::from_str(ring.keys().await.unwrap().jwks()).unwrap();
    document["keys"].as_array().unwrap().len()
}

async fn signer(ring: &KeyRing) -> String {
    ring.keys().await.unwrap().signing().kid().to_owned()
}

fn refused<T: std::fmt::Debug>(done: Result<T, RingError>) -> Refusal {
    match done {
        Err(RingError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

// KEY-01
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_servers_that_start_at_once_agree_on_the_first_key() {
    let world = World::new().await;
    let mut starts = JoinSet::new();
    for _ in 0..12 {
        let server = world.server().await;
        starts.spawn(async move { signer(&server).await });
    }
    let mut kids = Vec::new();
    while let Some(kid) = starts.join_next().await {
        kids.push(kid.unwrap());
    }
    kids.dedup();
    assert_eq!(kids.len(), 1);
    assert_eq!(states(&world.server().await).await, [KeyState::Active]);
}

// KEY-02, KEY-03, KEY-05, KEY-10: the playbook of a routine rotation, with the clock run.
#[tokio::test]
async fn a_key_is_published_signs_retires_and_ends_and_no_good_token_is_ever_refused() {
    let world = World::new().await;
    let (one, two) = (world.server().await, world.server().await);
    let first = signer(&one).await;
    world.clock.advance(SECOND);
    let rotation = one.rotate(Wait::UntilDue).await.unwrap();
    assert_eq!(rotation.due, Some(world.clock.now().saturating_add(SCHEDULE.publish())));
    assert_eq!(one.rotate(Wait::UntilDue).await.unwrap(), rotation, "it is under way");
    assert_eq!((states(&one).await, published(&one).await), (vec![KeyState::Active, KeyState::Next], 2));
    assert_eq!(signer(&one).await, first, "it is published before it signs");

    let mut issued: Vec<(Timestamp, String)> = Vec::new();
    let begun = world.clock.now();
    for _ in 0..200 {
        world.run(&[&one, &two], 5 * SECOND).await;
        issued.push((world.clock.now(), world.sign(&one).await));
        for (at, token) in &issued {
            let lives = world.clock.now() < at.saturating_add(SCHEDULE.access_lifetime);
            for server in [&one, &two] {
                assert!(!lives || world.verify(server, token).await.is_ok());
            }
        }
        let signs_anew = world.clock.now() >= begun.saturating_add(SCHEDULE.publish());
        assert_eq!(signer(&one).await != first, signs_anew);
        assert_eq!(signer(&one).await, signer(&two).await);
    }
    let keys = one.list().await.unwrap();
    assert_eq!(states(&one).await, [KeyState::Retired, KeyState::Active]);
    assert_eq!(keys[0].ends_at.unwrap().saturating_since(keys[0].retiring_at.unwrap()), SCHEDULE.grace());
    assert!(keys[0].sealed.expose().is_empty(), "nobody needs it any more");
    assert_eq!(published(&two).await, 1);
    assert_eq!(refused(one.promote(&first, Wait::Not).await), Refusal::Is(KeyState::Retired));
}

// KEY-02
#[tokio::test]
async fn a_key_signs_when_nobody_can_have_a_document_without_it_unless_that_is_accepted() {
    let world = World::new().await;
    let ring = world.server().await;
    let first = signer(&ring).await;
    world.clock.advance(SECOND);
    let next = ring.generate().await.unwrap();
    assert_eq!(refused(ring.promote("other", Wait::Not).await), Refusal::NoSuchKey);
    assert_eq!(refused(ring.promote(&first, Wait::Not).await), Refusal::Is(KeyState::Active));
    assert_eq!(refused(ring.promote(&next, Wait::UntilDue).await), Refusal::Early(SCHEDULE.publish()));
    assert_eq!(refused(ring.retire(&first).await), Refusal::OnlySigner);
    world.run(&[&ring], SCHEDULE.publish() - SECOND).await;
    assert_eq!(refused(ring.promote(&next, Wait::UntilDue).await), Refusal::Early(SECOND));
    assert_eq!(signer(&ring).await, first);
    world.run(&[&ring], SECOND).await;
    assert_eq!(signer(&ring).await, first, "only one that was to be promoted is, by itself");
    ring.promote(&next, Wait::UntilDue).await.unwrap();
    assert_eq!(states(&ring).await, [KeyState::Retiring, KeyState::Active]);
    // Back again, as long as it verifies: everybody knows it.
    ring.promote(&first, Wait::UntilDue).await.unwrap();
    assert_eq!(
        (signer(&ring).await, states(&ring).await),
        (first.clone(), vec![KeyState::Active, KeyState::Retiring])
    );

    // Retiring the one that signs lets the one that is due take over.
    let third = ring.generate().await.unwrap();
    world.run(&[&ring], SCHEDULE.publish()).await;
    ring.retire(&first).await.unwrap();
    assert_eq!(signer(&ring).await, third);
    assert_eq!(refused(ring.retire(&first).await), Refusal::Is(KeyState::Retiring));
    world.clock.advance(SECOND);
    let fourth = ring.generate().await.unwrap();
    ring.retire(&fourth).await.unwrap();
    assert_eq!(states(&ring).await.last(), Some(&KeyState::Retired), "one that never signed is withdrawn");
    let fifth = ring.rotate(Wait::Not).await.unwrap();
    assert_eq!((fifth.due, signer(&ring).await), (None, fifth.kid));
}

// KEY-04
#[tokio::test]
async fn a_revoked_key_and_what_it_signed_end_at_once_on_every_server() {
    let world = World::new().await;
    let (one, two) = (world.server().await, world.server().await);
    let stolen = signer(&one).await;
    let token = world.sign(&one).await;
    for _ in 0..2 {
        assert_eq!(world.verify(&one, &token).await, Ok(()));
        assert_eq!(world.verify(&two, &token).await, Ok(()));
    }
    world.clock.advance(SECOND);
    one.revoke(&stolen).await.unwrap();
    assert_eq!(world.verify(&one, &token).await, Err(Invalid::UnknownKey), "what is remembered ends too");
    world.clock.advance(KeyRing::LOOK);
    assert_eq!(world.verify(&two, &token).await, Err(Invalid::UnknownKey));
    let anew = world.sign(&two).await;
    assert_eq!(world.verify(&one, &anew).await, Ok(()), "there is always one that signs");
    assert_eq!(states(&one).await, [KeyState::Revoked, KeyState::Active]);
    assert!(one.list().await.unwrap()[0].sealed.expose().is_empty());
    assert_eq!(refused(one.revoke(&stolen).await), Refusal::Is(KeyState::Revoked));
    // With one that is published, that one takes over, however young it is.
    let next = two.generate().await.unwrap();
    two.revoke(&signer(&two).await).await.unwrap();
    assert_eq!(signer(&two).await, next);
    assert_eq!(published(&two).await, 1);
}

// A server that has not seen the key yet must not refuse what another one has just signed with it.
#[tokio::test]
async fn what_one_server_signs_with_a_new_key_is_good_on_every_other_at_once() {
    let world = World::new().await;
    let (one, two) = (world.server().await, world.server().await);
    signer(&two).await;
    one.rotate(Wait::Not).await.unwrap();
    let token = world.sign(&one).await;
    assert_eq!(world.verify(&two, &token).await, Err(Invalid::UnknownKey), "it has not looked yet");
    assert!(two.verify(&world.tokens, &token).await.unwrap().is_ok());
    let forged = token.replace(&token[10..40], &token[40..70]);
    assert!(two.verify(&world.tokens, &forged).await.unwrap().is_err());
}

// KEY-01: what time brings is done by one of the servers.
#[tokio::test]
async fn keys_follow_each_other_by_themselves() {
    let world = World::new().await;
    let (one, two) = (world.server().await, world.server().await);
    let first = signer(&one).await;
    world.run(&[&one, &two], SCHEDULE.rotate_every - SCHEDULE.publish() - SECOND).await;
    assert_eq!(states(&one).await, [KeyState::Active]);
    world.clock.advance(SECOND);
    let (done, also) = tokio::join!(one.tend(), two.tend());
    done.and(also).unwrap();
    assert_eq!(states(&one).await, [KeyState::Active, KeyState::Next]);
    world.run(&[&one, &two], SCHEDULE.publish()).await;
    assert_eq!(states(&one).await, [KeyState::Retiring, KeyState::Active]);
    assert_ne!(signer(&one).await, first);
    world.run(&[&one, &two], SCHEDULE.grace()).await;
    assert_eq!(states(&one).await, [KeyState::Retired, KeyState::Active]);
    // Another algorithm is a reason too.
    let other = world.server_with(MasterKeys::new(&master(1), []), Algorithm::Hs256).await;
    world.run(&[&other], SECOND).await;
    world.run(&[&other], SCHEDULE.publish()).await;
    let token = world.sign(&one).await;
    assert_eq!(world.verify(&other, &token).await, Ok(()));
    assert_eq!(one.list().await.unwrap().last().unwrap().algorithm, "HS256");
    assert_eq!(published(&other).await, 1, "JWT-30: a shared secret is never published");
}

// KEY-12
#[tokio::test]
async fn keys_are_encrypted_anew_under_a_new_master_key_and_read_by_no_other() {
    let world = World::new().await;
    let old = world.server().await;
    let token = world.sign(&old).await;
    old.generate().await.unwrap();
    let sealed_by = old.list().await.unwrap()[0].sealed_by.clone();
    let stranger = world.server_with(MasterKeys::new(&master(2), []), Algorithm::EdDsa).await;
    let error = stranger.keys().await.unwrap_err();
    assert!(matches!(error, RingError::Sealed { source: SealError::UnknownMasterKey, .. }), "{error:?}");
    let new = world.server_with(MasterKeys::new(&master(2), [&master(1)]), Algorithm::EdDsa).await;
    assert_eq!(world.verify(&new, &token).await, Ok(()));
    new.tend().await.unwrap();
    assert!(new.list().await.unwrap().iter().all(|key| key.sealed_by != sealed_by));
    let without = world.server_with(MasterKeys::new(&master(2), []), Algorithm::EdDsa).await;
    assert_eq!(world.verify(&without, &token).await, Ok(()));
}

// I9
#[tokio::test]
async fn a_ring_that_cannot_be_looked_at_lets_nobody_in() {
    let world = World::new().await;
    let store = FaultyStore::new(world.subject.open().await);
    let ring = world.server_on(Arc::new(store.clone()), MasterKeys::new(&master(1), []), Algorithm::EdDsa);
    let token = world.sign(&ring).await;
    store.fail_all(Operation::KeyRing, Fault::Unavailable);
    assert_eq!(world.verify(&ring, &token).await, Ok(()), "it was looked at a moment ago");
    world.clock.advance(KeyRing::LOOK);
    assert!(matches!(ring.keys().await, Err(RingError::Store(_))));
    assert!(ring.tend().await.is_err());
    store.mend();
    assert_eq!(world.verify(&ring, &token).await, Ok(()));
    // Looking costs one question where nothing has changed, and none within the half second.
    let asked = store.calls(Operation::KeyRing);
    world.verify(&ring, &token).await.unwrap();
    assert_eq!(store.calls(Operation::KeyRing), asked);
    world.clock.advance(KeyRing::LOOK);
    world.verify(&ring, &token).await.unwrap();
    assert_eq!(store.calls(Operation::KeyRing), asked + 1);
}
