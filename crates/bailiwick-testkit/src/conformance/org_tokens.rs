//! Tokens that organisations own: whom they speak for, who may make one, and what they are not.
use std::time::Duration;

use bailiwick_core::{
    audit::Act,
    clock::Clock,
    identity::{OrgId, Role, UserId},
    store::{DirectoryError, NewToken, OfOrg, OrgTokenRecord, TokenCreation, TokenRecord, TokenRef},
};
use tokio::task::JoinSet;

use super::{
    Subject,
    world::{World, slug, username},
};
use crate::act;

/// A token of `org_id` that `created_by` makes.
fn token(world: &World, org_id: OrgId, created_by: UserId, role: Role) -> NewToken {
    NewToken {
        name: Some("deploy".to_owned()),
        of_org: Some(OfOrg { org_id, role, created_by }),
        ..world.token(UserId::from_uuid(world.random()))
    }
}

// ACL-02, ACL-09
pub async fn a_token_of_an_organisation_speaks_for_a_service_there_alone(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let bob = world.member("bob", "acme", Role::Admin).await;
    let other = world.owner("carol", "other").await;
    let (store, now) = (&world.store, world.clock.now());
    let made = token(&world, alice.org(), bob.id(), Role::Member);
    world.add(made.clone()).await;

    let (service, place) =
        store.principal_in(made.proof(), now, "acme").await.unwrap().expect("the token is live");
    assert_eq!((service.user_id(), service.service_of), (made.user_id, Some(alice.org())));
    assert_eq!((service.is_staff, service.email.as_str()), (false, ""));
    let place = place.expect("it has a place");
    assert_eq!((place.org_id(), place.role()), (alice.org(), Role::Member));
    let (_, place) =
        store.principal_in(made.proof(), now, "other").await.unwrap().expect("the token is live");
    assert_eq!(place, None);
    let person = world.token(bob.id());
    world.add(person.clone()).await;
    let person = store.principal_of(person.proof(), now).await.unwrap().expect("the token is live");
    assert_eq!(person.service_of, None);

    // It is no person, wherever people are looked for.
    let names: Vec<_> = store.users().await.unwrap().into_iter().map(|user| user.username).collect();
    assert_eq!(names, ["alice", "bob", "carol"]);
    let members: Vec<_> = store.orgs().await.unwrap().into_iter().map(|org| org.members).collect();
    assert_eq!(members, [2, 1]);
    assert!(store.login(&made.service_name()).await.unwrap().is_none());
    assert_eq!(store.users_of_email("").await.unwrap().len(), 0);
    assert!(made.service_name().parse::<bailiwick_core::identity::Username>().is_err());

    // It is the organisation's, and no other's.
    let NewToken { id, name, display, scopes, created_at, expires_at, user_id, .. } = made.clone();
    let (last_used_at, revoked_at) = (None, None);
    let mut expected = OrgTokenRecord {
        token: TokenRecord { id, name, display, scopes, created_at, expires_at, last_used_at, revoked_at },
        user_id,
        role: Role::Member,
        created_by: bob.id(),
    };
    assert_eq!(store.org_tokens(alice.org()).await.unwrap(), std::slice::from_ref(&expected));
    assert_eq!(store.org_tokens(other.org()).await.unwrap(), []);
    assert!(!store.tokens_of(bob.id()).await.unwrap().iter().any(|token| token.id == id));

    // Whatever becomes of its maker.
    store.remove_member(&slug("acme"), &username("bob"), act()).await.unwrap();
    store.set_active(&username("bob"), false, Act::system(now)).await.unwrap();
    let (_, place) =
        store.principal_in(made.proof(), now, "acme").await.unwrap().expect("it outlives its maker");
    assert_eq!(place.expect("it has a place").role(), Role::Member);

    let revoked = store.revoke_token(TokenRef::Of(alice.id(), id), Act::system(now)).await.unwrap();
    assert_eq!(revoked, None, "it is no person's");
    assert_eq!(store.revoke_token(TokenRef::Of(user_id, id), Act::system(now)).await.unwrap(), Some(user_id));
    assert!(store.principal_in(made.proof(), now, "acme").await.unwrap().is_none());
    expected.token.revoked_at = Some(now);
    assert_eq!(store.org_tokens(alice.org()).await.unwrap(), [expected]);
}

