//! What the stores measure of themselves: one name for what both databases have.
use bailiwick_core::meter::{Meter, Reading, Value};

/// How long was waited for the database.
pub(crate) fn waited(reading: Reading) -> Meter {
    Meter {
        name: "bailiwick_database_wait_seconds",
        help: "How long was waited for the database: for a connection to PostgreSQL, or for a write's turn on SQLite",
        value: Value::Distribution(reading),
    }
}

/// How many wait for the database now.
pub(crate) fn waiting(count: usize) -> Meter {
    Meter {
        name: "bailiwick_database_waiting",
        help: "How many wait for the database: for a connection to PostgreSQL, or for a write's turn on SQLite",
        value: gauge(count),
    }
}

pub(crate) fn gauge(count: usize) -> Value {
    Value::Gauge(u64::try_from(count).unwrap_or(u64::MAX))
}
