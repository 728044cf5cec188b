//! Requests that go away leave no transaction open, and the next borrower of their connection a clean one (RST-12).
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bailiwick_core::{
    audit::{Act, Chain, Noted, SecurityEventKind},
    clock::{Clock, Entropy},
    id::Id,
    identity::Scopes,
    secret::Secret,
    store::{AuditStore, Directory, NewToken, TokenStore},
};

use crate::support::{World, connections, is_unavailable};
use bailiwick_testkit::{Heard, act};

async fn dropped_after<F: Future>(polls: usize, future: F) {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Pending if left > 0 => Poll::Pending,
            _ => Poll::Ready(()),
        }
    })
    .await;
}

/// One request of each kind, dropped after so many polls.
async fn drop_one(world: &World, kind: usize, polls: usize, id: Id<crate::support::Thing>) {
    match kind {
        0 => dropped_after(polls, world.create("dropped")).await,
        1 => dropped_after(polls, world.create_with_peer("dropped")).await,
        2 => dropped_after(polls, world.update(id, "dropped")).await,
        3 => dropped_after(polls, world.update_with_peer(id, "dropped")).await,
        4 => dropped_after(polls, world.delete(Id::new(&world.clock, &world.entropy))).await,
        5 => dropped_after(polls, world.list()).await,
        6 => dropped_after(polls, world.search("nothing")).await,
        7 => {
            let mut digest = [0; 32];
            world.entropy.fill(&mut digest);
            let now = world.clock.now();
            let token = NewToken {
                id: Id::new(&world.clock, &world.entropy),
                digest,
                user_id: world.user,
                of_org: None,
                name: None,
                display: String::new(),
                created_at: now,
                expires_at: now.saturating_add(Duration::from_secs(60)),
                max_per_user: 3,
                scopes: Scopes::ALL,
                password_hash: None,
            };
            dropped_after(polls, world.store.create_token(token, act())).await;
        }
        _ => {
            let (name, hash) = ("alice".parse().unwrap(), Secret::new("hash".to_owned()));
            dropped_after(polls, world.store.set_password(&name, &hash, Act::system(world.clock.now())))
                .await;
        }
    }
}

// LOG-05, LOG-11: an entry of the trail is never without its line in the log.
#[tokio::test]
async fn what_was_recorded_is_told_though_nobody_waits_for_the_answer() {
    let Some(world) = World::new(connections(2)).await else { return };
    let heard = Heard::default();
    let act = Act::system(world.clock.now()).noted_in(Noted::by([heard.witness()]));
    let (name, hash) = ("alice".parse().unwrap(), Secret::new("hash".to_owned()));
    dropped_after(1, world.store.set_password(&name, &hash, act)).await;
    for _ in 0..500 {
        if !heard.kinds().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(heard.kinds(), [SecurityEventKind::PasswordChange]);
    let entries = world.store.audit_entries(Chain::Site, 0, 100).await.unwrap();
    assert_eq!(entries.last().unwrap().event, "authn_password_change");
}

const KINDS: usize = 9;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_request_never_leaves_a_transaction_to_the_next_borrower() {
    // With one connection, the next borrower gets the one that was left.
    let Some(world) = World::new(connections(1)).await else { return };
    let thing = world.create("thing").await.unwrap();
    let mut made = 0;
    for polls in 0..20 {
        for kind in 0..KINDS {
            drop_one(&world, kind, polls, thing.id).await;
            let title = format!("after {kind} at {polls}");
            let next = world.create(&title).await.expect("the connection is there, and clean");
            made += 1;
            // If a transaction were open, nobody else would see the row.
            let seen = "SELECT count(*) FROM things WHERE title = $1";
            let seen: i64 = world.outside.query_one(seen, &[&title]).await.unwrap().get(0);
            assert_eq!(seen, 1, "{title}");
            assert_eq!(world.retrieve(next.id).await.unwrap(), next);
        }
    }
    world.until(IN_TRANSACTION, 0).await;
    let after: i64 = world
        .outside
        .query_one("SELECT count(*) FROM things WHERE title LIKE 'after%'", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(after, made);
}

const IN_TRANSACTION: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
     AND application_name = 'bailiwick' AND state LIKE 'idle in transaction%'";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_aborted_under_load_leave_no_transaction_open() {
    let Some(world) = World::new(connections(4)).await else { return };
    let thing = world.create("thing").await.unwrap();
    let world = Arc::new(world);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..12_usize {
        let world = Arc::clone(&world);
        tasks.spawn(async move {
            for round in 0..80_usize {
                drop_one(&world, (task + round) % KINDS, (task * 5 + round * 3) % 9, thing.id).await;
            }
        });
    }
    // As a server does when a client goes away: from outside, at any moment.
    for task in 0..4_usize {
        let world = Arc::clone(&world);
        tasks.spawn(async move {
            for round in 0..40_u64 {
                let asking = Arc::clone(&world);
                let asked = tokio::spawn(async move {
                    drop_one(&asking, (task + usize::try_from(round).unwrap()) % KINDS, usize::MAX, thing.id)
                        .await;
                });
                tokio::time::sleep(Duration::from_micros(137 * (round % 16))).await;
                asked.abort();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    world.until(IN_TRANSACTION, 0).await;
    let left = world.connections("%").await;
    assert!(left <= 4, "{left} connections are more than allowed");
    // Every connection is usable, by all at once.
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..16 {
        let world = Arc::clone(&world);
        tasks.spawn(async move { world.create_with_peer(&format!("good as new {task}")).await.map(drop) });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    let seen = "SELECT count(*) FROM things WHERE title LIKE 'good as new%'";
    assert_eq!(world.outside.query_one(seen, &[]).await.unwrap().get::<_, i64>(0), 16);
    let (kept, counted) = (
        world.list().await.unwrap().count,
        world.outside.query_one("SELECT count(*) FROM things", &[]).await.unwrap().get::<_, i64>(0),
    );
    assert_eq!(i64::try_from(kept).unwrap(), counted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_read_stops_when_nobody_waits_for_it_and_never_takes_the_last_connection() {
    let mut options = connections(2);
    options.wait_timeout = Duration::from_millis(300);
    let Some(world) = World::new(options).await else { return };
    let thing = world.create("thing").await.unwrap();
    // Statements are known to both connections before the table is locked.
    assert_eq!(world.search("thing").await.unwrap().count, 1);
    world.outside.batch_execute("BEGIN; LOCK TABLE things IN ACCESS EXCLUSIVE MODE").await.unwrap();

    let world = Arc::new(world);
    let searching = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.search("thing").await.map(drop) })
    };
    world.until_waiting(1).await;
    // The one connection that searches may have is taken; the other one is not theirs.
    assert!(is_unavailable(&world.search("thing").await));
    assert!(world.store.membership(world.user, "acme").await.unwrap().is_some());

    searching.abort();
    assert!(searching.await.unwrap_err().is_cancelled());
    world.until_waiting(0).await;
    world.outside.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(world.search("thing").await.unwrap().rows, [thing]);
}
