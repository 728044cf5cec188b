//! Every back-end counts the same: one suite, in `bailiwick-testkit`.
#![expect(clippy::unwrap_used, reason = "these are tests; clippy takes only what is marked so for one")]
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bailiwick_core::{
    store::{Caller, Charge, CounterKey, CounterStore},
    units::Rate,
};
use bailiwick_store::{RedisCounters, RedisOptions};
use bailiwick_testkit::{
    conformance,
    databases::{random_name, redis_url},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

mod memory {
    bailiwick_testkit::counter_conformance_tests!(super::conformance::memory_counters());
}

mod sqlite {
    bailiwick_testkit::counter_conformance_tests!(super::conformance::sqlite_counters());
}

mod postgres {
    bailiwick_testkit::counter_conformance_tests!(super::conformance::postgres_counters());
}

mod redis {
    bailiwick_testkit::counter_conformance_tests!(super::conformance::redis_counters());
}

/// Stands between the counters and Redis. When it is told to, the next answer is lost, and the connection ends with it.
struct Wire {
    port: u16,
    lose_one: Arc<AtomicBool>,
}

impl Wire {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, lose_one) = (listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
        let losing = Arc::clone(&lose_one);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
                let losing = Arc::clone(&losing);
                tokio::spawn(async move {
                    let mut buffer = vec![0; 65536];
                    while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                        if losing.swap(false, Ordering::SeqCst)
                            || to_client.write_all(&buffer[..read]).await.is_err()
                        {
                            return;
                        }
                    }
                });
            }
        });
        Self { port, lose_one }
    }
}

#[tokio::test]
async fn what_is_lost_on_the_way_to_redis_is_spent_again_and_never_given_back_again() {
    let Some(url) = redis_url() else { return };
    let server = url.split_once("://").unwrap().1.split('/').next().unwrap().rsplit('@').next().unwrap();
    let wire = Wire::to(server.to_owned()).await;
    let through = url.replace(server, &format!("127.0.0.1:{}", wire.port));
    let counters =
        RedisCounters::connect(&through, &random_name("test-"), &RedisOptions::default()).await.unwrap();
    let caller = Caller::from_account("ann");
    let charge = Charge::new(CounterKey { policy: "login_account", caller }, Rate::per_hour(5));
    let left = async || counters.spend(std::slice::from_ref(&charge)).await.unwrap()[0].remaining;
    assert_eq!(left().await, 4);
    wire.lose_one.store(true, Ordering::SeqCst);
    assert_eq!(left().await, 2, "whether the first was spent is not known");
    // Redis knows the script from now on.
    counters.give_back(&charge).await.unwrap();
    assert_eq!(left().await, 2);
    wire.lose_one.store(true, Ordering::SeqCst);
    assert!(counters.give_back(&charge).await.is_err());
    assert_eq!(left().await, 2, "it came back once");
}
