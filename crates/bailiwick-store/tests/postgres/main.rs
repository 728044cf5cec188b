//! What only PostgreSQL can do wrong: servers that are out of reach, connections that end, transactions that are left
//! open, statements that wait. What both databases promise is in `conformance`.
mod broken;
mod cancelled;
mod connecting;
mod migrating;
mod round_trips;
mod support;
