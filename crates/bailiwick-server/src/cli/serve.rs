//! `bailiwick serve`.
use std::{future::Future, io, net::SocketAddr};

use bailiwick::check::Severity;
use bailiwick_core::clock::OsEntropy;
use clap::Args as ClapArgs;
use tokio::net::TcpListener;

use super::{Context, Outcome, database, failure::Failure, output::tell, run_on};
use crate::{
    check::{Strictness, check},
    config::Loaded,
};

/// Serve until SIGTERM or Ctrl-C; refuses to start on unsafe settings
#[derive(ClapArgs, Clone, Copy, Debug)]
#[command(after_help = "Example:\n  bailiwick serve --config /etc/bailiwick/bailiwick.toml")]
pub(super) struct Args {}

pub(super) fn run(context: &Context) -> Outcome {
    let mut loaded = context.given_settings()?;
    refuse_unsafe(&loaded)?;
    if loaded.ensure_master_key(&OsEntropy)? {
        tell(&format!("made a master key for development: {}", loaded.development_key_file().display()));
    }
    on_all_cores(async {
        // The address first: whoever finds it taken should not have migrated the database of another server.
        let listener = listen(loaded.settings.server.bind, "server.bind").await?;
        let store = database::prepare(&loaded).await?;
        database::serve(&loaded, store, listener).await
    })
}

/// Runs a server to its end, on as many threads as the machine has cores.
pub(super) fn on_all_cores(work: impl Future<Output = Outcome>) -> Outcome {
    run_on(&mut tokio::runtime::Builder::new_multi_thread(), work)
}

/// Tells every finding, and fails if one of them is an error.
pub(super) fn refuse_unsafe(loaded: &Loaded) -> Outcome {
    let report = check(loaded, Strictness::AsConfigured);
    for finding in report.accepted() {
        tell(&format!("accepted by check.allow: {finding}"));
    }
    for finding in report.findings() {
        tell(&finding.to_string());
    }
    let errors = report.findings().iter().filter(|finding| finding.severity() == Severity::Error).count();
    match errors {
        0 => Ok(()),
        1 => Err(Failure::refused(
            "the server does not start with an unsafe setting",
            "correct it as said above",
        )),
        _ => Err(Failure::refused(
            format!("the server does not start with {errors} unsafe settings"),
            "correct them as said above",
        )),
    }
}

/// Listens on `address`, or says why that cannot be.
pub(super) async fn listen(address: SocketAddr, setting: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let (what, fix) = match error.kind() {
            io::ErrorKind::AddrInUse => (
                "another program listens there".to_owned(),
                format!("stop it (`ss -ltnp` shows it), or choose another port with {setting}"),
            ),
            io::ErrorKind::PermissionDenied => (
                "this user may not listen there".to_owned(),
                format!("choose a port from 1024 up with {setting}"),
            ),
            io::ErrorKind::AddrNotAvailable => (
                "this machine has no such address".to_owned(),
                format!("choose an address of this machine, or 0.0.0.0 for all of them, with {setting}"),
            ),
            _ => (error.to_string(), format!("choose another address with {setting}")),
        };
        Failure::out_of_reach(format!("cannot listen on {address}: {what}"), fix)
    })
}
