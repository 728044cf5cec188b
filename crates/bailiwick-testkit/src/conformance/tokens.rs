//! API tokens: whom they speak for, and when they end.
use std::time::Duration;

use bailiwick_core::{
    audit::Act,
    clock::{Clock, Timestamp},
    identity::{ApiTokenId, Credential, Role, Scopes, UserId},
    secret::Secret,
    store::{NewToken, Proof, TokenCreation, TokenRecord, TokenRef},
};
use tokio::task::JoinSet;

use super::{
    Subject,
    world::{World, username},
};
use crate::act;

const MICROSECOND: Duration = Duration::from_micros(1);

/// The tokens of `name` that are not revoked, the newest first.
async fn live(world: &World, name: &str) -> Vec<ApiTokenId> {
    let user = world.store.user_id(&username(name)).await.unwrap().expect("the user is there");
    let tokens = world.store.tokens_of(user).await.unwrap();
    tokens.iter().filter(|token| token.revoked_at.is_none()).map(|token| token.id).collect()
}

pub async fn a_token_speaks_for_its_owner_until_it_ends(subject: Subject) {
    let world = World::new(subject).await;
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let store = &world.store;
    let (short, long) = (world.token(alice), world.token(alice));
    let made_at = world.clock.now();
    let expires_at = made_at.saturating_add(Duration::from_secs(60));
    let short = NewToken { expires_at, ..short };
    let his = world.token(bob);
    for token in [&short, &long, &his] {
        world.add(token.clone()).await;
    }
    let principal = store.principal_of(short.proof(), made_at).await.unwrap().expect("the token is live");
    assert_eq!(
        (principal.user_id(), principal.username.as_str(), principal.email.as_str(), principal.is_staff),
        (alice, "alice", "alice@example.com", false)
    );
    assert_eq!((principal.created_at, principal.credential), (made_at, Credential::ApiToken(short.id)));
    let other = store.principal_of(his.proof(), made_at).await.unwrap().expect("the token is live");
    assert_eq!(other.user_id(), bob);
    assert!(store.principal_of(Proof::ApiToken([0; 32]), made_at).await.unwrap().is_none());

    // It ends at the moment that it says, not after it.
    let last = Timestamp::from_micros(expires_at.as_micros() - 1);
    assert!(store.principal_of(short.proof(), last).await.unwrap().is_some());
    assert!(store.principal_of(short.proof(), expires_at).await.unwrap().is_none());
    assert_eq!(
        store.revoke_token(TokenRef::Id(short.id), Act::system(expires_at)).await.unwrap(),
        None,
        "what has expired is not live"
    );

    assert!(store.revoke_token(TokenRef::Id(long.id), Act::system(made_at)).await.unwrap().is_some());
    assert!(store.principal_of(long.proof(), made_at).await.unwrap().is_none());
    assert_eq!(
        store.revoke_token(TokenRef::Id(long.id), Act::system(made_at)).await.unwrap(),
        None,
        "it was revoked already"
    );
    assert_eq!(
        store
            .revoke_token(TokenRef::Id(ApiTokenId::from_uuid(world.random())), Act::system(made_at))
            .await
            .unwrap(),
        None
    );
    assert!(store.principal_of(his.proof(), made_at).await.unwrap().is_some(), "others live on");
}

// ACL-02, I8
pub async fn a_token_is_looked_up_together_with_a_place_in_an_organisation(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let bob = world.member("bob", "acme", Role::Viewer).await;
    world.owner("carol", "other").await;
    world.member("alice", "other", Role::Member).await;
    let (store, now) = (&world.store, world.clock.now());
    let (hers, his, revoked) = (world.token(alice.id()), world.token(bob.id()), world.token(alice.id()));
    for token in [&hers, &his, &revoked] {
        world.add(token.clone()).await;
    }
    store.revoke_token(TokenRef::Id(revoked.id), Act::system(now)).await.unwrap();
    for token in [&hers, &his, &revoked] {
        for slug in ["acme", "other", "none", "", "ACME", "acme\0", "%"] {
            for at in [now, token.expires_at] {
                let apart = match store.principal_of(token.proof(), at).await.unwrap() {
                    Some(principal) => {
                        let membership = store.membership(principal.user_id(), slug).await.unwrap();
                        Some((
                            principal.user_id(),
                            principal.credential,
                            principal.username.clone(),
                            membership,
                        ))
                    }
                    None => None,
                };
                let together = store.principal_in(token.proof(), at, slug).await.unwrap();
                let together = together.map(|(principal, membership)| {
                    (principal.user_id(), principal.credential, principal.username.clone(), membership)
                });
                assert_eq!(together, apart, "{slug:?}");
            }
        }
    }
    let (_, place) =
        store.principal_in(hers.proof(), now, "other").await.unwrap().expect("the token is live");
    assert_eq!(place.expect("she is a member").role(), Role::Member);
    let (principal, place) =
        store.principal_in(his.proof(), now, "other").await.unwrap().expect("the token is live");
    assert_eq!((principal.user_id(), place), (bob.id(), None), "he is known, and no member");
    assert!(store.principal_in(revoked.proof(), now, "acme").await.unwrap().is_none());
    store.set_active(&username("bob"), false, Act::system(now)).await.unwrap();
    assert!(store.principal_in(his.proof(), now, "acme").await.unwrap().is_none());
}

