//! `bailiwick key`: the keys that sign access tokens.
use std::{collections::HashMap, sync::Arc};

use bailiwick::{
    authn::keys::{KeyRing, Refusal, RingError, Wait},
    clock::{Clock, OsEntropy, SystemClock, Timestamp},
    store::{KeyRecord, Store},
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Context, Outcome, block_on, database,
    failure::{Failure, with_causes},
    operator,
    output::{Format, print, tell},
};
use crate::{application, config::Loaded};

/// Signing keys: list, publish, let sign, end
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the keys, with how many live access tokens each has signed
    #[command(after_help = "Examples:\n  bailiwick key list\n  bailiwick key list --format json")]
    List {
        #[command(flatten)]
        format: Format,
    },
    /// Publish a key that signs once it is promoted; prints its kid
    #[command(after_help = "Example:\n  bailiwick key generate")]
    Generate,
    /// Let a published key sign; exits with 1 and says how long to wait while others may not know it yet
    #[command(after_help = "Examples:\n  bailiwick key promote KID\n  bailiwick key promote KID --now")]
    Promote {
        /// The key, as `key list` shows it
        // One of 64 begins with a hyphen, and is no option for that.
        #[arg(allow_hyphen_values = true)]
        kid: String,
        /// Do not wait: whoever has an older JWKS document refuses new tokens until it is read again
        #[arg(long)]
        now: bool,
    },
    /// Stop a key signing, and keep it verifying until what it signed has expired
    #[command(after_help = "Example:\n  bailiwick key retire KID")]
    Retire {
        /// The key, as `key list` shows it
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
    /// End a key, and all tokens that it signed, at once
    #[command(after_help = "Example:\n  bailiwick key revoke KID")]
    Revoke {
        /// The key, as `key list` shows it
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
    /// Publish a key and let it sign as soon as everybody can know it; prints its kid
    #[command(after_help = "Examples:\n  bailiwick key rotate\n  bailiwick key rotate --now")]
    Rotate(Rotate),
}

#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Rotate {
    /// Do not wait: whoever has an older JWKS document refuses new tokens until it is read again
    #[arg(long)]
    now: bool,
}

pub(super) fn run(context: &Context, command: Command) -> Outcome {
    let loaded = context.keyed_settings()?;
    match command {
        Command::List { format } => list(&loaded, format),
        Command::Generate => {
            let kid = change(&loaded, async |ring| ring.generate().await)?;
            tell(&format!("key {kid} is published; let it sign with:\n  bailiwick key promote {kid}"));
            print(&format!("{kid}\n"))
        }
        Command::Promote { kid, now } => {
            change(&loaded, async |ring| ring.promote(&kid, wait(now)).await)?;
            tell(&format!("key {kid} signs; the one before it verifies until what it signed has expired"));
            Ok(())
        }
        Command::Retire { kid } => {
            change(&loaded, async |ring| ring.retire(&kid).await)?;
            tell(&format!("key {kid} signs no more"));
            Ok(())
        }
        Command::Revoke { kid } => {
            change(&loaded, async |ring| ring.revoke(&kid).await)?;
            tell(&format!("key {kid} has ended, with all tokens that it signed"));
            Ok(())
        }
        Command::Rotate(Rotate { now }) => {
            let rotation = change(&loaded, async |ring| ring.rotate(wait(now)).await)?;
            let kid = rotation.kid;
            tell(&match rotation.due {
                None => format!("key {kid} signs"),
                Some(due) => format!("key {kid} is published; a running server lets it sign at {due}"),
            });
            print(&format!("{kid}\n"))
        }
    }
}

const fn wait(now: bool) -> Wait {
    if now { Wait::Not } else { Wait::UntilDue }
}

fn list(loaded: &Loaded, format: Format) -> Outcome {
    let now = SystemClock::new().now();
    let (keys, live) = block_on(async {
        let store = database::open(loaded).await?;
        let keys = ring(loaded, &store)?.list().await.map_err(failure)?;
        Ok((keys, store.live_access_tokens(now).await?))
    })?;
    let live: HashMap<_, _> = live.into_iter().collect();
    let time = |time: Option<Timestamp>| time.map_or(Value::Null, |time| time.to_string().into());
    let row = |key: KeyRecord| {
        let tokens = if key.state.verifies() { live.get(&key.kid).copied().unwrap_or(0) } else { 0 };
        vec![
            key.kid.into(),
            key.state.as_str().into(),
            key.algorithm.into(),
            key.created_at.to_string().into(),
            time(key.promote_at),
            time(key.activated_at),
            time(key.retiring_at),
            time(key.ends_at),
            json!(tokens),
        ]
    };
    let columns = [
        "kid",
        "state",
        "algorithm",
        "created_at",
        "promote_at",
        "activated_at",
        "retiring_at",
        "ends_at",
        "live_tokens",
    ];
    format.print_table(&columns, keys.into_iter().map(row).collect())
}

/// Makes the first key, where there is none, and sees that the keys can be read.
pub(super) async fn begin(loaded: &Loaded, store: &Arc<dyn Store>) -> Result<(), Failure> {
    begin_in(Some(&ring(loaded, store)?)).await
}

/// The same in this ring, if there is one.
pub(super) async fn begin_in(ring: Option<&KeyRing>) -> Result<(), Failure> {
    match ring {
        Some(ring) => ring.keys().await.map(drop).map_err(failure),
        None => Ok(()),
    }
}

/// Changes the ring, and returns when every server acts on it.
fn change<T>(loaded: &Loaded, work: impl AsyncFnOnce(KeyRing) -> Result<T, RingError>) -> Result<T, Failure> {
    block_on(async {
        let store = database::open(loaded).await?;
        let done = work(ring(loaded, &store)?.by(operator::actor())).await.map_err(failure)?;
        tokio::time::sleep(KeyRing::LOOK).await;
        Ok(done)
    })
}

fn ring(loaded: &Loaded, store: &Arc<dyn Store>) -> Result<KeyRing, Failure> {
    let jwt = application::jwt(&loaded.settings).ok_or_else(|| {
        Failure::refused(
            "there is no master key to encrypt signing keys with",
            crate::config::HOW_TO_MAKE_A_KEY,
        )
    })?;
    Ok(jwt.ring(Arc::clone(store), Arc::new(SystemClock::new()), Arc::new(OsEntropy)))
}

fn failure(error: RingError) -> Failure {
    let refusal = match error {
        RingError::Refused(refusal) => refusal,
        RingError::Store(error) => return error.into(),
        error @ RingError::Sealed { .. } => {
            let fix = "put the master key that was in force before into secrets.master_key_fallbacks; if it is lost, \
                       so are the signing keys";
            return Failure::refused(with_causes(&error), fix);
        }
        error => return Failure::out_of_reach(with_causes(&error), "try again"),
    };
    let fix = match refusal {
        Refusal::NoSuchKey | Refusal::Is(_) => "`bailiwick key list` shows the keys and what each is",
        Refusal::Early(_) => {
            "wait for that long; or let it sign with --now, and others refuse new tokens meanwhile"
        }
        Refusal::OnlySigner => {
            "`bailiwick key rotate` publishes one that follows; `bailiwick key revoke` ends this one at once"
        }
        _ => "",
    };
    Failure::no(refusal, fix)
}
