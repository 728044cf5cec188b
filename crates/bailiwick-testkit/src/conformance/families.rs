//! Families of refresh tokens: one winner, the same again for a moment, and the end of all if one is used twice.
use std::time::Duration;

use bailiwick_core::{
    audit::Act,
    clock::{Clock, Timestamp},
    id::Id,
    identity::{Credential, FamilyId, Role, Scopes, UserId},
    secret::Secret,
    store::{
        AccessNote, CredentialDigest, Grant, NewFamily, Proof, Refresh,
        Refreshed::{self, Refused, Repeated, Reused, Rotated},
    },
};
use tokio::task::JoinSet;

use super::{
    Subject,
    world::{World, username},
};
use crate::act;

const LIFETIME: Duration = Duration::from_secs(14 * 24 * 60 * 60);
const ABSOLUTE: Duration = Duration::from_secs(20 * 24 * 60 * 60);
const GRACE: Duration = Duration::from_secs(10);
const ACCESS: Duration = Duration::from_secs(300);
const MICROSECOND: Duration = Duration::from_micros(1);

/// The digest of the token of one generation.
fn token(generation: u8) -> CredentialDigest {
    [generation; 32]
}

fn access(world: &World) -> AccessNote {
    AccessNote { kid: "key".to_owned(), expires_at: world.clock.now().saturating_add(ACCESS) }
}

fn new_family(world: &World, user: UserId, name: &str, first: CredentialDigest) -> NewFamily {
    NewFamily {
        id: Id::from_uuid(world.random()),
        user_id: user,
        password_hash: world.session(user, name).password_hash,
        digest: first,
        created_at: world.clock.now(),
        lifetime: LIFETIME,
        absolute: ABSOLUTE,
        access: access(world),
        max_per_user: 20,
    }
}

/// A family that must come to be.
async fn family(world: &World, user: UserId, name: &str, first: CredentialDigest) -> NewFamily {
    let family = new_family(world, user, name, first);
    assert!(world.store.create_family(family.clone(), act()).await.unwrap(), "the family is made");
    family
}

fn exchange(world: &World, from: u8, to: u8) -> Refresh {
    Refresh {
        digest: token(from),
        successors: vec![token(to)],
        now: world.clock.now(),
        lifetime: LIFETIME,
        grace: GRACE,
        access: access(world),
    }
}

async fn refresh(world: &World, from: u8, to: u8) -> Refreshed {
    world.store.refresh_family(exchange(world, from, to), act()).await.unwrap()
}

async fn is_live(world: &World, family: &NewFamily) -> bool {
    world.store.principal_of(family.proof(), world.clock.now()).await.unwrap().is_some()
}

fn a_microsecond_before(time: Timestamp) -> Timestamp {
    Timestamp::from_micros(time.as_micros() - 1)
}

// JWT-47
pub async fn a_refresh_token_is_exchanged_once_and_its_parent_gets_the_same_for_a_moment(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.user("alice").await;
    let hers = family(&world, alice, "alice", token(1)).await;
    let grant = Grant { family: hers.id, user: alice };
    assert_eq!(refresh(&world, 9, 10).await, Refused, "nobody has it");
    assert_eq!(refresh(&world, 1, 2).await, Rotated(grant));
    assert_eq!(refresh(&world, 1, 2).await, Repeated(grant, 0));
    // While a former master key is known, what it made is found too.
    let mut known = exchange(&world, 1, 7);
    known.successors.push(token(2));
    assert_eq!(world.store.refresh_family(known, act()).await.unwrap(), Repeated(grant, 1));
    world.clock.advance(GRACE - MICROSECOND);
    assert_eq!(refresh(&world, 1, 2).await, Repeated(grant, 0));
    assert_eq!(refresh(&world, 2, 3).await, Rotated(grant));
    assert_eq!(refresh(&world, 2, 3).await, Repeated(grant, 0));
    assert!(is_live(&world, &hers).await);
}

