//! Writing: stamps, conflicts, references, versions, rules, and who may not even know.
use std::time::Duration;

use bailiwick_core::{
    audit::{Chain, SecurityEvent, SecurityEventKind, Target},
    clock::{Clock, Timestamp},
    db::DbError,
    id::Id,
    identity::Role,
    model::{Assignments, FieldError, Location, Model},
    query::{Precondition, Quota},
};
use tokio::task::JoinSet;

use super::{
    Subject,
    model::{Note, Rank, hiding_rules, note, rules},
    world::{Person, World, assert_refused, title, values, version, with_parent, with_peer},
};
use crate::act;

// I2
pub async fn a_new_row_is_stamped_and_reads_back(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    world.clock.advance(Duration::from_micros(1));
    let note = alice.note("a").await;
    let now = world.clock.now();
    assert_eq!(
        note,
        Note {
            org_id: alice.org(),
            id: note.id,
            slug: "a".to_owned(),
            title: "title of a".to_owned(),
            body: None,
            rank: Rank::Normal,
            score: None,
            done: false,
            due_at: None,
            peer: None,
            parent: None,
            made_by: alice.id(),
            changed_by: alice.id(),
            created_at: now,
            updated_at: now,
            version: 1,
        }
    );
    assert_eq!(alice.look(note.id).await, note);
    assert_eq!(alice.list("").await.unwrap().rows, [note]);
}

pub async fn every_value_survives(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let long = "ä".repeat(10_000);
    let texts =
        ["", " ", "'; DROP TABLE users; --", "\"$1 ? %s\\", "a\nb\r\t", "\u{1}\u{7f}", "😀 e\u{301}", &long];
    for (at, text) in texts.into_iter().enumerate() {
        let values =
            values(&at.to_string()).set(note::TITLE, text.to_owned()).set(note::BODY, Some(text.to_owned()));
        let made = alice.create(values).await.unwrap();
        let read = alice.look(made.id).await;
        assert_eq!((read.title.as_str(), read.body.as_deref()), (text, Some(text)));
    }
    for (score, time) in
        [(i64::MIN, Timestamp::MIN), (i64::MAX, Timestamp::MAX), (0, Timestamp::from_micros(-1))]
    {
        let values =
            values(&format!("score {score}")).set(note::SCORE, Some(score)).set(note::DUE_AT, Some(time));
        let made = alice.create(values).await.unwrap();
        let read = alice.look(made.id).await;
        assert_eq!((read.score, read.due_at), (Some(score), Some(time)));
    }
    let emptied = alice.note("emptied").await;
    let full = Assignments::new().set(note::BODY, Some(String::new())).set(note::SCORE, Some(0_i64));
    let full = alice.update(emptied.id, full, Precondition::None).await.unwrap();
    assert_eq!((full.body.as_deref(), full.score), (Some(""), Some(0)), "an empty text is no null");
    let clear = Assignments::new().set(note::BODY, None::<String>).set(note::SCORE, None::<i64>);
    let cleared = alice.update(emptied.id, clear, Precondition::None).await.unwrap();
    assert_eq!((cleared.body, cleared.score), (None, None));
}

// ACL-15
pub async fn a_taken_value_is_a_conflict_within_one_scope_only(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let mallory = world.owner("mallory", "evil").await;
    let first = alice.note("taken").await;
    let second = alice.note("free").await;
    assert_refused!(alice.create(values("taken")).await, DbError::Conflict);
    let rename =
        || Assignments::new().set(note::SLUG, "taken".to_owned()).set(note::TITLE, "renamed".to_owned());
    assert_refused!(alice.update(second.id, rename(), Precondition::None).await, DbError::Conflict);
    // Stale before conflict: the client is told first that it does not know the row.
    assert_refused!(alice.update(second.id, rename(), version(7)).await, DbError::Stale);
    assert_eq!(alice.look(second.id).await, second, "a refused update changes nothing");
    alice.update(first.id, rename(), Precondition::None).await.expect("a row does not conflict with itself");
    mallory.create(values("taken")).await.expect("what another organisation has is not taken here");
    assert_eq!(alice.counts().await, (2, 2));
}

