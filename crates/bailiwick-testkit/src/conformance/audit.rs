//! The audit trail: each change leaves its entries with it, in chains that hold however many append at once.
use std::{sync::Arc, time::Duration};

use bailiwick_core::{
    audit::{Act, Actor, Chain, Entry, SecurityEvent, SecurityEventKind, Verifier},
    clock::Clock,
    id::Id,
    identity::{Role, UserId},
    secret::Secret,
    store::{
        AccessNote, DirectoryError, KeyPurpose, KeyRecord, KeyState, NewFamily, NewPasswordReset, NewToken,
        OfOrg, PasswordChange, Refresh, Right, Store, TokenCreation, TokenRef, WhichSessions,
    },
};
use tokio::task::JoinSet;

use super::{
    Subject,
    world::{World, slug, username},
};
use crate::audit_keys;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// All entries of a chain, which must hold.
async fn trail(store: &dyn Store, chain: Chain) -> Vec<Entry> {
    let mut verifier = Verifier::new(audit_keys(), chain, &[]);
    let mut all = Vec::new();
    loop {
        // Few at a time, so that pages follow each other.
        let page = store.audit_entries(chain, verifier.last().sequence, 7).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 7, "{}", page.len());
        page.iter().for_each(|entry| verifier.check(entry).unwrap());
        all.extend(page);
    }
    let head = store.audit_head(chain).await.unwrap();
    verifier.finish(&head).unwrap();
    if !all.is_empty() {
        assert!(store.audit_heads().await.unwrap().contains(&head));
    }
    all
}

/// What is new in a chain.
struct Watched<'w> {
    world: &'w World,
    chain: Chain,
    seen: usize,
}

impl<'w> Watched<'w> {
    async fn new(world: &'w World, chain: Chain) -> Self {
        Self { world, chain, seen: trail(&*world.store, chain).await.len() }
    }

    /// The events since the last time.
    async fn new_events(&mut self) -> Vec<String> {
        let all = trail(&*self.world.store, self.chain).await;
        let new = all[self.seen..].iter().map(|entry| entry.event.clone()).collect();
        self.seen = all.len();
        new
    }

    #[track_caller]
    fn compare(new: &[String], expected: &[&str], what: &str) {
        assert_eq!(new, expected, "{what}");
    }

    /// Sees that just these are new.
    async fn expect(&mut self, what: &str, expected: &[&str]) {
        Self::compare(&self.new_events().await, expected, what);
    }
}

fn now(world: &World) -> Act {
    Act::system(world.clock.now())
}

