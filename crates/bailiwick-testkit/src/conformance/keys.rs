//! Rings of keys: they change whole, from the version that was read, or not at all.
use bailiwick_core::{
    clock::Clock,
    secret::Secret,
    store::{KeyPurpose, KeyRecord, KeyState, Store},
};
use tokio::task::JoinSet;

use super::{Subject, world::World};
use crate::act;

const RING: KeyPurpose = KeyPurpose::AccessTokens;

fn key(world: &World, kid: &str, state: KeyState) -> KeyRecord {
    KeyRecord {
        kid: kid.to_owned(),
        algorithm: "EdDSA".to_owned(),
        state,
        sealed_by: "master".to_owned(),
        sealed: Secret::new(vec![0, 1, 0xff]),
        created_at: world.clock.now(),
        promote_at: None,
        activated_at: None,
        retiring_at: None,
        ends_at: None,
    }
}

/// The keys that sign.
async fn active(store: &dyn Store) -> Vec<String> {
    let ring = store.key_ring(RING).await.unwrap();
    let active = ring.keys.into_iter().filter(|key| key.state == KeyState::Active);
    active.map(|key| key.kid).collect()
}

// KEY-01, KEY-12
pub async fn a_ring_changes_from_the_version_that_was_read_only(subject: Subject) {
    let world = World::new(subject).await;
    let store = &world.store;
    let empty = store.key_ring(RING).await.unwrap();
    assert_eq!((empty.version, empty.keys.len()), (0, 0));
    assert_eq!(store.key_ring_version(RING).await.unwrap(), 0);

    assert!(store.change_keys(RING, 0, vec![key(&world, "a", KeyState::Active)], act()).await.unwrap());
    assert_eq!(store.key_ring_version(RING).await.unwrap(), 1);
    let late = vec![key(&world, "b", KeyState::Next)];
    for wrong in [0, 2, u64::MAX] {
        assert!(!store.change_keys(RING, wrong, late.clone(), act()).await.unwrap(), "{wrong}");
    }
    let ring = store.key_ring(RING).await.unwrap();
    assert_eq!((ring.version, ring.keys.len()), (1, 1));
    let [read] = &ring.keys[..] else { panic!("{ring:?}") };
    let wrote = key(&world, "a", KeyState::Active);
    assert_eq!(
        (&read.kid, &read.algorithm, read.state, &read.sealed_by, read.created_at, read.activated_at),
        (&wrote.kid, &wrote.algorithm, wrote.state, &wrote.sealed_by, wrote.created_at, None)
    );
    assert_eq!(read.sealed, wrote.sealed);

    // What is there is replaced, in one change with what is new.
    let now = world.clock.now();
    let mut old = read.clone();
    (old.state, old.sealed_by, old.sealed) = (KeyState::Revoked, "other".to_owned(), Secret::new(Vec::new()));
    (old.promote_at, old.activated_at, old.retiring_at, old.ends_at) =
        (Some(now), Some(now), Some(now), Some(now));
    let new = key(&world, "b", KeyState::Active);
    assert!(store.change_keys(RING, 1, vec![old, new], act()).await.unwrap());
    let others = world.subject.open().await;
    let ring = others.key_ring(RING).await.unwrap();
    assert_eq!(ring.version, 2);
    let [old, new] = &ring.keys[..] else { panic!("{ring:?}") };
    assert_eq!((old.kid.as_str(), old.state, old.sealed_by.as_str()), ("a", KeyState::Revoked, "other"));
    assert!(old.sealed.expose().is_empty());
    assert_eq!((old.promote_at, old.ends_at, old.activated_at), (Some(now), Some(now), Some(now)));
    assert_eq!((new.kid.as_str(), new.state), ("b", KeyState::Active));
}

// KEY-01
pub async fn one_of_many_who_change_a_ring_at_once_wins(subject: Subject) {
    let world = World::new(subject).await;
    let others = world.subject.open().await;
    for round in 0..5 {
        let mut tasks = JoinSet::new();
        for caller in 0..20 {
            let store = if caller % 2 == 0 { world.store.clone() } else { others.clone() };
            let mut changed: Vec<_> = store.key_ring(RING).await.unwrap().keys;
            for key in &mut changed {
                key.state = KeyState::Retired;
            }
            changed.push(key(&world, &format!("{round}-{caller}"), KeyState::Active));
            tasks.spawn(async move { store.change_keys(RING, round, changed, act()).await.unwrap() });
        }
        let mut winners = 0;
        while let Some(won) = tasks.join_next().await {
            winners += u32::from(won.unwrap());
        }
        assert_eq!(winners, 1);
        assert_eq!(active(&*world.store).await.len(), 1);
        assert_eq!(
            world.store.key_ring(RING).await.unwrap().keys.len() as u64,
            round + 1,
            "nothing of a loser stays"
        );
    }
}

// KEY-01: whatever the program does.
pub async fn two_keys_never_sign_at_once(subject: Subject) {
    let world = World::new(subject).await;
    let store = &world.store;
    assert!(store.change_keys(RING, 0, vec![key(&world, "a", KeyState::Active)], act()).await.unwrap());
    let second = vec![key(&world, "b", KeyState::Next), key(&world, "c", KeyState::Active)];
    assert!(store.change_keys(RING, 1, second, act()).await.is_err());
    let ring = store.key_ring(RING).await.unwrap();
    assert_eq!((ring.version, ring.keys.len()), (1, 1), "it happens whole or not at all");
    assert_eq!(active(&**store).await, ["a"]);
}
