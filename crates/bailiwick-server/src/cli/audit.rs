//! `bailiwick audit`: the trail of who did what.
mod heads;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use bailiwick::{
    audit::{AuditKeys, Broken, Chain, Entry, Fault, Head, Verifier},
    error::StoreError,
    store::Store,
};
use clap::{Args as ClapArgs, Subcommand};
use data_encoding::HEXLOWER;

use self::heads::Signer;
use super::{
    Context, Outcome, block_on, database,
    failure::Failure,
    output::{print, tell},
};
use crate::application;

/// The audit trail: see that nobody changed it, keep its heads elsewhere, and read it
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check every entry of every chain; exits with 1 if one was changed, removed, put in or moved
    ///
    /// That a chain was cut at its end, or made anew with the master key, only an earlier head tells: keep them on another
    /// system, and give them with --head.
    #[command(
        after_help = "Examples:\n  bailiwick audit verify\n  bailiwick audit verify --head heads.jsonl"
    )]
    Verify {
        /// A file of earlier lines of `bailiwick audit head`, through which the chains must go
        #[arg(long, value_name = "FILE")]
        head: Option<PathBuf>,
    },
    /// Print the end of each chain as a line of JSON, signed, to be kept on another system
    #[command(
        after_help = "Examples:\n  bailiwick audit head >> heads.jsonl\n  bailiwick audit head --public-key"
    )]
    Head(HeadArgs),
    /// Print all entries as lines of JSON, chain by chain, the oldest first
    #[command(
        after_help = "Examples:\n  bailiwick audit export > audit.jsonl\n  bailiwick audit export --chain site"
    )]
    Export {
        /// This chain only: `site`, or the id of an organisation
        #[arg(long, value_name = "CHAIN")]
        chain: Option<Chain>,
    },
}

#[derive(ClapArgs, Clone, Copy, Debug)]
pub(super) struct HeadArgs {
    /// Print the key that the signatures are checked with instead (Ed25519, as PEM)
    #[arg(long)]
    public_key: bool,
}

/// How many entries are read at once: the memory that a command takes does not depend on how long a chain is.
const PAGE: u32 = 500;

pub(super) fn run(context: &Context, command: Command) -> Outcome {
    let loaded = context.keyed_settings()?;
    let keys = application::audit_keys(&loaded.settings)?;
    match command {
        Command::Head(HeadArgs { public_key: true }) => print(&Signer::of(&keys).public_key()),
        Command::Head(HeadArgs { public_key: false }) => {
            let heads = block_on(async { Ok(database::open(&loaded).await?.audit_heads().await?) })?;
            let signer = Signer::of(&keys);
            print(&heads.iter().map(|head| signer.line(head)).collect::<String>())
        }
        Command::Export { chain } => block_on(async {
            let store = database::open(&loaded).await?;
            let chains = match chain {
                Some(chain) => vec![chain],
                None => store.audit_heads().await?.into_iter().map(|head| head.chain).collect(),
            };
            for chain in chains {
                export(&*store, chain).await?;
            }
            Ok(())
        }),
        Command::Verify { head } => {
            let kept = match &head {
                Some(file) => heads::read(file, &keys)?,
                None => BTreeMap::new(),
            };
            let broken = block_on(async { verify(&database::open(&loaded).await?, &keys, &kept).await })?;
            if broken.is_empty() {
                return Ok(());
            }
            print(&broken.iter().map(|broken| format!("{broken}\n")).collect::<String>())?;
            let fix = "compare with an export or a backup from before; \
                       what is behind a broken entry was not looked at";
            Err(Failure::no("the audit trail is not what was recorded", fix))
        }
    }
}

async fn export(store: &dyn Store, chain: Chain) -> Outcome {
    let mut last = 0;
    loop {
        let entries = store.audit_entries(chain, last, PAGE).await?;
        let Some(end) = entries.last() else { return Ok(()) };
        last = end.sequence;
        print(&entries.iter().map(line).collect::<String>())?;
    }
}

/// An entry with its chain and its link.
fn line(entry: &Entry) -> String {
    let mut object = entry.to_json();
    object["chain"] = entry.chain.to_string().into();
    object["hash"] = HEXLOWER.encode(&entry.hash).into();
    format!("{object}\n")
}

/// Checks all chains that are there, and those that were there when a head was kept. Answers where each first fails.
async fn verify(
    store: &Arc<dyn Store>,
    keys: &AuditKeys,
    kept: &BTreeMap<Chain, Vec<Head>>,
) -> Result<Vec<Broken>, Failure> {
    let there: Vec<Chain> = store.audit_heads().await?.into_iter().map(|head| head.chain).collect();
    let chains: BTreeSet<Chain> = there.into_iter().chain(kept.keys().copied()).collect();
    let mut broken = Vec::new();
    let (mut whole, mut entries) = (0_u64, 0_u64);
    for chain in chains {
        let kept = kept.get(&chain).map_or(&[][..], Vec::as_slice);
        match verify_chain(&**store, Verifier::new(keys.clone(), chain, kept)).await? {
            Ok(length) => (whole, entries) = (whole + 1, entries + length),
            Err(found) => broken.push(found),
        }
    }
    tell(&format!("{whole} chains with {entries} entries are as they were recorded"));
    Ok(broken)
}

/// Checks one chain to its end, which may move meanwhile. Answers how long it is.
async fn verify_chain(store: &dyn Store, mut verifier: Verifier) -> Result<Result<u64, Broken>, StoreError> {
    let chain = verifier.last().chain;
    let mut page = PAGE;
    loop {
        let after = verifier.last().sequence;
        let entries = match store.audit_entries(chain, after, page).await {
            Ok(entries) => entries,
            // One of many does not even have the form of an entry: which, shows one by one.
            Err(StoreError::Corrupt(_) | StoreError::Refused(_)) if page > 1 => {
                page = 1;
                continue;
            }
            // It was not recorded so.
            Err(StoreError::Corrupt(_) | StoreError::Refused(_)) => {
                return Ok(Err(Broken { chain, sequence: after + 1, fault: Fault::Changed }));
            }
            Err(error) => return Err(error),
        };
        for entry in &entries {
            if let Err(broken) = verifier.check(entry) {
                return Ok(Err(broken));
            }
        }
        if !entries.is_empty() {
            continue;
        }
        // Read after the entries: it is at least as far as they are.
        let noted = store.audit_head(chain).await?;
        let has_moved = noted.sequence > after && !store.audit_entries(chain, after, 1).await?.is_empty();
        if !has_moved {
            return Ok(verifier.finish(&noted).map(|()| after));
        }
    }
}