// LOG-11
pub async fn a_change_of_the_directory_is_recorded_with_it_and_a_refused_one_is_not(subject: Subject) {
    let world = World::new(subject).await;
    let store = &world.store;
    let alice = world.owner("alice", "acme").await;
    let org = Chain::Org(alice.org());
    let mut site = Watched { world: &world, chain: Chain::Site, seen: 0 };
    let mut acme = Watched { world: &world, chain: org, seen: 0 };
    site.expect("alice", &["user_created"]).await;
    acme.expect("acme", &["org_created", "member_added"]).await;

    world.user("bob").await;
    site.expect("bob", &["user_created"]).await;
    assert!(matches!(
        store.create_user(world.new_user("BOB"), now(&world)).await,
        Err(DirectoryError::Taken)
    ));
    let taken = store.create_org(world.new_org("acme", alice.id()), now(&world)).await;
    assert!(matches!(taken, Err(DirectoryError::Taken)));
    let nobody = UserId::from_uuid(world.random());
    assert!(store.create_org(world.new_org("other", nobody), now(&world)).await.is_err());
    site.expect("what was refused", &[]).await;

    let bob = username("bob");
    let active = async |active| store.set_active(&bob, active, now(&world)).await.unwrap();
    active(false).await;
    active(false).await;
    site.expect("disabled twice", &["user_disabled"]).await;
    active(true).await;
    active(true).await;
    site.expect("enabled twice", &["user_enabled"]).await;
    let right = async |right, granted| store.set_right(&bob, right, granted, now(&world)).await.unwrap();
    for (kind, name) in [(Right::Staff, "staff"), (Right::Author, "author"), (Right::Editor, "editor")] {
        right(kind, false).await;
        right(kind, true).await;
        right(kind, true).await;
        site.expect(name, &["privilege_permissions_changed"]).await;
        let last = trail(&**store, Chain::Site).await.pop().unwrap();
        assert_eq!(last.details, format!(r#"{{"granted":true,"right":"{name}"}}"#));
        right(kind, false).await;
        site.expect(name, &["privilege_permissions_changed"]).await;
    }
    store.set_password(&bob, &Secret::new("new".to_owned()), now(&world)).await.unwrap();
    site.expect("a new password", &["authn_password_change"]).await;
    let nobody = username("nobody");
    assert!(store.set_active(&nobody, false, now(&world)).await.is_err());
    assert!(store.set_right(&nobody, Right::Staff, true, now(&world)).await.is_err());
    assert!(store.set_password(&nobody, &Secret::new("new".to_owned()), now(&world)).await.is_err());

    let acmes = slug("acme");
    let put = async |name: &str, role| store.put_member(&acmes, &username(name), role, now(&world)).await;
    put("bob", Role::Viewer).await.unwrap();
    put("bob", Role::Viewer).await.unwrap();
    acme.expect("added twice", &["member_added"]).await;
    put("bob", Role::Admin).await.unwrap();
    acme.expect("another role", &["member_role_changed"]).await;
    let last = trail(&**store, org).await.pop().unwrap();
    assert_eq!(last.details, r#"{"role":"admin","role_before":"viewer"}"#);
    assert!(put("alice", Role::Viewer).await.is_err(), "she is the last owner");
    assert!(store.remove_member(&acmes, &username("alice"), now(&world)).await.is_err());
    acme.expect("the last owner", &[]).await;
    store.remove_member(&acmes, &bob, now(&world)).await.unwrap();
    assert!(store.remove_member(&acmes, &bob, now(&world)).await.is_err());
    acme.expect("removed twice", &["member_removed"]).await;
    site.expect("of the organisation", &[]).await;
}

// LOG-11
pub async fn a_change_of_credentials_is_recorded_with_it_and_a_refused_one_is_not(subject: Subject) {
    let world = World::new(subject).await;
    let store = &world.store;
    let alice = world.user("alice").await;
    let mut site = Watched::new(&world, Chain::Site).await;
    let proved = Some(Secret::new("hash of alice".to_owned()));

    // Tokens.
    let named = NewToken { name: Some("deploy".to_owned()), max_per_user: 1, ..world.token(alice) };
    world.add(named.clone()).await;
    site.expect("a token by name", &["authn_token_created"]).await;
    let second = NewToken { name: Some("second".to_owned()), max_per_user: 1, ..world.token(alice) };
    assert_eq!(store.create_token(second, now(&world)).await.unwrap(), TokenCreation::TooMany);
    let late = NewToken { password_hash: Some(Secret::new("another".to_owned())), ..world.token(alice) };
    assert_eq!(store.create_token(late, now(&world)).await.unwrap(), TokenCreation::Refused);
    site.expect("tokens that were refused", &[]).await;
    let log_in = NewToken { password_hash: proved.clone(), max_per_user: 1, ..world.token(alice) };
    world.add(log_in).await;
    site.expect("a log-in", &["authn_login_success", "authn_token_created"]).await;
    let log_in = NewToken { password_hash: proved, max_per_user: 1, ..world.token(alice) };
    world.add(log_in.clone()).await;
    let beyond = &["authn_login_success", "authn_token_created", "authn_token_revoked"];
    site.expect("a log-in beyond the cap", beyond).await;
    let rotated = NewToken { name: Some("deploy".to_owned()), ..world.token(alice) };
    let until = world.clock.now().saturating_add(HOUR);
    for expected in [true, false] {
        let next = NewToken { id: Id::from_uuid(world.random()), ..rotated.clone() };
        let next = if expected { rotated.clone() } else { next };
        let done = store.rotate_token(named.id, next, until, now(&world)).await.unwrap();
        assert_eq!(done.is_some(), expected);
    }
    site.expect("a token rotated twice", &["authn_token_rotated"]).await;
    for which in [TokenRef::Id(log_in.id), TokenRef::Id(log_in.id), TokenRef::Digest(log_in.digest)] {
        store.revoke_token(which, now(&world)).await.unwrap();
    }
    site.expect("a token revoked again and again", &["authn_token_revoked"]).await;
    for _ in 0..2 {
        store.revoke_token(TokenRef::Digest(rotated.digest), now(&world)).await.unwrap();
    }
    site.expect("a token found twice", &["authn_token_leaked"]).await;

    // Sessions.
    let first = world.session(alice, "alice");
    assert!(store.create_session(first.clone(), now(&world)).await.unwrap());
    site.expect("a session", &["authn_login_success", "session_created"]).await;
    let mut second = world.session(alice, "alice");
    second.replaces = Some(first.digest);
    assert!(store.create_session(second.clone(), now(&world)).await.unwrap());
    site.expect("in the place of it", &["authn_login_success", "session_created", "session_logout"]).await;
    let mut third = world.session(alice, "alice");
    third.max_per_user = 1;
    assert!(store.create_session(third.clone(), now(&world)).await.unwrap());
    site.expect("beyond the cap", &["authn_login_success", "session_created", "session_logout"]).await;
    let wrong = world.session(alice, "another");
    assert!(!store.create_session(wrong, now(&world)).await.unwrap());
    store.end_sessions(alice, WhichSessions::AllBut(third.id), now(&world)).await.unwrap();
    store.end_sessions(alice, WhichSessions::Only(first.id), now(&world)).await.unwrap();
    site.expect("nothing to end", &[]).await;
    assert!(store.create_session(world.session(alice, "alice"), now(&world)).await.unwrap());
    site.new_events().await;
    store.end_sessions(alice, WhichSessions::All, now(&world)).await.unwrap();
    site.expect("all of them", &["session_logout", "session_logout"]).await;

    // Passwords.
    let change = PasswordChange {
        user_id: alice,
        old_hash: Secret::new("hash of alice".to_owned()),
        new_hash: Secret::new("new".to_owned()),
        session: None,
        changed_at: world.clock.now(),
    };
    assert!(store.change_password(change.clone(), now(&world)).await.unwrap());
    assert!(!store.change_password(change, now(&world)).await.unwrap());
    site.expect("a password changed twice", &["authn_password_change"]).await;
    let (digest, created_at) = ([9; 32], world.clock.now());
    let reset =
        NewPasswordReset { digest, user_id: alice, created_at, expires_at: created_at.saturating_add(HOUR) };
    assert!(store.create_password_reset(reset, now(&world)).await.unwrap());
    site.expect("a reset", &["authn_password_reset_requested"]).await;
    for _ in 0..2 {
        store.use_password_reset(digest, Secret::new("newer".to_owned()), now(&world)).await.unwrap();
    }
    site.expect("used twice", &["authn_password_reset"]).await;
    let (old, new) = (Secret::new("newer".to_owned()), Secret::new("x".to_owned()));
    assert!(store.renew_password_hash(alice, &old, &new).await.unwrap());
    site.expect("the same password, hashed anew", &[]).await;
}

// LOG-11
pub async fn what_happens_to_a_token_of_an_organisation_is_in_its_chain(subject: Subject) {
    let world = World::new(subject).await;
    let store = &world.store;
    let alice = world.owner("alice", "acme").await;
    let mut site = Watched::new(&world, Chain::Site).await;
    let mut acme = Watched::new(&world, Chain::Org(alice.org())).await;
    let token = |role| {
        let of_org = Some(OfOrg { org_id: alice.org(), role, created_by: alice.id() });
        let user = UserId::from_uuid(world.random());
        NewToken { name: Some("deploy".to_owned()), of_org, max_per_user: 2, ..world.token(user) }
    };
    let first = token(Role::Admin);
    world.add(first.clone()).await;
    acme.expect("a token", &["authn_token_created"]).await;
    let last = trail(&**store, Chain::Org(alice.org())).await.pop().unwrap();
    assert!(last.details.contains(r#""role":"admin""#), "{}", last.details);
    let next = NewToken { user_id: first.user_id, ..token(Role::Admin) };
    let until = world.clock.now().saturating_add(HOUR);
    assert!(store.rotate_token(first.id, next.clone(), until, now(&world)).await.unwrap().is_some());
    acme.expect("rotated", &["authn_token_rotated"]).await;
    assert_eq!(store.create_token(token(Role::Viewer), now(&world)).await.unwrap(), TokenCreation::TooMany);
    for which in [TokenRef::Id(first.id), TokenRef::Id(first.id), TokenRef::Digest(next.digest)] {
        store.revoke_token(which, now(&world)).await.unwrap();
    }
    acme.expect("ended, and found", &["authn_token_revoked", "authn_token_leaked"]).await;
    site.expect("of the organisation", &[]).await;
}

// LOG-11
pub async fn a_change_of_families_and_keys_is_recorded_with_it(subject: Subject) {
    let world = World::new(subject).await;
    let store = &world.store;
    let alice = world.user("alice").await;
    let mut site = Watched::new(&world, Chain::Site).await;
    let access = || AccessNote { kid: "key".to_owned(), expires_at: world.clock.now().saturating_add(HOUR) };
    let family = NewFamily {
        id: Id::from_uuid(world.random()),
        user_id: alice,
        password_hash: Secret::new("hash of alice".to_owned()),
        digest: [1; 32],
        created_at: world.clock.now(),
        lifetime: HOUR,
        absolute: 24 * HOUR,
        access: access(),
        max_per_user: 1,
    };
    let wrong = NewFamily { password_hash: Secret::new("another".to_owned()), ..family.clone() };
    assert!(!store.create_family(wrong, now(&world)).await.unwrap());
    site.expect("no family", &[]).await;
    assert!(store.create_family(family, now(&world)).await.unwrap());
    site.expect("a family", &["authn_login_success", "authn_token_created"]).await;
    let refresh = |from: u8, to: u8| Refresh {
        digest: [from; 32],
        successors: vec![[to; 32]],
        now: world.clock.now(),
        lifetime: HOUR,
        grace: Duration::from_secs(10),
        access: access(),
    };
    let _ = store.refresh_family(refresh(7, 8), now(&world)).await.unwrap();
    site.expect("a token that is none", &[]).await;
    for _ in 0..2 {
        let _ = store.refresh_family(refresh(1, 2), now(&world)).await.unwrap();
    }
    site.expect("renewed, and the same again", &["authn_token_renewed", "authn_token_renewed"]).await;
    let _ = store.refresh_family(refresh(2, 3), now(&world)).await.unwrap();
    site.expect("renewed", &["authn_token_renewed"]).await;
    for _ in 0..2 {
        let _ = store.refresh_family(refresh(1, 2), now(&world)).await.unwrap();
    }
    site.expect("used again, and once more", &["authn_token_reuse"]).await;
    let another = NewFamily {
        id: Id::from_uuid(world.random()),
        user_id: alice,
        password_hash: Secret::new("hash of alice".to_owned()),
        digest: [4; 32],
        created_at: world.clock.now(),
        lifetime: HOUR,
        absolute: 24 * HOUR,
        access: access(),
        max_per_user: 1,
    };
    assert!(store.create_family(another.clone(), now(&world)).await.unwrap());
    site.expect("in the place of one that has ended", &["authn_login_success", "authn_token_created"]).await;
    for _ in 0..2 {
        store.revoke_family([4; 32], now(&world)).await.unwrap();
    }
    site.expect("revoked twice", &["authn_token_revoked"]).await;
    let more = [5_u8, 6].map(|first| NewFamily {
        id: Id::from_uuid(world.random()),
        digest: [first; 32],
        ..another.clone()
    });
    let made = ["authn_login_success", "authn_token_created", "authn_token_revoked"];
    for (family, expected) in more.into_iter().zip([&made[..2], &made]) {
        assert!(store.create_family(family, now(&world)).await.unwrap());
        site.expect("a family, and one beyond the cap", expected).await;
    }

    let key = |kid: &str, state, sealed_by: &str| KeyRecord {
        kid: kid.to_owned(),
        algorithm: "EdDSA".to_owned(),
        state,
        sealed_by: sealed_by.to_owned(),
        sealed: Secret::new(vec![1]),
        created_at: world.clock.now(),
        promote_at: None,
        activated_at: None,
        retiring_at: None,
        ends_at: None,
    };
    let changes = [
        (vec![key("a", KeyState::Active, "m")], &["key_generated", "key_promoted"][..]),
        (vec![key("b", KeyState::Next, "m")], &["key_generated"]),
        (
            vec![key("a", KeyState::Retiring, "m"), key("b", KeyState::Active, "m")],
            &["key_retiring", "key_promoted"],
        ),
        (vec![key("b", KeyState::Active, "n")], &["key_reencrypted"]),
        (vec![key("a", KeyState::Retired, "m")], &["key_retired"]),
        (vec![key("b", KeyState::Revoked, "n")], &["key_revoked"]),
    ];
    for ((keys, expected), version) in changes.into_iter().zip(0..) {
        let purpose = KeyPurpose::AccessTokens;
        assert!(!store.change_keys(purpose, version + 1, keys.clone(), now(&world)).await.unwrap());
        site.expect("another version", &[]).await;
        assert!(store.change_keys(purpose, version, keys, now(&world)).await.unwrap());
        site.expect("a key", expected).await;
    }
}

// LOG-10
pub async fn a_chain_has_no_gap_however_many_append_at_once(subject: Subject) {
    const EACH: usize = 25;
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let org = alice.org();
    let before = [Chain::Site, Chain::Org(org)];
    let before = [trail(&*world.store, before[0]).await.len(), trail(&*world.store, before[1]).await.len()];
    // Two stores on one database, as two servers have it.
    let stores = [Arc::clone(&world.store), world.subject.open().await];
    let mut tasks = JoinSet::new();
    for round in 0..EACH {
        for store in &stores {
            let (store, user) = (Arc::clone(store), world.new_user(&format!("user-{}", world.random())));
            tasks.spawn(async move {
                store.create_user(user, crate::act()).await.unwrap();
            });
        }
        for store in &stores {
            let store = Arc::clone(store);
            // Both chains at once, in either order.
            let events =
                [None, Some(org)].map(|org| SecurityEvent::new(SecurityEventKind::AuthzFail).within(org));
            tasks.spawn(async move {
                let mut events = events.to_vec();
                if round % 2 == 0 {
                    events.reverse();
                }
                store.append_events(events, crate::act()).await.unwrap();
            });
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let site = trail(&*stores[1], Chain::Site).await;
    assert_eq!(site.len(), before[0] + 4 * EACH);
    assert_eq!(trail(&*stores[0], Chain::Org(org)).await.len(), before[1] + 2 * EACH);
}

// LOG-10
pub async fn many_who_begin_a_chain_at_once_begin_one(subject: Subject) {
    let world = World::new(subject).await;
    let stores = [Arc::clone(&world.store), world.subject.open().await];
    let org = Id::from_uuid(world.random());
    let mut tasks = JoinSet::new();
    for store in stores.iter().cycle().take(50) {
        let store = Arc::clone(store);
        let event = SecurityEvent::new(SecurityEventKind::AuthzFail).within(org);
        tasks.spawn(async move { store.append_events(vec![event], crate::act()).await.unwrap() });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(trail(&*world.store, Chain::Org(org)).await.len(), 50);
    assert!(trail(&*world.store, Chain::Site).await.is_empty());
}

pub async fn an_entry_reads_back_as_it_was_appended(subject: Subject) {
    let world = World::new(subject).await;
    let user = world.user("alice").await;
    let mut act = Act::of(Actor::user(user, "alice"), world.clock.now());
    act.request_id = Some("abcd-1234".into());
    act.remote_addr = Some("::ffff:192.0.2.7".parse().unwrap());
    let session = world.session(user, "alice");
    let event = SecurityEvent::new(SecurityEventKind::SessionUseAfterExpire).of(user).on(session.id);
    world.store.append_events(vec![event.with("reason", "idle")], act.clone()).await.unwrap();
    world.store.append_events(Vec::new(), act).await.unwrap();
    let read = trail(&*world.store, Chain::Site).await;
    let [_, entry] = &read[..] else { panic!("{read:?}") };
    let expected = Entry {
        chain: Chain::Site,
        sequence: 2,
        event: "session_use_after_expire".to_owned(),
        at: world.clock.now(),
        actor_kind: "user".to_owned(),
        actor_id: Some(user.as_uuid()),
        actor_name: Some("alice".to_owned()),
        target_kind: Some("session".to_owned()),
        target_id: Some(session.id.to_string()),
        request_id: Some("abcd-1234".to_owned()),
        remote_addr: Some("192.0.2.7".to_owned()),
        outcome: "failure".to_owned(),
        details: format!(r#"{{"reason":"idle","user_id":"{user}"}}"#),
        key_id: entry.key_id.clone(),
        hash: entry.hash.clone(),
    };
    assert_eq!(*entry, expected);
    assert!(world.store.audit_entries(Chain::Site, u64::MAX, 10).await.unwrap().is_empty());
}
