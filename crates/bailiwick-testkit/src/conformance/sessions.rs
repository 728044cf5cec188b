//! WhichSessions: how long they work, what ends them, and that nothing brings one back.
use std::time::Duration;

use bailiwick_core::{
    audit::Act,
    clock::{Clock, Timestamp},
    identity::{Credential, Role, SessionId, UserId},
    secret::Secret,
    store::{NewSession, Proof, TokenRef, WhichSessions},
};
use tokio::task::JoinSet;

use super::{
    Subject,
    world::{World, username},
};
use crate::act;

const IDLE: Duration = Duration::from_secs(30 * 60);
const ABSOLUTE: Duration = Duration::from_secs(12 * 60 * 60);
const MICROSECOND: Duration = Duration::from_micros(1);

fn a_microsecond_before(time: Timestamp) -> Timestamp {
    Timestamp::from_micros(time.as_micros() - 1)
}

/// Adds a session that must come to be.
async fn add(world: &World, session: &NewSession) {
    assert!(world.store.create_session(session.clone(), act()).await.unwrap(), "the session is made");
}

async fn is_live(world: &World, session: &NewSession) -> bool {
    world.store.principal_of(session.proof(), world.clock.now()).await.unwrap().is_some()
}

/// The live sessions of `user`, the one that was used last first.
async fn live(world: &World, user: UserId) -> Vec<SessionId> {
    let sessions = world.store.sessions_of(user, world.clock.now()).await.unwrap();
    sessions.iter().map(|session| session.id).collect()
}

// SES-16, SES-18, SES-19
pub async fn a_session_works_until_it_is_idle_or_old(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let session = world.session(alice.id(), "alice");
    let (store, began) = (&world.store, world.clock.now());
    add(&world, &session).await;
    let principal = store.principal_of(session.proof(), began).await.unwrap().expect("the session is live");
    assert_eq!(
        (principal.user_id(), principal.username.as_str(), principal.credential, principal.last_used_at),
        (alice.id(), "alice", Credential::Session(session.id), Some(began))
    );
    assert_eq!(principal.expires_at, began.saturating_add(IDLE));
    let (_, place) = store.principal_in(session.proof(), began, "acme").await.unwrap().expect("it is live");
    assert_eq!(place.expect("she owns it").role(), Role::Owner);
    // A token is no session, nor the other way round.
    assert!(store.principal_of(Proof::ApiToken(session.digest), began).await.unwrap().is_none());

    let idle = began.saturating_add(IDLE);
    assert!(store.principal_of(session.proof(), a_microsecond_before(idle)).await.unwrap().is_some());
    assert!(store.principal_of(session.proof(), idle).await.unwrap().is_none());
    let credential = Credential::Session(session.id);
    let woken = store.note_use(credential, idle, IDLE).await.unwrap();
    assert_eq!(woken, None, "what was idle for so long is not woken");

    // Used again and again, it ends all the same.
    let ends_at = began.saturating_add(ABSOLUTE);
    let mut now = began;
    while now < ends_at {
        let end = now.saturating_add(IDLE).min(ends_at);
        assert_eq!(store.note_use(credential, now, IDLE).await.unwrap(), Some(end));
        let principal = store.principal_of(session.proof(), now).await.unwrap().expect("it is used");
        assert_eq!((principal.last_used_at, principal.expires_at), (Some(now), end));
        now = now.saturating_add(IDLE / 2);
    }
    assert!(store.principal_of(session.proof(), a_microsecond_before(ends_at)).await.unwrap().is_some());
    assert!(store.principal_of(session.proof(), ends_at).await.unwrap().is_none());
}

// SES-15, SES-25
pub async fn sessions_are_listed_and_ended(subject: Subject) {
    let world = World::new(subject).await;
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let mut made = Vec::new();
    for _ in 0..3 {
        let session = world.session(alice, "alice");
        add(&world, &session).await;
        made.push(session);
        world.clock.advance(MICROSECOND);
    }
    let his = world.session(bob, "bob");
    add(&world, &his).await;
    let store = &world.store;
    let ids: Vec<_> = made.iter().map(|session| session.id).collect();
    assert_eq!(live(&world, alice).await, [ids[2], ids[1], ids[0]]);
    store.note_use(Credential::Session(ids[0]), world.clock.now(), IDLE).await.unwrap();
    let listed = store.sessions_of(alice, world.clock.now()).await.unwrap();
    let listed: Vec<_> = listed.into_iter().map(|session| (session.id, session.last_seen_at)).collect();
    assert_eq!(
        listed,
        [(ids[0], world.clock.now()), (ids[2], made[2].created_at), (ids[1], made[1].created_at)]
    );
    let records = store.sessions_of(bob, world.clock.now()).await.unwrap();
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!(
        (record.id, record.created_at, record.expires_at, &record.user_agent, &record.address),
        (his.id, his.created_at, his.expires_at(), &his.user_agent, &his.address)
    );

    assert_eq!(
        store.end_sessions(bob, WhichSessions::Only(ids[0]), act()).await.unwrap(),
        0,
        "it is not his to end"
    );
    assert_eq!(store.end_sessions(alice, WhichSessions::Only(ids[1]), act()).await.unwrap(), 1);
    assert_eq!(store.end_sessions(alice, WhichSessions::Only(ids[1]), act()).await.unwrap(), 0);
    assert!(!is_live(&world, &made[1]).await);
    assert_eq!(store.end_sessions(alice, WhichSessions::AllBut(ids[2]), act()).await.unwrap(), 1);
    assert_eq!(live(&world, alice).await, [ids[2]]);
    assert_eq!(store.end_sessions(alice, WhichSessions::All, act()).await.unwrap(), 1);
    assert_eq!(live(&world, alice).await, []);
    assert!(is_live(&world, &his).await, "others live on");
}