pub async fn one_of_many_who_take_a_value_at_once_gets_it(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let alice = alice.clone();
        tasks.spawn(async move { alice.create(values("wanted")).await });
    }
    let mut made = 0;
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            Ok(_) => made += 1,
            Err(error) => assert!(matches!(error, DbError::Conflict), "{error:?}"),
        }
    }
    assert_eq!((made, alice.counts().await), (1, (1, 1)));
}

fn dangling(pointer: &str) -> Vec<FieldError> {
    vec![FieldError {
        location: Location::Body(pointer.to_owned()),
        code: "not-found",
        detail: "there is no such object in this organisation".into(),
    }]
}

// I5, ACL-05
pub async fn a_reference_is_found_in_scope_only(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let bob = world.member("bob", "acme", Role::Viewer).await;
    let mallory = world.owner("mallory", "evil").await;
    let (ours, theirs) = (alice.note("ours").await, mallory.note("theirs").await);

    let both = with_parent(with_peer(values("a"), bob.id()), ours.id.as_uuid());
    let note = alice.create(both).await.unwrap();
    assert_eq!((note.peer, note.parent), (Some(bob.id()), Some(ours.id)));

    let nobody = bailiwick_core::identity::UserId::from_uuid(world.random());
    for peer in [mallory.id(), nobody] {
        for done in [
            alice.create(with_peer(values("b"), peer)).await,
            alice.update(note.id, with_peer(Assignments::new(), peer), Precondition::None).await,
        ] {
            assert_refused!(done, DbError::Dangling(errors) if *errors == dangling("#/peer"));
        }
    }
    for parent in [theirs.id.as_uuid(), world.random(), alice.id().as_uuid()] {
        let done = alice.create(with_parent(values("b"), parent)).await;
        assert_refused!(done, DbError::Dangling(errors) if *errors == dangling("#/parent"));
    }
    let wrong = with_parent(with_peer(values("b"), mallory.id()), theirs.id.as_uuid());
    let all = [dangling("#/peer"), dangling("#/parent")].concat();
    assert_refused!(alice.create(wrong).await, DbError::Dangling(errors) if *errors == all);
    let one_wrong = with_parent(with_peer(values("b"), bob.id()), theirs.id.as_uuid());
    assert_refused!(alice.create(one_wrong).await, DbError::Dangling(errors) if *errors == dangling("#/parent"));

    assert_eq!(alice.look(note.id).await, note, "a refused update changes nothing");
    assert_eq!(alice.counts().await, (2, 2), "a refused create adds nothing");
    let moved = alice.update(note.id, with_peer(title("moved"), alice.id()), version(1)).await.unwrap();
    assert_eq!((moved.peer, moved.version), (Some(alice.id()), 2));
    // A conflict behind references that are there.
    assert_refused!(alice.create(with_peer(values("ours"), bob.id())).await, DbError::Conflict);
}

pub async fn an_update_changes_what_it_says_and_counts_the_version(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let bob = world.member("bob", "acme", Role::Admin).await;
    let other = alice.note("other").await;
    let note = alice.note("a").await;
    world.clock.advance(Duration::from_secs(5));
    let changed = bob.update(note.id, title("changed").set(note::RANK, Rank::Low), version(1)).await.unwrap();
    let expected = Note {
        title: "changed".to_owned(),
        rank: Rank::Low,
        changed_by: bob.id(),
        updated_at: world.clock.now(),
        version: 2,
        ..note.clone()
    };
    assert_eq!(changed, expected);
    assert_eq!(alice.look(note.id).await, expected);
    assert_eq!(alice.look(other.id).await, other, "no other row changes");
    let again = alice.update(note.id, title("changed"), Precondition::None).await.unwrap();
    assert_eq!(again.version, 3, "the same value is a change as well");
}

pub async fn an_update_of_nothing_changes_nothing(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let bob = world.member("bob", "acme", Role::Member).await;
    let note = alice.note("a").await;
    world.clock.advance(Duration::from_secs(5));
    let nothing = Assignments::new;
    for precondition in [Precondition::None, version(1)] {
        assert_eq!(alice.update(note.id, nothing(), precondition).await.unwrap(), note);
    }
    assert_eq!(alice.look(note.id).await, note);
    assert_refused!(alice.update(note.id, nothing(), version(2)).await, DbError::Stale);
    assert_refused!(bob.update(note.id, nothing(), Precondition::None).await, DbError::Forbidden(_));
    let missing = world.random().into();
    assert_refused!(alice.update(missing, nothing(), Precondition::None).await, DbError::NotFound);
}