pub async fn a_token_of_a_disabled_user_is_none(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.user("alice").await;
    let (store, now, name) = (&world.store, world.clock.now(), username("alice"));
    let token = world.token(alice);
    world.add(token.clone()).await;
    store.set_active(&name, false, Act::system(now)).await.unwrap();
    assert!(store.principal_of(token.proof(), now).await.unwrap().is_none());
    assert!(!store.login("alice").await.unwrap().expect("the user is there").is_active);
    store.set_active(&name, true, Act::system(now)).await.unwrap();
    assert!(
        store.principal_of(token.proof(), now).await.unwrap().is_none(),
        "who had stolen it gets it not back"
    );
    let fresh = world.token(alice);
    world.add(fresh.clone()).await;
    assert!(store.principal_of(fresh.proof(), now).await.unwrap().is_some());
}

// Contract §2: whoever has the old password, and was quick, gets nothing for it.
pub async fn nobody_gets_a_token_for_a_password_that_was_replaced(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.user("alice").await;
    let (store, now, name) = (&world.store, world.clock.now(), username("alice"));
    let proved = store.login("alice").await.unwrap().expect("the user is there").password_hash;
    let by_log_in = || NewToken { name: None, password_hash: Some(proved.clone()), ..world.token(alice) };
    world.add(by_log_in()).await;
    store.set_password(&name, &Secret::new("another hash".to_owned()), Act::system(now)).await.unwrap();
    let late = by_log_in();
    assert_eq!(store.create_token(late.clone(), act()).await.unwrap(), TokenCreation::Refused);
    assert!(store.principal_of(late.proof(), now).await.unwrap().is_none());
    world.add(world.token(alice)).await;
}

// PWD-04: the same password, in another form.
pub async fn a_renewed_hash_ends_nothing_and_replaces_no_other_password(subject: Subject) {
    let world = World::new(subject).await;
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let (store, now) = (&world.store, world.clock.now());
    let token = world.token(alice);
    let session = world.session(alice, "alice");
    world.add(token.clone()).await;
    assert!(store.create_session(session.clone(), act()).await.unwrap());
    let hash = |text: &str| Secret::new(text.to_owned());
    assert!(store.renew_password_hash(alice, &hash("hash of alice"), &hash("fresh")).await.unwrap());
    assert!(store.principal_of(token.proof(), now).await.unwrap().is_some());
    assert!(store.principal_of(session.proof(), now).await.unwrap().is_some());
    // Whoever comes later with what was stored before changes nothing.
    assert!(!store.renew_password_hash(alice, &hash("hash of alice"), &hash("late")).await.unwrap());
    assert!(!store.renew_password_hash(bob, &hash("fresh"), &hash("late")).await.unwrap());
    assert_eq!(store.login("alice").await.unwrap().unwrap().password_hash, hash("fresh"));
    assert_eq!(store.login("bob").await.unwrap().unwrap().password_hash, hash("hash of bob"));
    // A password that is set at the same time wins.
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let store = world.store.clone();
        tasks.spawn(async move {
            store
                .renew_password_hash(
                    alice,
                    &Secret::new("fresh".to_owned()),
                    &Secret::new("renewed".to_owned()),
                )
                .await
        });
    }
    store.set_password(&username("alice"), &hash("another password"), Act::system(now)).await.unwrap();
    while tasks.join_next().await.is_some() {}
    assert_eq!(store.login("alice").await.unwrap().unwrap().password_hash, hash("another password"));
}