// JWT-48
pub async fn one_of_many_parallel_refreshes_wins_and_the_others_get_the_same(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.user("alice").await;
    let others = world.subject.open().await;
    let hers = family(&world, alice, "alice", token(1)).await;
    let grant = Grant { family: hers.id, user: alice };
    for generation in 1..5 {
        let mut tasks = JoinSet::new();
        for caller in 0..30 {
            let store = if caller % 2 == 0 { world.store.clone() } else { others.clone() };
            let refresh = exchange(&world, generation, generation + 1);
            tasks.spawn(async move { store.refresh_family(refresh, act()).await.unwrap() });
        }
        let mut winners = 0;
        while let Some(refreshed) = tasks.join_next().await {
            match refreshed.unwrap() {
                Rotated(to) if to == grant => winners += 1,
                Repeated(to, 0) if to == grant => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(winners, 1);
        world.clock.advance(MICROSECOND);
    }
    assert!(is_live(&world, &hers).await);
    // Of a token that is shown with others of the same family at once, none is left over.
    let mut tasks = JoinSet::new();
    for caller in 0..20 {
        let store = world.store.clone();
        let refresh = exchange(&world, if caller % 4 == 0 { 2 } else { 5 }, 6);
        tasks.spawn(async move { store.refresh_family(refresh, act()).await.unwrap() });
    }
    while tasks.join_next().await.is_some() {}
    assert_eq!(refresh(&world, 6, 7).await, Refused, "JWT-49: no descendant survives the family");
    assert!(!is_live(&world, &hers).await);
}

// JWT-41, JWT-47.4, JWT-48
pub async fn a_token_that_is_used_again_ends_its_family_for_good(subject: Subject) {
    let world = World::new(subject).await;
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let his = family(&world, bob, "bob", token(200)).await;
    // Its grandparent, within the grace.
    let hers = family(&world, alice, "alice", token(1)).await;
    let grant = Grant { family: hers.id, user: alice };
    assert_eq!(refresh(&world, 1, 2).await, Rotated(grant));
    assert_eq!(refresh(&world, 2, 3).await, Rotated(grant));
    assert_eq!(refresh(&world, 1, 2).await, Reused(grant));
    // It is kept, in other processes too: what is legitimate is dead as well.
    let others = world.subject.open().await;
    assert_eq!(others.refresh_family(exchange(&world, 3, 4), act()).await.unwrap(), Refused);
    assert_eq!(refresh(&world, 2, 3).await, Refused, "no grace for what has ended");
    assert!(!is_live(&world, &hers).await);

    // Its parent, after the grace.
    let hers = family(&world, alice, "alice", token(11)).await;
    let grant = Grant { family: hers.id, user: alice };
    assert_eq!(refresh(&world, 11, 12).await, Rotated(grant));
    world.clock.advance(GRACE);
    assert_eq!(refresh(&world, 11, 12).await, Reused(grant));
    assert_eq!(refresh(&world, 12, 13).await, Refused);
    assert!(!is_live(&world, &hers).await);

    // Its parent, with another successor than it has: two live ones would blind the next look.
    let hers = family(&world, alice, "alice", token(21)).await;
    assert!(matches!(refresh(&world, 21, 22).await, Rotated(_)));
    assert!(matches!(refresh(&world, 21, 23).await, Reused(_)));
    assert!(!is_live(&world, &hers).await);
    assert!(is_live(&world, &his).await, "others live on");
}

// JWT-42
pub async fn families_end_by_age_and_on_purpose(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.user("alice").await;
    let (began, store) = (world.clock.now(), &world.store);
    let idle = family(&world, alice, "alice", token(1)).await;
    let used = family(&world, alice, "alice", token(11)).await;
    let ended = family(&world, alice, "alice", token(21)).await;
    assert!(matches!(refresh(&world, 21, 22).await, Rotated(_)));
    assert_eq!(store.revoke_family(token(99), Act::system(began)).await.unwrap(), None);
    assert_eq!(
        store.revoke_family(token(21), Act::system(began)).await.unwrap(),
        Some(ended.id),
        "a spent one names it too"
    );
    assert_eq!(store.revoke_family(token(22), Act::system(began)).await.unwrap(), None, "it has ended");
    assert_eq!(refresh(&world, 22, 23).await, Refused);
    assert_eq!(refresh(&world, 21, 22).await, Refused, "JWT-47.5: and not in the grace either");
    assert!(!is_live(&world, &ended).await);

    world.clock.set(a_microsecond_before(began.saturating_add(LIFETIME)));
    assert!(matches!(refresh(&world, 11, 12).await, Rotated(_)));
    world.clock.advance(MICROSECOND);
    assert_eq!(refresh(&world, 1, 2).await, Refused, "it was not used for so long");
    assert!(is_live(&world, &idle).await, "it has access tokens, if any, until they expire");
    world.clock.set(a_microsecond_before(used.ends_at()));
    assert!(matches!(refresh(&world, 12, 13).await, Rotated(_)));
    assert!(is_live(&world, &used).await);
    world.clock.advance(MICROSECOND);
    assert_eq!(refresh(&world, 13, 14).await, Refused, "however much it is used");
    assert!(!is_live(&world, &used).await);
    // The next one sweeps: what is gone stays unknown.
    family(&world, alice, "alice", token(1)).await;
    assert_eq!(refresh(&world, 12, 13).await, Refused);
}

// JWT-44
pub async fn who_is_kept_out_or_has_another_password_has_no_family(subject: Subject) {
    let world = World::new(subject).await;
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let (store, name) = (&world.store, username("alice"));
    let his = family(&world, bob, "bob", token(200)).await;
    let hers = family(&world, alice, "alice", token(1)).await;
    store.set_active(&name, false, Act::system(world.clock.now())).await.unwrap();
    assert!(!is_live(&world, &hers).await);
    assert_eq!(refresh(&world, 1, 2).await, Refused);
    assert!(!store.create_family(new_family(&world, alice, "alice", token(3)), act()).await.unwrap());
    store.set_active(&name, true, Act::system(world.clock.now())).await.unwrap();
    assert!(!is_live(&world, &hers).await, "who had stolen it gets it not back");
    assert_eq!(refresh(&world, 1, 2).await, Refused);

    let hers = family(&world, alice, "alice", token(11)).await;
    let late = new_family(&world, alice, "alice", token(13));
    store
        .set_password(&name, &Secret::new("another hash".to_owned()), Act::system(world.clock.now()))
        .await
        .unwrap();
    assert!(!is_live(&world, &hers).await);
    assert_eq!(refresh(&world, 11, 12).await, Refused);
    assert!(!store.create_family(late, act()).await.unwrap(), "the password that was proved is no more");
    let of_nobody = new_family(&world, UserId::from_uuid(world.random()), "alice", token(15));
    assert!(!store.create_family(of_nobody, act()).await.unwrap());
    assert!(is_live(&world, &his).await);
}

pub async fn access_tokens_of_others_speak_for_a_user_by_name_while_that_user_may_come_in(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let (store, now) = (&world.store, world.clock.now());
    let others = world.subject.open().await;
    for name in ["alice", "Alice", "ALICE"] {
        let proof = Proof::External(username(name).folded());
        let principal = store.principal_of(proof, now).await.unwrap().expect("she is there");
        assert_eq!(
            (principal.user_id(), principal.credential, principal.expires_at, principal.last_used_at),
            (alice.id(), Credential::External(alice.id()), Timestamp::MAX, None)
        );
        assert_eq!((principal.username.as_str(), &principal.scopes), ("alice", &Scopes::ALL));
        let (_, place) = store.principal_in(proof, now, "acme").await.unwrap().expect("she is there");
        assert_eq!(place.expect("she owns it").role(), Role::Owner);
        let (_, place) = store.principal_in(proof, now, "nowhere").await.unwrap().expect("she is there");
        assert!(place.is_none());
    }
    for name in ["alic", "alice1", "nobody"] {
        let proof = Proof::External(username(name).folded());
        assert!(store.principal_of(proof, now).await.unwrap().is_none(), "{name}");
        assert!(store.principal_in(proof, now, "acme").await.unwrap().is_none(), "{name}");
    }
    let proof = Proof::External(username("alice").folded());
    assert!(others.principal_of(proof, now).await.unwrap().is_some());
    store.set_active(&username("alice"), false, Act::system(now)).await.unwrap();
    assert!(store.principal_of(proof, now).await.unwrap().is_none());
    assert!(store.principal_in(proof, now, "acme").await.unwrap().is_none());
    store.set_active(&username("alice"), true, Act::system(now)).await.unwrap();
    assert!(store.principal_of(proof, now).await.unwrap().is_some());
}

pub async fn access_tokens_speak_for_their_family_until_it_ends(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let (store, now) = (&world.store, world.clock.now());
    let hers = family(&world, alice.id(), "alice", token(1)).await;
    let principal = store.principal_of(hers.proof(), now).await.unwrap().expect("it is live");
    assert_eq!(
        (principal.user_id(), principal.credential, principal.expires_at, principal.last_used_at),
        (alice.id(), Credential::Family(hers.id), hers.ends_at(), Some(now))
    );
    let (_, place) = store.principal_in(hers.proof(), now, "acme").await.unwrap().expect("it is live");
    assert_eq!(place.expect("she owns it").role(), Role::Owner);
    let nobody: FamilyId = Id::from_uuid(world.random());
    assert!(store.principal_of(Proof::Family(nobody), now).await.unwrap().is_none());

    let live = async |now| store.live_access_tokens(now).await.unwrap();
    assert!(matches!(refresh(&world, 1, 2).await, Rotated(_)));
    let other = family(&world, alice.id(), "alice", token(11)).await;
    assert_eq!(live(now).await, [("key".to_owned(), 3)]);
    assert_eq!(live(now.saturating_add(ACCESS)).await, []);

    world.clock.advance(Duration::from_secs(60));
    let now = world.clock.now();
    let used = store.note_use(Credential::Family(hers.id), now, Duration::ZERO).await.unwrap();
    assert_eq!(used, Some(hers.ends_at()));
    let principal = store.principal_of(hers.proof(), now).await.unwrap().expect("it is live");
    assert_eq!((principal.last_used_at, principal.expires_at), (Some(now), hers.ends_at()));
    assert!(store.revoke_family(token(1), Act::system(now)).await.unwrap().is_some());
    let used = store.note_use(Credential::Family(hers.id), now, Duration::ZERO).await.unwrap();
    assert_eq!(used, None);
    assert!(store.principal_of(hers.proof(), now).await.unwrap().is_none());
    assert!(store.principal_in(hers.proof(), now, "acme").await.unwrap().is_none());
    assert_eq!(live(now).await, [("key".to_owned(), 1)]);
    assert!(is_live(&world, &other).await);
}

// A repeated refresh hands out an access token too: what is known of the living ones is as late as the last of them.
pub async fn an_access_token_that_a_repeated_refresh_gives_is_noted(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.user("alice").await;
    family(&world, alice, "alice", token(1)).await;
    assert!(matches!(refresh(&world, 1, 2).await, Rotated(_)));
    let began = world.clock.now();
    world.clock.advance(GRACE / 2);
    let repeat = async |kid: &str, expires_at| {
        let again =
            Refresh { access: AccessNote { kid: kid.to_owned(), expires_at }, ..exchange(&world, 1, 2) };
        assert!(matches!(world.store.refresh_family(again, act()).await.unwrap(), Repeated(_, 0)));
    };
    let live = async |now| world.store.live_access_tokens(now).await.unwrap();
    let later = world.clock.now().saturating_add(ACCESS);
    repeat("next", later).await;
    assert_eq!(live(began).await, [("key".to_owned(), 1), ("next".to_owned(), 1)]);
    assert_eq!(live(a_microsecond_before(later)).await, [("next".to_owned(), 1)]);
    assert_eq!(live(later).await, []);
    // One that expires before that changes nothing of it.
    repeat("key", a_microsecond_before(later)).await;
    assert_eq!(live(a_microsecond_before(later)).await, [("next".to_owned(), 1)]);
}

pub async fn the_oldest_family_is_ended_beyond_the_cap(subject: Subject) {
    let world = World::new(subject).await;
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let his = family(&world, bob, "bob", token(200)).await;
    let capped = |first| NewFamily { max_per_user: 3, ..new_family(&world, alice, "alice", first) };
    let mut made = Vec::new();
    for generation in 1..=4 {
        world.clock.advance(MICROSECOND);
        let family = capped(token(generation));
        assert!(world.store.create_family(family.clone(), act()).await.unwrap());
        made.push(family);
        if generation == 3 {
            // What is used is not the oldest.
            world.clock.advance(MICROSECOND);
            assert!(matches!(refresh(&world, 1, 11).await, Rotated(_)));
        }
    }
    let mut live = Vec::new();
    for family in &made {
        live.push(is_live(&world, family).await);
    }
    assert_eq!(live, [true, false, true, true]);
    assert_eq!(refresh(&world, 2, 12).await, Refused, "its refresh token ends with it");
    // What was ended on purpose does not count.
    assert!(world.store.revoke_family(token(4), act()).await.unwrap().is_some());
    world.clock.advance(MICROSECOND);
    let fifth = capped(token(5));
    assert!(world.store.create_family(fifth.clone(), act()).await.unwrap());
    made.push(fifth);
    assert!(is_live(&world, &made[0]).await && is_live(&world, &made[2]).await);
    // RST-08: a clock that went back does not end the log-in that was just made.
    world.clock.set(Timestamp::from_micros(world.clock.now().as_micros() - 1_000_000));
    let newest = capped(token(6));
    assert!(world.store.create_family(newest.clone(), act()).await.unwrap());
    assert!(is_live(&world, &newest).await && !is_live(&world, &made[2]).await);
    // However many log in at once.
    let mut tasks = JoinSet::new();
    for generation in 20..50 {
        let (store, family) = (world.store.clone(), capped(token(generation)));
        tasks.spawn(async move {
            assert!(
                store.create_family(family.clone(), act()).await.unwrap(),
                "every log-in gets its family"
            );
            family
        });
    }
    let mut left = 0;
    for family in tasks.join_all().await.iter().chain(&made).chain([&newest]) {
        left += usize::from(is_live(&world, family).await);
    }
    assert_eq!(left, 3);
    assert!(is_live(&world, &his).await, "others have a cap of their own");
}

pub async fn a_use_that_is_noted_late_moves_no_last_use_back(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.user("alice").await;
    let (hers, token, session) =
        (new_family(&world, alice, "alice", token(1)), world.token(alice), world.session(alice, "alice"));
    assert!(world.store.create_family(hers.clone(), act()).await.unwrap());
    assert!(world.store.create_session(session.clone(), act()).await.unwrap());
    world.add(token.clone()).await;
    let (early, late) = (world.clock.now(), world.clock.now().saturating_add(Duration::from_secs(60)));
    for proof in [hers.proof(), token.proof(), session.proof()] {
        let principal = async || world.store.principal_of(proof, late).await.unwrap().expect("it is live");
        let credential = principal().await.credential;
        for now in [late, early] {
            assert!(world.store.note_use(credential, now, LIFETIME).await.unwrap().is_some());
        }
        assert_eq!(principal().await.last_used_at, Some(late), "{credential:?}");
    }
    // Nor does a refresh, with a clock that went back, as another process sees it.
    assert!(matches!(refresh(&world, 1, 2).await, Rotated(_)));
    let others = world.subject.open().await;
    let principal = others.principal_of(hers.proof(), late).await.unwrap().expect("it is live");
    assert_eq!(principal.last_used_at, Some(late));
}