// ACL-07: looked at in the transaction that makes it, whatever was decided before.
pub async fn nobody_makes_or_replaces_a_token_of_an_organisation_above_their_role(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let outsider = world.owner("mallory", "other").await;
    let (store, now, acme) = (&world.store, world.clock.now(), alice.org());
    let bob = world.member("bob", "acme", Role::Viewer).await.id();
    for is in Role::ALL {
        store.put_member(&slug("acme"), &username("bob"), is, Act::system(now)).await.unwrap();
        for wanted in Role::ALL {
            let may = is >= Role::Admin && is >= wanted;
            let made = token(&world, acme, bob, wanted);
            let creation = store.create_token(made.clone(), act()).await.unwrap();
            let expected = if may { TokenCreation::Created } else { TokenCreation::Refused };
            assert_eq!(creation, expected, "{is} makes {wanted}");
            assert_eq!(store.principal_of(made.proof(), now).await.unwrap().is_some(), may);
            // By whoever may, and then by bob.
            let old = token(&world, acme, alice.id(), wanted);
            world.add(old.clone()).await;
            let new = NewToken { user_id: old.user_id, ..token(&world, acme, bob, wanted) };
            let replaced = store.rotate_token(old.id, new.clone(), now, act()).await.unwrap();
            assert_eq!(replaced.is_some(), may, "{is} replaces {wanted}");
            let works = if may { new.proof() } else { old.proof() };
            let principal = store.principal_of(works, now).await.unwrap().expect("one of them works");
            assert_eq!((principal.user_id(), principal.service_of), (old.user_id, Some(acme)));
            for done in [made.id, old.id, new.id] {
                store.revoke_token(TokenRef::Id(done), Act::system(now)).await.unwrap();
            }
        }
    }
    let nobody = UserId::from_uuid(world.random());
    for stranger in [outsider.id(), nobody] {
        let made = token(&world, acme, stranger, Role::Viewer);
        assert_eq!(store.create_token(made, act()).await.unwrap(), TokenCreation::Refused);
    }
    let nowhere = token(&world, OrgId::from_uuid(world.random()), alice.id(), Role::Viewer);
    assert_eq!(store.create_token(nowhere, act()).await.unwrap(), TokenCreation::Refused);
    store.set_active(&username("bob"), false, Act::system(now)).await.unwrap();
    let made = token(&world, acme, bob, Role::Viewer);
    assert_eq!(store.create_token(made, act()).await.unwrap(), TokenCreation::Refused);
}

// TOK-26
pub async fn the_cap_on_tokens_of_an_organisation_holds_however_many_make_them(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let bob = world.member("bob", "acme", Role::Admin).await;
    let carol = world.owner("carol", "other").await;
    let store = &world.store;
    let of = |org, by| NewToken { max_per_user: 5, ..token(&world, org, by, Role::Viewer) };
    let mut tasks = JoinSet::new();
    for number in 0..40 {
        let by = if number % 2 == 0 { alice.id() } else { bob.id() };
        let (store, token) = (world.subject.open().await, of(alice.org(), by));
        tasks.spawn(async move { (token.id, store.create_token(token, act()).await.unwrap()) });
    }
    let mut made = Vec::new();
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            (id, TokenCreation::Created) => made.push(id),
            (_, creation) => assert_eq!(creation, TokenCreation::TooMany),
        }
    }
    let mut live: Vec<_> =
        store.org_tokens(alice.org()).await.unwrap().into_iter().map(|of_org| of_org.token.id).collect();
    made.sort_unstable();
    live.sort_unstable();
    assert_eq!((made.len(), &live), (5, &made), "who was told so has a token, and nobody else");
    // Those of people and of other organisations do not count.
    world.add(NewToken { name: Some("hers".to_owned()), ..world.token(alice.id()) }).await;
    world.add(of(carol.org(), carol.id())).await;
    // What has ended counts no more.
    let more = async || store.create_token(of(alice.org(), bob.id()), act()).await.unwrap();
    assert_eq!(more().await, TokenCreation::TooMany);
    store.revoke_token(TokenRef::Id(made[0]), Act::system(world.clock.now())).await.unwrap();
    assert_eq!(more().await, TokenCreation::Created);
    assert_eq!(more().await, TokenCreation::TooMany);
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(more().await, TokenCreation::Created);
    assert_eq!(store.org_tokens(alice.org()).await.unwrap().len(), 1, "expired ones are removed");
}

// ACL-08
pub async fn a_token_is_never_the_last_owner(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let (store, now) = (&world.store, world.clock.now());
    world.add(token(&world, alice.org(), alice.id(), Role::Owner)).await;
    let (acme, name) = (slug("acme"), username("alice"));
    let left = store.remove_member(&acme, &name, act()).await;
    assert!(matches!(left, Err(DirectoryError::LastOwner)), "{left:?}");
    let lowered = store.put_member(&acme, &name, Role::Admin, Act::system(now)).await;
    assert!(matches!(lowered, Err(DirectoryError::LastOwner)), "{lowered:?}");
    world.member("bob", "acme", Role::Owner).await;
    store.remove_member(&acme, &name, act()).await.unwrap();
}
