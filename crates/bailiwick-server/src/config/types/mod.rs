//! The types that only settings have.
mod choice;
mod host;
mod place;
mod text;
mod url;
mod web;

pub use self::{choice::*, host::*, place::*, text::*, web::*};

#[cfg(test)]
mod testing {
    use std::path::Path;

    use serde_json::Value;

    use crate::config::Setting;

    /// What a setting is shown as that is written so.
    pub(super) fn read<T: Setting>(text: &str) -> Result<Value, String> {
        T::from_text(text, Path::new("/srv")).map(|value| value.show())
    }
}
