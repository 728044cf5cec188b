//! `bailiwick config`.
use clap::Subcommand;
use serde_json::Value;

use super::{
    Context, Outcome,
    output::{Format, print},
};
use crate::config;

/// Show the settings
#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum Command {
    /// Show every setting in force and where it comes from; secrets as [redacted]
    #[command(after_help = "Example:\n  bailiwick config show --config /etc/bailiwick/bailiwick.toml")]
    Show {
        #[command(flatten)]
        format: Format,
    },
    /// Print a settings file with every key, its default and what it does, all as comments
    #[command(after_help = "Example:\n  bailiwick config reference > bailiwick.toml")]
    Reference,
}

pub(super) fn run(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Reference => print(&config::reference()),
        Command::Show { format } => {
            let loaded = context.settings()?;
            let rows = loaded.effective.iter().map(|effective| {
                let value = match &effective.value {
                    // In text, as it would stand in the file.
                    value if !format.is_json() && !value.is_null() => Value::from(value.to_string()),
                    value => value.clone(),
                };
                vec![effective.path.clone().into(), effective.source.to_string().into(), value]
            });
            format.print_table(&["setting", "source", "value"], rows.collect())
        }
    }
}
