//! Private services that never outlive the run.
//!
//! A second process of this binary, the keeper, starts the servers and waits on its standard input, whose other
//! end only the suite holds. The pipe closes on every way out of the suite (return, panic, Ctrl-C, `kill -9`), and
//! then the keeper stops the servers and removes their data. It runs in a process group of its own, so that
//! Ctrl-C in a terminal reaches the suite and not the keeper; and where `setpriv` is there, the kernel stops the
//! servers should the keeper itself be killed.
use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use super::{Failure, clamd, postgres, redis, s3, tools};
use crate::stopwatch::Stopwatch;

/// How long a server may take until it answers, and until it has stopped.
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(15);

/// Which services of our own to run.
#[derive(clap::Args, Default)]
pub(crate) struct Wanted {
    #[arg(long)]
    pub(super) postgres: bool,
    #[arg(long)]
    pub(super) redis: bool,
    #[arg(long)]
    pub(super) clamd: bool,
    #[arg(long)]
    pub(super) s3: bool,
}

impl Wanted {
    /// Each, by the flag that asks for it, and whether it is wanted.
    fn flags(&self) -> [(&'static str, bool); 4] {
        [("--postgres", self.postgres), ("--redis", self.redis), ("--clamd", self.clamd), ("--s3", self.s3)]
    }
}

/// The suite's side: holds the keeper's standard input open.
pub(super) struct Services {
    keeper: Option<(Child, ChildStdin)>,
    urls: Vec<(String, String)>,
}

impl Services {
    /// Starts what is wanted and waits until it answers.
    pub(super) fn start(wanted: &Wanted) -> Result<Self, Failure> {
        let mut services = Self { keeper: None, urls: Vec::new() };
        if wanted.flags().iter().all(|(_, on)| !on) {
            return Ok(services);
        }
        // The suite builds this very binary again; the link still leads to the one that runs.
        let mut command = Command::new("/proc/self/exe");
        command.arg("keep-services").process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        for (flag, on) in wanted.flags() {
            if on {
                command.arg(flag);
            }
        }
        let mut keeper = command.spawn().map_err(|error| format!("cannot start the keeper: {error}"))?;
        let (stdin, stdout) = (keeper.stdin.take(), keeper.stdout.take());
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
            return Err("the keeper has no pipes".to_owned());
        };
        services.keeper = Some((keeper, stdin));
        // One line for each service, then an empty one. The end of the pipe means that it gave up, and it has said why.
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(|error| format!("the keeper cannot be read: {error}"))?;
            match line.split_once(' ') {
                Some((name, url)) => services.urls.push((name.to_owned(), url.to_owned())),
                None => return Ok(services),
            }
        }
        Err("see above".to_owned())
    }

    /// Name (`postgres`, `redis`, `clamd`, `s3`) and URL of each.
    pub(super) fn urls(&self) -> impl Iterator<Item = (&str, &str)> {
        self.urls.iter().map(|(name, url)| (name.as_str(), url.as_str()))
    }

    /// Whether there is anything to stop.
    pub(super) fn any(&self) -> bool {
        self.keeper.is_some()
    }

    /// Stops them and says how that went.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        match self.release() {
            None => Ok(()),
            Some(Ok(true)) => Ok(()),
            Some(Ok(false)) => Err("a private service did not stop as it should; see above".to_owned()),
            Some(Err(error)) => Err(format!("the keeper cannot be waited for: {error}")),
        }
    }

    fn release(&mut self) -> Option<io::Result<bool>> {
        let (mut keeper, stdin) = self.keeper.take()?;
        drop(stdin);
        Some(keeper.wait().map(|status| status.success()))
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        // Whoever wants to know calls `stop`; this is for the ways out that cannot.
        self.release();
    }
}

