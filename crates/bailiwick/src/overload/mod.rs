//! Refuses requests while the server is too busy for more, before memory or latency collapses (LIM-11).
//!
//! | too much of | measured by | default | answer |
//! |---|---|---|---|
//! | requests that the server works on | counting them, until their answers have ended | 1,024 | 503 `unavailable`, `Retry-After` |
//! | waiting for a turn of a thread | a task that is asked to take a turn ten times a second | half a second, for half a second | the same, for a share of the requests |
//!
//! **In flight** is what waits for a slow database, a scanner, another server. A request counts from its head to the end of
//! its answer, but not while it waits for its own client, to send more of the body or to take more of the answer: that is no
//! work, and else a few slow clients could take all places. The default of 1,024 is a second's work for a database that answers a
//! request in a millisecond: whoever came later would wait for longer than people do.
//!
//! **The queue** is what a processor that is too slow is seen by. Requests that are ready to go on wait in the queues of the
//! runtime, where no layer sees them: their time has passed before any layer is called. So a task ([`Load::watch`]) takes the way
//! of a request: it waits until a thread looks at sockets and timers, and then at the end of the queue of that thread. Timers alone
//! would not do, since the runtime lets tasks that it wakes for them go *before* the queue. A thread outside of the runtime asks
//! for these turns and looks at how long they take, also at one that has not come yet, so that a long queue is seen at once.
//! As long as even the shortest wait of half a second is above the limit, there is a standing queue, and not a burst
//! (as `CoDel`, RFC 8289, tells them apart); then a share of new requests is refused, the larger the longer the queue. It
//! shrinks when the queue does; while a turn comes at once, nobody is refused, so that the end of a load is noticed within a
//! moment. At most 15 of 16 requests are refused: something always gets through. Which ones is decided by counting, not by
//! chance.
//!
//! `Retry-After` is 1 to 4 seconds, by turns, so that those who were refused together do not come back together.
//!
//! # Security
//! Nobody is told more than that the server is busy. A layer that nobody [watches](Load::watch) for still counts what is in
//! flight. What is refused costs its answer and a line of the log; who may ask how often is for
//! [`throttle`](crate::throttle) to say, and how much memory bodies take for [`limits`](crate::limits).
mod body;
mod layer;
mod load;
mod queue;
mod service;
#[cfg(test)]
mod tests;
mod turn;

pub use self::{
    body::{AnswerBody, AskedBody},
    layer::OverloadLayer,
    load::{Load, Watching},
    service::{OverloadFuture, OverloadService},
};
