//! `bailiwick serve`.
use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bailiwick::{
    check::{Report, Severity},
    clock::OsEntropy,
    database::Opened,
    trace::Log,
};
use clap::Args as ClapArgs;
use tokio::{net::TcpListener, sync::oneshot};
use tracing::{Event, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer,
    layer::{self, SubscriberExt},
    util::SubscriberInitExt,
};

use super::{
    Context, Outcome, database,
    failure::{Failure, with_causes},
    key,
    output::tell,
    run_on, shared,
};
use crate::{
    application::{self, ApplicationError, Listeners},
    attachments,
    check::{Strictness, check},
    config::{Loaded, Settings},
};

/// Serve until SIGTERM or Ctrl-C; refuses to start on unsafe settings
#[derive(ClapArgs, Clone, Copy, Debug)]
#[command(after_help = "Example:\n  bailiwick serve --config /etc/bailiwick/bailiwick.toml")]
pub(super) struct Args {}

pub(super) fn run(context: &Context) -> Outcome {
    let mut loaded = context.given_settings()?;
    let report = refuse_unsafe(&loaded)?;
    if loaded.ensure_master_key(&OsEntropy)? {
        tell(&format!("made a master key for development: {}", loaded.development_key_file().display()));
    }
    on_all_cores(async |mut stop| {
        // The address first: whoever finds it taken should not have migrated the database of another server.
        let server = &loaded.settings.server;
        let listeners = Listeners {
            main: listen(server.bind, "server.bind").await?,
            operations: listen(server.operations_bind, "server.operations_bind").await?,
        };
        let Some(opened) = stop.unless_told(database::prepare(&loaded)).await? else {
            tell("told to stop before the database was ready: nothing was served");
            return Ok(());
        };
        serve(&loaded, &report, opened, listeners, io::stdout(), stop).await
    })
}

/// Runs a server to its end, on as many threads as the machine has cores.
pub(super) fn on_all_cores(work: impl AsyncFnOnce(StopSignal) -> Outcome) -> Outcome {
    run_on(&mut tokio::runtime::Builder::new_multi_thread(), async { work(StopSignal::register()?).await })
}

/// How long the last lines of the log may take to be written.
const FLUSH: Duration = Duration::from_secs(2);

/// What is said when the requests in flight are not finished.
const TOLD_TWICE: &str = "told to stop twice: requests in flight were not finished";

/// Serves until it is told to stop, then finishes the requests in flight; when it is told so once more, it ends at
/// once. The log goes to `log_sink`, and begins with what `report` says was accepted.
pub(super) async fn serve(
    loaded: &Loaded,
    report: &Report,
    opened: Opened,
    listeners: Listeners,
    log_sink: impl io::Write + Send + 'static,
    mut stop: StopSignal,
) -> Outcome {
    let settings = &loaded.settings;
    let refused = |error: ApplicationError| Failure::refused(with_causes(&error), "correct the setting");
    let log = application::log(settings, log_sink).map_err(refused)?;
    write_events_to(&log, settings);
    log_accepted(report);
    let Some(counters) = stop.unless_told(shared::counters(settings, &opened)).await? else { return Ok(()) };
    let rows = Arc::clone(&opened.store);
    let app = application::build(settings, opened.store, counters, log.clone()).map_err(refused)?;
    let tls = application::tls(settings).map_err(|error| {
        Failure::refused(with_causes(&error), "correct server.tls_cert_file and server.tls_key_file")
    })?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    // By the ring of the application: the log tells of the first key too.
    let Some(()) = stop.unless_told(key::begin_in(app.key_ring())).await? else { return Ok(()) };
    let collecting = attachments::keep_collected(application::file_store(settings).map_err(refused)?, rows);
    let operations = app.operations().ready_if("migrations", database::migrations_check(loaded)?);
    if let (Ok(address), Ok(operations)) = (listeners.main.local_addr(), listeners.operations.local_addr()) {
        tell(&format!("listening on {scheme}://{address} until Ctrl-C or SIGTERM"));
        tell(&format!("metrics and health on http://{operations}"));
    }
    let (stopping, stopped) = oneshot::channel::<()>();
    let serving =
        application::serve(app, operations, settings, tls, max_connections(settings), listeners, async {
            drop(stopped.await);
        });
    let told_twice = async {
        stop.told().await;
        drop(stopping);
        stop.told().await;
    };
    let outcome = tokio::select! {
        served = serving => {
            served.map_err(|error| Failure::out_of_reach(format!("the listener failed: {error}"), "start again"))
        }
        never = collecting => match never {},
        () = told_twice => {
            tracing::error!("{TOLD_TWICE}");
            Err(Failure::no(TOLD_TWICE, ""))
        }
    };
    log.flush(FLUSH);
    outcome
}