// CND-01
pub async fn a_version_that_has_passed_is_stale(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let note = alice.note("a").await;
    alice.update(note.id, title("two"), version(1)).await.unwrap();
    for wrong in [
        version(1),
        version(3),
        version(-1),
        version(i64::MAX),
        Precondition::VersionIn([].into_iter().collect()),
    ] {
        assert_refused!(alice.update(note.id, title("x"), wrong.clone()).await, DbError::Stale);
        assert_refused!(alice.delete(note.id, wrong).await, DbError::Stale);
    }
    let one_of = |versions: &[i64]| Precondition::VersionIn(versions.iter().copied().collect());
    alice
        .update(note.id, title("three"), one_of(&[9, 1, 2]))
        .await
        .expect("one of several versions is right");
    assert_refused!(alice.delete(note.id, one_of(&[1, 2, 4, 5, 6])).await, DbError::Stale);
    alice.delete(note.id, one_of(&[1, 2, 4, 5, 3])).await.expect("one of several versions is right");
}

// CND-07
pub async fn one_of_many_writers_of_a_version_wins(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let note = alice.note("a").await;
    for round in 1..=10 {
        let mut tasks = JoinSet::new();
        for writer in 0..12 {
            let (alice, id) = (alice.clone(), note.id);
            tasks.spawn(async move {
                let values = title(&format!("{round} by {writer}"));
                // With and without a transaction of several statements.
                let values = if writer % 2 == 0 { values } else { with_peer(values, alice.id()) };
                alice.update(id, values, version(round)).await
            });
        }
        let mut won = Vec::new();
        while let Some(done) = tasks.join_next().await {
            match done.unwrap() {
                Ok(note) => won.push(note),
                Err(error) => assert!(matches!(error, DbError::Stale), "{error:?}"),
            }
        }
        assert_eq!(won.len(), 1, "round {round}");
        assert_eq!(alice.look(note.id).await, won[0]);
        assert_eq!(won[0].version, round + 1);
    }
}

pub async fn no_update_is_lost(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let note = alice.note("a").await;
    let mut tasks = JoinSet::new();
    for writer in 0..24_i64 {
        let (alice, id) = (alice.clone(), note.id);
        tasks.spawn(async move {
            let values = Assignments::new().set(note::SCORE, Some(writer));
            alice.update(id, values, Precondition::None).await.unwrap().version
        });
    }
    let mut versions = Vec::new();
    while let Some(done) = tasks.join_next().await {
        versions.push(done.unwrap());
    }
    versions.sort_unstable();
    assert_eq!(versions, (2..=25).collect::<Vec<_>>(), "each answer is the row as that update left it");
    assert_eq!(alice.look(note.id).await.version, 25);
}

pub async fn an_update_and_a_delete_of_one_version_do_not_both_happen(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    for round in 0..20 {
        let note = alice.note(&round.to_string()).await;
        let (updating, deleting) = (alice.clone(), alice.clone());
        let update = tokio::spawn(async move { updating.update(note.id, title("x"), version(1)).await });
        let delete = tokio::spawn(async move { deleting.delete(note.id, version(1)).await });
        match (update.await.unwrap(), delete.await.unwrap()) {
            (Ok(_), Err(DbError::Stale)) => assert_eq!(alice.look(note.id).await.version, 2),
            (Err(DbError::NotFound), Ok(())) => {
                assert_refused!(alice.retrieve(note.id).await, DbError::NotFound);
            }
            both => panic!("{both:?}"),
        }
    }
    let (kept, counted) = alice.counts().await;
    assert_eq!(kept, counted);
}

