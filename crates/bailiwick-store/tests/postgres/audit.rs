//! What somebody does to the audit trail in the database itself.
use bailiwick_core::{
    audit::{Broken, Chain, Fault, Head, SecurityEvent, SecurityEventKind, Verifier},
    clock::Clock,
    id::Id,
    secret::Secret,
    store::{AuditStore, Directory, DirectoryError, NewUser},
};
use bailiwick_store::PostgresOptions;
use bailiwick_testkit::{act, audit_keys};

use crate::support::World;

const NIL: &str = "chain = '00000000-0000-0000-0000-000000000000'";

/// Checks the chain of the site, which must go through `kept`.
async fn verify(world: &World, kept: &[Head]) -> Result<u64, Broken> {
    let mut verifier = Verifier::new(audit_keys(), Chain::Site, kept);
    let entries = world.store.audit_entries(Chain::Site, 0, 1000).await.unwrap();
    entries.iter().try_for_each(|entry| verifier.check(entry))?;
    verifier.finish(&world.store.audit_head(Chain::Site).await.unwrap())?;
    Ok(verifier.last().sequence)
}

async fn world() -> Option<World> {
    let world = World::new(PostgresOptions::default()).await?;
    let events = vec![SecurityEvent::new(SecurityEventKind::AuthzFail); 5];
    world.store.append_events(events, act()).await.unwrap();
    assert_eq!(verify(&world, &[]).await, Ok(6));
    Some(world)
}

// LOG-10
#[tokio::test]
async fn whoever_may_change_rows_alone_cannot_change_the_trail() {
    let Some(world) = world().await else { return };
    for sql in [
        "UPDATE audit_entries SET event = 'x'",
        "DELETE FROM audit_entries",
        "DELETE FROM audit_entries WHERE FALSE",
        "TRUNCATE audit_entries",
        "DELETE FROM audit_heads",
        "TRUNCATE audit_heads",
    ] {
        let error = world.outside.batch_execute(sql).await.unwrap_err();
        assert!(error.as_db_error().unwrap().message().contains("append-only"), "{sql}: {error}");
    }
    assert_eq!(verify(&world, &[]).await, Ok(6));
}

// LOG-10
#[tokio::test]
async fn whoever_may_change_the_schema_is_found() {
    let Some(world) = world().await else { return };
    let kept = world.store.audit_head(Chain::Site).await.unwrap();
    let run = async |sql: &str| {
        world.outside.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    };
    run("DROP TRIGGER bw_audit_append_only ON audit_entries; DROP TRIGGER bw_audit_append_only ON audit_heads").await;
    run("CREATE TABLE kept_entries AS TABLE audit_entries; CREATE TABLE kept_heads AS TABLE audit_heads")
        .await;
    let restore = "DELETE FROM audit_entries; DELETE FROM audit_heads; \
                   INSERT INTO audit_entries TABLE kept_entries; INSERT INTO audit_heads TABLE kept_heads";
    let cases = [
        (
            format!("UPDATE audit_entries SET outcome = 'success' WHERE sequence = 3 AND {NIL}"),
            3,
            Fault::Changed,
        ),
        (
            format!(
                "UPDATE audit_entries SET at = at + interval '1 microsecond' WHERE sequence = 3 AND {NIL}"
            ),
            3,
            Fault::Changed,
        ),
        (format!("DELETE FROM audit_entries WHERE sequence = 3 AND {NIL}"), 3, Fault::Missing),
        (
            format!(
                "UPDATE audit_entries SET sequence = 1000 WHERE sequence = 3 AND {NIL}; \
                 UPDATE audit_entries SET sequence = 3 WHERE sequence = 4 AND {NIL}; \
                 UPDATE audit_entries SET sequence = 4 WHERE sequence = 1000 AND {NIL}"
            ),
            3,
            Fault::Changed,
        ),
        (format!("DELETE FROM audit_entries WHERE sequence = 6 AND {NIL}"), 6, Fault::Truncated),
        (format!("DELETE FROM audit_heads WHERE {NIL}"), 1, Fault::BehindTheEnd),
        (
            // One from another chain, put in behind the end: its link does not fit.
            format!(
                "INSERT INTO audit_entries SELECT '00000000-0000-0000-0000-000000000000', 7, event, at, actor_kind, \
                   actor_id, actor_name, target_kind, target_id, request_id, remote_addr, outcome, details, key_id, hash \
                 FROM audit_entries WHERE sequence = 1 AND NOT {NIL}"
            ),
            7,
            Fault::Changed,
        ),
    ];
    for (sql, sequence, fault) in cases {
        run(&sql).await;
        assert_eq!(verify(&world, &[]).await, Err(Broken { chain: Chain::Site, sequence, fault }), "{sql}");
        run(restore).await;
        assert_eq!(verify(&world, &[]).await, Ok(6), "after {sql}");
    }
    // Cut with its head: only the head that was kept knows.
    run(&format!(
        "DELETE FROM audit_entries WHERE sequence > 4 AND {NIL}; \
         UPDATE audit_heads SET sequence = 4, \
           hash = (SELECT hash FROM audit_entries WHERE sequence = 4 AND {NIL}) WHERE {NIL}"
    ))
    .await;
    assert_eq!(verify(&world, &[]).await, Ok(4));
    let cut = Broken { chain: Chain::Site, sequence: 5, fault: Fault::Truncated };
    assert_eq!(verify(&world, &[kept]).await, Err(cut));
}

// LOG-11
#[tokio::test]
async fn a_change_whose_entry_cannot_be_written_does_not_happen() {
    let Some(world) = world().await else { return };
    let name = "alice".parse().unwrap();
    let fails = [
        "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no room'; END $$; \
         CREATE TRIGGER broken BEFORE INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION broken()",
        // An entry stands where the next should: nobody's name is taken by that.
        &format!(
            "DROP TRIGGER broken ON audit_entries; INSERT INTO audit_entries \
             SELECT chain, 7, event, at, actor_kind, actor_id, actor_name, target_kind, target_id, request_id, \
               remote_addr, outcome, details, key_id, hash FROM audit_entries WHERE sequence = 6 AND {NIL}"
        ),
    ];
    for fails in fails {
        world.outside.batch_execute(fails).await.unwrap();
        let disabled = world.store.set_active(&name, false, act()).await;
        assert!(matches!(disabled, Err(DirectoryError::Store(_))), "{disabled:?}");
        let bob = NewUser {
            id: Id::new(&world.clock, &world.entropy),
            username: "bob".parse().unwrap(),
            email: "bob@example.com".to_owned(),
            password_hash: Secret::new("hash".to_owned()),
            is_staff: false,
            created_at: world.clock.now(),
        };
        let made = world.store.create_user(bob, act()).await;
        assert!(matches!(made, Err(DirectoryError::Store(_))), "{made:?}");
        let users = world.store.users().await.unwrap();
        assert_eq!(
            users.iter().map(|user| (user.username.as_str(), user.is_active)).collect::<Vec<_>>(),
            [("alice", true)]
        );
    }
}
