//! Reading: order, filters, search, pages and counts.
use bailiwick_core::{db::DbError, identity::Role, model::Assignments, query::Precondition};

use super::{
    Subject,
    model::{Diary, LINE, Note, Rank, diary_rules, note},
    world::{World, assert_refused, at, query, title, values, with_peer},
};

// PAG-08
pub async fn a_list_is_ordered_by_rank_with_nulls_last_and_never_left_to_chance(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    for (slug, rank, score) in [
        ("a", Rank::Urgent, Some(1)),
        ("b", Rank::Low, None),
        ("c", Rank::High, Some(-5)),
        ("d", Rank::Normal, Some(1)),
        ("e", Rank::Low, None),
        ("f", Rank::High, Some(9)),
    ] {
        let values = values(slug).set(note::RANK, rank).set(note::SCORE, score);
        alice.create(values).await.unwrap();
        // All but the last two are of different moments.
        if slug < "e" {
            world.clock.advance(std::time::Duration::from_secs(1));
        }
    }
    let ids: Vec<_> = alice.list("ordering=slug").await.unwrap().rows.iter().map(|note| note.id).collect();
    assert!(ids.is_sorted(), "ids of one moment follow the entropy, and those here are in order: {ids:?}");
    for (ordering, slugs) in [
        // By default the newest first, and of one moment the larger id.
        ("", "fedcba"),
        ("ordering=created_at", "abcdef"),
        // The id breaks ties in the direction of the first column.
        ("ordering=rank", "bedcfa"),
        ("ordering=-rank", "afcdeb"),
        ("ordering=score", "cadfbe"),
        ("ordering=-score", "fdaceb"),
        ("ordering=score,-slug", "cdafeb"),
        ("ordering=-rank,slug", "acfdbe"),
        ("ordering=done,-score,slug", "fadcbe"),
    ] {
        assert_eq!(alice.slugs(ordering).await.concat(), slugs, "{ordering}");
        let sized = format!("{ordering}&page_size=2&page=2");
        assert_eq!(alice.slugs(&sized).await.concat(), slugs[2..4], "{sized}");
    }
}

pub async fn text_is_ordered_by_code_points(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let titles = ["b", "B", "a", "Z", "é", "e", "_", "10", "9", "a b", "a-b", "ab", "😀", "z", "\u{ffff}"];
    for (at, text) in titles.iter().enumerate() {
        alice.create(values(&at.to_string()).set(note::TITLE, (*text).to_owned())).await.unwrap();
    }
    let mut sorted = titles.to_vec();
    sorted.sort_unstable();
    let listed = |page: bailiwick_core::query::Page<Note>| -> Vec<_> {
        page.rows.into_iter().map(|note| note.title).collect()
    };
    assert_eq!(listed(alice.list("ordering=title").await.unwrap()), sorted);
    sorted.reverse();
    assert_eq!(listed(alice.list("ordering=-title").await.unwrap()), sorted);
}

// PAG-12, PAG-13
pub async fn filters_compare_as_they_say(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let bob = world.member("bob", "acme", Role::Member).await;
    let mallory = world.owner("mallory", "evil").await;
    for (slug, rank, score, due) in [
        ("a", Rank::Low, Some(i64::MIN), Some("2026-01-01T00:00:00Z")),
        ("b", Rank::High, Some(0), Some("2026-01-01T00:00:00.000001Z")),
        ("c", Rank::High, Some(7), None),
        ("d", Rank::Urgent, None, Some("0001-01-01T00:00:00Z")),
    ] {
        let values =
            values(slug).set(note::RANK, rank).set(note::SCORE, score).set(note::DUE_AT, due.map(at));
        let values = values.set(note::DONE, slug == "c");
        alice.create(if slug == "b" { with_peer(values, bob.id()) } else { values }).await.unwrap();
    }
    mallory.note("a").await;
    let (bob, mallory) = (bob.id(), mallory.id());
    for (filter, slugs) in [
        ("slug=a".to_owned(), "a"),
        ("slug=A".to_owned(), ""),
        ("slug=%".to_owned(), ""),
        ("title=title of b".to_owned(), "b"),
        ("title=title".to_owned(), ""),
        ("rank=high".to_owned(), "bc"),
        ("rank__in=high,low".to_owned(), "abc"),
        ("rank__in=urgent,urgent,urgent".to_owned(), "d"),
        ("score=7".to_owned(), "c"),
        ("score__gte=0".to_owned(), "bc"),
        ("score__lte=0".to_owned(), "ab"),
        ("score__gte=0&score__lte=0".to_owned(), "b"),
        ("score__in=7,0,1,2,3".to_owned(), "bc"),
        (format!("score={}", i64::MIN), "a"),
        (format!("score__gte={}", i64::MAX), ""),
        ("done=true".to_owned(), "c"),
        ("done=false".to_owned(), "abd"),
        ("due_at__gte=2026-01-01T00:00:00.000001Z".to_owned(), "b"),
        ("due_at__lte=2026-01-01T01:00:00+01:00".to_owned(), "ad"),
        ("due_at__lte=0001-01-01T00:00:00Z".to_owned(), "d"),
        (format!("peer={bob}"), "b"),
        // PAG-13
        (format!("peer={mallory}"), ""),
        (format!("made_by={mallory}"), ""),
        ("rank=high&done=false".to_owned(), "b"),
    ] {
        let page = alice.list(&format!("ordering=slug&{filter}")).await.unwrap();
        let found: String = page.rows.iter().map(|note| note.slug.as_str()).collect();
        assert_eq!((found.as_str(), page.count), (slugs, slugs.len() as u64), "{filter}");
    }
}