// ACL-04
pub async fn rules_on_rows_hold_for_every_write(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let bob = world.member("bob", "acme", Role::Member).await;
    let carol = world.member("carol", "acme", Role::Member).await;
    let hers = alice.create(with_peer(values("hers"), bob.id())).await.unwrap();
    let his = bob.note("his").await;

    // Members change what they made or are named by, and delete what they made.
    bob.update(hers.id, title("by its peer"), Precondition::None).await.unwrap();
    bob.update(his.id, title("by its maker"), Precondition::None).await.unwrap();
    assert_refused!(bob.delete(hers.id, Precondition::None).await, DbError::Forbidden(_));
    assert_refused!(carol.update(hers.id, title("x"), Precondition::None).await, DbError::Forbidden(_));
    assert_refused!(carol.update(his.id, title("x"), Precondition::None).await, DbError::Forbidden(_));
    assert_refused!(carol.delete(his.id, Precondition::None).await, DbError::Forbidden(_));
    assert_eq!(carol.look(his.id).await.title, "by its maker", "it may be read, and was not changed");
    // A peer who hands it on may not change it any more; a column that is null names nobody.
    bob.update(hers.id, with_peer(Assignments::new(), carol.id()), Precondition::None).await.unwrap();
    assert_refused!(bob.update(hers.id, title("x"), Precondition::None).await, DbError::Forbidden(_));
    carol.update(hers.id, title("by its new peer"), Precondition::None).await.unwrap();
    bob.delete(his.id, Precondition::None).await.unwrap();
    alice.delete(hers.id, Precondition::None).await.unwrap();
}

// ACL-05, CND-04
pub async fn missing_comes_before_forbidden_before_stale_before_dangling(subject: Subject) {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Expected {
        Missing,
        Forbidden,
        Stale,
        Dangling,
    }
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let bob = world.member("bob", "acme", Role::Member).await;
    let nobody = bailiwick_core::identity::UserId::from_uuid(world.random());
    let hers = alice.note("hers").await.id;
    let his = bob.note("his").await.id;
    let missing = world.random().into();
    for (id, precondition, expected) in [
        (missing, Precondition::None, Expected::Missing),
        (missing, version(7), Expected::Missing),
        (missing, Precondition::never(), Expected::Missing),
        (hers, Precondition::None, Expected::Forbidden),
        (hers, version(1), Expected::Forbidden),
        (hers, version(7), Expected::Forbidden),
        (hers, Precondition::never(), Expected::Forbidden),
        (his, version(7), Expected::Stale),
        (his, Precondition::never(), Expected::Stale),
        (his, version(1), Expected::Dangling),
        (his, Precondition::None, Expected::Dangling),
    ] {
        let told = |error| match error {
            DbError::NotFound => Expected::Missing,
            DbError::Forbidden(_) => Expected::Forbidden,
            DbError::Stale => Expected::Stale,
            DbError::Dangling(_) => Expected::Dangling,
            other => panic!("{other:?}"),
        };
        let done = bob.update(id, with_peer(title("x"), nobody), precondition.clone()).await;
        assert_eq!(told(super::world::refused(done)), expected, "update of {id} with {precondition:?}");
        if expected != Expected::Dangling {
            let done = bob.update(id, title("x"), precondition.clone()).await;
            assert_eq!(
                told(super::world::refused(done)),
                expected,
                "plain update of {id} with {precondition:?}"
            );
            let done = bob.delete(id, precondition.clone()).await;
            assert_eq!(told(super::world::refused(done)), expected, "delete of {id} with {precondition:?}");
        }
    }

    // What one may not know of is missing, whatever else is wrong.
    let rules = hiding_rules();
    for precondition in [Precondition::None, version(1), version(7)] {
        let done = world.db.update(&bob.may(&rules), hers, title("x"), precondition.clone()).await;
        assert_refused!(done, DbError::NotFound);
        let done = world.db.delete(&bob.may(&rules), hers, precondition).await;
        assert_refused!(done, DbError::NotFound);
    }
    // He may change it, but not read it: he does not learn of its version.
    let unseen = alice.create(with_peer(values("unseen"), bob.id())).await.unwrap().id;
    let done = world.db.update(&bob.may(&rules), unseen, title("x"), version(7)).await;
    assert_refused!(done, DbError::NotFound);
    world.db.update(&bob.may(&rules), unseen, title("x"), version(1)).await.expect("he may change it");
    let done = world.db.update(&bob.may(&rules), his, title("x"), version(7)).await;
    assert_refused!(done, DbError::Forbidden(_), "he knows of it, and is not its peer");
}

