use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    thread,
    time::Duration,
};

use axum::body::Body;
use bailiwick_core::{
    clock::SystemClock,
    request::{Facts, ShedReason, Tally},
};
use bytes::Bytes;
use http::{Request, Response, header};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::{
    sync::{Semaphore, mpsc},
    time::sleep,
};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{AnswerBody, AskedBody, Load, OverloadLayer};

type Answer = Response<AnswerBody<Body>>;

fn get(path: &str) -> Request<Body> {
    Request::builder().uri(path).body(Body::empty()).unwrap()
}

/// A body that comes when the test sends it.
struct Sent(mpsc::UnboundedReceiver<Bytes>);

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

fn sent() -> (mpsc::UnboundedSender<Bytes>, Body) {
    let (send, receive) = mpsc::unbounded_channel();
    (send, Body::new(Sent(receive)))
}

/// Reads the body, and answers when it may go.
fn service(
    layer: &OverloadLayer,
    go: &Arc<Semaphore>,
) -> impl Service<Request<Body>, Response = Answer, Error = Infallible, Future: Send> + Clone + Send + 'static
{
    let go = Arc::clone(go);
    layer.layer(service_fn(move |request: Request<AskedBody<Body>>| {
        let go = Arc::clone(&go);
        async move {
            assert_ne!(request.uri().path(), "/panic", "as planned");
            let body = request.into_body().collect().await.unwrap().to_bytes();
            go.acquire().await.unwrap().forget();
            Ok::<_, Infallible>(Response::new(Body::from(body)))
        }
    }))
}

/// Waits until so many are in flight.
async fn in_flight(load: &Load, count: u32) {
    for _ in 0..1000 {
        if load.in_flight() == count {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("{} are in flight, and not {count}", load.in_flight());
}

fn assert_busy(answer: &Answer) {
    assert_eq!(answer.status(), 503);
    let wait: u32 = answer.headers()[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=4).contains(&wait), "{wait}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_exactly_so_many_are_in_flight_and_the_others_are_told_to_come_again() {
    let layer = OverloadLayer::new().max_in_flight(10);
    let (load, go) = (layer.load(), Arc::new(Semaphore::new(0)));
    let service = service(&layer, &go);
    for _ in 0..20 {
        let asked: Vec<_> = (0..100).map(|_| tokio::spawn(service.clone().oneshot(get("/")))).collect();
        in_flight(&load, 10).await;
        let mut refused = 0;
        while refused < 90 {
            refused = asked.iter().filter(|asked| asked.is_finished()).count();
            assert!(refused <= 90 && load.in_flight() <= 10);
            sleep(Duration::from_millis(1)).await;
        }
        go.add_permits(10);
        let mut answered = 0;
        for asked in asked {
            let answer = asked.await.unwrap().unwrap();
            match answer.status().as_u16() {
                200 => answered += 1,
                _ => assert_busy(&answer),
            }
        }
        assert_eq!((answered, load.in_flight()), (10, 0));
    }
}

#[tokio::test]
async fn a_streamed_answer_is_in_flight_until_its_end_or_until_nobody_wants_it() {
    let layer = OverloadLayer::new().max_in_flight(1);
    let load = layer.load();
    let service = layer.layer(service_fn(|_: Request<AskedBody<Body>>| async {
        let (send, body) = sent();
        send.send(Bytes::from_static(b"piece")).unwrap();
        Ok::<_, Infallible>(Response::new(body))
    }));
    let answer = service.clone().oneshot(get("/")).await.unwrap();
    assert_busy(&service.clone().oneshot(get("/")).await.unwrap());
    let mut body = Box::pin(answer.into_body());
    // While the client takes a piece, nobody works for it; once it is asked for more, somebody does.
    body.frame().await.unwrap().unwrap();
    assert_eq!(load.in_flight(), 0);
    assert!(futures_util::poll!(body.frame()).is_pending() || load.in_flight() == 0);
    drop(body);
    let answer = service.oneshot(get("/")).await.unwrap();
    assert_eq!((answer.status().as_u16(), load.in_flight()), (200, 1));
    drop(answer);
    assert_eq!(load.in_flight(), 0);
}

// LIM-11: clients that send slowly take no place from others.
#[tokio::test]
async fn who_waits_for_the_own_client_is_not_in_flight() {
    let layer = OverloadLayer::new().max_in_flight(1);
    let (load, go) = (layer.load(), Arc::new(Semaphore::new(0)));
    let service = service(&layer, &go);
    let slow: Vec<_> = (0..50)
        .map(|_| {
            let (send, body) = sent();
            let asked = tokio::spawn(service.clone().oneshot(Request::new(body)));
            (send, asked)
        })
        .collect();
    // One after the other passes, and waits for its client.
    for (send, asked) in &slow {
        sleep(Duration::from_millis(1)).await;
        send.send(Bytes::from_static(b"begun")).unwrap();
        assert!(!asked.is_finished());
    }
    in_flight(&load, 0).await;
    go.add_permits(1);
    let answer = service.clone().oneshot(get("/")).await.unwrap();
    assert_eq!(answer.status(), 200);
    drop(answer);
    // Once their bodies are whole they are counted again, each of them, and nobody else is let in.
    let (sends, asked): (Vec<_>, Vec<_>) = slow.into_iter().unzip();
    drop(sends);
    let begun = in_flight_or_refused(&load, &asked).await;
    assert!(begun > 1);
    assert_busy(&service.oneshot(get("/")).await.unwrap());
    go.add_permits(50);
    for asked in asked {
        drop(asked.await.unwrap().unwrap());
    }
    assert_eq!(load.in_flight(), 0);
}

/// Waits until all that were not refused are in flight; how many that are.
async fn in_flight_or_refused<T>(load: &Load, asked: &[tokio::task::JoinHandle<T>]) -> u32 {
    let refused = asked.iter().filter(|asked| asked.is_finished()).count();
    let admitted = u32::try_from(asked.len() - refused).unwrap();
    in_flight(load, admitted).await;
    admitted
}

#[tokio::test]
async fn whatever_becomes_of_a_request_its_place_is_free() {
    let layer = OverloadLayer::new().max_in_flight(2);
    let (load, go) = (layer.load(), Arc::new(Semaphore::new(0)));
    let service = service(&layer, &go);
    for _ in 0..3 {
        assert!(tokio::spawn(service.clone().oneshot(get("/panic"))).await.unwrap_err().is_panic());
        let (send, body) = sent();
        let given_up = tokio::spawn(service.clone().oneshot(Request::new(body)));
        let waiting = tokio::spawn(service.clone().oneshot(get("/")));
        in_flight(&load, 1).await;
        given_up.abort();
        waiting.abort();
        drop((given_up.await, waiting.await, send));
        assert_eq!(load.in_flight(), 0);
    }
}

#[tokio::test]
async fn probes_are_never_refused() {
    let layer = OverloadLayer::new().max_in_flight(1).except(["/healthz/"]);
    let (load, go) = (layer.load(), Arc::new(Semaphore::new(3)));
    let service = service(&layer, &go);
    let held = service.clone().oneshot(get("/")).await.unwrap();
    load.refuse(61_440);
    for path in ["/healthz", "/healthz/"] {
        assert_eq!(service.clone().oneshot(get(path)).await.unwrap().status(), 200);
    }
    for path in ["/", "/healthz/x", "/healthz//", "/Healthz"] {
        assert_busy(&service.clone().oneshot(get(path)).await.unwrap());
    }
    drop(held);
}

#[test]
fn the_share_that_is_refused_is_exact_however_many_ask_at_once() {
    let load = OverloadLayer::new().load();
    let refused = |share: u16| -> usize {
        load.refuse(share);
        let ask = || (0..16_384).filter(|_| load.admit().is_err_and(|why| why == ShedReason::Queue)).count();
        thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(ask));
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        })
    };
    for share in [0, 1, 1 << 13, 1 << 15, 61_440] {
        assert_eq!(refused(share), usize::from(share));
    }
    assert_eq!(load.in_flight(), 0);
}