pub async fn a_search_finds_every_term_in_any_field_whatever_the_case(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    for (slug, title, body) in [
        ("a", "École de la MER", Some("Straße nach Süden")),
        ("b", "Plain words", None),
        ("c", "Ὀδυσσεύς ΟΔΟΣ", Some("İstanbul, МОСКВА")),
        ("d", "", Some("words école")),
    ] {
        let values = values(slug).set(note::TITLE, title.to_owned());
        alice.create(values.set(note::BODY, body.map(str::to_owned))).await.unwrap();
    }
    for (search, slugs) in [
        ("école", "ad"),
        ("ÉCOLE", "ad"),
        ("éCoLe mer", "a"),
        // In two fields, in any order.
        ("SÜDEN école", "a"),
        ("words", "bd"),
        ("words plain", "b"),
        ("  words   ÉCOLE ", "d"),
        ("ord", "bd"),
        ("words nowhere", ""),
        ("ecole", ""),
        ("straße", "a"),
        // A sigma is a sigma, wherever it stands.
        ("οδος", "c"),
        ("οδοσ", "c"),
        ("ΟΔΟΣ", "c"),
        ("İSTANBUL москва", "c"),
        ("", "abcd"),
    ] {
        let page = alice.list(&format!("ordering=slug&search={search}")).await.unwrap();
        let found: String = page.rows.iter().map(|note| note.slug.as_str()).collect();
        assert_eq!((found.as_str(), page.count), (slugs, slugs.len() as u64), "{search}");
    }
    assert_eq!(alice.slugs("search=words&done=true").await.concat(), "", "a search and a filter both hold");
}