pub async fn a_deleted_row_is_gone_and_one_that_is_pointed_at_stays(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let parent = alice.note("parent").await;
    let child = alice.create(with_parent(values("child"), parent.id.as_uuid())).await.unwrap();
    assert_refused!(alice.delete(parent.id, Precondition::None).await, DbError::Conflict);
    assert_eq!(alice.look(parent.id).await, parent);
    alice.delete(child.id, version(1)).await.unwrap();
    alice.delete(parent.id, Precondition::None).await.unwrap();
    assert_refused!(alice.retrieve(parent.id).await, DbError::NotFound);
    assert_refused!(alice.delete(parent.id, Precondition::None).await, DbError::NotFound);
    assert_refused!(alice.update(parent.id, title("x"), Precondition::None).await, DbError::NotFound);
    assert_eq!(alice.counts().await, (0, 0));
    alice.note("parent").await;
}

// ACL-02, ACL-04, I1, I8
pub async fn another_scopes_rows_are_missing_and_stay_as_they_are(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let mallory = world.owner("mallory", "evil").await;
    // She is a member there as well, even an owner: what counts is in whose name she acts.
    let in_both = world.member("alice", "evil", Role::Owner).await;
    let theirs = alice.note("theirs").await;
    mallory.note("hers").await;
    for person in [&mallory, &in_both] {
        assert_refused!(person.retrieve(theirs.id).await, DbError::NotFound);
        for precondition in [Precondition::None, version(1), version(7)] {
            let done = person.update(theirs.id, title("stolen"), precondition.clone()).await;
            assert_refused!(done, DbError::NotFound);
            let done = person.update(theirs.id, Assignments::new(), precondition.clone()).await;
            assert_refused!(done, DbError::NotFound);
            let pointing = with_peer(title("stolen"), person.id());
            assert_refused!(
                person.update(theirs.id, pointing, precondition.clone()).await,
                DbError::NotFound
            );
            assert_refused!(person.delete(theirs.id, precondition).await, DbError::NotFound);
        }
        for search in ["", "slug=theirs", "search=theirs", "done=false&ordering=title"] {
            let page = person.list(search).await.unwrap();
            assert!(page.rows.iter().all(|note| note.org_id == person.org()), "{search}");
            assert_eq!(page.count, page.rows.len() as u64, "{search}");
        }
    }
    assert_eq!(alice.look(theirs.id).await, theirs);
    assert_eq!((alice.counts().await, mallory.counts().await), ((1, 1), (1, 1)));
}