pub async fn nobody_gets_a_token_who_is_not_there_or_disabled(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.user("alice").await;
    let (store, now) = (&world.store, world.clock.now());
    let of_nobody = world.token(UserId::from_uuid(world.random()));
    assert_eq!(store.create_token(of_nobody.clone(), act()).await.unwrap(), TokenCreation::Refused);
    assert!(store.principal_of(of_nobody.proof(), now).await.unwrap().is_none());
    store.set_active(&username("alice"), false, Act::system(now)).await.unwrap();
    let hers = world.token(alice);
    assert_eq!(store.create_token(hers.clone(), act()).await.unwrap(), TokenCreation::Refused);
    store.set_active(&username("alice"), true, Act::system(now)).await.unwrap();
    assert!(store.principal_of(hers.proof(), now).await.unwrap().is_none(), "it was not only kept back");
    assert_eq!(store.tokens_of(alice).await.unwrap(), Vec::new());
}

pub async fn tokens_are_listed_newest_first(subject: Subject) {
    let world = World::new(subject).await;
    let (alice, bob) = (world.user("Alice").await, world.user("bob").await);
    let store = &world.store;
    assert_eq!(store.user_id(&username("nobody")).await.unwrap(), None);
    assert_eq!(store.user_id(&username("aLICE")).await.unwrap(), Some(alice));
    assert_eq!(store.tokens_of(alice).await.unwrap(), Vec::new());
    world.add(world.token(bob)).await;
    let mut expected = Vec::new();
    for name in [Some("laptop"), None, Some("")] {
        world.clock.advance(MICROSECOND);
        let token = NewToken { name: name.map(str::to_owned), ..world.token(alice) };
        world.add(token.clone()).await;
        let NewToken { id, name, display, scopes, created_at, expires_at, .. } = token;
        expected.insert(
            0,
            TokenRecord {
                id,
                name,
                display,
                scopes,
                created_at,
                expires_at,
                last_used_at: None,
                revoked_at: None,
            },
        );
    }
    world.clock.advance(MICROSECOND);
    store.revoke_token(TokenRef::Id(expected[1].id), Act::system(world.clock.now())).await.unwrap();
    expected[1].revoked_at = Some(world.clock.now());
    assert_eq!(store.tokens_of(alice).await.unwrap(), expected);
}

// TOK-26
pub async fn the_oldest_log_in_is_ended_beyond_the_cap(subject: Subject) {
    let world = World::new(subject).await;
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let store = &world.store;
    let named = NewToken { name: Some("laptop".to_owned()), ..world.token(alice) };
    let his = world.token(bob);
    for token in [&named, &his] {
        world.add(token.clone()).await;
    }
    let mut made = Vec::new();
    for _ in 0..5 {
        world.clock.advance(MICROSECOND);
        let token = NewToken { max_per_user: 3, ..world.token(alice) };
        world.add(token.clone()).await;
        made.insert(0, token.id);
    }
    assert_eq!(live(&world, "alice").await, [&made[..3], &[named.id]].concat());
    assert_eq!(live(&world, "bob").await, [his.id], "others have a cap of their own");
    // A named token ends no log-in.
    world.clock.advance(MICROSECOND);
    let second = NewToken { name: Some("phone".to_owned()), max_per_user: 2, ..world.token(alice) };
    world.add(second.clone()).await;
    assert_eq!(live(&world, "alice").await, [&[second.id], &made[..3], &[named.id]].concat());
    // RST-08: a clock that went back does not end the log-in that was just made.
    world.clock.set(Timestamp::from_micros(world.clock.now().as_micros() - 1_000_000));
    let newest = NewToken { max_per_user: 3, ..world.token(alice) };
    world.add(newest.clone()).await;
    assert!(store.principal_of(newest.proof(), world.clock.now()).await.unwrap().is_some());
    assert_eq!(live(&world, "alice").await.len(), 3 + 2);
}

// TOK-26
pub async fn the_cap_holds_under_parallel_log_ins(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.user("alice").await;
    let mut tasks = JoinSet::new();
    for _ in 0..50 {
        let store = world.store.clone();
        let token = NewToken { max_per_user: 7, ..world.token(alice) };
        tasks.spawn(async move { store.create_token(token, act()).await.unwrap() });
    }
    while let Some(done) = tasks.join_next().await {
        assert_eq!(done.unwrap(), TokenCreation::Created, "every log-in gets its token");
    }
    assert_eq!(live(&world, "alice").await.len(), 7);
}

