//! Users, organisations, and who is a member of which.
use std::time::Duration;

use bailiwick_core::{
    audit::Act,
    clock::Clock,
    db::DbError,
    identity::{Membership, Role, UserId},
    model::Assignments,
    query::Precondition,
    secret::Secret,
    store::{DirectoryError, OrgRecord, Right, UserRecord},
};
use tokio::task::JoinSet;

use super::{
    Subject,
    model::note,
    world::{World, assert_refused, slug, title, username, values, version, with_peer},
};
use crate::act;

macro_rules! assert_error {
    ($done:expr, $pattern:pat) => {{
        let done = $done;
        assert!(matches!(&done, Err($pattern)), "{done:?}");
    }};
}

// Contract §2
pub async fn user_names_are_unique_and_found_without_regard_to_case(subject: Subject) {
    let world = World::new(subject).await;
    let store = &world.store;
    let alice = world.user("Alice.I+1@x-y_z").await;
    for same in ["Alice.I+1@x-y_z", "ALICE.I+1@X-Y_Z", "alice.i+1@x-y_z"] {
        assert_error!(store.create_user(world.new_user(same), act()).await, DirectoryError::Taken);
        let login = store.login(same).await.unwrap().expect("it is the same name");
        assert_eq!((login.user_id, login.is_active), (alice, true));
        assert_eq!(login.password_hash.expose(), "hash of Alice.I+1@x-y_z");
    }
    assert_eq!(store.users().await.unwrap().len(), 1);
    world.user("alice").await;
    let mut tasks = JoinSet::new();
    for name in ["bob", "Bob", "BOB", "bOB", "boB", "BoB"] {
        let (store, user) = (store.clone(), world.new_user(name));
        tasks.spawn(async move { store.create_user(user, act()).await });
    }
    let mut made = 0;
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            Ok(()) => made += 1,
            Err(error) => assert!(matches!(error, DirectoryError::Taken), "{error:?}"),
        }
    }
    assert_eq!(made, 1);
}

pub async fn names_that_nothing_can_have_are_not_found(subject: Subject) {
    let world = World::new(subject).await;
    let kate = world.owner("kate", "acme").await;
    let long = "a".repeat(100_000);
    for name in
        ["", " ", "kate ", " kate", "kat", "kate\0", "\0", "\u{212a}ate", "k%te", "____", "kâte", "😀", &long]
    {
        assert!(world.store.login(name).await.unwrap().is_none(), "{name:?}");
    }
    for slug in ["", "ACME", "acme ", "acm", "acme\0", "%", "é", &long] {
        assert!(world.store.membership(kate.id(), slug).await.unwrap().is_none(), "{slug:?}");
    }
    let nobody = UserId::from_uuid(world.random());
    assert!(world.store.membership(nobody, "acme").await.unwrap().is_none());
    let membership = Membership::from_store(kate.org(), Role::Owner);
    assert_eq!(world.store.membership(kate.id(), "acme").await.unwrap(), Some(membership));
}

pub async fn users_are_listed_with_their_rights(subject: Subject) {
    let world = World::new(subject).await;
    let store = &world.store;
    let mut records = Vec::new();
    for name in ["carol", "Bob", "alice"] {
        world.clock.advance(Duration::from_secs(1));
        let mut user = world.new_user(name);
        user.is_staff = name == "carol";
        records.insert(
            0,
            UserRecord {
                id: user.id,
                username: name.to_owned(),
                email: user.email.clone(),
                is_active: true,
                is_staff: user.is_staff,
                is_author: false,
                is_editor: false,
                created_at: user.created_at,
            },
        );
        store.create_user(user, act()).await.unwrap();
    }
    assert_eq!(store.users().await.unwrap(), records, "by name, without regard to case");
    let bob = username("BOB");
    for (right, granted) in
        [(Right::Staff, true), (Right::Author, true), (Right::Editor, true), (Right::Author, false)]
    {
        store.set_right(&bob, right, granted, act()).await.unwrap();
    }
    store.set_right(&username("carol"), Right::Staff, false, act()).await.unwrap();
    store.set_active(&username("alice"), false, Act::system(world.clock.now())).await.unwrap();
    records[0].is_active = false;
    (records[1].is_staff, records[1].is_editor, records[2].is_staff) = (true, true, false);
    assert_eq!(store.users().await.unwrap(), records);

    let (nobody, now) = (username("nobody"), world.clock.now());
    assert_error!(store.set_active(&nobody, true, Act::system(now)).await, DirectoryError::NoSuchUser);
    assert_error!(store.set_right(&nobody, Right::Editor, true, act()).await, DirectoryError::NoSuchUser);
    let set = store.set_password(&nobody, &Secret::new("hash".to_owned()), Act::system(now)).await;
    assert_error!(set, DirectoryError::NoSuchUser);
}