pub async fn what_was_answered_is_there_for_others(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let other = World::new(world.subject).await;
    let seen_by_other = Person { db: other.db.clone(), ..alice.clone() };
    let mut tasks = JoinSet::new();
    for writer in 0..8 {
        let (here, there) = (alice.clone(), seen_by_other.clone());
        tasks.spawn(async move {
            for round in 0..5 {
                let note = here.note(&format!("{writer}-{round}")).await;
                assert_eq!(there.look(note.id).await, note);
                let changed = there.update(note.id, title("changed there"), version(1)).await.unwrap();
                assert_eq!(here.look(note.id).await, changed);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    drop((alice, world.store, world.db));
    assert_eq!(seen_by_other.counts().await, (40, 40));
}

// LIM-21
pub async fn a_quota_is_exact_however_many_rows_are_added_at_once(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let bob = world.member("bob", "acme", Role::Admin).await;
    world.owner("mallory", "evil").await;
    let elsewhere = world.member("alice", "evil", Role::Admin).await;
    let quotas = || [Quota::of_scope(note::SCORE, 100), Quota::of_owner(note::SCORE, 80)];
    let add = async |person: &Person, slug: &str, score: i64| {
        let values = values(slug).set(note::SCORE, Some(score));
        person.db.create_within(&person.may(&rules()), values, &quotas()).await
    };
    // Two of the eight that have room are in another organisation: what alice makes counts wherever it is.
    for slug in ["there 1", "there 2"] {
        add(&elsewhere, slug, 9).await.unwrap();
    }
    let mut tasks = JoinSet::new();
    for number in 0..16 {
        let alice = alice.clone();
        let values = values(&format!("note {number}")).set(note::SCORE, Some(9_i64));
        tasks.spawn(async move { alice.db.create_within(&alice.may(&rules()), values, &quotas()).await });
    }
    let mut made = 0;
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            Ok(_) => made += 1,
            Err(error) => assert!(matches!(error, DbError::OverQuota(1)), "{error:?}"),
        }
    }
    assert_eq!((made, alice.counts().await), (6, (6, 6)));

    // 54 of the organisation's 100 are used: bob has 46, and no more.
    assert_refused!(add(&bob, "too much", 47).await, DbError::OverQuota(0));
    let last = add(&bob, "just so", 46).await.unwrap();
    assert_refused!(add(&bob, "one more", 1).await, DbError::OverQuota(0));
    add(&bob, "nothing", 0).await.unwrap();
    let none = bob.db.create_within(&bob.may(&rules()), values("none"), &quotas()).await;
    none.expect("a row without the column takes no room");
    // What goes makes room at once, for exactly as much.
    bob.delete(last.id, Precondition::None).await.unwrap();
    assert_refused!(add(&bob, "too much", 47).await, DbError::OverQuota(0));
    add(&bob, "just so", 46).await.unwrap();
    // What dangles is said first, and what is over a quota takes no name.
    let dangling_too = with_parent(values("x").set(note::SCORE, Some(50_i64)), world.random());
    let refused = bob.db.create_within(&bob.may(&rules()), dangling_too, &quotas()).await;
    assert_refused!(refused, DbError::Dangling(_));
    bob.note("too much").await;
}

// LOG-11
pub async fn a_deletion_is_recorded_with_it_and_a_refused_one_is_not(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let viewer = world.member("victor", "acme", Role::Member).await;
    let chain = Chain::Org(alice.org());
    let before = world.store.audit_head(chain).await.unwrap().sequence;
    let (parent, gone) = (alice.note("parent").await, alice.note("gone").await);
    alice.create(with_parent(values("child"), parent.id.as_uuid())).await.unwrap();
    let delete = async |person: &Person, id, precondition| {
        let event = SecurityEvent::new(SecurityEventKind::UploadDelete).within(person.org());
        let recording = (act(), event.on(Target::attachment::<Note>(id)));
        person.db.delete_recorded(&person.may(&rules()), id, precondition, recording).await
    };
    assert_refused!(delete(&alice, gone.id, version(7)).await, DbError::Stale);
    assert_refused!(
        delete(&alice, Id::from_uuid(world.random()), Precondition::None).await,
        DbError::NotFound
    );
    assert_refused!(delete(&alice, parent.id, Precondition::None).await, DbError::Conflict);
    assert_refused!(delete(&viewer, gone.id, Precondition::None).await, DbError::Forbidden(_));
    assert_eq!(world.store.audit_head(chain).await.unwrap().sequence, before);
    alice.look(gone.id).await;

    delete(&alice, gone.id, version(1)).await.unwrap();
    assert_refused!(delete(&alice, gone.id, Precondition::None).await, DbError::NotFound);
    let entries = world.store.audit_entries(chain, before, 10).await.unwrap();
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((entry.event.as_str(), entry.target_id.clone()), ("upload_delete", Some(gone.id.to_string())));
    assert_refused!(alice.retrieve(gone.id).await, DbError::NotFound);
}

pub async fn which_keys_are_named_is_told_across_all_scopes(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let mallory = world.owner("mallory", "evil").await;
    let (hers, theirs) = (alice.note("a").await, mallory.note("b").await);
    alice.create(with_parent(values("child"), hers.id.as_uuid())).await.unwrap();
    let named = async |column: usize, keys: &[uuid::Uuid]| {
        let mut named = world.store.named(Note::TABLE, column, keys).await.unwrap();
        named.sort();
        named.dedup();
        named
    };
    let id = Note::TABLE.find("id").unwrap();
    let mut both = [hers.id.as_uuid(), theirs.id.as_uuid()];
    both.sort();
    let mut keys: Vec<_> = (0..bailiwick_core::store::MAX_NAMED - 2).map(|_| world.random()).collect();
    assert!(named(id, &keys).await.is_empty());
    keys.extend(both);
    assert_eq!(named(id, &keys).await, both);
    assert_eq!(named(note::PARENT.position(), &keys).await, [hers.id.as_uuid()]);
    assert_eq!(named(id, &both[..1]).await, both[..1]);
    assert!(named(id, &[]).await.is_empty());
}
