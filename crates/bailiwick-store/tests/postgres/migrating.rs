//! Migrations on PostgreSQL: whole or not at all, once, and counted from then on.
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bailiwick_core::model::{Model, TableDef};
use bailiwick_store::{ConnectError, MigrateError, OpenError, OpenOptions, migrate, open, pending};
use bailiwick_testkit::{audit_keys, databases::fresh_postgres};

use crate::support::{SCHEMA, Thing, migrations, outside};

const TABLES: &[&TableDef] = &[Thing::TABLE];

#[tokio::test]
async fn a_database_is_migrated_once_and_says_what_is_pending_before() {
    let Some(database) = fresh_postgres().await else { return };
    let (url, options, app) = (database.url(), OpenOptions::default(), migrations(&[("V1__things", SCHEMA)]));
    let before = pending(&url, &options, &app, TABLES).await.unwrap();
    assert_eq!(before.applied.last().map(String::as_str), Some("V1__things"));
    assert!(before.applied.len() > 1, "the framework's come first: {:?}", before.applied);
    assert_eq!(before.counted, ["things"]);
    let report = migrate(&url, &options, &app, TABLES).await.unwrap();
    assert_eq!(report, before, "what was pending was done");
    assert!(pending(&url, &options, &app, TABLES).await.unwrap().is_empty());
    assert!(migrate(&url, &options, &app, TABLES).await.unwrap().is_empty());
    open(&url, &options, audit_keys()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_migrate_at_once_wait_for_each_other() {
    let Some(database) = fresh_postgres().await else { return };
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let url = database.url();
        tasks.spawn(async move {
            let app = migrations(&[("V1__things", SCHEMA)]);
            migrate(&url, &OpenOptions::default(), &app, TABLES).await.unwrap().is_empty()
        });
    }
    let mut migrated = 0;
    while let Some(done) = tasks.join_next().await {
        migrated += usize::from(!done.unwrap());
    }
    assert_eq!(migrated, 1);
}

#[tokio::test]
async fn whoever_waits_long_for_another_process_tells_so_once_and_then_goes_on() {
    static TOLD: AtomicUsize = AtomicUsize::new(0);
    let Some(database) = fresh_postgres().await else { return };
    let url = database.url();
    let holder = outside(&url).await;
    holder.query_one("SELECT pg_advisory_lock(x'6261696c69776963'::bigint)", &[]).await.unwrap();
    let told = |_| {
        TOLD.fetch_add(1, Ordering::SeqCst);
    };
    let options = OpenOptions { on_lock: Some(told), ..OpenOptions::default() };
    let app = migrations(&[("V1__things", SCHEMA)]);
    let release = async {
        while TOLD.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(holder);
    };
    let (report, ()) = tokio::join!(migrate(&url, &options, &app, TABLES), release);
    assert!(!report.unwrap().is_empty());
    assert_eq!(TOLD.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing() {
    let Some(database) = fresh_postgres().await else { return };
    let (url, options) = (database.url(), OpenOptions::default());
    for wrong in
        ["CREATE TABLE x (id int); SELECT 1/0;", "CREATE TABLE x (id int); CREATE TABLE y (", "VACUUM;"]
    {
        let app = migrations(&[("V1__things", SCHEMA), ("V2__wrong", wrong)]);
        let error = migrate(&url, &options, &app, TABLES).await.unwrap_err();
        assert!(
            matches!(&error, MigrateError::Failed { migration, .. } if migration == "V2__wrong"),
            "{error:?}"
        );
        let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
        let client = outside(&url).await;
        assert_eq!(client.query_one(tables, &[]).await.unwrap().get::<_, i64>(0), 0, "{wrong}");
    }
    let app = migrations(&[("V1__things", SCHEMA), ("V2__ends", "COMMIT; CREATE TABLE x (id int);")]);
    let error = migrate(&url, &options, &app, TABLES).await.unwrap_err();
    assert!(matches!(&error, MigrateError::Failed { migration, .. } if migration == "V2__ends"), "{error:?}");
}

#[tokio::test]
async fn rows_that_are_there_are_counted_when_counting_begins() {
    let Some(database) = fresh_postgres().await else { return };
    let (url, options, app) = (database.url(), OpenOptions::default(), migrations(&[("V1__things", SCHEMA)]));
    migrate(&url, &options, &app, &[]).await.unwrap();
    let client = outside(&url).await;
    client
        .batch_execute(
            "INSERT INTO orgs (id, slug, name, created_at, updated_at, version)
               SELECT md5(n::text)::uuid, 'org-' || n, 'x', now(), now(), 1 FROM generate_series(1, 3) n;
             INSERT INTO things SELECT md5((n % 2 + 1)::text)::uuid, md5('t' || n)::uuid, 'x', NULL, now(), 1
               FROM generate_series(1, 101) n;",
        )
        .await
        .unwrap();
    assert_eq!(migrate(&url, &options, &app, TABLES).await.unwrap().counted, ["things"]);
    let counts = "SELECT coalesce(sum(k.rows), 0)::bigint, (SELECT count(*) FROM things t WHERE t.org_id = o.id) \
                  FROM orgs o LEFT JOIN row_counts k ON k.scope_id = o.id AND k.table_name = 'things' \
                  GROUP BY o.id, o.slug ORDER BY o.slug";
    let read = async || -> Vec<(i64, i64)> {
        client.query(counts, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    assert_eq!(read().await, [(50, 50), (51, 51), (0, 0)]);
    for change in [
        "DELETE FROM things WHERE id IN (SELECT id FROM things LIMIT 10)",
        "UPDATE things SET org_id = (SELECT id FROM orgs WHERE slug = 'org-3') WHERE org_id = (SELECT id FROM orgs WHERE slug = 'org-1')",
        "UPDATE things SET title = 'y'",
        "TRUNCATE things",
    ] {
        client.batch_execute(change).await.unwrap();
        assert!(read().await.iter().all(|(kept, counted)| kept == counted), "{change}: {:?}", read().await);
    }
}

#[tokio::test]
async fn a_database_of_another_application_is_named_and_left_alone() {
    let Some(database) = fresh_postgres().await else { return };
    let (url, options) = (database.url(), OpenOptions::default());
    let client = outside(&url).await;
    client.batch_execute("CREATE TABLE users (name text)").await.unwrap();
    let app = migrations(&[("V1__things", SCHEMA)]);
    for done in [migrate(&url, &options, &app, TABLES).await, pending(&url, &options, &app, TABLES).await] {
        let error = done.unwrap_err();
        assert!(matches!(&error, MigrateError::Foreign { table, .. } if table == "users"), "{error:?}");
        assert!(error.to_string().contains(database.name()), "{error}");
    }
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(client.query_one(tables, &[]).await.unwrap().get::<_, i64>(0), 1);
}

#[tokio::test]
async fn a_database_that_does_not_fit_is_named() {
    let Some(database) = fresh_postgres().await else { return };
    let (url, options) = (database.url(), OpenOptions::default());
    let error = migrate(&url, &options, &migrations(&[]), TABLES).await.unwrap_err();
    assert!(matches!(error, MigrateError::NoTable { table: "things" }), "{error:?}");
    let partial = [("V1__things", "CREATE TABLE things (org_id uuid, id uuid, title text)")];
    let error = migrate(&url, &options, &migrations(&partial), TABLES).await.unwrap_err();
    assert!(matches!(error, MigrateError::NoColumn { table: "things", column: "peer" }), "{error:?}");
    let view = [(
        "V1__things",
        "CREATE VIEW things AS SELECT NULL::uuid org_id, NULL::uuid id, '' title, \
                  NULL::uuid peer, now() created_at, 1::bigint AS version",
    )];
    let error = migrate(&url, &options, &migrations(&view), TABLES).await.unwrap_err();
    assert!(matches!(error, MigrateError::CountedView { table: "things" }), "{error:?}");

    let newer = migrations(&[("V1__things", SCHEMA), ("V2__more", "SELECT 1")]);
    migrate(&url, &options, &newer, TABLES).await.unwrap();
    let older = migrations(&[("V1__things", SCHEMA)]);
    for done in [migrate(&url, &options, &older, TABLES).await, pending(&url, &options, &older, TABLES).await]
    {
        assert!(matches!(done.unwrap_err(), MigrateError::Newer { .. }));
    }
    let client = outside(&url).await;
    client.batch_execute("INSERT INTO bailiwick_schema VALUES (9999, 'later', '', '0')").await.unwrap();
    let error = open(&url, &options, audit_keys()).await.map(drop).unwrap_err();
    assert!(matches!(error, OpenError::Postgres(ConnectError::Newer { .. })), "{error:?}");
}
