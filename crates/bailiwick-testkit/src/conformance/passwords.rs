//! Passwords: who may replace one, and what ends with it.
use std::time::Duration;

use bailiwick_core::{
    audit::Act,
    clock::Clock,
    identity::UserId,
    secret::Secret,
    store::{Addressee, CredentialDigest, NewPasswordReset, NewToken, NewUser, PasswordChange, Proof},
};
use tokio::task::JoinSet;

use super::{
    Subject,
    world::{World, username},
};
use crate::act;

const HOUR: Duration = Duration::from_secs(60 * 60);

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

fn change(world: &World, user_id: UserId, old: &str, new: &str) -> PasswordChange {
    let (old_hash, new_hash) = (secret(old), secret(new));
    PasswordChange { user_id, old_hash, new_hash, session: None, changed_at: world.clock.now() }
}

/// A reset token of `user`, added.
async fn reset(world: &World, user_id: UserId) -> CredentialDigest {
    let mut digest = [0; 32];
    digest[..16].copy_from_slice(world.random().as_bytes());
    let created_at = world.clock.now();
    let expires_at = created_at.saturating_add(HOUR);
    let new = NewPasswordReset { digest, user_id, created_at, expires_at };
    assert!(world.store.create_password_reset(new, act()).await.unwrap(), "the token is made");
    digest
}

async fn hash_of(world: &World, name: &str) -> String {
    world.store.login(name).await.unwrap().expect("the user is there").password_hash.expose().clone()
}

async fn is_live(world: &World, proof: Proof) -> bool {
    world.store.principal_of(proof, world.clock.now()).await.unwrap().is_some()
}

// PWD-11
pub async fn a_password_is_changed_by_whoever_proved_the_old_one_only(subject: Subject) {
    let world = World::new(subject).await;
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let session = world.session(alice, "alice");
    assert!(world.store.create_session(session.clone(), act()).await.unwrap());
    let nobody = UserId::from_uuid(world.random());
    for wrong in [
        change(&world, alice, "hash of bob", "new"),
        change(&world, alice, "", "new"),
        change(&world, nobody, "hash of alice", "new"),
    ] {
        assert!(!world.store.change_password(wrong, act()).await.unwrap());
    }
    assert_eq!(hash_of(&world, "alice").await, "hash of alice");
    assert!(is_live(&world, session.proof()).await, "nothing ends by what was refused");
    assert!(world.store.change_password(change(&world, alice, "hash of alice", "new"), act()).await.unwrap());
    assert_eq!(
        (hash_of(&world, "alice").await, hash_of(&world, "bob").await.as_str()),
        ("new".into(), "hash of bob")
    );
    assert!(!is_live(&world, session.proof()).await);
    assert!(
        !world.store.change_password(change(&world, alice, "hash of alice", "newer"), act()).await.unwrap()
    );
    // Who is kept out changes nothing.
    world.store.set_active(&username("bob"), false, Act::system(world.clock.now())).await.unwrap();
    assert!(!world.store.change_password(change(&world, bob, "hash of bob", "new"), act()).await.unwrap());
    assert_eq!(hash_of(&world, "bob").await, "hash of bob");
}

// SES-22
pub async fn a_changed_password_ends_all_but_the_session_that_goes_on_under_another_digest(subject: Subject) {
    let world = World::new(subject).await;
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let (mine, other, his) =
        (world.session(alice, "alice"), world.session(alice, "alice"), world.session(bob, "bob"));
    for session in [&mine, &other, &his] {
        assert!(world.store.create_session(session.clone(), act()).await.unwrap());
    }
    let named = NewToken { name: Some("ci".to_owned()), ..world.token(alice) };
    let log_in = world.token(alice);
    for token in [&named, &log_in] {
        world.add(token.clone()).await;
    }
    for proof in [mine.proof(), other.proof(), his.proof(), named.proof(), log_in.proof()] {
        assert!(is_live(&world, proof).await);
    }
    let token = reset(&world, alice).await;
    let renewed = [7; 32];
    let change =
        PasswordChange { session: Some((mine.id, renewed)), ..change(&world, alice, "hash of alice", "new") };
    assert!(world.store.change_password(change, act()).await.unwrap());
    for proof in [mine.proof(), other.proof(), log_in.proof()] {
        assert!(!is_live(&world, proof).await, "{proof:?}");
    }
    for proof in [Proof::Session(renewed), his.proof(), named.proof()] {
        assert!(is_live(&world, proof).await, "{proof:?}");
    }
    let principal =
        world.store.principal_of(Proof::Session(renewed), world.clock.now()).await.unwrap().unwrap();
    assert_eq!((principal.user_id(), principal.expires_at), (alice, mine.expires_at()));
    assert_eq!(world.store.password_reset(token, world.clock.now()).await.unwrap(), None);

    // A session that was ended meanwhile does not come back, and that of another is not taken.
    for session in [mine.id, his.id] {
        world.store.end_sessions(alice, bailiwick_core::store::WhichSessions::All, act()).await.unwrap();
        let old = hash_of(&world, "alice").await;
        let change = PasswordChange {
            session: Some((session, [8; 32])),
            ..self::change(&world, alice, &old, &format!("{old}er"))
        };
        assert!(world.store.change_password(change, act()).await.unwrap());
        assert!(!is_live(&world, Proof::Session([8; 32])).await);
    }
    assert!(is_live(&world, his.proof()).await);
}

