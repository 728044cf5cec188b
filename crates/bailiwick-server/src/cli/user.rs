//! `bailiwick user`.
use bailiwick::{
    clock::{Clock, OsEntropy, SystemClock},
    id::Id,
    identity::{UserId, Username},
    store::{NewUser, Right},
};
use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::{
    Context, Outcome,
    arguments::{PasswordSource, email},
    block_on, database, operator,
    output::{Format, tell},
    password,
};

/// Make and change users
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a user; prints its id
    #[command(after_help = "Example:\n  pwgen -s 20 1 | bailiwick user create ann --email ann@example.com \
                      --password-stdin")]
    Create {
        /// The user name: 3 to 64 characters of A-Z, a-z, 0-9 and _.@+-
        name: Username,
        /// The e-mail address
        #[arg(long, value_parser = email)]
        email: String,
        /// Make the user staff of the whole site
        #[arg(long)]
        staff: bool,
        #[command(flatten)]
        password: PasswordSource,
        #[command(flatten)]
        format: Format,
    },
    /// List all users
    #[command(after_help = "Example:\n  bailiwick user list --format json")]
    List {
        #[command(flatten)]
        format: Format,
    },
    /// Keep a user out; what belongs to them stays
    #[command(after_help = "Example:\n  bailiwick user disable ann")]
    Disable {
        /// The user name
        name: Username,
    },
    /// Let a disabled user in again
    #[command(after_help = "Example:\n  bailiwick user enable ann")]
    Enable {
        /// The user name
        name: Username,
    },
    /// Give a user a new password, and end all that the old one opened
    #[command(after_help = "Example:\n  pwgen -s 20 1 | bailiwick user set-password ann --password-stdin")]
    SetPassword {
        /// The user name
        name: Username,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Give a user a right on the whole site
    #[command(after_help = "Example:\n  bailiwick user grant ann editor")]
    Grant {
        /// The user name
        name: Username,
        /// The right
        right: RightName,
    },
    /// Take a right on the whole site away from a user
    #[command(after_help = "Example:\n  bailiwick user revoke ann editor")]
    Revoke {
        /// The user name
        name: Username,
        /// The right
        right: RightName,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum RightName {
    /// Operates the site
    Staff,
    /// Writes articles
    Author,
    /// Publishes articles
    Editor,
}

impl From<RightName> for Right {
    fn from(name: RightName) -> Self {
        match name {
            RightName::Staff => Self::Staff,
            RightName::Author => Self::Author,
            RightName::Editor => Self::Editor,
        }
    }
}

pub(super) fn run(context: &Context, command: Command) -> Outcome {
    let loaded = context.keyed_settings()?;
    match command {
        Command::Create { name, email, staff, password, format } => {
            let password = password::read_new(&password, &name, &loaded.settings)?;
            let id: UserId = block_on(async {
                let store = database::open(&loaded).await?;
                let password_hash = password::hash(password, &loaded.settings).await?;
                let clock = SystemClock::new();
                let id = Id::new(&clock, &OsEntropy);
                let username = name.clone();
                let created_at = clock.now();
                store
                    .create_user(
                        NewUser { id, username, email, password_hash, is_staff: staff, created_at },
                        operator::act(),
                    )
                    .await?;
                Ok(id)
            })?;
            tell(&format!("user {name} created"));
            format.print_one(&id.to_string(), &json!({ "id": id.to_string(), "username": name.as_str() }))
        }
        Command::List { format } => {
            let users = block_on(async { Ok(database::open(&loaded).await?.users().await?) })?;
            let rows = users.into_iter().map(|user| {
                vec![
                    user.id.to_string().into(),
                    user.username.into(),
                    user.email.into(),
                    user.is_active.into(),
                    user.is_staff.into(),
                    user.is_author.into(),
                    user.is_editor.into(),
                    user.created_at.to_string().into(),
                ]
            });
            let columns =
                ["id", "username", "email", "is_active", "is_staff", "is_author", "is_editor", "created_at"];
            format.print_table(&columns, rows.collect())
        }
        Command::Disable { name } => {
            database::change(&loaded, async |store| {
                Ok(store.set_active(&name, false, operator::act()).await?)
            })?;
            tell(&format!("user {name} disabled"));
            Ok(())
        }
        Command::Enable { name } => {
            block_on(async {
                Ok(database::open(&loaded).await?.set_active(&name, true, operator::act()).await?)
            })?;
            tell(&format!("user {name} enabled"));
            Ok(())
        }
        Command::SetPassword { name, password } => {
            let password = password::read_new(&password, &name, &loaded.settings)?;
            database::change(&loaded, async |store| {
                let hash = password::hash(password, &loaded.settings).await?;
                Ok(store.set_password(&name, &hash, operator::act()).await?)
            })?;
            tell(&format!("password of {name} set; what the old one opened is closed"));
            Ok(())
        }
        Command::Grant { name, right } => {
            database::change(&loaded, async |store| {
                Ok(store.set_right(&name, right.into(), true, operator::act()).await?)
            })?;
            tell(&format!("right given to {name}"));
            Ok(())
        }
        Command::Revoke { name, right } => {
            database::change(&loaded, async |store| {
                Ok(store.set_right(&name, right.into(), false, operator::act()).await?)
            })?;
            tell(&format!("right taken from {name}"));
            Ok(())
        }
    }
}
