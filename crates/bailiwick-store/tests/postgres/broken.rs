//! Connections that end, statements that wait for ever, disks that take nothing.
use std::{sync::Arc, time::Duration};

use bailiwick_core::{
    clock::{Clock, SystemClock},
    db::DbError,
    error::StoreError,
    store::Directory,
};
use tokio::task::JoinSet;

use crate::support::{World, connections, is_unavailable, options, outside};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reads_survive_a_server_that_ends_all_connections() {
    let Some(world) = World::new(connections(6)).await else { return };
    let thing = world.create("thing").await.unwrap();
    let world = Arc::new(world);
    for _ in 0..5 {
        // As many connections as there may be, all of them idle when they end.
        let mut tasks = JoinSet::new();
        for _ in 0..12 {
            let world = Arc::clone(&world);
            tasks.spawn(async move { world.retrieve(thing.id).await.unwrap() });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        assert!(world.terminate().await > 0);
        let mut tasks = JoinSet::new();
        for _ in 0..12 {
            let (world, thing) = (Arc::clone(&world), thing.clone());
            tasks.spawn(async move {
                assert_eq!(world.retrieve(thing.id).await.expect("a read is tried again"), thing);
                assert_eq!(world.list().await.expect("a read is tried again").rows, [thing]);
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_write_whose_connection_ends_is_told_so_and_never_happens_twice() {
    let Some(world) = World::new(connections(4)).await else { return };
    let thing = world.create("thing").await.unwrap();
    let world = Arc::new(world);
    for (with_peer, version) in [(false, 1), (true, 2)] {
        world.outside.batch_execute("BEGIN; UPDATE things SET title = 'outside'").await.unwrap();
        let waiting = {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                if with_peer {
                    world.update_with_peer(thing.id, "inside").await
                } else {
                    world.update(thing.id, "inside").await
                }
            })
        };
        world.until_waiting(1).await;
        world.terminate().await;
        let told = waiting.await.unwrap();
        assert!(is_unavailable(&told), "{told:?}");
        world.outside.batch_execute("COMMIT").await.unwrap();
        let now = world.retrieve(thing.id).await.unwrap();
        assert_eq!(
            (now.title.as_str(), now.version),
            ("outside", version),
            "it was not done behind our back"
        );
        world.update(thing.id, "inside").await.expect("the store has new connections");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_waits_too_long_is_stopped() {
    let mut options = options();
    options.statement_timeout = Duration::from_millis(200);
    let Some(world) = World::new(options).await else { return };
    let thing = world.create("thing").await.unwrap();
    world.outside.batch_execute("BEGIN; UPDATE things SET title = 'outside'").await.unwrap();
    let told = world.update(thing.id, "inside").await;
    assert!(is_unavailable(&told), "{told:?}");
    let told = world.update_with_peer(thing.id, "inside").await;
    assert!(is_unavailable(&told), "{told:?}");
    world.outside.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(world.retrieve(thing.id).await.unwrap(), thing);
    world.update_with_peer(thing.id, "inside").await.expect("the connection is usable");
    assert_eq!(world.connections("idle in transaction%").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_finds_no_connection_is_told_after_the_wait_and_not_later() {
    let mut options = connections(1);
    options.wait_timeout = Duration::from_millis(150);
    let Some(world) = World::new(options).await else { return };
    let thing = world.create("thing").await.unwrap();
    world.outside.batch_execute("BEGIN; UPDATE things SET title = 'outside'").await.unwrap();
    let world = Arc::new(world);
    let waiting = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.update(thing.id, "inside").await })
    };
    world.until_waiting(1).await;
    let clock = SystemClock::new();
    assert!(is_unavailable(&world.retrieve(thing.id).await));
    let waited = clock.monotonic();
    assert!(waited >= Duration::from_millis(150) && waited < Duration::from_secs(3), "{waited:?}");
    world.outside.batch_execute("COMMIT").await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().title, "inside");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_still_busy_for_somebody_who_left_is_not_handed_out() {
    let mut options = connections(2);
    options.wait_timeout = Duration::from_millis(300);
    let Some(world) = World::new(options).await else { return };
    let thing = world.create("thing").await.unwrap();
    world.outside.batch_execute("BEGIN; UPDATE things SET title = 'outside'").await.unwrap();
    let world = Arc::new(world);
    let leaving = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.update(thing.id, "inside").await })
    };
    world.until_waiting(1).await;
    leaving.abort();
    assert!(leaving.await.unwrap_err().is_cancelled());
    for _ in 0..20 {
        let clock = SystemClock::new();
        assert_eq!(world.retrieve(thing.id).await.unwrap(), thing);
        assert!(clock.monotonic() < Duration::from_millis(250), "it queued behind the one that waits");
    }
    world.outside.batch_execute("COMMIT").await.unwrap();
    world.until("SELECT count(*) FROM things WHERE title = 'inside' AND version = 2", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_victim_of_a_deadlock_is_tried_again() {
    let Some(world) = World::new(connections(4)).await else { return };
    let thing = world.create("thing").await.unwrap();
    // Whoever has waited for so long looks for a deadlock and gives way: that is to be the store.
    let set = format!("ALTER DATABASE {} SET deadlock_timeout = '3s'", world.database.name());
    world.outside.batch_execute(&set).await.unwrap();
    world.terminate().await;
    world.list().await.unwrap();
    world.outside.batch_execute("SET deadlock_timeout = '60s'").await.unwrap();
    world.outside.batch_execute("BEGIN; SELECT FROM memberships FOR UPDATE").await.unwrap();
    let world = Arc::new(world);
    // It has changed the thing and waits for the membership.
    let waiting = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.update_with_peer(thing.id, "inside").await })
    };
    world.until_waiting(1).await;
    let other = outside(&world.database.url()).await;
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    world.outside.batch_execute("UPDATE things SET title = 'outside'").await.unwrap();
    world.outside.batch_execute("COMMIT").await.unwrap();
    let done = waiting.await.unwrap().unwrap();
    assert_eq!((done.title.as_str(), done.version), ("inside", 2));
    for _ in 0..100 {
        if other.query_one(deadlocks, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("there was no deadlock, so nothing was tried again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_turns_read_only_is_told_apart_from_one_that_is_gone() {
    let Some(world) = World::new(connections(2)).await else { return };
    let thing = world.create("thing").await.unwrap();
    let set = format!("ALTER DATABASE {} SET default_transaction_read_only = on", world.database.name());
    world.outside.batch_execute(&set).await.unwrap();
    world.terminate().await;
    assert_eq!(world.retrieve(thing.id).await.unwrap(), thing);
    for told in
        [world.create("x").await, world.create_with_peer("x").await, world.update(thing.id, "x").await]
    {
        assert!(matches!(told, Err(DbError::Store(StoreError::NotWritable(_)))), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_no_connections_is_out_of_reach() {
    let Some(world) = World::new(connections(2)).await else { return };
    let thing = world.create("thing").await.unwrap();
    // A database cannot be shut from within.
    let elsewhere = outside(&world.database.url().replace(world.database.name(), "postgres")).await;
    let shut = format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", world.database.name());
    elsewhere.batch_execute(&shut).await.unwrap();
    world.terminate().await;
    let told = [world.retrieve(thing.id).await, world.create("x").await];
    let open = format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", world.database.name());
    elsewhere.batch_execute(&open).await.unwrap();
    for told in told {
        assert!(matches!(told, Err(DbError::Store(StoreError::Unavailable(_)))), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_changes_under_prepared_statements_is_not_noticed_by_callers() {
    let Some(world) = World::new(connections(1)).await else { return };
    let made = world.create_with_peer("thing").await.unwrap();
    world.list().await.unwrap();
    let mut thing = world.update_with_peer(made.id, "thing").await.unwrap();
    thing = world.update(thing.id, "thing").await.unwrap();
    world.retrieve(thing.id).await.unwrap();
    // Each statement is the first one to meet the change.
    for (at, ty) in ["varchar(100)", "text", "varchar(200)", "text", "varchar(300)"].into_iter().enumerate() {
        let change = format!("ALTER TABLE things ALTER COLUMN title TYPE {ty}");
        world.outside.batch_execute(&change).await.unwrap();
        match at {
            0 => assert_eq!(world.retrieve(thing.id).await.unwrap(), thing),
            1 => assert_eq!(world.list().await.unwrap().rows, [thing.clone()]),
            2 => thing = world.update(thing.id, "plain").await.unwrap(),
            3 => thing = world.update_with_peer(thing.id, "in a transaction").await.unwrap(),
            _ => drop(world.create_with_peer("another").await.unwrap()),
        }
    }
    assert_eq!((thing.title.as_str(), thing.version), ("in a transaction", 5));
    assert_eq!(world.list().await.unwrap().count, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_the_schema_refuses_is_a_defect_and_leaves_the_connection_usable() {
    let Some(world) = World::new(connections(1)).await else { return };
    world.outside.batch_execute("ALTER TABLE things ADD CHECK (title <> 'wrong')").await.unwrap();
    for told in [world.create("wrong").await, world.create_with_peer("wrong").await] {
        assert!(matches!(told, Err(DbError::Store(StoreError::Refused(_)))), "{told:?}");
    }
    assert_eq!(world.connections("idle in transaction%").await, 0);
    world.create_with_peer("right").await.unwrap();
    assert_eq!(world.list().await.unwrap().count, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_shapes_than_a_connection_keeps_are_answered_as_well() {
    let Some(world) = World::new(connections(1)).await else { return };
    world.create("a").await.unwrap();
    for round in 0..2 {
        for terms in 0..8 {
            for values in [1, 2, 4, 8, 16, 32] {
                for ordering in ["title", "-title", "title,-created_at"] {
                    let (search, list) = (vec!["a"; terms].join(" "), vec!["a"; values].join(","));
                    // A page that is full makes it count as well.
                    let parameters = [
                        ("search", &*search),
                        ("title__in", &*list),
                        ("ordering", ordering),
                        ("page_size", "1"),
                    ];
                    let found = world.query(&parameters).await.unwrap();
                    assert_eq!(found.count, 1, "round {round}: {parameters:?}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_store_answers_that_it_is_out_of_reach() {
    let Some(world) = World::new(options()).await else { return };
    world.store.close();
    let told = world.store.membership(world.user, "acme").await;
    assert!(matches!(told, Err(StoreError::Unavailable(_))), "{told:?}");
    assert!(is_unavailable(&world.create("x").await));
    assert!(is_unavailable(&world.create_with_peer("x").await));
    world
        .until(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND application_name = 'bailiwick'",
            0,
        )
        .await;
}
