//! What only PostgreSQL can do wrong: servers that are out of reach, connections that end, transactions that are left
//! open, statements that wait. What both databases promise is in `conformance`.
#![expect(clippy::unwrap_used, reason = "these are tests; clippy takes only what is marked so for one")]
mod audit;
mod broken;
mod cancelled;
mod connecting;
mod migrating;
mod round_trips;
mod support;