pub async fn one_of_many_who_change_a_password_at_once_does(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.user("alice").await;
    let mut tasks = JoinSet::new();
    for number in 0..20 {
        let store = world.store.clone();
        let change = change(&world, alice, "hash of alice", &format!("hash {number}"));
        tasks.spawn(async move { store.change_password(change, act()).await.unwrap() });
    }
    assert_eq!(tasks.join_all().await.into_iter().filter(|done| *done).count(), 1);
}

pub async fn users_are_found_by_their_address_whatever_its_case(subject: Subject) {
    let world = World::new(subject).await;
    let mut expected = Vec::new();
    for (name, email) in [("bob", "Family@Example.com"), ("Alice", "family@example.COM")] {
        let new = NewUser { email: email.to_owned(), ..world.new_user(name) };
        let addressee = Addressee { user_id: new.id, username: name.to_owned(), email: email.to_owned() };
        expected.insert(0, addressee);
        world.store.create_user(new, act()).await.unwrap();
    }
    world.user("carol").await;
    let store = &world.store;
    assert_eq!(store.users_of_email("FAMILY@example.com").await.unwrap(), expected);
    for nobody in ["", "family", "%", "family@example.com ", "family@example.com\0", "_amily@example.com"] {
        assert_eq!(store.users_of_email(nobody).await.unwrap(), [], "{nobody:?}");
    }
    store.set_active(&username("alice"), false, Act::system(world.clock.now())).await.unwrap();
    assert_eq!(store.users_of_email("family@example.com").await.unwrap(), expected[1..]);
}

// PWD-19
pub async fn a_reset_token_sets_a_password_once(subject: Subject) {
    let world = World::new(subject).await;
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let session = world.session(alice, "alice");
    assert!(world.store.create_session(session.clone(), act()).await.unwrap());
    let log_in = world.token(alice);
    world.add(log_in.clone()).await;
    let (token, another, his) =
        (reset(&world, alice).await, reset(&world, alice).await, reset(&world, bob).await);
    assert!(is_live(&world, session.proof()).await && is_live(&world, log_in.proof()).await);
    let (store, now) = (&world.store, world.clock.now());
    assert_eq!(store.password_reset(token, now).await.unwrap().as_deref(), Some("alice"));
    assert_eq!(store.use_password_reset([9; 32], secret("x"), Act::system(now)).await.unwrap(), None);
    assert_eq!(store.use_password_reset(token, secret("new"), Act::system(now)).await.unwrap(), Some(alice));
    assert_eq!(hash_of(&world, "alice").await, "new");
    assert!(!is_live(&world, session.proof()).await && !is_live(&world, log_in.proof()).await);
    for dead in [token, another] {
        assert_eq!(store.password_reset(dead, now).await.unwrap(), None);
        assert_eq!(store.use_password_reset(dead, secret("newer"), Act::system(now)).await.unwrap(), None);
    }
    assert_eq!(hash_of(&world, "alice").await, "new");
    assert_eq!(hash_of(&world, "bob").await, "hash of bob");
    assert_eq!(store.use_password_reset(his, secret("his"), Act::system(now)).await.unwrap(), Some(bob));
}

pub async fn a_reset_token_ends_with_its_time_its_user_and_their_password(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.user("alice").await;
    let store = &world.store;
    let dead = async |token| {
        let now = world.clock.now();
        let used = store.use_password_reset(token, secret("x"), Act::system(now)).await.unwrap();
        store.password_reset(token, now).await.unwrap().is_none() && used.is_none()
    };
    let token = reset(&world, alice).await;
    world.clock.advance(HOUR - Duration::from_micros(1));
    assert!(store.password_reset(token, world.clock.now()).await.unwrap().is_some());
    world.clock.advance(Duration::from_micros(1));
    assert!(dead(token).await, "an hour is over");

    let token = reset(&world, alice).await;
    store.set_password(&username("alice"), &secret("set"), Act::system(world.clock.now())).await.unwrap();
    assert!(dead(token).await, "the password is another");

    let token = reset(&world, alice).await;
    store.set_active(&username("alice"), false, Act::system(world.clock.now())).await.unwrap();
    assert!(dead(token).await, "the user is kept out");
    let created_at = world.clock.now();
    for user_id in [alice, UserId::from_uuid(world.random())] {
        let new = NewPasswordReset {
            digest: [1; 32],
            user_id,
            created_at,
            expires_at: created_at.saturating_add(HOUR),
        };
        assert!(!store.create_password_reset(new, act()).await.unwrap());
    }
    store.set_active(&username("alice"), true, Act::system(world.clock.now())).await.unwrap();
    assert!(dead(token).await, "and stays so");
    assert_eq!(hash_of(&world, "alice").await, "set");
}

pub async fn one_of_many_who_use_a_reset_token_at_once_does(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.user("alice").await;
    let (token, now) = (reset(&world, alice).await, world.clock.now());
    let mut tasks = JoinSet::new();
    for number in 0..20 {
        let store = world.store.clone();
        let hash = secret(&format!("hash {number}"));
        tasks.spawn(async move {
            store.use_password_reset(token, hash, Act::system(now)).await.unwrap().is_some()
        });
    }
    assert_eq!(tasks.join_all().await.into_iter().filter(|done| *done).count(), 1);
}