/// How many files a server needs open besides its connections: databases, logs, shared stores and whatever it calls.
const FILES_BESIDES: u64 = 256;

/// How many connections there may be: as many as the settings say, where the system lets the process have so many files
/// open. Beyond that it could not even open its database, so it is told, and fewer are taken.
fn max_connections(settings: &Settings) -> usize {
    let wanted = settings.server.max_connections.get();
    let files = rlimit::increase_nofile_limit(u64::from(wanted) + FILES_BESIDES).unwrap_or(u64::MAX);
    let most = files.saturating_sub(FILES_BESIDES).max(1);
    if most < u64::from(wanted) {
        tell(&format!(
            "the system lets this process have {files} files open, so at most {most} connections are taken, and not \
             {wanted}: raise `ulimit -Hn` (LimitNOFILE of systemd), or lower server.max_connections"
        ));
    }
    usize::try_from(most).unwrap_or(usize::MAX).min(wanted as usize)
}

/// Says in the log, where it outlasts the terminal of whoever starts the server, which findings were accepted.
fn log_accepted(report: &Report) {
    for finding in report.accepted() {
        tracing::warn!(
            code = finding.code(),
            severity = %finding.severity(),
            setting = finding.setting(),
            reason = finding.reason(),
            "a finding is accepted by check.allow"
        );
    }
}

/// Lets what the parts of the server have to say (`tracing` events) go the way of the access log.
fn write_events_to(log: &Log, settings: &Settings) {
    let level = LevelFilter::from_level(settings.log.level.into());
    // A process that has a subscriber already is a test, which keeps its own.
    let _ = tracing_subscriber::registry().with(level).with(Events(log.clone())).try_init();
}

struct Events(Log);

impl<S: Subscriber> Layer<S> for Events {
    fn on_event(&self, event: &Event<'_>, _: layer::Context<'_, S>) {
        // What `h2` tells is what a client sent, a line a frame, before any quota: anybody could write the log full by it.
        if !event.metadata().target().starts_with("h2::") {
            self.0.diagnostic(event);
        }
    }
}

/// Being told to stop, by SIGTERM or by Ctrl-C.
///
/// It is registered before anything else, so that who stops a server that is still starting finds it stopped in good
/// order too.
pub(super) struct StopSignal {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignal {
    pub(super) fn register() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::out_of_reach(format!("the system lets nobody be told of signals: {error}"), "")
            })
        };
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Waits until the program is told to stop, for the first time or once more.
    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Does `work`, unless it is told to stop first: then there is nothing to answer.
    pub(super) async fn unless_told<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<Option<T>, Failure> {
        tokio::select! {
            done = work => done.map(Some),
            () = self.told() => Ok(None),
        }
    }
}

/// Tells every finding that nobody accepted, and fails if one of them is an error.
pub(super) fn refuse_unsafe(loaded: &Loaded) -> Result<Report, Failure> {
    let report = check(loaded, Strictness::AsConfigured);
    for finding in report.findings() {
        tell(&finding.to_string());
    }
    let errors = report.findings().iter().filter(|finding| finding.severity() == Severity::Error).count();
    match errors {
        0 => Ok(report),
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
