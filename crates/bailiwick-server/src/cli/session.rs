//! `bailiwick session`.
use bailiwick::{
    clock::{Clock, SystemClock},
    identity::Username,
    store::{DirectoryError, WhichSessions},
};
use clap::Subcommand;

use super::{
    Context, Outcome, block_on, database, operator,
    output::{Format, tell},
};

/// See and end the sessions of browsers
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the live sessions of a user, the one that was used last first
    #[command(after_help = "Example:\n  bailiwick session list ann --format json")]
    List {
        /// The user name
        user: Username,
        #[command(flatten)]
        format: Format,
    },
    /// Log a user out of every browser at once
    #[command(after_help = "Example:\n  bailiwick session revoke ann")]
    Revoke {
        /// The user name
        user: Username,
    },
}

pub(super) fn run(context: &Context, command: Command) -> Outcome {
    let loaded = context.keyed_settings()?;
    let now = SystemClock::new().now();
    match command {
        Command::List { user, format } => {
            let sessions = block_on(async {
                let store = database::open(&loaded).await?;
                let user = store.user_id(&user).await?.ok_or(DirectoryError::NoSuchUser)?;
                Ok(store.sessions_of(user, now).await?)
            })?;
            let rows = sessions.into_iter().map(|session| {
                vec![
                    session.id.to_string().into(),
                    session.created_at.to_string().into(),
                    session.last_seen_at.to_string().into(),
                    session.expires_at.to_string().into(),
                    session.address.into(),
                    session.user_agent.into(),
                ]
            });
            let columns = ["id", "created_at", "last_seen_at", "expires_at", "address", "user_agent"];
            format.print_table(&columns, rows.collect())
        }
        Command::Revoke { user } => {
            let count = database::change(&loaded, async |store| {
                let user_id = store.user_id(&user).await?.ok_or(DirectoryError::NoSuchUser)?;
                let live = store.sessions_of(user_id, now).await?;
                let ended = store.end_sessions(user_id, WhichSessions::All, operator::act()).await?;
                Ok((ended > 0).then_some(live.len()))
            })?;
            // That there was none is no failure: what was asked for is so.
            tell(&format!("user {user} is logged out of {} browsers", count.unwrap_or(0)));
            Ok(())
        }
    }
}
