use std::{
    fs,
    future::Future,
    net::IpAddr,
    path::PathBuf,
    pin::pin,
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use bailiwick_core::{
    audit::{Act, Chain, Noted, SecurityEvent, SecurityEventKind, Witness},
    error::StoreError,
    identity::{OrgId, Role, Slug, UserId, Username},
    model::{Assignments, Model},
    query::{Lane, Plan, Precondition},
    secret::Secret,
    store::{AuditStore, Directory, DirectoryError, NewOrg, NewUser, RowStore, Written},
};
use refinery::{Migration, Runner};
use rusqlite::Connection;
use tempfile::TempDir;

use super::{migrate::migrate_in_transaction, *};
use crate::{
    MigrateError, OpenError, OpenOptions,
    fixture::{Actor, Card, Member, NOTES, assigned, migrations, now, random, titled},
};
use bailiwick_testkit::{Heard, act, audit_keys};

const TABLES: &[&bailiwick_core::model::TableDef] = &[Card::TABLE, Member::TABLE];

/// A database with one organisation, and somebody in it.
struct Fresh {
    directory: TempDir,
    owner: Actor,
}

impl Fresh {
    async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let options = OpenOptions::default();
        migrate(&directory.path().join("test.db"), &options, &migrations(), TABLES).unwrap();
        let fresh = Self { directory, owner: Actor::invented(Role::Owner) };
        let store = fresh.open();
        let user = add_user(&store, "olga").await;
        let org = NewOrg {
            id: OrgId::from_uuid(random()),
            slug: "acme".parse().unwrap(),
            name: "Acme".to_owned(),
            owner: user,
            created_at: now(),
        };
        let org_id = org.id;
        store.create_org(org, act()).await.unwrap();
        Self { owner: Actor::new(user, org_id, Role::Owner), ..fresh }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("test.db")
    }

    fn open(&self) -> SqliteStore {
        self.open_with(|_| {})
    }

    fn open_with(&self, change: impl FnOnce(&mut SqliteOptions)) -> SqliteStore {
        let mut options = SqliteOptions { busy_timeout: Duration::from_millis(200), ..Default::default() };
        change(&mut options);
        SqliteStore::open(self.path(), &options, audit_keys()).unwrap()
    }

    /// A connection as another process would have one.
    fn other_process(&self) -> Connection {
        let connection = Connection::open(self.path()).unwrap();
        connection.busy_timeout(Duration::from_millis(100)).unwrap();
        connection
    }

    fn cards(&self) -> i64 {
        self.other_process().query_row("SELECT COUNT(*) FROM cards", [], |row| row.get(0)).unwrap()
    }
}

async fn add_user(store: &SqliteStore, name: &str) -> UserId {
    let user = NewUser {
        id: UserId::from_uuid(random()),
        username: name.parse().unwrap(),
        email: format!("{name}@example.com"),
        password_hash: Secret::new("hash".to_owned()),
        is_staff: false,
        created_at: now(),
    };
    let id = user.id;
    store.create_user(user, act()).await.unwrap();
    id
}