// TOK-26
pub async fn a_named_token_beyond_the_cap_is_refused(subject: Subject) {
    let world = World::new(subject).await;
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let named = |owner| NewToken { name: Some("ci".to_owned()), max_per_user: 3, ..world.token(owner) };
    let mut tasks = JoinSet::new();
    for _ in 0..50 {
        let (store, token) = (world.store.clone(), named(alice));
        tasks.spawn(async move { (token.id, store.create_token(token, act()).await.unwrap()) });
    }
    let mut made = Vec::new();
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            (id, TokenCreation::Created) => made.push(id),
            (_, creation) => assert_eq!(creation, TokenCreation::TooMany),
        }
    }
    made.sort_unstable();
    let mut live_ones = live(&world, "alice").await;
    live_ones.sort_unstable();
    assert_eq!((made.len(), &live_ones), (3, &made), "who was told so has a token, and nobody else");
    // Log-ins and others do not count, and what has ended counts no more.
    world.add(NewToken { max_per_user: 1, ..world.token(alice) }).await;
    world.add(named(bob)).await;
    assert_eq!(world.store.create_token(named(alice), act()).await.unwrap(), TokenCreation::TooMany);
    world.store.revoke_token(TokenRef::Id(made[0]), Act::system(world.clock.now())).await.unwrap();
    world.add(named(alice)).await;
    world.clock.set(world.token(alice).expires_at);
    world.add(named(alice)).await;
}

// TOK-28
pub async fn a_token_is_put_in_the_place_of_another(subject: Subject) {
    let world = World::new(subject).await;
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let (store, now) = (&world.store, world.clock.now());
    let scopes = Scopes::only(["tasks:read", "account"]);
    let named = |name: &str| NewToken {
        name: Some(name.to_owned()),
        scopes: scopes.clone(),
        max_per_user: 1,
        ..world.token(alice)
    };
    let old = named("ci");
    world.add(old.clone()).await;
    let later = now.saturating_add(Duration::from_secs(60));
    // The cap does not hinder it, and what it says of name and scopes counts for nothing.
    let new = NewToken { name: None, scopes: Scopes::ALL, ..named("") };
    let taken = store.rotate_token(old.id, new.clone(), later, act()).await.unwrap().expect("it is live");
    assert_eq!((taken.id, taken.name.as_deref(), &taken.scopes), (old.id, Some("ci"), &scopes));
    let tokens = store.tokens_of(alice).await.unwrap();
    let found = tokens.iter().find(|token| token.id == new.id).expect("it is there");
    assert_eq!((found.name.as_deref(), &found.scopes), (Some("ci"), &scopes));
    let principal = store.principal_of(new.proof(), now).await.unwrap().expect("it is live");
    assert_eq!((principal.user_id(), &principal.scopes), (alice, &scopes));
    // The overlap ends on time.
    assert!(store.principal_of(old.proof(), now).await.unwrap().is_some());
    assert!(store.principal_of(old.proof(), later).await.unwrap().is_none());
    assert!(store.principal_of(new.proof(), later).await.unwrap().is_some());
    // It has one successor.
    assert_eq!(store.rotate_token(old.id, named("x"), later, act()).await.unwrap(), None);
    // Without one, the old one ends at once; with a long one, no later than it would have.
    let third = named("x");
    assert!(store.rotate_token(new.id, third.clone(), now, act()).await.unwrap().is_some());
    assert!(store.principal_of(new.proof(), now).await.unwrap().is_none());
    let fourth = named("x");
    let far = third.expires_at.saturating_add(Duration::from_secs(60));
    assert!(store.rotate_token(third.id, fourth.clone(), far, act()).await.unwrap().is_some());
    assert!(store.principal_of(third.proof(), third.expires_at).await.unwrap().is_none());
    // What has ended, is another's, or was made by a log-in has no successor.
    let login = world.token(alice);
    world.add(login.clone()).await;
    let his = NewToken { user_id: bob, ..named("x") };
    for (replaced, token) in [
        (new.id, named("x")),
        (fourth.id, his),
        (login.id, named("x")),
        (old.id, NewToken { created_at: later, ..named("x") }),
    ] {
        assert_eq!(store.rotate_token(replaced, token.clone(), now, act()).await.unwrap(), None);
        assert!(store.principal_of(token.proof(), now).await.unwrap().is_none());
    }
}