// PAG-12
pub async fn a_search_takes_no_character_for_a_pattern(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    for (slug, title) in [
        ("a", "100% sure"),
        ("b", "100 percent"),
        ("c", "snake_case"),
        ("d", r"back\slash"),
        ("e", "it's [x]*?"),
    ] {
        alice.create(values(slug).set(note::TITLE, title.to_owned())).await.unwrap();
    }
    for (search, slugs) in [
        ("%", "a"),
        ("100%", "a"),
        ("_", "c"),
        ("snake_c", "c"),
        ("snakeXc", ""),
        (r"\", "d"),
        (r"\%", ""),
        ("'", "e"),
        ("[x]", "e"),
        ("*", "e"),
        ("?", "e"),
        ("$1", ""),
        ("' OR 1=1 --", ""),
    ] {
        assert_eq!(alice.slugs(&format!("ordering=slug&search={search}")).await.concat(), slugs, "{search}");
    }
}

// PAG-02
pub async fn pages_cover_a_list_and_one_past_the_end_is_missing(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let mallory = world.owner("mallory", "evil").await;
    let none = alice.list("").await.unwrap();
    assert_eq!((none.rows.len(), none.count), (0, 0), "the first page of nothing is one");
    assert_refused!(alice.list("page=2").await, DbError::NotFound);
    for slug in ["a", "b", "c", "d", "e", "f", "g"] {
        alice.note(slug).await;
        world.clock.advance(std::time::Duration::from_micros(1));
    }
    mallory.note("x").await;
    // Counted from what is kept, and counted anew.
    for filter in ["", "&done=false", "&search=title"] {
        for (page, slugs) in [(1, "abc"), (2, "def"), (3, "g")] {
            let query = format!("ordering=slug&page_size=3&page={page}{filter}");
            let page = alice.list(&query).await.unwrap();
            let found: String = page.rows.iter().map(|note| note.slug.as_str()).collect();
            assert_eq!((found.as_str(), page.count), (slugs, 7), "{query}");
        }
        for page in [4, 5, u64::from(u32::MAX), u64::MAX] {
            assert_refused!(alice.list(&format!("page_size=3&page={page}{filter}")).await, DbError::NotFound);
        }
    }
    assert_eq!(alice.list("page_size=7").await.unwrap().count, 7, "a page that is just full");
    assert_refused!(alice.list("page_size=7&page=2").await, DbError::NotFound);
}

pub async fn kept_and_counted_numbers_agree_under_concurrent_writes(subject: Subject) {
    const WRITERS: usize = 6;
    const ROUNDS: usize = 12;
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let mallory = world.owner("mallory", "evil").await;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let person = if writer % 3 == 2 { mallory.clone() } else { alice.clone() };
        tasks.spawn(async move {
            for round in 0..ROUNDS {
                let note = person.note(&format!("{writer}-{round}")).await;
                if round % 3 == 0 {
                    person.delete(note.id, Precondition::None).await.unwrap();
                } else {
                    person.update(note.id, title("changed"), Precondition::None).await.unwrap();
                }
                // A refused write counts for nothing.
                let kept = format!(
                    "{writer}-{}",
                    if round % 3 == 0 { "0-kept".to_owned() } else { round.to_string() }
                );
                match person.create(values(&kept)).await {
                    Ok(first) => assert_eq!((first.version, round), (1, 0)),
                    Err(error) => assert!(matches!(error, DbError::Conflict), "{error:?}"),
                }
            }
        });
    }
    for _ in 0..2 {
        let alice = alice.clone();
        tasks.spawn(async move {
            for round in 0..30 {
                let page = alice.list(&format!("page_size={}", 3 + round)).await.unwrap();
                assert!(page.count >= page.rows.len() as u64, "a page is a part of its list");
                assert!(
                    page.rows
                        .windows(2)
                        .all(|pair| { (pair[0].created_at, pair[0].id) > (pair[1].created_at, pair[1].id) }),
                    "a page is in order, and holds no row twice"
                );
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let (kept, counted) = alice.counts().await;
    // Of each writer, two rounds of three leave their note, and the first one more.
    assert_eq!((kept, counted), (4 * 9, 4 * 9));
    assert_eq!(mallory.counts().await, (2 * 9, 2 * 9));
}

pub async fn a_caller_sees_their_own_rows_only(subject: Subject) {
    let world = World::new(subject).await;
    let alice = world.owner("alice", "acme").await;
    let bob = world.member("bob", "acme", Role::Owner).await;
    let (rules, db) = (diary_rules(), &world.db);
    let line = |text: &str| Assignments::new().set(LINE, text.to_owned());
    let hers = db.create::<Diary>(&alice.may(&rules), line("hers")).await.unwrap();
    let his = db.create::<Diary>(&bob.may(&rules), line("his")).await.unwrap();
    assert_eq!((hers.user_id, his.user_id), (alice.id(), bob.id()));

    let listed = db.list::<Diary>(&bob.may(&rules), &query("ordering=line")).await.unwrap();
    assert_eq!((listed.rows, listed.count), (vec![his.clone()], 1));
    assert_refused!(db.retrieve::<Diary>(&bob.may(&rules), hers.id).await, DbError::NotFound);
    let written = db.update::<Diary>(&bob.may(&rules), hers.id, line("mine now"), Precondition::None).await;
    assert_refused!(written, DbError::NotFound);
    assert_refused!(
        db.delete::<Diary>(&bob.may(&rules), hers.id, Precondition::None).await,
        DbError::NotFound
    );

    let changed = db.update::<Diary>(&alice.may(&rules), hers.id, line("changed"), Precondition::None).await;
    assert_eq!(changed.unwrap(), Diary { line: "changed".to_owned(), ..hers.clone() });
    // A table without versions has none that a precondition could name.
    let expected = super::world::version(1);
    let written = db.update::<Diary>(&alice.may(&rules), hers.id, line("x"), expected.clone()).await;
    assert_refused!(written, DbError::Stale);
    assert_refused!(db.delete::<Diary>(&alice.may(&rules), hers.id, expected).await, DbError::Stale);
    db.delete::<Diary>(&alice.may(&rules), hers.id, Precondition::None).await.unwrap();
    let left = db.list::<Diary>(&alice.may(&rules), &query("")).await.unwrap();
    assert_eq!((left.rows.len(), left.count), (0, 0));
}
