//! What clients see.
use serde::Serialize;

use super::table::{Model, TableDef};

/// A row as clients see it. Derive it, or write it by hand where the shape differs from the row.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no view: it does not say what clients see of a row",
    note = "add #[derive(View)] and #[view(of = YourModel)]"
)]
pub trait View: Serialize + From<Self::Of> + Send + 'static {
    /// The model it shows.
    type Of: Model;
    /// The columns of the model that it shows.
    const FIELDS: &'static [&'static str];
}

/// Refuses to compile if clients could filter, order or search by a column they cannot see: comparing leaks it,
/// letter by letter (PAG-11). Call it in a constant beside a view that is written by hand.
///
/// # Panics
/// If there is such a column; in a constant that is a compile error.
pub const fn assert_visible(table: &TableDef, fields: &[&str]) {
    if let Some(message) = unseen(table, fields) {
        panic!("{}", message.as_str());
    }
}

/// Names a column by which clients may filter, order or search and which is not among `fields`.
///
/// The derive of `View` panics with it by itself, so that the compiler points at the view and not in here.
#[doc(hidden)]
pub const fn unseen(table: &TableDef, fields: &[&str]) -> Option<Message> {
    let mut at = 0;
    while at < table.columns.len() {
        let column = &table.columns[at];
        if (column.filters.any() || column.order || column.search) && !contains(fields, column.name) {
            return Some(Message::naming(column.name));
        }
        at += 1;
    }
    None
}

/// The text of the compile error, put together where `format!` cannot be used.
#[doc(hidden)]
#[derive(Debug)]
pub struct Message {
    text: [u8; 256],
    len: usize,
}

impl Message {
    const fn naming(column: &str) -> Self {
        let message = Self { text: [0; 256], len: 0 };
        message
            .push("clients may filter, order or search by `")
            .push(column)
            .push("`, which the view does not show: comparing would leak it; show it, or take the right away")
    }

    const fn push(mut self, text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() && self.len < self.text.len() {
            self.text[self.len] = bytes[at];
            self.len += 1;
            at += 1;
        }
        self
    }

    /// The text.
    pub const fn as_str(&self) -> &str {
        match std::str::from_utf8(self.text.split_at(self.len).0) {
            Ok(text) => text,
            Err(_) => "clients may filter, order or search by a column that the view does not show",
        }
    }
}

const fn contains(fields: &[&str], name: &str) -> bool {
    let mut at = 0;
    while at < fields.len() {
        if equal(fields[at].as_bytes(), name.as_bytes()) {
            return true;
        }
        at += 1;
    }
    false
}

const fn equal(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut at = 0;
    while at < left.len() {
        if left[at] != right[at] {
            return false;
        }
        at += 1;
    }
    true
}
