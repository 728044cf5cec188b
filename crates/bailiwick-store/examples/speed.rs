#[allow(dead_code, unused)]
#[path = "../src/fixture.rs"]
mod fixture;
use bailiwick_core::{identity::*, model::*, query::*, secret::Secret, store::*};
use bailiwick_store::*;
use fixture::*;
use std::{sync::Arc, time::Instant};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let dir = tempfile::TempDir::new_in(".").unwrap();
    let url = format!("sqlite://{}", dir.path().join("x.db").display());
    let options = OpenOptions::default();
    migrate(&url, &options, &migrations(), &[Card::TABLE]).await.unwrap();
    let store = open(&url, &options).await.unwrap();
    let user = UserId::from_uuid(random());
    store
        .create_user(NewUser {
            id: user,
            username: "olga".parse().unwrap(),
            email: "e".into(),
            password_hash: Secret::new("h".into()),
            is_staff: false,
            created_at: now(),
        })
        .await
        .unwrap();
    let mut actors = vec![];
    for i in 0..10 {
        let org = OrgId::from_uuid(random());
        store
            .create_org(NewOrg {
                id: org,
                slug: format!("org{i}").parse().unwrap(),
                name: "A".into(),
                owner: user,
                created_at: now(),
            })
            .await
            .unwrap();
        actors.push(Actor::new(user, org, Role::Owner));
    }
    let digest = [7; 32];
    store
        .create_token(NewToken {
            id: ApiTokenId::from_uuid(random()),
            digest,
            user_id: user,
            name: None,
            display: "x".into(),
            created_at: now(),
            expires_at: now().saturating_add(std::time::Duration::from_secs(1000000)),
            keep_at_most: 10,
        })
        .await
        .unwrap();

    let n = 100_000;
    let start = Instant::now();
    let mut set = tokio::task::JoinSet::new();
    let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for _ in 0..16 {
        let (store, next, actors) = (Arc::clone(&store), Arc::clone(&next), actors.clone());
        set.spawn(async move {
            let mut last = None;
            loop {
                let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if at >= n {
                    return last;
                }
                let plan = actors[at % 10].create(
                    titled(&format!("card number {at}"))
                        .set(NOTES, Some("some text of a certain length, as people write it".repeat(4))),
                );
                match store.write(plan).await.unwrap() {
                    Written::Row(row) => last = Some((at % 10, Card::from_row(&row).unwrap().id)),
                    o => panic!("{o:?}"),
                }
            }
        });
    }
    let mut last = None;
    while let Some(x) = set.join_next().await {
        last = x.unwrap();
    }
    println!("create x16: {:.0}/s", n as f64 / start.elapsed().as_secs_f64());
    let (who, id) = last.unwrap();

    let bench = async |name: &str, plan: &dyn Fn(usize) -> Plan| {
        for round in 0..2 {
            let start = Instant::now();
            let n = 10_000;
            let mut rows = 0;
            for i in 0..n {
                let plan = plan(i);
                let mut out = Vec::with_capacity(25);
                store
                    .read(&plan, &mut |row| {
                        out.push(Card::from_row(row)?);
                        Ok(())
                    })
                    .await
                    .unwrap();
                rows += out.len();
            }
            if round == 1 {
                println!(
                    "{name}: {:.2} us ({} rows)",
                    start.elapsed().as_secs_f64() * 1e6 / n as f64,
                    rows / n
                );
            }
        }
    };
    bench("list", &|i| actors[i % 10].list("")).await;
    bench("retrieve", &|_| actors[who].retrieve(id)).await;
    let start = Instant::now();
    for _ in 0..100_000 {
        store.principal_of(digest, now()).await.unwrap().unwrap();
    }
    println!("principal_of: {:.2} us", start.elapsed().as_secs_f64() * 10.0);
    let start = Instant::now();
    for _ in 0..100_000 {
        store.membership(user, "org3").await.unwrap().unwrap();
    }
    println!("membership: {:.2} us", start.elapsed().as_secs_f64() * 10.0);
    let start = Instant::now();
    for i in 0..1000 {
        std::hint::black_box(actors[i % 10].list(""));
    }
    println!("(plan: {:.2} us)", start.elapsed().as_secs_f64() * 1000.0);
    let start = Instant::now();
    for _ in 0..20 {
        store.read(&actors[1].list("search=zzz%20text"), &mut |_| Ok(())).await.unwrap();
    }
    println!("search 10k: {:.0} us", start.elapsed().as_secs_f64() * 50_000.0);
    let counters = MemoryCounters::new(Arc::new(bailiwick_core::clock::SystemClock::new()));
    let charges: Vec<_> = ["anon", "user"]
        .iter()
        .map(|p| Charge {
            key: CounterKey { policy: p, caller: Caller::User(user) },
            rate: "1000000/s".parse().unwrap(),
        })
        .collect();
    let start = Instant::now();
    for _ in 0..100_000 {
        counters.spend(&charges).await.unwrap();
    }
    println!("spend 2: {:.2} us", start.elapsed().as_secs_f64() * 10.0);
}