/// The keeper's side: `xtask keep-services`.
pub(crate) fn keep(wanted: &Wanted) -> ExitCode {
    match Kept::start(wanted) {
        Ok(mut kept) => {
            let told = kept.tell();
            if told.is_ok() {
                // Comes back when the suite closes the pipe or dies. What it would say is of no interest.
                let _ = io::stdin().read_to_end(&mut Vec::new());
            }
            if kept.stop() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(failure) => {
            say(&failure);
            ExitCode::FAILURE
        }
    }
}

/// A running server.
struct Server {
    name: &'static str,
    child: Child,
    port: u16,
    /// PostgreSQL keeps its process id here; under `su` it is not the one we started.
    pid_file: Option<PathBuf>,
}

/// What the keeper keeps. The servers stop before their folder goes.
struct Kept {
    servers: Vec<Server>,
    folder: tempfile::TempDir,
}

impl Kept {
    fn start(wanted: &Wanted) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new()
            .prefix("bailiwick-services-")
            // A server that runs as another user must be able to pass through to its own folder inside.
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .map_err(|error| format!("no temporary directory: {error}"))?;
        let mut kept = Self { servers: Vec::new(), folder };
        if wanted.postgres {
            kept.start_postgres()?;
        }
        if wanted.redis {
            kept.start_redis()?;
        }
        if wanted.clamd {
            kept.start_clamd()?;
        }
        if wanted.s3 {
            kept.start_s3()?;
        }
        Ok(kept)
    }

    fn start_postgres(&mut self) -> Result<(), Failure> {
        let account = Account::for_postgres()?;
        let home = self.folder.path().join("postgres");
        account.own_folder(&home)?;
        let data = home.join("data");
        let program =
            |name: &str| postgres::program(name).ok_or_else(|| format!("missing: {name} of PostgreSQL"));

        let mut initdb = account.command(&program("initdb")?, &home);
        postgres::initdb_arguments(&mut initdb, &data);
        // `su` hands the environment on, and a PGDATA or PGPORT of the person's own must not lead us astray.
        let output = clean(&mut initdb).output().map_err(|error| format!("cannot start initdb: {error}"))?;
        if !output.status.success() {
            return Err(format!("initdb failed:\n{}", String::from_utf8_lossy(&output.stderr).trim_end()));
        }
        let server = program("postgres")?;
        self.start_server("postgres", Some(&data.join("postmaster.pid")), &|port| {
            let mut command = account.command(&server, &home);
            postgres::server_arguments(clean(&mut command), &data, port);
            Ok(command)
        })
    }

    fn start_redis(&mut self) -> Result<(), Failure> {
        let home = self.folder.path().join("redis");
        let account = Account::this();
        account.own_folder(&home)?;
        let server = tools::on_path("redis-server").ok_or("missing: redis-server")?;
        self.start_server("redis", None, &|port| {
            let mut command = account.command(&server, &home);
            redis::arguments(&mut command, &home, port);
            Ok(command)
        })
    }

    fn start_clamd(&mut self) -> Result<(), Failure> {
        let home = self.folder.path().join("clamd");
        let account = Account::this();
        account.own_folder(&home)?;
        let server = clamd::program().ok_or("missing: clamd")?;
        self.start_server("clamd", None, &|port| {
            let mut command = account.command(&server, &home);
            clamd::arguments(&mut command, &home, port)?;
            Ok(command)
        })
    }

    fn start_s3(&mut self) -> Result<(), Failure> {
        let home = self.folder.path().join("s3");
        let account = Account::this();
        account.own_folder(&home)?;
        let server = s3::program().ok_or("missing: moto")?;
        self.start_server("s3", None, &|port| {
            let mut command = account.command(&server, &home);
            s3::arguments(&mut command, port);
            Ok(command)
        })
    }

    /// Starts a server on a free port. Another process may take the port between our look and the server's, so
    /// a server that ends at once is tried again on another.
    fn start_server(
        &mut self,
        name: &'static str,
        pid_file: Option<&Path>,
        command: &dyn Fn(u16) -> Result<Command, Failure>,
    ) -> Result<(), Failure> {
        let log = self.folder.path().join(format!("{name}.log"));
        for _ in 0..3 {
            let port = free_port().map_err(|error| format!("no free port: {error}"))?;
            let output = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
            let errors = output.try_clone().map_err(|error| format!("{}: {error}", log.display()))?;
            let mut command = command(port)?;
            // Not our standard output: the suite waits for its end.
            command.stdin(Stdio::null()).stdout(output).stderr(errors);
            let child = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
            self.servers.push(Server { name, child, port, pid_file: pid_file.map(Path::to_owned) });
            let watch = Stopwatch::start();
            while watch.elapsed() < START {
                let Some(server) = self.servers.last_mut() else { break };
                if server.answers() {
                    return Ok(());
                }
                if server.has_ended() {
                    break;
                }
                thread::sleep(Duration::from_millis(50));
            }
            if let Some(mut server) = self.servers.pop() {
                server.stop();
            }
        }
        let said = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let last = &lines[lines.len().saturating_sub(20)..];
        Err(format!("{name} does not start; it said:\n{}", last.join("\n")))
    }

    /// Tells the suite where the services are.
    fn tell(&self) -> io::Result<()> {
        let mut out = io::stdout();
        for server in &self.servers {
            let url = match server.name {
                "postgres" => postgres::url("postgres", server.port),
                "clamd" => clamd::url(server.port),
                "s3" => s3::url(server.port),
                _ => redis::url(server.port),
            };
            writeln!(out, "{} {url}", server.name)?;
        }
        writeln!(out)?;
        out.flush()
    }

    fn stop(&mut self) -> bool {
        let mut all = true;
        for server in &mut self.servers {
            all &= server.stop();
        }
        self.servers.clear();
        all
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Server {
    fn answers(&self) -> bool {
        let address = format!("127.0.0.1:{}", self.port);
        match self.name {
            "postgres" => postgres::usable(&address, "postgres").is_ok(),
            "clamd" => clamd::usable(&address).is_ok(),
            "s3" => s3::usable(&address).is_ok(),
            _ => redis::usable(&address).is_ok(),
        }
    }

    fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Asks, then insists. `false` if asking was not enough.
    fn stop(&mut self) -> bool {
        // PostgreSQL: INT ends sessions and closes cleanly, QUIT is the quick way. Redis takes both for TERM's kin.
        for signal in ["INT", "QUIT"] {
            if self.has_ended() {
                return true;
            }
            self.signal(signal);
            let watch = Stopwatch::start();
            while watch.elapsed() < STOP {
                if self.has_ended() {
                    return signal == "INT";
                }
                thread::sleep(Duration::from_millis(20));
            }
            say(&format!("{} has not stopped {} s after SIG{signal}", self.name, STOP.as_secs()));
        }
        self.signal("KILL");
        // Already gone, or not ours to kill; both were tried.
        let _ = self.child.kill();
        let _ = self.child.wait();
        false
    }

    fn signal(&self, signal: &str) {
        let noted = self.pid_file.as_ref().and_then(|file| fs::read_to_string(file).ok());
        let noted = noted.and_then(|text| text.lines().next()?.trim().parse::<u32>().ok());
        let pid = noted.unwrap_or_else(|| self.child.id());
        // The shell's own `kill`, since the program is not on every machine. A process that just ended is no failure.
        let _ =
            Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]).stderr(Stdio::null()).status();
    }
}

