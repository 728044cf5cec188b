//! Test an application built with Bailiwick: clocks, faults, databases, and the suite every store passes.
//!
//! - [`FakeClock`] and [`SeededEntropy`] make time and randomness the test's (I10).
//! - [`FaultyStore`] and [`FaultyCounters`] fail when the test says so (I9).
//! - [`databases`] gives each test a database of its own.
//! - [`conformance`] is what a storage back-end must pass.
mod clock;
pub mod conformance;
pub mod databases;
mod faulty;

pub use self::{
    clock::{FakeClock, SeededEntropy},
    faulty::{Fault, FaultyCounters, FaultyStore, Operation},
};
