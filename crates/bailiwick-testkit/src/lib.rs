//! Test an application built with Bailiwick: an application in process, people, clocks, faults, databases, and the
//! suite every store passes.
//!
//! - [`TestApp`] starts an application in process, with a [`Person`] of every kind.
//! - [`FakeClock`] and [`SeededEntropy`] make time and randomness the test's (I10).
//! - [`FaultyStore`] and [`FaultyCounters`] fail when the test says so (I9).
//! - [`Heard`] listens to security events.
//! - [`Scrape`] reads metrics, and refuses what Prometheus would.
//! - [`databases`] gives each test a database of its own.
//! - [`conformance`] is what a storage back-end must pass.
mod app;
mod clock;
pub mod conformance;
pub mod databases;
mod faulty;
mod heard;
mod people;
mod reply;
mod scrape;

pub use self::{
    app::{Parts, TestApp, TestAppBuilder},
    clock::{FakeClock, SeededEntropy, act, audit_keys},
    faulty::{Fault, FaultyCounters, FaultyStore, Operation},
    heard::Heard,
    people::{Call, Person},
    reply::{Bare, Reply},
    scrape::Scrape,
};