// TOK-28: of many who rotate one token at once, one does.
pub async fn a_token_is_replaced_once(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.user("alice").await;
    let named = || NewToken { name: Some("ci".to_owned()), ..world.token(alice) };
    let (old, now) = (named(), world.clock.now());
    world.add(old.clone()).await;
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        let (store, token) = (world.store.clone(), named());
        tasks.spawn(async move { store.rotate_token(old.id, token, now, act()).await.unwrap().is_some() });
    }
    let done = tasks.join_all().await;
    assert_eq!(done.into_iter().filter(|done| *done).count(), 1);
    let live = world.store.tokens_of(alice).await.unwrap();
    assert_eq!(live.iter().filter(|token| token.expires_at > now && token.revoked_at.is_none()).count(), 1);
}

// SES-21: who is kept out while a token of theirs is rotated has no successor of it left.
pub async fn a_token_that_is_rotated_while_its_owner_is_disabled_ends(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.user("alice").await;
    let (store, now, name) = (&world.store, world.clock.now(), username("alice"));
    for _ in 0..20 {
        let named = || NewToken { name: Some("ci".to_owned()), ..world.token(alice) };
        let (old, new) = (named(), named());
        world.add(old.clone()).await;
        let rotating = {
            let (store, new) = (world.store.clone(), new.clone());
            tokio::spawn(async move { store.rotate_token(old.id, new, now, act()).await.unwrap() })
        };
        store.set_active(&name, false, Act::system(now)).await.unwrap();
        rotating.await.unwrap();
        store.set_active(&name, true, Act::system(now)).await.unwrap();
        for token in [&old, &new] {
            assert!(store.principal_of(token.proof(), now).await.unwrap().is_none());
        }
        let late = named();
        assert_eq!(store.rotate_token(new.id, late, now, act()).await.unwrap(), None);
    }
}

// TOK-28, JWT-61
pub async fn a_token_is_ended_by_id_by_its_owner_or_by_its_text(subject: Subject) {
    let world = World::new(subject).await;
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let (store, now) = (&world.store, world.clock.now());
    let tokens = [world.token(alice), world.token(alice), world.token(alice)];
    for token in &tokens {
        world.add(token.clone()).await;
    }
    let which =
        [TokenRef::Id(tokens[0].id), TokenRef::Of(alice, tokens[1].id), TokenRef::Digest(tokens[2].digest)];
    for none in [TokenRef::Of(bob, tokens[0].id), TokenRef::Digest([7; 32])] {
        assert_eq!(store.revoke_token(none, Act::system(now)).await.unwrap(), None);
    }
    for (which, token) in which.into_iter().zip(&tokens) {
        assert!(store.principal_of(token.proof(), now).await.unwrap().is_some());
        assert_eq!(store.revoke_token(which, Act::system(now)).await.unwrap(), Some(alice));
        assert!(store.principal_of(token.proof(), now).await.unwrap().is_none());
        assert_eq!(store.revoke_token(which, Act::system(now)).await.unwrap(), None);
    }
}

pub async fn expired_tokens_are_removed_when_one_is_made(subject: Subject) {
    let world = World::new(subject).await;
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    for user in [alice, alice, bob] {
        world.add(world.token(user)).await;
    }
    world.clock.advance(Duration::from_secs(3600));
    let fresh = world.token(alice);
    world.add(fresh.clone()).await;
    assert_eq!(live(&world, "alice").await, [fresh.id]);
    assert_eq!(live(&world, "bob").await.len(), 1, "others keep theirs until they make one");
}

pub async fn a_new_password_ends_log_ins(subject: Subject) {
    let world = World::new(subject).await;
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let store = &world.store;
    let named = NewToken { name: Some("laptop".to_owned()), ..world.token(alice) };
    let (login, his) = (world.token(alice), world.token(bob));
    for token in [&named, &login, &his] {
        world.add(token.clone()).await;
    }
    let now = world.clock.now();
    store
        .set_password(&username("ALICE"), &Secret::new("new hash".to_owned()), Act::system(now))
        .await
        .unwrap();
    let is_live = async |token: &NewToken| store.principal_of(token.proof(), now).await.unwrap().is_some();
    assert!(!is_live(&login).await);
    assert!(is_live(&named).await, "a named token was not opened by the password");
    assert!(is_live(&his).await);
    let hash = store.login("alice").await.unwrap().expect("the user is there").password_hash;
    assert_eq!(hash.expose(), "new hash");
    assert_eq!(store.login("bob").await.unwrap().unwrap().password_hash.expose(), "hash of bob");
}
