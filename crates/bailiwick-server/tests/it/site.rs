//! The real server, as a process on a real socket.
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before the test says that it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory with settings and a database with one organisation, `acme`, and its owner, `ann`.
pub(crate) struct Site {
    directory: TempDir,
    variables: Vec<(String, String)>,
    pub(crate) token: String,
}

/// What a command answered.
pub(crate) struct Output {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) const PASSWORD: &str = "a-plain-but-long-phrase";
const SETTINGS: &str = "
[server]
bind = '127.0.0.1:0'
operations_bind = '127.0.0.1:0'
allowed_hosts = ['localhost', '127.0.0.1']
public_url = 'http://127.0.0.1:8000'
[secrets]
master_key_file = 'master.key'
[throttle.rates]
user = '1000000/s'
";

impl Site {
    /// A site on SQLite.
    pub(crate) fn new() -> Self {
        Self::on("sqlite://bailiwick.db")
    }

    /// A site on this database.
    pub(crate) fn on(database_url: &str) -> Self {
        let mut site = Self::bare();
        site.variables.push(("BAILIWICK_DATABASE__URL".to_owned(), database_url.to_owned()));
        site.done(&["migrate"], None);
        site.done(
            &["user", "create", "ann", "--email", "ann@example.com", "--password-stdin"],
            Some(PASSWORD),
        );
        site.done(&["org", "create", "acme", "--name", "Acme Inc.", "--owner", "ann"], None);
        site.token = site.done(&["token", "create", "ann", "--name", "test"], None).trim().to_owned();
        site
    }

    /// A site without a database.
    pub(crate) fn bare() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let site = Self { directory, variables: Vec::new(), token: String::new() };
        fs::write(site.path("bailiwick.toml"), SETTINGS).unwrap();
        let key = site.path("master.key");
        fs::write(&key, "8f1c04e2b7a95d3360ef4a1b92c7d85e0f6b3a49c1d27e8855aa3c96fe10b472\n").unwrap();
        for path in [&key, &site.path("bailiwick.toml")] {
            set_mode(path, 0o600);
        }
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Gives a setting from the environment: `("BAILIWICK_SERVER__BIND", …)`.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// The program, as it is started by `command` or by itself.
    pub(crate) fn command(&self, command: Option<Command>) -> Command {
        let mut command = command.unwrap_or_else(|| Command::new(env!("CARGO_BIN_EXE_bailiwick")));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BAILIWICK_") {
                command.env_remove(name);
            }
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str], input: Option<&str>) -> Output {
        let mut command = self.command(None);
        command.args(arguments);
        finish(command, input)
    }

    /// Runs a command that must do what it is told; what it printed.
    pub(crate) fn done(&self, arguments: &[&str], input: Option<&str>) -> String {
        let output = self.run(arguments, input);
        assert_eq!(output.code, Some(0), "{arguments:?}: {}", output.err);
        output.out
    }

    /// Starts the server.
    pub(crate) fn serve(&self) -> Server {
        let mut command = self.command(None);
        command.arg("serve");
        Server::start(command)
    }
}

/// Runs a command to its end.
pub(crate) fn finish(mut command: Command, input: Option<&str>) -> Output {
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().unwrap();
    if let Some(input) = input {
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    }
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Output { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

#[cfg(unix)]
pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

/// A server that runs. It is killed with the test.
pub(crate) struct Server {
    child: Guarded,
    pub(crate) address: SocketAddr,
    /// Of metrics and health.
    pub(crate) operations: SocketAddr,
    out: Reader,
    err: Reader,
}

/// A child that does not outlive a test that fails.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // One that has ended by itself was waited for already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads a pipe to its end, so that nobody who writes to it waits.
struct Reader {
    text: Arc<Mutex<String>>,
    thread: JoinHandle<()>,
}

impl Reader {
    fn start(pipe: impl Read + Send + 'static, each: impl Fn(&str) + Send + 'static) -> Self {
        let text: Arc<Mutex<String>> = Arc::default();
        let of_thread = text.clone();
        let thread = std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                each(&line);
                let mut text = of_thread.lock().unwrap();
                text.push_str(&line);
                text.push('\n');
            }
        });
        Self { text, thread }
    }

    fn end(self) -> String {
        self.thread.join().unwrap();
        self.text.lock().unwrap().clone()
    }
}

impl Server {
    /// Starts `command`, which is to listen, and waits until it says where.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = Guarded(command.spawn().unwrap());
        let (tell, told) = mpsc::channel();
        let out = Reader::start(child.0.stdout.take().unwrap(), |_| {});
        let err = Reader::start(child.0.stderr.take().unwrap(), move |line| {
            let address = line
                .split("http://")
                .nth(1)
                .or_else(|| line.split("https://").nth(1))
                .and_then(|rest| rest.split([' ', '/']).next());
            if let Some(address) = address.and_then(|address| address.parse().ok()) {
                let _ = tell.send(address);
            }
        });
        // First the address for clients, then that of metrics and health.
        let next = || told.recv_timeout(PATIENCE);
        match next().and_then(|address| Ok((address, next()?))) {
            Ok((address, operations)) => Self { child, address, operations, out, err },
            Err(_) => {
                drop(child);
                panic!("the server does not say where it listens: {}", err.end());
            }
        }
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::to(self.address)
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.0.id()
    }

    /// Sends a signal: `-TERM`.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Kills it at once, as `kill -9` does; what it wrote so far is lost with it.
    pub(crate) fn kill(mut self) {
        self.child.0.kill().unwrap();
        self.child.0.wait().unwrap();
        self.out.end();
        self.err.end();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Output {
        let code = self.child.0.wait().unwrap().code();
        Output { code, out: self.out.end(), err: self.err.end() }
    }

    /// Ends it in the orderly way.
    pub(crate) fn stop(self) -> Output {
        self.signal("-TERM");
        let output = self.end();
        assert_eq!(output.code, Some(0), "{}", output.err);
        output
    }
}

/// A connection that is kept alive.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer from a socket.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Connection {
    pub(crate) fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Asks with a token, and reads the answer. An error if the connection broke.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        token: &str,
        body: Option<&Value>,
    ) -> std::io::Result<Answer> {
        let body = body.map_or_else(String::new, Value::to_string);
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.send(head.as_bytes())?;
        self.answer(method == "HEAD")
    }

    /// Reads one answer.
    pub(crate) fn answer(&mut self, to_head: bool) -> std::io::Result<Answer> {
        let end = loop {
            match self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.more()?,
            }
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:").map(|n| n.trim().parse().unwrap())
        });
        let length: usize = if to_head || status < 200 { 0 } else { length.unwrap_or(0) };
        while self.buffer.len() < length {
            self.more()?;
        }
        let body = self.buffer.drain(..length).collect();
        Ok(Answer { status, head, body })
    }

    fn more(&mut self) -> std::io::Result<()> {
        let mut piece = [0; 16 << 10];
        match self.stream.read(&mut piece)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.buffer.extend_from_slice(&piece[..count]);
                Ok(())
            }
        }
    }

    /// Waits for bytes of an answer, and leaves them where they are; how many there are, at most one.
    pub(crate) fn peek(&self) -> usize {
        self.stream.peek(&mut [0]).unwrap()
    }

    /// Whether some of an answer is there already.
    pub(crate) fn has_answer(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        peeked.is_ok()
    }

    /// Whether the server has closed the connection.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.more(), Err(error) if error.kind() != std::io::ErrorKind::WouldBlock)
    }
}