// SES-12, SES-20, SES-27
pub async fn an_ended_session_never_comes_back(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.user("alice").await;
    for round in 0..20 {
        let session = world.session(alice, "alice");
        add(&world, &session).await;
        let mut uses = JoinSet::new();
        for _ in 0..8 {
            let (store, now) = (world.store.clone(), world.clock.now());
            uses.spawn(
                async move { store.note_use(Credential::Session(session.id), now, IDLE).await.unwrap() },
            );
        }
        if round % 2 == 0 {
            assert_eq!(
                world.store.end_sessions(alice, WhichSessions::Only(session.id), act()).await.unwrap(),
                1
            );
        } else {
            let next = NewSession { replaces: Some(session.digest), ..world.session(alice, "alice") };
            add(&world, &next).await;
            assert!(is_live(&world, &next).await);
        }
        while uses.join_next().await.is_some() {}
        assert!(!is_live(&world, &session).await);
        let used = world.store.note_use(Credential::Session(session.id), world.clock.now(), IDLE).await;
        assert_eq!(used.unwrap(), None);
    }
}

// SES-21, SES-22
pub async fn who_is_kept_out_or_has_another_password_has_no_session(subject: Subject) {
    let world = World::new(subject).await;
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let (store, name) = (&world.store, username("alice"));
    let (hers, his) = (world.session(alice, "alice"), world.session(bob, "bob"));
    for session in [&hers, &his] {
        add(&world, session).await;
    }
    store.set_active(&name, false, Act::system(world.clock.now())).await.unwrap();
    assert!(!is_live(&world, &hers).await);
    let late = world.session(alice, "alice");
    assert!(!store.create_session(late.clone(), act()).await.unwrap());
    store.set_active(&name, true, Act::system(world.clock.now())).await.unwrap();
    assert_eq!(live(&world, alice).await, [], "who had stolen it gets it not back");

    let hers = world.session(alice, "alice");
    add(&world, &hers).await;
    store
        .set_password(&name, &Secret::new("another hash".to_owned()), Act::system(world.clock.now()))
        .await
        .unwrap();
    assert!(!is_live(&world, &hers).await);
    let late = NewSession { replaces: Some(his.digest), ..world.session(alice, "alice") };
    assert!(
        !store.create_session(late.clone(), act()).await.unwrap(),
        "the password that was proved is no more"
    );
    assert!(!is_live(&world, &late).await);
    assert!(is_live(&world, &his).await, "a log-in that fails ends nothing");
    let of_nobody = world.session(UserId::from_uuid(world.random()), "alice");
    assert!(!store.create_session(of_nobody, act()).await.unwrap());
}

pub async fn the_oldest_session_is_ended_beyond_the_cap(subject: Subject) {
    let world = World::new(subject).await;
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let his = world.session(bob, "bob");
    add(&world, &his).await;
    let capped = || NewSession { max_per_user: 3, ..world.session(alice, "alice") };
    let mut made = Vec::new();
    for _ in 0..5 {
        world.clock.advance(MICROSECOND);
        let session = capped();
        add(&world, &session).await;
        made.insert(0, session.id);
    }
    assert_eq!(live(&world, alice).await, made[..3]);
    let mut tasks = JoinSet::new();
    for _ in 0..30 {
        let (store, session) = (world.store.clone(), capped());
        tasks.spawn(async move { store.create_session(session, act()).await.unwrap() });
    }
    while let Some(made) = tasks.join_next().await {
        assert!(made.unwrap(), "every log-in gets its session");
    }
    assert_eq!(live(&world, alice).await.len(), 3);
    // The one that is replaced makes room.
    let known = world.session(alice, "alice");
    add(&world, &NewSession { max_per_user: 3, ..known.clone() }).await;
    let before = live(&world, alice).await;
    add(&world, &NewSession { replaces: Some(known.digest), ..capped() }).await;
    let after = live(&world, alice).await;
    assert_eq!(before.iter().filter(|id| after.contains(id)).count(), 2);
    // RST-08: a clock that went back does not end the log-in that was just made.
    world.clock.set(Timestamp::from_micros(world.clock.now().as_micros() - 1_000_000));
    let newest = capped();
    add(&world, &newest).await;
    assert!(is_live(&world, &newest).await);
    assert!(is_live(&world, &his).await, "others have a cap of their own");
}

// TOK-25
pub async fn the_last_use_of_a_token_is_noted(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.user("alice").await;
    let (store, token) = (&world.store, world.token(alice));
    world.add(token.clone()).await;
    let last_used_at = async || store.tokens_of(alice).await.unwrap()[0].last_used_at;
    assert_eq!(last_used_at().await, None);
    world.clock.advance(MICROSECOND);
    let now = world.clock.now();
    let used = store.note_use(Credential::ApiToken(token.id), now, IDLE).await.unwrap();
    assert_eq!(used, Some(token.expires_at), "it lives no longer");
    assert_eq!(last_used_at().await, Some(now));
    let principal = store.principal_of(token.proof(), now).await.unwrap().expect("it is live");
    assert_eq!((principal.last_used_at, principal.expires_at), (Some(now), token.expires_at));
    store.revoke_token(TokenRef::Id(token.id), Act::system(now)).await.unwrap();
    world.clock.advance(MICROSECOND);
    let used = store.note_use(Credential::ApiToken(token.id), world.clock.now(), IDLE).await.unwrap();
    assert_eq!(used, None);
    assert_eq!(last_used_at().await, Some(now));
}