#[tokio::test]
async fn who_is_refused_is_noted_and_the_reason_is_told_to_nobody_else() {
    let layer = OverloadLayer::new().max_in_flight(1);
    let go = Arc::new(Semaphore::new(1));
    let service = service(&layer, &go);
    let held = service.clone().oneshot(get("/")).await.unwrap();
    let facts = Facts::new();
    let mut request = get("/");
    request.extensions_mut().insert(facts.clone());
    assert_busy(&service.oneshot(request).await.unwrap());
    assert_eq!(facts.denied_by(), Some("overload"));
    let mut tallies = Vec::new();
    facts.each_tally(|tally| tallies.push(*tally));
    assert_eq!(tallies, [Tally::Shed { reason: ShedReason::InFlight }]);
    drop(held);
}

/// Keeps a thread of the runtime busy, a piece at a time, while it may.
async fn work(on: Arc<AtomicBool>) {
    while on.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(10));
        // To the end of the queue.
        super::turn::to_the_end_of_the_queue().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_with_too_much_to_do_is_noticed_and_so_is_its_end() {
    let layer = OverloadLayer::new().max_wait(Duration::from_millis(50));
    let load = layer.load();
    let watching = load.watch(Arc::new(SystemClock::new())).unwrap();
    let share = |load: &Load| (0..64).filter(|_| load.admit().is_err()).count();
    let until = async |load: &Load, holds: fn(usize) -> bool| {
        for _ in 0..500 {
            if holds(share(load)) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("{} of 64 are refused", share(load));
    };
    sleep(Duration::from_millis(700)).await;
    until(&load, |refused| refused == 0).await;
    let on = Arc::new(AtomicBool::new(true));
    // A turn takes 300 ms and more.
    let working: Vec<_> = (0..60).map(|_| tokio::spawn(work(Arc::clone(&on)))).collect();
    until(&load, |refused| refused > 32).await;
    on.store(false, Ordering::Relaxed);
    for task in working {
        task.await.unwrap();
    }
    until(&load, |refused| refused == 0).await;
    // Nobody is refused for what nobody watches any more.
    let on = Arc::new(AtomicBool::new(true));
    let working: Vec<_> = (0..60).map(|_| tokio::spawn(work(Arc::clone(&on)))).collect();
    until(&load, |refused| refused > 0).await;
    drop(watching);
    until(&load, |refused| refused == 0).await;
    on.store(false, Ordering::Relaxed);
    drop(working);
}