pub async fn an_organisation_is_made_with_its_owner_or_not_at_all(subject: Subject) {
    let world = World::new(subject).await;
    let store = &world.store;
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let mut records = Vec::new();
    for name in ["zeta", "alpha", "a-1"] {
        let org = world.new_org(name, alice);
        let record = OrgRecord {
            id: org.id,
            slug: name.to_owned(),
            name: org.name.clone(),
            members: 1,
            created_at: org.created_at,
        };
        store.create_org(org, act()).await.unwrap();
        records.insert(0, record);
    }
    store
        .put_member(&slug("alpha"), &username("bob"), Role::Viewer, Act::system(world.clock.now()))
        .await
        .unwrap();
    records[1].members = 2;
    assert_error!(store.create_org(world.new_org("alpha", bob), act()).await, DirectoryError::Taken);
    let nobody = UserId::from_uuid(world.random());
    assert_error!(store.create_org(world.new_org("new", nobody), act()).await, DirectoryError::NoSuchUser);
    assert_eq!(store.orgs().await.unwrap(), records, "by slug, and nothing is left of what was refused");
    let membership = store.membership(alice, "zeta").await.unwrap().expect("the maker is its owner");
    assert_eq!(membership, Membership::from_store(records[2].id, Role::Owner));
    assert_eq!(store.membership(bob, "zeta").await.unwrap(), None);
}

pub async fn members_are_put_and_removed(subject: Subject) {
    let world = World::new(subject).await;
    let (store, now) = (&world.store, world.clock.now());
    let alice = world.owner("alice", "acme").await;
    let bob = world.user("Bob").await;
    let (acme, bobs, nobody) = (slug("acme"), username("bob"), username("nobody"));
    for role in [Role::Viewer, Role::Admin, Role::Admin, Role::Member] {
        store.put_member(&acme, &bobs, role, Act::system(now)).await.unwrap();
        let membership = Membership::from_store(alice.org(), role);
        assert_eq!(store.membership(bob, "acme").await.unwrap(), Some(membership));
    }
    assert_error!(
        store.put_member(&slug("none"), &bobs, Role::Viewer, Act::system(now)).await,
        DirectoryError::NoSuchOrg
    );
    assert_error!(
        store.put_member(&acme, &nobody, Role::Viewer, Act::system(now)).await,
        DirectoryError::NoSuchUser
    );
    assert_error!(store.remove_member(&slug("none"), &bobs, act()).await, DirectoryError::NoSuchOrg);
    assert_error!(store.remove_member(&acme, &nobody, act()).await, DirectoryError::NoSuchUser);
    store.remove_member(&acme, &username("BOB"), act()).await.unwrap();
    assert_eq!(store.membership(bob, "acme").await.unwrap(), None);
    assert_error!(store.remove_member(&acme, &bobs, act()).await, DirectoryError::NoMember);
    store.put_member(&acme, &bobs, Role::Owner, Act::system(now)).await.expect("who left may come back");
}

// ACL-08
pub async fn the_last_owner_stays(subject: Subject) {
    let world = World::new(subject).await;
    let (store, now) = (&world.store, world.clock.now());
    let alice = world.owner("alice", "acme").await;
    world.member("bob", "acme", Role::Admin).await;
    // An owner of another organisation is none of this one.
    world.owner("carol", "other").await;
    world.member("carol", "acme", Role::Member).await;
    let (acme, alices) = (slug("acme"), username("alice"));
    for role in [Role::Admin, Role::Member, Role::Viewer] {
        assert_error!(
            store.put_member(&acme, &alices, role, Act::system(now)).await,
            DirectoryError::LastOwner
        );
    }
    assert_error!(store.remove_member(&acme, &alices, act()).await, DirectoryError::LastOwner);
    let stays = Membership::from_store(alice.org(), Role::Owner);
    assert_eq!(store.membership(alice.id(), "acme").await.unwrap(), Some(stays));
    store
        .put_member(&acme, &alices, Role::Owner, Act::system(now))
        .await
        .expect("an owner may be made one again");
    store.put_member(&acme, &username("bob"), Role::Owner, Act::system(now)).await.unwrap();
    store.put_member(&acme, &alices, Role::Viewer, Act::system(now)).await.expect("there is another owner");
    assert_error!(store.remove_member(&acme, &username("bob"), act()).await, DirectoryError::LastOwner);
    store.remove_member(&acme, &alices, act()).await.unwrap();
}

const OWNERS: usize = 20;

/// An organisation of many owners.
async fn many_owners(world: &World) {
    world.owner("owner-0", "acme").await;
    for owner in 1..OWNERS {
        world.member(&format!("owner-{owner}"), "acme", Role::Owner).await;
    }
}