fn card(written: Written) -> Card {
    match written {
        Written::Row(row) => Card::from_row(&row).unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn read(store: &SqliteStore, plan: &Plan) -> Result<(u64, Vec<Card>), StoreError> {
    let mut cards = Vec::new();
    let mut each = |row: &dyn bailiwick_core::model::RowReader| {
        cards.push(Card::from_row(row)?);
        Ok(())
    };
    let count = store.read(plan, &mut each).await?;
    Ok((count, cards))
}

/// Keeps the writer busy until told otherwise; answers when it has begun.
fn hold_the_writer(
    store: &Arc<SqliteStore>,
) -> (mpsc::Sender<()>, tokio::task::JoinHandle<Result<(), StoreError>>) {
    let (go, wait) = mpsc::channel();
    let (began, begun) = mpsc::channel();
    let store = Arc::clone(store);
    let held = tokio::spawn(async move {
        let held = store.writer.run(move |_| {
            began.send(()).unwrap();
            wait.recv().unwrap();
            Ok::<_, StoreError>(())
        });
        held.await
    });
    tokio::task::block_in_place(|| begun.recv().unwrap());
    (go, held)
}

fn poll_once<F: Future + ?Sized>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

// ---- reading

#[tokio::test]
async fn a_short_read_is_done_at_its_first_poll_and_sees_what_was_answered() {
    let fresh = Fresh::new().await;
    let store = fresh.open();
    let made = card(store.write(fresh.owner.create(titled("a"))).await.unwrap());

    for plan in [fresh.owner.retrieve(made.id), fresh.owner.list("")] {
        assert_eq!(plan.lane(), Lane::Short);
        let Poll::Ready(read) = poll_once(pin!(read(&store, &plan))) else { panic!("it waits") };
        assert_eq!(read.unwrap(), (1, vec![made.clone()]));
    }
    let membership = pin!(store.membership(fresh.owner.principal.user_id(), "acme"));
    assert!(matches!(poll_once(membership), Poll::Ready(Ok(Some(found))) if found == fresh.owner.membership));
}

#[tokio::test]
async fn a_list_uses_its_index_and_sorts_nothing() {
    let fresh = Fresh::new().await;
    let store = fresh.open();
    let plan = fresh.owner.list("");
    let bailiwick_core::query::Action::List(list) = plan.action() else { unreachable!() };
    let text = store.statements.rows(&plan, list).text;
    let steps = |text: &str| {
        let connection = fresh.other_process();
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {text}")).unwrap();
        let steps = explain
            .query_map([vec![0; 16], vec![], vec![]].map(rusqlite::types::Value::Blob), |row| row.get(3));
        steps.unwrap().collect::<Result<Vec<String>, _>>().unwrap().join("; ")
    };
    assert_eq!(steps(&text), "SEARCH cards USING INDEX cards_newest (org_id=?)");
}

#[tokio::test]
async fn readers_are_used_again_and_one_that_failed_is_clean() {
    let fresh = Fresh::new().await;
    let store = fresh.open();
    store.write(fresh.owner.create(titled("a"))).await.unwrap();
    let plan = fresh.owner.list("");
    let wrong = bailiwick_core::error::DecodeError { column: 0, expected: "nothing" };
    let failed = store.read(&plan, &mut |_| Err(wrong)).await;
    assert!(matches!(failed, Err(StoreError::Corrupt(_))));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = poll_once(store.read(&plan, &mut |_| panic!("the caller's own")).as_mut());
    }));
    assert!(panicked.is_err());

    store.write(fresh.owner.create(titled("b"))).await.unwrap();
    assert_eq!(read(&store, &plan).await.unwrap().0, 2);
    assert!(store.readers.get().unwrap().is_autocommit());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_gives_way_when_too_many_wait_and_stops_when_nobody_does() {
    let fresh = Fresh::new().await;
    let store = Arc::new(fresh.open_with(|options| {
        options.scan_threads = 1;
        options.scan_queue = 1;
    }));
    // One that would take hours, until nobody waits for it.
    let (began, begun) = mpsc::channel();
    let (ended, end) = mpsc::channel();
    let endless = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let scan = store.scans.run(move |connection| {
                began.send(()).unwrap();
                let endless =
                    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n";
                let counted: rusqlite::Result<i64> = connection.query_row(endless, [], |row| row.get(0));
                ended.send(counted.map_err(|error| error.sqlite_error_code())).unwrap();
                Ok(())
            });
            scan.await
        })
    };
    tokio::task::block_in_place(|| begun.recv().unwrap());

    let ran = Arc::new(AtomicUsize::new(0));
    let count = |ran: &Arc<AtomicUsize>| {
        let ran = Arc::clone(ran);
        move |_: &Connection| Ok(ran.fetch_add(1, Ordering::SeqCst))
    };
    let mut waiting = Box::pin(store.scans.run(count(&ran)));
    assert!(poll_once(waiting.as_mut()).is_pending());
    let refused = store.scans.run(count(&ran)).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))));
    // Whoever gave up makes room for another.
    drop(waiting);
    let mut waiting = Box::pin(store.scans.run(count(&ran)));
    assert!(poll_once(waiting.as_mut()).is_pending());

    endless.abort();
    let interrupted = tokio::task::block_in_place(|| end.recv_timeout(Duration::from_secs(20)).unwrap());
    assert_eq!(interrupted, Err(Some(rusqlite::ErrorCode::OperationInterrupted)));
    assert_eq!(waiting.await.unwrap(), 0);
    assert_eq!(ran.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_scan_that_panics_harms_nobody_else() {
    let fresh = Fresh::new().await;
    let store = fresh.open_with(|options| options.scan_threads = 1);
    let panicked = store.scans.run(|_| -> Result<(), StoreError> { panic!("on purpose") }).await;
    assert!(matches!(panicked, Err(StoreError::Refused(_))));
    assert_eq!(read(&store, &fresh.owner.list("search=x")).await.unwrap(), (0, vec![]));
}

// ---- writing

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_wait_are_committed_together() {
    let fresh = Fresh::new().await;
    let store = Arc::new(fresh.open());
    let commits = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&commits);
    let hook = move |connection: &Connection| {
        connection
            .commit_hook(Some(move || {
                counting.fetch_add(1, Ordering::SeqCst);
                false
            }))
            .map_err(error::store_error)
    };
    store.writer.run(hook).await.unwrap();
    let before = commits.load(Ordering::SeqCst);

    let (go, held) = hold_the_writer(&store);
    let writes: Vec<_> = (0..50)
        .map(|at| {
            let (store, plan) = (Arc::clone(&store), fresh.owner.create(titled(&format!("card {at}"))));
            tokio::spawn(async move { store.write(plan).await })
        })
        .collect();
    while store.writer.queued() < 50 {
        tokio::task::yield_now().await;
    }
    // Nothing is answered, and nothing is there for others, before the commit.
    assert!(writes.iter().all(|write| !write.is_finished()));
    assert_eq!(fresh.cards(), 0);
    go.send(()).unwrap();
    held.await.unwrap().unwrap();
    for write in writes {
        card(write.await.unwrap().unwrap());
    }
    assert_eq!(fresh.cards(), 50);
    assert_eq!(commits.load(Ordering::SeqCst) - before, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_or_panics_in_a_group_leaves_the_others_alone() {
    let fresh = Fresh::new().await;
    let store = Arc::new(fresh.open());
    let org = fresh.owner.membership.org_id();
    let (go, held) = hold_the_writer(&store);
    let spawn = |plan| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.write(plan).await })
    };
    let first = spawn(fresh.owner.create(titled("a")));
    while store.writer.queued() < 1 {
        tokio::task::yield_now().await;
    }
    // Both change something before they end.
    let half = move |connection: &Connection| {
        connection.execute("UPDATE orgs SET name = 'half' WHERE id = ?1", [row::Key::from(org)]).unwrap();
    };
    let mut panics = Box::pin(store.writer.run(move |connection| {
        half(connection);
        panic!("on purpose");
        #[expect(unreachable_code, reason = "says what it would answer")]
        Ok::<(), StoreError>(())
    }));
    let mut fails = Box::pin(store.writer.run(move |connection| {
        half(connection);
        Err::<(), _>(DirectoryError::Taken)
    }));
    assert!(poll_once(panics.as_mut()).is_pending());
    assert!(poll_once(fails.as_mut()).is_pending());
    let same = spawn(fresh.owner.create(titled("a")));
    let last = spawn(fresh.owner.create(titled("b")));
    go.send(()).unwrap();
    held.await.unwrap().unwrap();

    card(first.await.unwrap().unwrap());
    assert!(matches!(panics.await, Err(StoreError::Refused(_))));
    assert!(matches!(fails.await, Err(DirectoryError::Taken)));
    assert_eq!(same.await.unwrap().unwrap(), Written::Conflict);
    card(last.await.unwrap().unwrap());
    assert_eq!(fresh.cards(), 2);
    assert_eq!(store.orgs().await.unwrap()[0].name, "Acme");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_statement_that_cannot_be_undone_alone_is_undone_with_its_group() {
    let fresh = Fresh::new().await;
    let store = Arc::new(fresh.open());
    let org = fresh.owner.membership.org_id();
    let rename = move |connection: &Connection| {
        connection.execute("UPDATE orgs SET name = 'half' WHERE id = ?1", [row::Key::from(org)]).unwrap();
    };
    for panics in [true, false] {
        let (go, held) = hold_the_writer(&store);
        let mut before = store.write(fresh.owner.create(titled("a")));
        assert!(poll_once(before.as_mut()).is_pending());
        let mut half = Box::pin(store.writer.run_undone_by(writer::Undo::Statement, move |connection| {
            rename(connection);
            assert!(!panics, "on purpose");
            Err::<(), StoreError>(StoreError::Refused("on purpose".into()))
        }));
        assert!(poll_once(half.as_mut()).is_pending());
        let mut after = store.write(fresh.owner.create(titled("b")));
        assert!(poll_once(after.as_mut()).is_pending());
        go.send(()).unwrap();
        held.await.unwrap().unwrap_err();

        assert!(before.await.is_err());
        assert!(half.await.is_err());
        // It came after the group had ended, and is the first of the next.
        card(after.await.unwrap());
        assert_eq!(fresh.cards(), 1);
        assert_eq!(store.orgs().await.unwrap()[0].name, "Acme");
        assert_eq!(fresh.other_process().execute("DELETE FROM cards", []).unwrap(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_read_fails_its_own_write_and_no_other() {
    let fresh = Fresh::new().await;
    let store = Arc::new(fresh.open());
    let spoilt = card(store.write(fresh.owner.create(titled("spoilt"))).await.unwrap());
    // SQLite lets anybody who has the file put text where a number belongs.
    let spoil = "UPDATE cards SET created_at = 'yesterday'";
    assert_eq!(fresh.other_process().execute(spoil, []).unwrap(), 1);
    let (go, held) = hold_the_writer(&store);
    let mut change = store.write(fresh.owner.update(spoilt.key(), titled("other"), Precondition::None));
    assert!(poll_once(change.as_mut()).is_pending());
    let mut neighbour = store.write(fresh.owner.create(titled("neighbour")));
    assert!(poll_once(neighbour.as_mut()).is_pending());
    go.send(()).unwrap();
    held.await.unwrap().unwrap();
    assert!(matches!(change.await, Err(StoreError::Corrupt(_))));
    card(neighbour.await.unwrap());
    let title = "SELECT title FROM cards WHERE created_at = 'yesterday'";
    let title: String = fresh.other_process().query_row(title, [], |row| row.get(0)).unwrap();
    assert_eq!(title, "spoilt", "what was not answered was not done");
}

// RST-12
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_dropped_before_its_turn_does_not_happen() {
    let fresh = Fresh::new().await;
    let store = Arc::new(fresh.open());
    let (go, held) = hold_the_writer(&store);
    for title in ["a", "b", "c"] {
        let mut write = store.write(fresh.owner.create(titled(title)));
        assert!(poll_once(write.as_mut()).is_pending());
    }
    go.send(()).unwrap();
    held.await.unwrap().unwrap();
    card(store.write(fresh.owner.create(titled("d"))).await.unwrap());
    assert_eq!(fresh.cards(), 1);
}

// RST-12
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_dropped_after_its_turn_began_happens_whole() {
    let fresh = Fresh::new().await;
    let store = Arc::new(fresh.open());
    let org = fresh.owner.membership.org_id();
    let (began, begun) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let mut write = Box::pin(store.writer.run(move |connection| {
        began.send(()).unwrap();
        wait.recv().unwrap();
        connection.execute("UPDATE orgs SET name = 'new' WHERE id = ?1", [row::Key::from(org)]).unwrap();
        Ok::<_, StoreError>(())
    }));
    assert!(poll_once(write.as_mut()).is_pending());
    tokio::task::block_in_place(|| begun.recv().unwrap());
    drop(write);
    go.send(()).unwrap();
    store.writer.run(|_| Ok::<_, StoreError>(())).await.unwrap();
    assert_eq!(store.orgs().await.unwrap()[0].name, "new");
}

// LOG-05, LOG-11: an entry of the trail is never without its line in the log.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_is_told_though_nobody_waits_for_the_answer() {
    let fresh = Fresh::new().await;
    let store = Arc::new(fresh.open());
    let heard = Heard::default();
    let act = act().noted_in(Noted::by([heard.witness()]));
    let record = |act, is_done: bool| {
        let (began, begun) = mpsc::channel();
        let (go, wait) = mpsc::channel::<()>();
        let change = store.record(act, move |_: &Connection| {
            began.send(()).unwrap();
            wait.recv().unwrap();
            let events = vec![SecurityEvent::new(SecurityEventKind::UserDisabled)];
            if is_done { Ok(((), events)) } else { Err(StoreError::Refused("by the test".into())) }
        });
        let mut change = Box::pin(change);
        assert!(poll_once(change.as_mut()).is_pending());
        tokio::task::block_in_place(|| begun.recv().unwrap());
        drop(change);
        go.send(()).unwrap();
    };
    record(act.clone(), false);
    record(act, true);
    store.writer.run(|_| Ok::<_, StoreError>(())).await.unwrap();
    assert_eq!(heard.kinds(), [SecurityEventKind::UserDisabled]);
    let entries = store.audit_entries(Chain::Site, 0, 100).await.unwrap();
    assert_eq!(entries.last().unwrap().event, "user_disabled");
}

// A witness is another's code: what goes wrong there ends no writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_panics_harms_nobody_else() {
    #[derive(Debug)]
    struct Deaf;
    impl Witness for Deaf {
        fn hear(&self, _: &SecurityEvent, _: Option<&str>, _: Option<IpAddr>) {
            panic!("it hears nothing");
        }
    }
    let fresh = Fresh::new().await;
    let store = fresh.open();
    let act = act().noted_in(Noted::by([Arc::new(Deaf) as Arc<dyn Witness>]));
    let events = vec![SecurityEvent::new(SecurityEventKind::AuthzFail)];
    store.append_events(events, act).await.unwrap_err();
    card(store.write(fresh.owner.create(titled("a"))).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_waited_for() {
    let fresh = Fresh::new().await;
    let store = Arc::new(fresh.open_with(|options| options.write_queue = 1));
    let (go, held) = hold_the_writer(&store);
    let writes: Vec<_> = (0..20)
        .map(|at| {
            let (store, plan) = (Arc::clone(&store), fresh.owner.create(titled(&format!("card {at}"))));
            tokio::spawn(async move { store.write(plan).await })
        })
        .collect();
    go.send(()).unwrap();
    held.await.unwrap().unwrap();
    for write in writes {
        card(write.await.unwrap().unwrap());
    }
    assert_eq!(fresh.cards(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn another_process_may_write_at_the_same_time() {
    let fresh = Fresh::new().await;
    let store = Arc::new(fresh.open_with(|options| options.busy_timeout = Duration::from_secs(20)));
    let (org, user) = (fresh.owner.membership.org_id(), fresh.owner.principal.user_id());
    let other = fresh.other_process();
    other.busy_timeout(Duration::from_secs(20)).unwrap();
    let theirs = thread::spawn(move || {
        for at in 0..100 {
            other
                .execute(
                    "INSERT INTO cards (org_id, id, title, rank, created_by, created_at, version)
                     VALUES (?1, ?2, ?3, 'low', ?4, 0, 1)",
                    rusqlite::params![
                        row::Key::from(org),
                        row::Key(random()),
                        format!("theirs {at}"),
                        row::Key::from(user)
                    ],
                )
                .unwrap();
        }
    });
    for at in 0..100 {
        card(store.write(fresh.owner.create(titled(&format!("ours {at}")))).await.unwrap());
    }
    theirs.join().unwrap();
    assert_eq!(read(&store, &fresh.owner.list("")).await.unwrap().0, 200);
}

#[tokio::test]
async fn while_another_process_holds_the_lock_writes_fail_and_reads_do_not() {
    let fresh = Fresh::new().await;
    let store = fresh.open();
    let other = fresh.other_process();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let locked = store.write(fresh.owner.create(titled("a"))).await;
    assert!(matches!(locked, Err(StoreError::Unavailable(_))), "{locked:?}");
    assert_eq!(read(&store, &fresh.owner.list("")).await.unwrap().0, 0);
    other.execute_batch("ROLLBACK").unwrap();
    card(store.write(fresh.owner.create(titled("a"))).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_nothing_is_acknowledged_that_is_not_there() {
    let fresh = Fresh::new().await;
    let store = Arc::new(fresh.open());
    let limit = |pages: &'static str| {
        store.writer.run(move |connection| {
            connection.pragma_update(None, "max_page_count", pages).map_err(error::store_error)
        })
    };
    limit("1").await.unwrap();
    let writes: Vec<_> = (0..64)
        .map(|at| {
            let values = titled(&format!("card {at}")).set(NOTES, Some("x".repeat(3000)));
            let (store, plan) = (Arc::clone(&store), fresh.owner.create(values));
            tokio::spawn(async move { store.write(plan).await })
        })
        .collect();
    let mut acknowledged = 0;
    for write in writes {
        match write.await.unwrap() {
            Ok(Written::Row(_)) => acknowledged += 1,
            Err(StoreError::NotWritable(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(acknowledged < 64, "the disk was not full");
    assert_eq!(fresh.cards(), acknowledged);
    assert_eq!(read(&store, &fresh.owner.list("")).await.unwrap().0, acknowledged as u64);
    // Once there is room, it goes on.
    limit("100000").await.unwrap();
    card(store.write(fresh.owner.create(titled("room"))).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_commit_fails_the_whole_group_does_and_the_next_goes_on() {
    let fresh = Fresh::new().await;
    let store = Arc::new(fresh.open());
    // The hook turns the commit into a rollback, as a disk error would.
    let refuse = |refuse: bool| {
        move |connection: &Connection| {
            connection.commit_hook(refuse.then_some(|| true)).map_err(error::store_error)
        }
    };
    let (go, held) = hold_the_writer(&store);
    let mut hook = Box::pin(store.writer.run(refuse(true)));
    let mut writes: Vec<_> =
        ["a", "b"].into_iter().map(|title| store.write(fresh.owner.create(titled(title)))).collect();
    assert!(poll_once(hook.as_mut()).is_pending());
    for write in &mut writes {
        assert!(poll_once(write.as_mut()).is_pending());
    }
    go.send(()).unwrap();
    assert!(matches!(held.await.unwrap(), Err(StoreError::Unavailable(_))));
    assert!(hook.await.is_err());
    for write in writes {
        assert!(matches!(write.await, Err(StoreError::Unavailable(_))));
    }
    assert_eq!(fresh.cards(), 0);
    let failed = store.writer.run(refuse(false)).await;
    assert!(failed.is_err() || failed.is_ok());
    card(store.write(fresh.owner.create(titled("c"))).await.unwrap());
    assert_eq!(fresh.cards(), 1);
}

#[tokio::test]
async fn the_log_stays_short_while_others_read() {
    let fresh = Fresh::new().await;
    let store = Arc::new(fresh.open());
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (reader, done) = (fresh.other_process(), Arc::clone(&done));
            thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let read: i64 = reader
                        .query_row(
                            "SELECT SUM(length(notes)) FROM (SELECT notes FROM cards LIMIT 200)",
                            [],
                            |row| Ok(row.get::<_, Option<i64>>(0)?.unwrap_or(0)),
                        )
                        .unwrap();
                    assert!(read >= 0);
                }
            })
        })
        .collect();
    for at in 0..1500 {
        let values = titled(&format!("card {at}")).set(NOTES, Some("x".repeat(9000)));
        card(store.write(fresh.owner.create(values)).await.unwrap());
    }
    done.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    let log = fs::metadata(fresh.path().with_extension("db-wal")).unwrap().len();
    // All of it would be some 55 MB.
    assert!(log < 32 << 20, "{log}");
}

#[tokio::test]
async fn the_count_of_a_table_follows_its_rows() {
    let fresh = Fresh::new().await;
    let store = fresh.open();
    let made = card(store.write(fresh.owner.create(titled("a"))).await.unwrap());
    store.write(fresh.owner.create(titled("b"))).await.unwrap();
    assert_eq!(read(&store, &fresh.owner.list("page_size=1")).await.unwrap().0, 2);
    assert_eq!(store.write(fresh.owner.delete(made.id, Precondition::None)).await.unwrap(), Written::Deleted);
    assert_eq!(read(&store, &fresh.owner.list("page_size=1")).await.unwrap().0, 1);
    // Counted anew when the triggers are made for a table that has rows.
    let connection = fresh.other_process();
    connection
        .execute_batch("DROP TRIGGER bw_count_cards; DROP TRIGGER bw_count_cards_delete; DROP TRIGGER bw_count_cards_update; DELETE FROM row_counts;")
        .unwrap();
    let report = migrate_in_transaction(&connection, &migrations(), TABLES).unwrap();
    assert_eq!(report.counted, ["cards"]);
    assert_eq!(read(&store, &fresh.owner.list("page_size=1")).await.unwrap().0, 1);
}

#[tokio::test]
async fn who_leaves_is_taken_out_of_every_table_that_points_at_members() {
    let fresh = Fresh::new().await;
    let store = fresh.open();
    let bob = add_user(&store, "bob").await;
    let (acme, bobs): (Slug, Username) = ("acme".parse().unwrap(), "Bob".parse().unwrap());
    store.put_member(&acme, &bobs, Role::Member, Act::system(now())).await.unwrap();
    let made = card(store.write(fresh.owner.create(assigned(titled("a"), bob))).await.unwrap());
    fresh
        .other_process()
        .execute_batch(
            "CREATE TABLE \"odd \"\"name\" (tenant uuid, whose uuid, FOREIGN KEY (tenant, whose) REFERENCES memberships);
             INSERT INTO \"odd \"\"name\" SELECT org_id, user_id FROM memberships;",
        )
        .unwrap();

    store.remove_member(&acme, &bobs, act()).await.unwrap();
    let after =
        card(store.write(fresh.owner.update(made.id, Assignments::new(), Precondition::None)).await.unwrap());
    assert_eq!(after.version, made.version + 1);
    let left: (i64, i64) = fresh
        .other_process()
        .query_row("SELECT COUNT(*), COUNT(whose) FROM \"odd \"\"name\"", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(left, (2, 1));
    assert!(matches!(store.remove_member(&acme, &bobs, act()).await, Err(DirectoryError::NoMember)));
}

// ---- opening and closing

#[tokio::test]
async fn what_is_queued_at_the_end_is_written_and_what_comes_later_is_refused() {
    let fresh = Fresh::new().await;
    let store = Arc::new(fresh.open());
    let mut write = store.write(fresh.owner.create(titled("a")));
    assert!(poll_once(write.as_mut()).is_pending());
    store.close();
    card(write.await.unwrap());
    assert_eq!(fresh.cards(), 1);
    // The log is in the file, and gone.
    assert!(!fresh.path().with_extension("db-wal").exists());

    let late = store.write(fresh.owner.create(titled("b"))).await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))));
    assert!(matches!(read(&store, &fresh.owner.list("")).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.users().await, Err(StoreError::Unavailable(_))));
    store.close();
}

#[tokio::test]
async fn what_was_answered_is_there_when_nothing_is_closed() {
    let fresh = Fresh::new().await;
    let store = fresh.open();
    card(store.write(fresh.owner.create(titled("a"))).await.unwrap());
    // As after kill -9: the file and its log as they are on disk now.
    let copy = TempDir::new().unwrap();
    for name in ["test.db", "test.db-wal"] {
        fs::copy(fresh.directory.path().join(name), copy.path().join(name)).unwrap();
    }
    let after = open(copy.path().join("test.db")).unwrap();
    assert_eq!(read(&after, &fresh.owner.list("")).await.unwrap().0, 1);
}

fn open(path: impl AsRef<Path>) -> Result<SqliteStore, SqliteError> {
    let options = SqliteOptions { busy_timeout: Duration::from_millis(50), ..Default::default() };
    SqliteStore::open(path, &options, audit_keys())
}

#[tokio::test]
async fn what_cannot_be_opened_says_why_and_what_to_do() {
    let fresh = Fresh::new().await;
    let directory = fresh.directory.path();
    let says = |error: SqliteError, words: &str| {
        let message = error.to_string();
        assert!(message.contains(words), "{message}");
        error
    };
    let missing = open(directory.join("none.db")).unwrap_err();
    assert!(matches!(says(missing, "bailiwick migrate"), SqliteError::Missing { .. }));
    assert!(!directory.join("none.db").exists());
    let nowhere = open(directory.join("none/test.db")).unwrap_err();
    assert!(matches!(says(nowhere, "create it"), SqliteError::NoDirectory { .. }));
    let below_a_file = open(fresh.path().join("test.db")).unwrap_err();
    assert!(matches!(below_a_file, SqliteError::NoDirectory { .. }));
    assert!(matches!(says(open(directory).unwrap_err(), "is a directory"), SqliteError::IsDirectory { .. }));

    let other = directory.join("other.db");
    fs::write(&other, "this is no database, but long enough to look like one. ".repeat(100)).unwrap();
    assert!(matches!(says(open(&other).unwrap_err(), "restore a backup"), SqliteError::NotADatabase { .. }));
    let empty = directory.join("empty.db");
    fs::write(&empty, "").unwrap();
    assert!(matches!(says(open(&empty).unwrap_err(), "V1__identity"), SqliteError::NotMigrated { .. }));

    let mut rights = fs::metadata(&empty).unwrap().permissions();
    rights.set_readonly(true);
    fs::set_permissions(&empty, rights).unwrap();
    assert!(matches!(says(open(&empty).unwrap_err(), "writable"), SqliteError::ReadOnly { .. }));

    let holder = fresh.other_process();
    holder
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; PRAGMA user_version = 1; COMMIT")
        .unwrap();
    assert!(matches!(says(open(fresh.path()).unwrap_err(), "another process"), SqliteError::Locked { .. }));
    drop(holder);

    fresh
        .other_process()
        .execute_batch("INSERT INTO bailiwick_schema VALUES (99, 'future', '', '1')")
        .unwrap();
    let newer = says(open(fresh.path()).unwrap_err(), "newer version");
    assert!(matches!(newer, SqliteError::Newer { migration, .. } if migration == "V99__future"));
    let migrated = migrate(&fresh.path(), &OpenOptions::default(), &migrations(), TABLES);
    assert!(matches!(migrated, Err(MigrateError::Newer { history: "bailiwick_schema", .. })));
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_read_the_database_and_the_files_beside_it() {
    use std::os::unix::fs::PermissionsExt;
    let fresh = Fresh::new().await;
    let store = fresh.open();
    store.write(fresh.owner.create(titled("a"))).await.unwrap();
    for name in ["test.db", "test.db-wal", "test.db-shm"] {
        let mode = fs::metadata(fresh.directory.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_path_that_looks_like_a_uri_is_a_path() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file:a.db");
    let runner = Runner::new(&[]);
    migrate(&path, &OpenOptions::default(), &runner, &[]).unwrap();
    assert!(path.exists());
    open(&path).unwrap();
}

// ---- migrating

#[test]
fn migrating_twice_does_nothing_twice_and_pending_says_so() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("test.db");
    let options = OpenOptions::default();
    let all = pending(&path, &options.sqlite, &migrations(), TABLES).unwrap();
    assert_eq!(
        (&all.applied[..], &all.counted[..]),
        (
            &[
                "V1__identity",
                "V2__credentials",
                "V3__keys",
                "V4__families",
                "V5__password_resets",
                "V6__services",
                "V7__audit",
                "V8__counters",
                "V1__cards",
            ]
            .map(str::to_owned)[..],
            &["cards"][..]
        )
    );
    assert!(!path.exists());
    assert_eq!(migrate(&path, &options, &migrations(), TABLES).unwrap(), all);
    assert!(pending(&path, &options.sqlite, &migrations(), TABLES).unwrap().is_empty());
    assert!(migrate(&path, &options, &migrations(), TABLES).unwrap().is_empty());
}

#[test]
fn several_processes_that_migrate_at_once_do_it_once() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("test.db");
    let start = Barrier::new(4);
    let reports: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    migrate(&path, &OpenOptions::default(), &migrations(), TABLES).unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(reports.iter().filter(|report| !report.is_empty()).count(), 1);
}

#[test]
fn whoever_waits_long_for_another_process_tells_so_once_and_then_goes_on() {
    static TOLD: AtomicUsize = AtomicUsize::new(0);
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("test.db");
    let holder = Connection::open(&path).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let options = OpenOptions {
        on_lock: Some(|longest| {
            assert_eq!(longest, Duration::from_secs(60));
            TOLD.fetch_add(1, Ordering::SeqCst);
        }),
        ..OpenOptions::default()
    };
    thread::scope(|scope| {
        let migrating = scope.spawn(|| migrate(&path, &options, &migrations(), TABLES).unwrap());
        while TOLD.load(Ordering::SeqCst) == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        holder.execute_batch("ROLLBACK").unwrap();
        assert!(!migrating.join().unwrap().is_empty());
    });
    assert_eq!(TOLD.load(Ordering::SeqCst), 1);
    // Nobody is in the way any more.
    migrate(&path, &options, &migrations(), TABLES).unwrap();
    assert_eq!(TOLD.load(Ordering::SeqCst), 1);
}

#[test]
fn a_migration_that_fails_leaves_nothing() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("test.db");
    let options = OpenOptions::default();
    for broken in
        ["CREATE TABLE half (a text); SELECT nonsense FROM nowhere;", "CREATE TABLE half (a text); COMMIT;"]
    {
        let runner = Runner::new(&[Migration::unapplied("V1__broken", broken).unwrap()]);
        let error = migrate(&path, &options, &runner, &[]).unwrap_err();
        assert!(
            matches!(&error, MigrateError::Failed { migration, .. } if migration == "V1__broken"),
            "{error:?}"
        );
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(!source.contains("CREATE TABLE"), "what failed is told, not the whole text: {source}");
        if !broken.contains("COMMIT") {
            let tables: i64 = Connection::open(&path)
                .unwrap()
                .query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))
                .unwrap();
            assert_eq!(tables, 0);
        }
    }
}

#[test]
fn a_table_that_does_not_fit_its_model_is_named() {
    use bailiwick_core::model::{ScopeKind, TableDef};
    static NOWHERE: TableDef =
        TableDef { name: "nowhere", scope: ScopeKind::Org, counted: false, columns: Card::TABLE.columns };
    static LACKING: TableDef =
        TableDef { name: "members", scope: ScopeKind::Org, counted: false, columns: Card::TABLE.columns };
    static COUNTED_VIEW: TableDef =
        TableDef { name: "members", scope: ScopeKind::Org, counted: true, columns: Member::TABLE.columns };
    let directory = TempDir::new().unwrap();
    let migrate = |table| {
        migrate(&directory.path().join("test.db"), &OpenOptions::default(), &migrations(), &[table])
            .unwrap_err()
    };
    assert!(matches!(migrate(&NOWHERE), MigrateError::NoTable { table: "nowhere" }));
    assert!(matches!(migrate(&LACKING), MigrateError::NoColumn { table: "members", column: "id" }));
    assert!(matches!(migrate(&COUNTED_VIEW), MigrateError::CountedView { table: "members" }));
}

#[test]
fn what_keeps_a_database_from_being_made_is_said() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("none/test.db");
    let error = migrate(&path, &OpenOptions::default(), &migrations(), TABLES).unwrap_err();
    assert!(matches!(error, MigrateError::Open(OpenError::Sqlite(SqliteError::NoDirectory { .. }))));
}

#[test]
fn a_stored_value_of_another_kind_is_an_error_and_no_guess() {
    let connection = Connection::open_in_memory().unwrap();
    let mut select = connection.prepare("SELECT x'00', 'text', 3, 2.5").unwrap();
    let read = select.query_row([], |stored| {
        use bailiwick_core::model::{Kind, RowReader};
        let stored = row::SqliteRow(stored);
        let wrong = [
            (0, Kind::Uuid),
            (0, Kind::Text),
            (1, Kind::Uuid),
            (1, Kind::Integer),
            (2, Kind::Bool),
            (2, Kind::Text),
            (3, Kind::Integer),
            (3, Kind::Timestamp),
            (4, Kind::Text),
        ];
        for (index, kind) in wrong {
            assert!(stored.read(index, kind).is_err(), "{index} {kind:?}");
        }
        Ok(())
    });
    read.unwrap();
}
