use std::{
    convert::Infallible,
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bailiwick_core::{
    clock::Timestamp,
    id::Id,
    identity::{ApiTokenId, Credential, FoundMembership, Principal, PrincipalParts, Scopes, UserId},
    request::Facts,
    store::AuditStore,
};
use bailiwick_store::{OpenOptions, refinery::Runner};
use bailiwick_testkit::{
    FakeClock, Fault, FaultyStore, Heard, Operation, audit_keys,
    databases::{FreshSqlite, fresh_sqlite},
};
use http::{Request, Response};
use tokio::{runtime::Handle, sync::Semaphore, time::timeout};
use tower::{Layer, ServiceExt, service_fn};
use uuid::Uuid;

use super::{AuditLayer, Chain, SecurityEvent, SecurityEventKind};

/// A trail, and whoever listens.
struct World {
    store: FaultyStore,
    layer: AuditLayer,
    heard: Heard,
    _database: FreshSqlite,
}

type Answering = Pin<Box<dyn Future<Output = Response<()>> + Send>>;

impl World {
    async fn new() -> Self {
        let database = fresh_sqlite();
        let options = OpenOptions::default();
        bailiwick_store::migrate(&database.url(), &options, &Runner::new(&[]), &[]).await.unwrap();
        let opened = bailiwick_store::open(&database.url(), &options, audit_keys()).await.unwrap();
        let store = FaultyStore::new(opened);
        let layer = AuditLayer::new(Arc::new(store.clone()), Arc::new(FakeClock::new()));
        Self { store, layer, heard: Heard::default(), _database: database }
    }

    /// A request of `ann`.
    fn request(&self) -> Request<()> {
        let facts = Facts::new();
        facts.add_witness(self.heard.witness());
        let mut request = Request::new(());
        request.extensions_mut().insert(facts);
        request.extensions_mut().insert(Principal::new(PrincipalParts {
            user_id: ann(),
            username: "ann".to_owned(),
            email: String::new(),
            is_staff: false,
            service_of: None,
            created_at: Timestamp::from_micros(0),
            credential: Credential::ApiToken(ApiTokenId::from_uuid(Uuid::nil())),
            scopes: Scopes::ALL,
            last_used_at: None,
            expires_at: Timestamp::MAX,
        }));
        request
    }

    /// The answer to `request`, by a handler that notes these events and answers with this status, or never.
    fn ask(&self, request: Request<()>, noted: &[SecurityEventKind], status: Option<u16>) -> Answering {
        let noted = noted.to_vec();
        let service = service_fn(move |request: Request<()>| {
            let noted = noted.clone();
            async move {
                let facts = request.extensions().get::<Facts>().unwrap();
                noted.iter().for_each(|kind| facts.note(SecurityEvent::new(*kind).of(ann())));
                let Some(status) = status else { return pending().await };
                Ok::<_, Infallible>(Response::builder().status(status).body(()).unwrap())
            }
        });
        let answer = self.layer.layer(service).oneshot(request);
        Box::pin(async move { answer.await.unwrap() })
    }

    fn told(&self) -> Vec<&'static str> {
        self.heard.kinds().into_iter().map(SecurityEventKind::as_str).collect()
    }

    async fn entries(&self) -> Vec<String> {
        let entries = self.store.audit_entries(Chain::Site, 0, 100).await.unwrap();
        entries.into_iter().map(|entry| entry.event).collect()
    }

    /// Waits until so many events were told, which are these.
    async fn until_told(&self, expected: &[&str]) {
        for _ in 0..500 {
            if self.told().len() >= expected.len() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(self.told(), expected);
    }

    /// Waits until the trail has so many entries, which are these.
    async fn until_appended(&self, expected: &[&str]) {
        for _ in 0..500 {
            if self.entries().await.len() >= expected.len() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(self.entries().await, expected);
    }
}

fn ann() -> UserId {
    Id::from_uuid(Uuid::from_u128(7))
}

fn poll_once(answering: &mut Answering) -> Poll<Response<()>> {
    answering.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

const LOST: &str = "audit_append_failed";

#[tokio::test]
async fn a_refusal_is_in_the_trail_when_it_is_answered() {
    let forged = [SecurityEventKind::MaliciousCsrf];
    let cases: [(&[SecurityEventKind], u16, bool, &[&str]); 8] = [
        (&[], 403, false, &["authz_fail"]),
        (&[], 404, true, &["authz_fail"]),
        (&[], 404, false, &[]),
        (&[], 401, false, &[]),
        (&[], 200, true, &[]),
        // What was noted says more than the status.
        (&forged, 403, false, &["malicious_csrf"]),
        (&forged, 200, false, &["malicious_csrf"]),
        // Whoever floods the site does not fill the trail; the log tells of it all the same.
        (&forged, 429, false, &[]),
    ];
    for (noted, status, is_outsider, expected) in cases {
        let world = World::new().await;
        let mut request = world.request();
        if is_outsider {
            let slug = "acme".into();
            request.extensions_mut().insert(FoundMembership { user_id: ann(), slug, membership: None });
        }
        let answer = world.ask(request, noted, Some(status)).await;
        assert_eq!(
            (answer.status().as_u16(), world.entries().await),
            (status, strings(expected)),
            "{status}"
        );
        let told: Vec<_> = if noted.is_empty() { expected.to_vec() } else { vec!["malicious_csrf"] };
        assert_eq!(world.told(), told, "{status}");
    }
}

fn strings(expected: &[&str]) -> Vec<String> {
    expected.iter().map(|event| (*event).to_owned()).collect()
}

#[tokio::test]
async fn whoever_is_not_refused_waits_for_nothing() {
    let world = World::new().await;
    let tasks = Handle::current().metrics().num_alive_tasks();
    let mut answering = world.ask(world.request(), &[], Some(200));
    assert!(poll_once(&mut answering).is_ready());
    // Nor whoever asks for what is not there.
    let mut answering = world.ask(world.request(), &[], Some(404));
    assert!(poll_once(&mut answering).is_ready());
    assert_eq!(Handle::current().metrics().num_alive_tasks(), tasks);
    assert_eq!(world.store.calls(Operation::AppendEvents), 0);
}

// LOG-05
#[tokio::test]
async fn whoever_leaves_before_the_answer_leaves_the_entry() {
    let world = World::new().await;
    let mut answering = world.ask(world.request(), &[SecurityEventKind::LoginFail], None);
    assert!(poll_once(&mut answering).is_pending());
    assert!(world.entries().await.is_empty());
    drop(answering);
    world.until_appended(&["authn_login_fail"]).await;
    assert_eq!(world.told(), ["authn_login_fail"]);
}

// LOG-05
#[tokio::test]
async fn whoever_leaves_while_the_entry_is_appended_leaves_it() {
    let world = World::new().await;
    world.store.fail_next(Operation::AppendEvents, Fault::Delay(Duration::from_millis(50)));
    let mut answering = world.ask(world.request(), &[], Some(403));
    assert!(poll_once(&mut answering).is_pending());
    drop(answering);
    world.until_appended(&["authz_fail"]).await;
    assert_eq!(world.told(), ["authz_fail"]);
}

// LOG-05
#[tokio::test]
async fn a_trail_that_fails_or_never_answers_changes_no_answer_and_is_told() {
    for fault in [Fault::Unavailable, Fault::NotWritable, Fault::Hang] {
        let mut world = World::new().await;
        world.layer = world.layer.patience(Duration::from_millis(50));
        world.store.fail_all(Operation::AppendEvents, fault);
        let answer = world.ask(world.request(), &[], Some(403)).await;
        assert_eq!((answer.status().as_u16(), world.told()), (403, vec!["authz_fail", LOST]), "{fault:?}");
    }
}

// LOG-05
#[tokio::test]
async fn that_an_entry_is_lost_is_told_also_when_the_request_was_given_up() {
    let mut world = World::new().await;
    world.layer = world.layer.patience(Duration::from_millis(50));
    world.store.fail_all(Operation::AppendEvents, Fault::Hang);
    let given_up = timeout(Duration::from_millis(5), world.ask(world.request(), &[], Some(403)));
    assert!(given_up.await.is_err());
    world.until_told(&["authz_fail", LOST]).await;
}

// LOG-05
#[tokio::test]
async fn beyond_so_many_at_once_nobody_waits_for_the_trail_and_each_loss_is_told() {
    let mut world = World::new().await;
    world.layer.under_way = Arc::new(Semaphore::new(1));
    world.store.fail_next(Operation::AppendEvents, Fault::Hang);
    let mut first = world.ask(world.request(), &[], Some(403));
    assert!(poll_once(&mut first).is_pending());
    let mut second = world.ask(world.request(), &[], Some(403));
    assert!(poll_once(&mut second).is_ready());
    assert_eq!(world.told(), ["authz_fail", "authz_fail", LOST]);
    assert_eq!(AuditLayer::MOST, 256);
}

// LOG-05
#[test]
fn a_server_that_ends_before_an_entry_is_appended_tells_so() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(World::new());
    world.store.fail_all(Operation::AppendEvents, Fault::Hang);
    let mut answering = world.ask(world.request(), &[], Some(403));
    runtime.block_on(async {
        assert!(poll_once(&mut answering).is_pending());
    });
    drop(runtime);
    assert_eq!(world.told(), ["authz_fail", LOST]);
    // One that is given up only now has nowhere to go.
    let mut late = world.ask(world.request(), &[SecurityEventKind::LoginFail], None);
    assert!(poll_once(&mut late).is_pending());
    drop(late);
    assert_eq!(world.told(), ["authz_fail", LOST, "authn_login_fail", LOST]);
}
