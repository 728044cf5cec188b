//! A server that cannot be used is named, with what to do about it.
use std::time::Duration;

use bailiwick_store::{ConnectError, PostgresOptions, PostgresStore};
use bailiwick_testkit::{
    audit_keys,
    databases::{FreshPostgres, fresh_postgres},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{World, options, outside};

async fn refused(url: &str, options: &PostgresOptions) -> ConnectError {
    let error = PostgresStore::connect(url, options, audit_keys()).await.map(drop).unwrap_err();
    let mut told = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        told.push_str(&error.to_string());
        source = error.source();
    }
    assert!(!told.contains("hunter2"), "the password is told: {told}");
    error
}

#[tokio::test]
async fn a_url_that_is_none_and_one_that_asks_for_tls_are_named() {
    for url in
        ["postgres://a:hunter2@h:port/d", "postgres://h/d?colour=red", "postgres://h/d?connect_timeout=soon"]
    {
        let error = refused(url, &options()).await;
        assert!(matches!(error, ConnectError::Url(_)), "{url}: {error:?}");
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let error = refused(&format!("postgres://a:hunter2@localhost/d?sslmode={mode}"), &options()).await;
        assert!(matches!(error, ConnectError::TlsAsked), "{mode}: {error:?}");
    }
}

#[tokio::test]
async fn a_port_on_which_nobody_listens_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = refused(&format!("postgres://alice:hunter2@127.0.0.1:{port}/db"), &options()).await;
    let told = error.to_string();
    assert!(
        matches!(error, ConnectError::Unreachable { .. }) && told.contains(&format!("127.0.0.1:{port}")),
        "{told}"
    );
    let error = refused("postgres://alice:hunter2@no-such-host.invalid/db", &options()).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
}

/// A server that reads what it is greeted with and says only this.
async fn server(says: Option<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut greeting = [0; 1024];
            let _ = client.read(&mut greeting).await;
            match &says {
                Some(says) => drop(client.write_all(says).await),
                None => tokio::time::sleep(Duration::from_secs(60)).await,
            }
        }
    });
    format!("postgres://alice@127.0.0.1:{port}/db")
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind], &length[..], body].concat()
}

fn error(code: &str, text: &str) -> Vec<u8> {
    message(b'E', format!("SFATAL\0VFATAL\0C{code}\0M{text}\0\0").as_bytes())
}

#[tokio::test]
async fn what_a_server_says_is_told_in_the_words_of_whoever_has_to_act() {
    let told = |error: &ConnectError| error.to_string();
    let url = server(Some(error("28P01", "password authentication failed"))).await;
    let error_ = refused(&url, &options()).await;
    assert!(
        matches!(error_, ConnectError::WrongPassword { .. }) && told(&error_).contains("alice"),
        "{error_:?}"
    );
    // AuthenticationCleartextPassword, and there is none.
    let url = server(Some(message(b'R', &3_u32.to_be_bytes()))).await;
    let error_ = refused(&url, &options()).await;
    assert!(matches!(error_, ConnectError::NoPassword { .. }), "{error_:?}");
    for needs_tls in ["no pg_hba.conf entry for host, no encryption", "SSL connection is required"] {
        let url = server(Some(error("28000", needs_tls))).await;
        let error_ = refused(&url, &options()).await;
        assert!(
            matches!(error_, ConnectError::TlsNeeded { .. }) && told(&error_).contains("hostnossl"),
            "{error_:?}"
        );
    }
    let url = server(Some(error("28000", "Ident authentication failed"))).await;
    let error_ = refused(&url, &options()).await;
    assert!(
        matches!(error_, ConnectError::NotAdmitted { .. }) && told(&error_).contains("pg_hba"),
        "{error_:?}"
    );
    let url = server(Some(error("53300", "sorry, too many clients already"))).await;
    let error_ = refused(&url, &options()).await;
    assert!(matches!(error_, ConnectError::TooManyConnections { .. }), "{error_:?}");
    let url = server(Some(error("57P03", "the database system is starting up"))).await;
    let error_ = refused(&url, &options()).await;
    assert!(
        matches!(error_, ConnectError::NotReady { .. }) && told(&error_).contains("starting"),
        "{error_:?}"
    );
    let url = server(Some(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())).await;
    let error_ = refused(&url, &options()).await;
    assert!(matches!(error_, ConnectError::Other { .. } | ConnectError::Unreachable { .. }), "{error_:?}");
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_not_waited_for_without_end() {
    let url = server(None).await;
    let mut options = options();
    options.connect_timeout = Duration::from_millis(100);
    let error = refused(&url, &options).await;
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error:?}");
}

