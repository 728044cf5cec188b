//! What the servers of one site share, where the settings say.
use std::sync::Arc;

use bailiwick::{
    database::{Opened, RedisCounters, RedisError, RedisOptions},
    store::CounterStore,
};
use data_encoding::HEXLOWER;

use super::failure::{Failure, with_causes};
use crate::config::{Settings, SharedUrl};

/// Where quotas are counted; nothing where that is the memory of the process.
pub(super) async fn counters(
    settings: &Settings,
    opened: &Opened,
) -> Result<Option<Arc<dyn CounterStore>>, Failure> {
    if !settings.throttle.enabled {
        return Ok(None);
    }
    match &settings.shared.url {
        SharedUrl::Memory => Ok(None),
        SharedUrl::Database => Ok(Some(Arc::clone(&opened.counters))),
        SharedUrl::Redis(url) => {
            let connected =
                RedisCounters::connect(url.expose(), &prefix(settings), &RedisOptions::default()).await;
            Ok(Some(Arc::new(connected.map_err(cannot_connect)?)))
        }
    }
}

/// What all servers of one site have in common and no other site has: their master key.
fn prefix(settings: &Settings) -> String {
    let key = settings.secrets.master_key.as_ref().map(|key| key.derive("shared state"));
    key.map_or_else(|| "development".to_owned(), |key| HEXLOWER.encode(&key.expose()[..8]))
}

fn cannot_connect(error: RedisError) -> Failure {
    match error {
        RedisError::Url | RedisError::Insecure => Failure::refused(error, "correct shared.url"),
        error => Failure::out_of_reach(
            format!("shared.url: {}", with_causes(&error)),
            "see that Redis runs and that shared.url names it; `memory` counts in this process alone",
        ),
    }
}