async fn owners_left(world: &World) -> usize {
    let mut left = 0;
    for owner in 0..OWNERS {
        let user = world.store.login(&format!("owner-{owner}")).await.unwrap().expect("the user is there");
        let membership = world.store.membership(user.user_id, "acme").await.unwrap();
        left += usize::from(membership.is_some_and(|membership| membership.role() == Role::Owner));
    }
    left
}

// ACL-08
pub async fn one_owner_is_left_after_all_leave_at_once(subject: Subject) {
    let world = World::new(subject).await;
    many_owners(&world).await;
    let mut tasks = JoinSet::new();
    for owner in 0..OWNERS {
        let store = world.store.clone();
        tasks.spawn(async move {
            store.remove_member(&slug("acme"), &username(&format!("owner-{owner}")), act()).await
        });
    }
    let mut refused = 0;
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            Ok(()) => {}
            Err(error) => {
                assert!(matches!(error, DirectoryError::LastOwner), "{error:?}");
                refused += 1;
            }
        }
    }
    assert_eq!((refused, owners_left(&world).await), (1, 1));
}

// ACL-08
pub async fn one_owner_is_left_after_all_are_lowered_at_once(subject: Subject) {
    let world = World::new(subject).await;
    many_owners(&world).await;
    let now = world.clock.now();
    let mut tasks = JoinSet::new();
    for owner in 0..OWNERS {
        let store = world.store.clone();
        tasks.spawn(async move {
            store
                .put_member(
                    &slug("acme"),
                    &username(&format!("owner-{owner}")),
                    Role::Admin,
                    Act::system(now),
                )
                .await
        });
    }
    let mut refused = 0;
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            Ok(()) => {}
            Err(error) => {
                assert!(matches!(error, DirectoryError::LastOwner), "{error:?}");
                refused += 1;
            }
        }
    }
    assert_eq!((refused, owners_left(&world).await), (1, 1));
    assert_eq!(world.store.orgs().await.unwrap()[0].members, OWNERS as u64);
}

pub async fn who_leaves_is_pointed_at_no_more(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let bob = world.member("bob", "acme", Role::Member).await;
    let carol = world.owner("carol", "other").await;
    world.member("bob", "other", Role::Member).await;
    let his = alice.create(with_peer(values("his"), bob.id())).await.unwrap();
    let hers = alice.create(with_peer(values("hers"), alice.id())).await.unwrap();
    let made = bob.note("made").await;
    let elsewhere = carol.create(with_peer(values("elsewhere"), bob.id())).await.unwrap();
    world.store.remove_member(&slug("acme"), &username("bob"), act()).await.unwrap();

    let now = alice.look(his.id).await;
    assert_eq!((now.peer, now.version), (None, 2), "who read it with him in it is told that it changed");
    assert_refused!(alice.update(his.id, title("x"), version(1)).await, DbError::Stale);
    assert_eq!(alice.look(hers.id).await, hers);
    assert_eq!(alice.look(made.id).await, made, "what he made, he made");
    assert_eq!(carol.look(elsewhere.id).await, elsewhere, "he is still a member there");
    let again = with_peer(Assignments::new(), bob.id());
    assert_refused!(alice.update(hers.id, again, Precondition::None).await, DbError::Dangling(_));
    assert_eq!(alice.counts().await, (3, 3));
}

pub async fn who_leaves_while_others_point_at_them_is_pointed_at_no_more(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let bob = world.member("bob", "acme", Role::Member).await;
    for round in 0..6 {
        let first = alice.create(with_peer(values(&format!("{round}")), bob.id())).await.unwrap();
        let mut tasks = JoinSet::new();
        for writer in 0..6 {
            let (alice, bob) = (alice.clone(), bob.clone());
            tasks.spawn(async move {
                let created = with_peer(values(&format!("{round}-{writer}")), bob.id());
                let updated = with_peer(Assignments::new().set(note::DONE, true), bob.id());
                let done = [
                    alice.create(created).await.map(drop),
                    alice.update(first.id, updated, Precondition::None).await.map(drop),
                ];
                for done in done {
                    if let Err(error) = done {
                        assert!(matches!(error, DbError::Dangling(_)), "{error:?}");
                    }
                }
            });
        }
        let store = world.store.clone();
        let leaving =
            tokio::spawn(async move { store.remove_member(&slug("acme"), &username("bob"), act()).await });
        leaving.await.unwrap().unwrap();
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        let pointing = alice.list(&format!("peer={}", bob.id())).await.unwrap();
        assert_eq!(pointing.count, 0, "round {round}");
        world.member("bob", "acme", Role::Member).await;
    }
}