/// Who runs a server. PostgreSQL refuses to run as root.
struct Account {
    /// `None`: whoever we are.
    other: Option<Other>,
    setpriv: Option<PathBuf>,
}

struct Other {
    name: &'static str,
    uid: u32,
    gid: u32,
}

impl Account {
    fn this() -> Self {
        Self { other: None, setpriv: tools::on_path("setpriv") }
    }

    fn for_postgres() -> Result<Self, Failure> {
        if !tools::is_root() {
            return Ok(Self::this());
        }
        let id = |flag: &str, name: &str| tools::number(Command::new("id").args([flag, name]));
        let other = ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| Some(Other { name, uid: id("-u", name)?, gid: id("-g", name)? }))
            .ok_or(
                "PostgreSQL refuses to run as root, and there is neither a user `postgres` nor `nobody`",
            )?;
        Ok(Self { other: Some(other), ..Self::this() })
    }

    /// Makes a folder that only this account can read.
    fn own_folder(&self, folder: &Path) -> Result<(), Failure> {
        let made = fs::create_dir(folder)
            .and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(0o700)))
            .and_then(|()| match &self.other {
                Some(other) => chown(folder, Some(other.uid), Some(other.gid)),
                None => Ok(()),
            });
        made.map_err(|error| format!("{}: {error}", folder.display()))
    }

    /// A command that runs the program as this account, in `folder`.
    fn command(&self, program: &Path, folder: &Path) -> Command {
        let mut command = match (&self.other, &self.setpriv) {
            (other, Some(setpriv)) => {
                let mut command = Command::new(setpriv);
                if let Some(other) = other {
                    command
                        .arg(format!("--reuid={}", other.uid))
                        .arg(format!("--regid={}", other.gid))
                        .arg("--clear-groups");
                }
                // Should the keeper be killed, the kernel asks the server to end.
                command.args(["--pdeathsig", "INT", "--"]).arg(program);
                command
            }
            (Some(other), None) if tools::on_path("runuser").is_some() => {
                let mut command = Command::new("runuser");
                command.args(["-u", other.name, "--"]).arg(program);
                command
            }
            (Some(other), None) => {
                let mut command = Command::new("su");
                // `nobody` has no shell to log in with; the arguments reach the program as they are.
                command.args(["-s", "/bin/sh", other.name, "-c", "exec \"$0\" \"$@\"", "--"]).arg(program);
                command
            }
            (None, None) => Command::new(program),
        };
        // The account need not be able to enter the folder we are in.
        command.current_dir(self.other.as_ref().map_or(folder, |_| Path::new("/")));
        command
    }
}

