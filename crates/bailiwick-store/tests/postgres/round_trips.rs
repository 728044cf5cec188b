//! How often a request crosses the wire: what can be known together is asked together (design §6).
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use std::time::Duration;

use bailiwick_core::{
    clock::{Clock, Entropy},
    id::Id,
    identity::Scopes,
    store::{Directory, NewToken, PrincipalStore, TokenCreation, TokenStore},
};
use bailiwick_store::{OpenOptions, migrate};
use bailiwick_testkit::databases::fresh_postgres;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{SCHEMA, Thing, World, connections, migrations};
use bailiwick_testkit::act;

/// Stands between the store and the server, and counts how often the store sends after it has got an answer.
struct Wire {
    port: u16,
    trips: Arc<AtomicUsize>,
}

impl Wire {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let trips = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&trips);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(carry(client, server, Arc::clone(&counted)));
            }
        });
        Self { port, trips }
    }

    /// The trips since it was last asked.
    fn trips(&self) -> usize {
        self.trips.swap(0, Ordering::SeqCst)
    }
}

async fn carry(client: TcpStream, server: TcpStream, trips: Arc<AtomicUsize>) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    tokio::spawn(async move {
        let mut buffer = vec![0; 65536];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            if to_client.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; 65536];
    while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
        trips.fetch_add(1, Ordering::SeqCst);
        // Long enough for all that is sent without waiting for an answer to arrive.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut sent = buffer[..read].to_vec();
        while let Ok(more @ 1..) = from_client.try_read(&mut buffer) {
            sent.extend_from_slice(&buffer[..more]);
        }
        if to_server.write_all(&sent).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_known_together_costs_one_round_trip() {
    let Some(database) = fresh_postgres().await else { return };
    let url = database.url();
    let app = migrations(&[("V1__things", SCHEMA)]);
    migrate(&url, &OpenOptions::default(), &app, &[<Thing as bailiwick_core::model::Model>::TABLE])
        .await
        .unwrap();
    let config: tokio_postgres::Config = url.parse().unwrap();
    let tokio_postgres::config::Host::Tcp(host) = &config.get_hosts()[0] else {
        // A Unix socket has no wire to stand on.
        return;
    };
    let wire = Wire::to(format!("{host}:{}", config.get_ports()[0])).await;
    let through =
        url.replace(&format!("@{host}:{}/", config.get_ports()[0]), &format!("@127.0.0.1:{}/", wire.port));
    assert_ne!(url, through);
    let world = World::at(database, &through, connections(1)).await;

    let token = |world: &World| {
        let mut digest = [0; 32];
        world.entropy.fill(&mut digest);
        let now = world.clock.now();
        NewToken {
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
        }
    };
    // The first time, the connection is made and the statements are prepared.
    for first in [true, false] {
        let mut spent = Vec::new();
        let mut spend = |what: &'static str, allowed: usize| {
            let trips = wire.trips();
            if !first && trips > allowed {
                spent.push(format!("{what}: {trips} and not {allowed}"));
            }
        };
        let thing = world.create("thing").await.unwrap();
        spend("create", 1);
        assert_eq!(world.retrieve(thing.id).await.unwrap(), thing);
        spend("retrieve", 1);
        assert!(!world.list().await.unwrap().rows.is_empty());
        spend("list and count", 1);
        world.update(thing.id, "changed").await.unwrap();
        spend("update", 1);
        world.create_with_peer("thing").await.unwrap();
        spend("create with a reference", 2);
        world.update_with_peer(thing.id, "thing").await.unwrap();
        spend("update with a reference", 2);
        world.delete(thing.id).await.unwrap();
        spend("delete", 1);
        assert!(world.delete(thing.id).await.is_err());
        spend("delete of nothing, and why", 2);
        assert!(world.store.membership(world.user, "acme").await.unwrap().is_some());
        spend("membership", 1);
        assert!(world.store.login("alice").await.unwrap().is_some());
        spend("log-in look-up", 1);
        let token = token(&world);
        assert_eq!(world.store.create_token(token.clone(), act()).await.unwrap(), TokenCreation::Created);
        spend("log-in", 3);
        assert!(world.store.principal_of(token.proof(), world.clock.now()).await.unwrap().is_some());
        spend("principal", 1);
        assert!(world.store.principal_in(token.proof(), world.clock.now(), "acme").await.unwrap().is_some());
        spend("principal and membership", 1);
        assert!(spent.is_empty(), "{spent:#?}");
    }
}
