//! `bailiwick migrate`.
use bailiwick::clock::OsEntropy;
use clap::Args as ClapArgs;

use super::{
    Context, Outcome, block_on, database,
    failure::Failure,
    key,
    output::{print, tell},
    serve::StopSignal,
};
use crate::config::{Environment, Loaded};

/// Bring the database to the schema of this version
#[derive(ClapArgs, Clone, Copy, Debug)]
#[command(after_help = "Examples:\n  bailiwick migrate\n  bailiwick migrate --check || echo 'it is behind'")]
pub(super) struct Args {
    /// Change nothing: list what is pending, and exit with 1 if anything is
    #[arg(long)]
    check: bool,
}

pub(super) fn run(context: &Context, args: Args) -> Outcome {
    let mut loaded = context.given_settings()?;
    if args.check {
        let pending = block_on(database::pending(&loaded))?;
        print(&lines(&pending))?;
        if pending.is_empty() {
            tell("the database has the schema of this version");
            return Ok(());
        }
        tell("the database is behind; run `bailiwick migrate`");
        return Err(Failure::answered_no());
    }
    let applied = block_on(async { StopSignal::register()?.unless_told(database::migrate(&loaded)).await })?;
    let Some(applied) = applied else {
        return Err(Failure::out_of_reach(
            "told to stop before the database was ready; what is pending happens whole or not at all",
            "run `bailiwick migrate` again, once nobody else holds the database",
        ));
    };
    print(&lines(&applied))?;
    make_first_key(&mut loaded)?;
    tell(if applied.is_empty() { "nothing to do" } else { "the database has the schema of this version" });
    Ok(())
}

/// A server that starts makes the first signing key too; this spares it to wait for that. Without a master key in
/// production there is nothing to encrypt it under, and no server starts either.
fn make_first_key(loaded: &mut Loaded) -> Outcome {
    if loaded.settings.server.environment == Environment::Production
        && loaded.settings.secrets.master_key.is_none()
    {
        tell("there is no master key yet: the first server that starts with one makes the first signing key");
        return Ok(());
    }
    loaded.ensure_master_key(&OsEntropy)?;
    block_on(async { key::begin(loaded, &database::open(loaded).await?).await })
}

fn lines(names: &[String]) -> String {
    names.iter().map(|name| format!("{name}\n")).collect()
}