/// Takes libpq's and the server's variables out of the command's environment.
fn clean(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("PG")) {
            command.env_remove(name);
        }
    }
    command
}

/// Tells the person, who may no longer be listening; that is no reason to leave a server running.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        Kept { servers: Vec::new(), folder: tempfile::tempdir().expect("a temporary directory can be made") }
    }

    #[test]
    fn a_server_that_ends_at_once_is_reported_with_what_it_said() {
        let failure = kept()
            .start_server("redis", None, &|_| {
                let mut command = Command::new("sh");
                command.args(["-c", "echo no such luck; exit 1"]);
                Ok(command)
            })
            .expect_err("it never answers");
        assert!(failure.ends_with("it said:\nno such luck"), "{failure}");
    }

    #[test]
    fn a_server_ends_with_its_keeper() {
        let mut kept = kept();
        kept.start_server("redis", None, &|port| {
            let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port was free a moment ago");
            thread::spawn(move || {
                let (mut stream, _) = listener.accept().expect("the keeper asks whether we answer");
                let _ = stream.write_all(b"+PONG\r\n");
            });
            let mut command = Command::new("sleep");
            command.arg("600");
            Ok(command)
        })
        .expect("it answers");
        let process = PathBuf::from(format!("/proc/{}", kept.servers[0].child.id()));
        assert!(process.exists());
        drop(kept);
        assert!(!process.exists());
    }

    #[test]
    fn a_server_stops_when_asked() {
        let child = Command::new("sleep").arg("600").spawn().expect("sleep is on every machine");
        let mut server = Server { name: "redis", child, port: 1, pid_file: None };
        assert!(server.stop());
        assert!(server.has_ended());
    }

    #[test]
    fn other_accounts_run_the_program_as_they_were_asked() {
        let other = || Some(Other { name: "nobody", uid: 65534, gid: 65534 });
        let shown = |account: &Account| {
            let command = account.command(Path::new("/bin/true"), Path::new("/tmp"));
            let arguments: Vec<String> =
                command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
            format!("{} {}", command.get_program().to_string_lossy(), arguments.join(" "))
        };
        assert_eq!(shown(&Account { other: None, setpriv: None }), "/bin/true ");
        assert_eq!(
            shown(&Account { other: other(), setpriv: Some("setpriv".into()) }),
            "setpriv --reuid=65534 --regid=65534 --clear-groups --pdeathsig INT -- /bin/true"
        );
        assert!(shown(&Account { other: other(), setpriv: None }).contains("nobody"));
    }
}
