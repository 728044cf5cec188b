//! Requests that go away: whatever they had asked for happens whole or not at all (RST-12).
use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use bailiwick_core::{
    audit::Act,
    clock::Clock,
    db::DbError,
    identity::Role,
    query::Precondition,
    secret::Secret,
    store::{Proof, TokenCreation},
};
use tokio::task::JoinSet;

use super::{
    Subject,
    model::Note,
    world::{Person, World, slug, title, username, values, version, with_peer},
};
use crate::act;

/// At how many awaits a request is dropped: more than any write has.
const MAX_POLLS: usize = 24;

/// Polls `future` so often, and drops it right then if it has not answered: mostly something is under way.
async fn dropped_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Waits until what was under way has ended, and says how many notes there are.
async fn settled(person: &Person) -> u64 {
    let mut last = None;
    let mut same = 0;
    while same < 5 {
        let counts = person.counts().await;
        same = if last == Some(counts) { same + 1 } else { 0 };
        last = Some(counts);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (kept, counted) = last.expect("it was counted");
    assert_eq!(kept, counted, "the kept count knows of every row");
    counted
}

/// Whether the update to the title "changed" happened; panics if it happened in part.
fn is_changed(before: &Note, now: &Note, changed: impl Fn(&mut Note)) -> bool {
    if now == before {
        return false;
    }
    let mut expected =
        Note { title: "changed".to_owned(), version: 2, updated_at: now.updated_at, ..before.clone() };
    changed(&mut expected);
    assert_eq!(*now, expected, "the update happened in part");
    assert!(now.updated_at > before.updated_at, "the update is stamped");
    true
}

pub async fn a_dropped_write_happens_whole_or_not_at_all(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let mut rows = 0;
    for polls in 0..MAX_POLLS {
        let created = format!("created-{polls}");
        let answered = dropped_after(polls, alice.create(values(&created))).await;
        assert!(polls > 0 || answered.is_none());
        let updated = alice.note(&format!("updated-{polls}")).await;
        let deleted = alice.note(&format!("deleted-{polls}")).await;
        world.clock.advance(Duration::from_secs(1));
        let update = dropped_after(polls, alice.update(updated.id, title("changed"), version(1))).await;
        let delete = dropped_after(polls, alice.delete(deleted.id, Precondition::None)).await;
        let now = settled(&alice).await;

        let is_created = !alice.slugs(&format!("slug={created}")).await.is_empty();
        let is_changed = is_changed(&updated, &alice.look(updated.id).await, |_| {});
        let is_deleted = match alice.retrieve(deleted.id).await {
            Ok(note) => {
                assert_eq!(note, deleted);
                false
            }
            Err(DbError::NotFound) => true,
            Err(error) => panic!("{error:?}"),
        };
        assert_eq!(now, rows + u64::from(is_created) + 1 + u64::from(!is_deleted));
        rows = now;
        for (answered, happened) in [
            (answered.map(|done| done.map(drop)), is_created),
            (update.map(|done| done.map(drop)), is_changed),
            (delete, is_deleted),
        ] {
            if let Some(answered) = answered {
                answered.expect("nothing is wrong with it");
                assert!(happened, "it was acknowledged, and is lost");
            }
            assert!(polls > 0 || !happened, "it happened though nobody asked");
        }
    }
}

pub async fn a_dropped_transaction_happens_whole_or_not_at_all(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let bob = world.member("bob", "acme", Role::Admin).await;
    let store = &world.store;
    for polls in 0..MAX_POLLS {
        let created = format!("created-{polls}");
        let create = dropped_after(polls, alice.create(with_peer(values(&created), bob.id()))).await;
        let updated = alice.note(&format!("updated-{polls}")).await;
        world.clock.advance(Duration::from_secs(1));
        let update = with_peer(title("changed"), bob.id());
        let update = dropped_after(polls, alice.update(updated.id, update, version(1))).await;
        let token = world.token(bob.id());
        let digest = token.digest;
        let token = dropped_after(polls, store.create_token(token, act())).await;
        let name = format!("org-{polls}");
        let org = dropped_after(polls, store.create_org(world.new_org(&name, bob.id()), act())).await;
        let guest = format!("guest-{polls}");
        world.user(&guest).await;
        let (acme, guest) = (slug("acme"), username(&guest));
        let put = dropped_after(
            polls,
            store.put_member(&acme, &guest, Role::Viewer, Act::system(world.clock.now())),
        )
        .await;
        settled(&alice).await;

        let is_created = !alice.slugs(&format!("slug={created}")).await.is_empty();
        let is_changed =
            is_changed(&updated, &alice.look(updated.id).await, |note| note.peer = Some(bob.id()));
        let has_token =
            store.principal_of(Proof::ApiToken(digest), world.clock.now()).await.unwrap().is_some();
        let is_org = store.orgs().await.unwrap().iter().any(|org| org.slug == name);
        let is_owned = store.membership(bob.id(), &name).await.unwrap().is_some();
        assert_eq!(is_org, is_owned, "an organisation without an owner");
        let guest_id = store.login(guest.as_str()).await.unwrap().expect("the guest is there").user_id;
        let is_member = store.membership(guest_id, "acme").await.unwrap().is_some();
        for (answered, happened) in [
            (create.map(|done| done.is_ok()), is_created),
            (update.map(|done| done.is_ok()), is_changed),
            (token.map(|done| done.unwrap() == TokenCreation::Created), has_token),
            (org.map(|done| done.is_ok()), is_org),
            (put.map(|done| done.is_ok()), is_member),
        ] {
            assert_ne!(answered, Some(false), "nothing is wrong with it");
            assert!(answered.is_none() || happened, "it was acknowledged, and is lost");
            assert!(polls > 0 || !happened, "it happened though nobody asked");
        }
    }
}

pub async fn requests_dropped_under_load_leave_the_store_as_good_as_new(subject: Subject) {
    const PATIENT: usize = 4;
    const NOTES: usize = 25;
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let bob = world.member("bob", "acme", Role::Admin).await;
    let mut tasks = JoinSet::new();
    for hasty in 0..8 {
        let (alice, bob, store) = (alice.clone(), bob.clone(), world.store.clone());
        let token = world.token(bob.id());
        let now = world.clock.now();
        tasks.spawn(async move {
            let own = alice.note(&format!("hasty-{hasty}")).await;
            let (bobs, secret) = (username("bob"), Secret::new("hash".to_owned()));
            for round in 0..60 {
                let polls = (round * 7 + hasty) % 11;
                match round % 7 {
                    0 => drop(dropped_after(polls, alice.create(values(&format!("{hasty}/{round}")))).await),
                    1 => {
                        drop(
                            dropped_after(polls, alice.update(own.id, title("x"), Precondition::None)).await,
                        );
                    }
                    2 => {
                        let values = with_peer(values(&format!("{hasty}/{round}")), bob.id());
                        drop(dropped_after(polls, alice.create(values)).await);
                    }
                    3 => {
                        let values = with_peer(title("y"), bob.id());
                        drop(dropped_after(polls, alice.update(own.id, values, Precondition::None)).await);
                    }
                    4 => drop(dropped_after(polls, alice.list("search=title&ordering=title")).await),
                    5 => {
                        drop(
                            dropped_after(polls, store.set_password(&bobs, &secret, Act::system(now))).await,
                        );
                    }
                    _ => {
                        let mut token = token.clone();
                        token.id = bailiwick_core::identity::ApiTokenId::from_uuid(uuid::Uuid::from_u128(
                            (hasty * 1000 + round) as u128,
                        ));
                        token.digest[0] = u8::try_from(round).unwrap();
                        drop(dropped_after(polls, store.create_token(token, act())).await);
                    }
                }
            }
        });
    }
    for patient in 0..PATIENT {
        let (alice, bob) = (alice.clone(), bob.clone());
        tasks.spawn(async move {
            for round in 0..NOTES {
                let slug = format!("patient-{patient}-{round}");
                let plain = values(&slug);
                let values = if round % 2 == 0 { plain } else { with_peer(plain, bob.id()) };
                let note = alice.create(values).await.expect("others who go away harm nobody");
                assert_eq!(alice.look(note.id).await, note);
                let changed = alice.update(note.id, title("patient"), version(1)).await.unwrap();
                assert_eq!((changed.version, changed.id), (2, note.id));
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    settled(&alice).await;
    let patient = alice.list("title=patient&page_size=100").await.unwrap();
    assert_eq!(patient.count, (PATIENT * NOTES) as u64, "what was acknowledged is there");
    assert!(patient.rows.iter().all(|note| note.version == 2));
}
