//! `bailiwick token`.
use std::time::Duration;

use bailiwick::{
    authn::token::{TokenKind, new_api_token},
    clock::{Clock, OsEntropy, SystemClock, Timestamp},
    identity::{ApiTokenId, Scopes, Slug, Username},
    store::{DirectoryError, NewToken, OrgTokenRecord, TokenCreation, TokenRecord, TokenRef},
};
use clap::Subcommand;
use serde_json::{Value, json};

use crate::{
    handlers::MAX_TOKEN_DAYS,
    scopes::{self, UnknownScope},
};

use super::{
    Context, Outcome,
    arguments::display_name,
    block_on, database,
    failure::Failure,
    operator,
    output::{Format, tell},
};

/// Make and end API tokens
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a token for a user; prints it, this once
    #[command(after_help = "Example:\n  bailiwick token create ann --name deploy --expires-in-days 90")]
    Create {
        /// The user name
        user: Username,
        /// What the token is for
        #[arg(long, value_parser = display_name)]
        name: String,
        /// How long it works [default: the setting tokens.default_lifetime]
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=MAX_TOKEN_DAYS))]
        expires_in_days: Option<u32>,
        /// What it may be used for, with commas between: tasks:read, tasks:write, …, account [default: all that the user
        /// may do]
        #[arg(long, value_name = "SCOPES", value_parser = scopes)]
        scopes: Option<Scopes>,
        #[command(flatten)]
        format: Format,
    },
    /// List the tokens of a user or of an organisation, also those that have ended
    #[command(
        after_help = "Examples:\n  bailiwick token list ann --format json\n  bailiwick token list --org acme"
    )]
    List {
        /// The user name
        #[arg(required_unless_present = "org")]
        user: Option<Username>,
        /// The organisation, for the tokens that it owns
        #[arg(long, value_name = "SLUG", conflicts_with = "user")]
        org: Option<Slug>,
        #[command(flatten)]
        format: Format,
    },
    /// End a token at once
    #[command(after_help = "Example:\n  bailiwick token revoke 01890a5d-ac96-774b-bcce-b302099a8057")]
    Revoke {
        /// The id of the token, as `bailiwick token list` shows it
        id: ApiTokenId,
    },
}

pub(super) fn run(context: &Context, command: Command) -> Outcome {
    let loaded = context.keyed_settings()?;
    match command {
        Command::Create { user, name, expires_in_days, scopes, format } => {
            let lifetime = match expires_in_days {
                Some(days) => Duration::from_secs(u64::from(days) * 24 * 60 * 60),
                None => loaded.settings.tokens.default_lifetime.as_duration(),
            };
            let max_per_user = loaded.settings.tokens.max_per_user.get();
            let (text, id, expires_at) = block_on(async {
                let store = database::open(&loaded).await?;
                let owner = store.user_id(&user).await?.ok_or(DirectoryError::NoSuchUser)?;
                let clock = SystemClock::new();
                let (text, token) =
                    new_api_token(TokenKind::Personal, owner, lifetime, max_per_user, &clock, &OsEntropy);
                let scopes = scopes.unwrap_or(Scopes::ALL);
                let token = NewToken { name: Some(name), scopes, ..token };
                let created = (text, token.id, token.expires_at);
                match store.create_token(token, operator::act()).await? {
                    TokenCreation::Created => Ok(created),
                    TokenCreation::Refused => Err(Failure::no(
                        format!("{user} is disabled"),
                        format!("let the user in with `bailiwick user enable {user}`"),
                    )),
                    TokenCreation::TooMany => Err(Failure::no(
                        format!("{user} has {max_per_user} live tokens with a name already"),
                        "revoke one, or raise the setting tokens.max_per_user",
                    )),
                }
            })?;
            tell(&format!("token {id} of {user} works until {expires_at}; it is shown this once"));
            let object =
                json!({ "id": id.to_string(), "token": text.expose(), "expires_at": expires_at.to_string() });
            format.print_one(text.expose(), &object)
        }
        Command::List { org: Some(slug), format, .. } => {
            let tokens = block_on(async {
                let store = database::open(&loaded).await?;
                let orgs = store.orgs().await?;
                let org = orgs.into_iter().find(|org| org.slug == slug.as_str());
                Ok(store.org_tokens(org.ok_or(DirectoryError::NoSuchOrg)?.id).await?)
            })?;
            let now = SystemClock::new().now();
            let rows = tokens.into_iter().map(|of_org| {
                let OrgTokenRecord { token, user_id, role, created_by } = of_org;
                let more = [role.to_string(), user_id.to_string(), created_by.to_string()];
                row(token, now).into_iter().chain(more.map(Value::from)).collect()
            });
            format.print_table(&[&COLUMNS[..], &["role", "user_id", "created_by"]].concat(), rows.collect())
        }
        Command::List { user, format, .. } => {
            let tokens = block_on(async {
                let store = database::open(&loaded).await?;
                let owner = match &user {
                    Some(user) => store.user_id(user).await?,
                    None => None,
                };
                Ok(store.tokens_of(owner.ok_or(DirectoryError::NoSuchUser)?).await?)
            })?;
            let now = SystemClock::new().now();
            format.print_table(&COLUMNS, tokens.into_iter().map(|token| row(token, now)).collect())
        }
        Command::Revoke { id } => {
            let revoked = database::change(&loaded, async |store| {
                Ok(store.revoke_token(TokenRef::Id(id), operator::act()).await?)
            })?;
            if revoked.is_some() {
                tell(&format!("token {id} revoked"));
                Ok(())
            } else {
                Err(Failure::no(
                    format!("there is no live token {id}"),
                    "`bailiwick token list USER` shows the tokens of a user, `--org` those of an organisation",
                ))
            }
        }
    }
}

const COLUMNS: [&str; 8] =
    ["id", "state", "name", "display", "scopes", "created_at", "expires_at", "last_used_at"];

/// What is shown of a token, in the order of [`COLUMNS`].
fn row(token: TokenRecord, now: Timestamp) -> Vec<Value> {
    vec![
        token.id.to_string().into(),
        state(&token, now).into(),
        token.name.map_or(Value::Null, Value::from),
        token.display.into(),
        token.scopes.names().map_or(Value::Null, |names| names.map(Value::from).collect()),
        token.created_at.to_string().into(),
        token.expires_at.to_string().into(),
        token.last_used_at.map_or(Value::Null, |at| at.to_string().into()),
    ]
}

fn scopes(text: &str) -> Result<Scopes, UnknownScope> {
    scopes::parse(text.split(',').map(str::trim))
}

fn state(token: &TokenRecord, now: Timestamp) -> &'static str {
    match token.revoked_at {
        Some(_) => "revoked",
        None if token.expires_at <= now => "expired",
        None => "live",
    }
}