#[tokio::test]
async fn a_user_that_is_not_there_or_may_not_log_in_is_named_without_advice_on_rules() {
    let Some(database) = fresh_postgres().await else { return };
    // Its name is as unique as the database's. The server makes no difference between users and roles.
    let role = format!("{}_role", database.name());
    let url = database.url().replacen("postgres@", &format!("{role}@"), 1);
    let client = outside(&database.server_url()).await;
    for how in ["", "NOLOGIN"] {
        if !how.is_empty() {
            client.batch_execute(&format!("CREATE ROLE {role} {how}")).await.unwrap();
        }
        let error = refused(&url, &options()).await;
        let told = error.to_string();
        assert!(matches!(error, ConnectError::NoSuchUser { .. }), "{error:?}");
        assert!(told.contains(&format!("createuser {role}")) && !told.contains("pg_hba"), "{told}");
    }
    client.batch_execute(&format!("DROP ROLE {role}")).await.unwrap();
}

#[tokio::test]
async fn a_database_that_is_not_there_or_not_migrated_is_named() {
    let Some(database) = fresh_postgres().await else { return };
    let url = database.url();
    let error = refused(&format!("{url}_not"), &options()).await;
    assert!(matches!(error, ConnectError::NoSuchDatabase { .. }), "{error:?}");
    assert!(error.to_string().contains("createdb bailiwick_test_"), "{error}");
    let error = refused(&url, &options()).await;
    assert!(matches!(&error, ConnectError::NotMigrated { pending, .. } if !pending.is_empty()), "{error:?}");
}

/// A second database beside `database`, made so.
async fn beside(database: &FreshPostgres, how: &str) -> Option<String> {
    let client = outside(&database.server_url()).await;
    let name = format!("{}_b", database.name());
    let made = client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0 {how}")).await;
    made.ok().map(|()| format!("{}_b", database.url()))
}

async fn remove_beside(database: &FreshPostgres) {
    let client = outside(&database.server_url()).await;
    let name = format!("{}_b", database.name());
    client.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_text_or_lowers_ascii_in_its_own_way_is_named() {
    let Some(database) = fresh_postgres().await else { return };
    let url = beside(&database, "ENCODING 'LATIN1' LOCALE 'C'").await.expect("a server knows LATIN1");
    let error = refused(&url, &options()).await;
    remove_beside(&database).await;
    assert!(matches!(&error, ConnectError::NotUnicode { encoding } if encoding == "LATIN1"), "{error:?}");
    // Turkish has two letters i. Before version 15, a database cannot have its locale from ICU.
    if let Some(url) = beside(&database, "ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'tr-TR'").await {
        let error = refused(&url, &options()).await;
        remove_beside(&database).await;
        assert!(matches!(error, ConnectError::Locale), "{error:?}");
    }
}

#[tokio::test]
async fn a_read_only_database_is_named() {
    let Some(world) = World::new(options()).await else { return };
    let set = format!("ALTER DATABASE {} SET default_transaction_read_only = on", world.database.name());
    world.outside.batch_execute(&set).await.unwrap();
    let error = refused(&world.database.url(), &options()).await;
    assert!(matches!(error, ConnectError::ReadOnly { .. }), "{error:?}");
}

#[tokio::test]
async fn a_store_does_not_show_its_password_and_keeps_to_its_settings() {
    let Some(world) = World::new(options()).await else { return };
    let url = world.database.url().replacen("postgres@", "postgres:hunter2@", 1);
    let store = PostgresStore::connect(&url, &options(), audit_keys()).await.unwrap();
    let shown = format!("{store:?}");
    assert!(shown.contains(world.database.name()) && !shown.contains("hunter2"), "{shown}");
    // Whatever the server's defaults are.
    let set = format!(
        "ALTER DATABASE {name} SET synchronous_commit = off; ALTER DATABASE {name} SET statement_timeout = 1; \
         ALTER DATABASE {name} SET default_transaction_isolation = serializable",
        name = world.database.name()
    );
    world.outside.batch_execute(&set).await.unwrap();
    world.outside.batch_execute("CREATE TABLE seen (setting text, value text)").await.unwrap();
    world
        .outside
        .batch_execute(
            "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               INSERT INTO seen SELECT s, current_setting(s) FROM unnest(ARRAY['synchronous_commit',
                 'transaction_isolation', 'statement_timeout']) s;
               RETURN NEW; END $$;
             CREATE TRIGGER look BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION look();",
        )
        .await
        .unwrap();
    world.terminate().await;
    // A read finds out that the connections have ended; a write would be told so.
    world.list().await.unwrap();
    world.create("thing").await.unwrap();
    let seen = world.outside.query("SELECT value FROM seen ORDER BY setting", &[]).await.unwrap();
    let seen: Vec<String> = seen.iter().map(|row| row.get(0)).collect();
    assert_eq!(seen, ["30s", "on", "read committed"]);
}
