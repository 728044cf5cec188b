//! One request of a connection, and its answer.
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use bailiwick_core::clock::{Clock, SystemClock};
use bytes::Bytes;
use h2::{Reason, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use tokio::time::timeout;
use tower::ServiceExt;
use tower_service::Service;

use super::{
    super::{BoxError, RequestBody, body::Expectation},
    SEND_BUFFER_BYTES,
    frames::Cost,
};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All of its answer is on the way.
    Answered,
    /// The client did not wait for it.
    Abandoned,
    /// It failed, or the client took nothing of its answer for too long.
    GivenUp,
}

/// The way to the client.
pub(super) struct Answering {
    pub(super) respond: SendResponse<Bytes>,
    pub(super) write_timeout: Duration,
    pub(super) cost: Arc<Cost>,
    /// Whether the client waits to be told to send its body (RFC 9110 §10.1.1).
    pub(super) expects: Option<Expectation>,
}

/// Fields of HTTP/1.1 that no answer of HTTP/2 has (RFC 9113 §8.2.2).
const OF_CONNECTIONS: [HeaderName; 5] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Has `service` answer `request`. Once the client has reset the stream, or is gone, the request is dropped
/// where it stands.
pub(super) async fn answer<S, B>(service: S, request: Request<RequestBody>, mut to: Answering) -> Outcome
where
    S: Service<Request<RequestBody>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let is_head = request.method() == Method::HEAD;
    let response = match to.await_response(service.oneshot(request)).await {
        Some(Ok(response)) => response,
        Some(Err(error)) => {
            let error: BoxError = error.into();
            tracing::error!(error = &*error as &dyn std::error::Error, "the service failed");
            to.respond.send_reset(Reason::INTERNAL_ERROR);
            return Outcome::GivenUp;
        }
        None => return Outcome::Abandoned,
    };
    let (mut head, body) = response.into_parts();
    let has_no_body = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    complete(&mut head.headers, &body, is_head || has_no_body);
    if has_no_body {
        // A length of nothing would be wrong of what was not modified, and with 204 there is none (RFC 9110
        // §8.6).
        head.headers.remove(header::CONTENT_LENGTH);
    }
    let ends = is_head || has_no_body || body.is_end_stream();
    // It fails if the client has reset the stream in this moment.
    let Ok(stream) = to.respond.send_response(Response::from_parts(head, ()), ends) else {
        return Outcome::Abandoned;
    };
    if ends {
        return Outcome::Answered;
    }
    send(body, stream, to.write_timeout, &to.cost)
        .await
        .map_or_else(|outcome| outcome, |()| Outcome::Answered)
}

impl Answering {
    /// What `answering` gives, unless the client resets the stream first.
    async fn await_response<F: Future>(&mut self, answering: F) -> Option<F::Output> {
        let mut answering = pin!(answering);
        poll_fn(|cx| {
            if let Poll::Ready(response) = answering.as_mut().poll(cx) {
                return Poll::Ready(Some(response));
            }
            if self.expects.take_if(|read| read.load(Ordering::Relaxed)).is_some() {
                let mut go_on = Response::new(());
                *go_on.status_mut() = StatusCode::CONTINUE;
                let _ = self.respond.send_informational(go_on);
            }
            self.respond.poll_reset(cx).map(|_| None)
        })
        .await
    }
}

/// Adds to an answer's fields what hyper adds on HTTP/1.1, and takes out what does not belong on HTTP/2.
fn complete<B: Body>(headers: &mut HeaderMap, body: &B, is_left_out: bool) {
    for field in OF_CONNECTIONS {
        headers.remove(field);
    }
    headers.entry(header::DATE).or_insert_with(date);
    if let Some(length) = body.size_hint().exact()
        && !is_left_out
    {
        headers.entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
    }
}

fn date() -> HeaderValue {
    let micros = u64::try_from(SystemClock::new().now().as_micros()).unwrap_or(0);
    let now = SystemTime::UNIX_EPOCH + Duration::from_micros(micros);
    HeaderValue::from_str(&httpdate::fmt_http_date(now)).expect("a date is made of visible ASCII")
}

/// Sends `body`, as fast as the client takes it.
///
/// `h2` is given no more than the client has room for, so that it never holds an answer that nobody reads.
/// What it was given waits for the socket alone, and that is watched by the wire.
async fn send<B>(
    body: B,
    mut stream: SendStream<Bytes>,
    write_timeout: Duration,
    cost: &Cost,
) -> Result<(), Outcome>
where
    B: Body<Data = Bytes>,
{
    let mut body = pin!(body);
    while let Some(frame) = next_frame(body.as_mut(), &mut stream).await? {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                let Ok(trailers) = frame.into_trailers() else { continue };
                return stream.send_trailers(trailers).map_err(|_| Outcome::Abandoned);
            }
        };
        if data.is_empty() {
            continue;
        }
        cost.pay_for_piece();
        let end = body.is_end_stream();
        send_data(data, end, &mut stream, write_timeout).await?;
        if end {
            return Ok(());
        }
    }
    stream.send_data(Bytes::new(), true).map_err(|_| Outcome::Abandoned)
}

/// The next frame of an answer, unless the client resets the stream first.
async fn next_frame<B>(
    mut body: Pin<&mut B>,
    stream: &mut SendStream<Bytes>,
) -> Result<Option<Frame<Bytes>>, Outcome>
where
    B: Body<Data = Bytes>,
{
    let frame = poll_fn(|cx| match body.as_mut().poll_frame(cx) {
        Poll::Ready(frame) => Poll::Ready(Some(frame)),
        Poll::Pending => stream.poll_reset(cx).map(|_| None),
    });
    match frame.await.ok_or(Outcome::Abandoned)?.transpose() {
        Ok(frame) => Ok(frame),
        Err(_) => {
            stream.send_reset(Reason::INTERNAL_ERROR);
            Err(Outcome::GivenUp)
        }
    }
}

/// Sends a piece of an answer, the last if it is to `end` the stream. Time runs only while the client has
/// room for nothing, and never while a handler is slow (LIM-11).
async fn send_data(
    mut data: Bytes,
    end: bool,
    stream: &mut SendStream<Bytes>,
    write_timeout: Duration,
) -> Result<(), Outcome> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len().min(SEND_BUFFER_BYTES));
        let room = match timeout(write_timeout, poll_fn(|cx| poll_room(stream, cx))).await {
            Ok(room) => room.ok_or(Outcome::Abandoned)?,
            Err(_) => {
                stream.send_reset(Reason::CANCEL);
                return Err(Outcome::GivenUp);
            }
        };
        let piece = data.split_to(room.min(data.len()));
        stream.send_data(piece, end && data.is_empty()).map_err(|_| Outcome::Abandoned)?;
    }
    Ok(())
}

/// How much the client, and the connection's buffer, have room for; `None` once the stream is no more.
fn poll_room(stream: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Option<usize>> {
    loop {
        // What it had room for before is not told again.
        let room = stream.capacity();
        if room > 0 {
            return Poll::Ready(Some(room));
        }
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Poll::Ready(None),
        }
    }
}
