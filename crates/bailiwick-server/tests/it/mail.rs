//! A mail server, small and real: it speaks SMTP on a socket, and keeps what it was sent.
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use crate::site::{PASSWORD, Server, Site};

/// A mail, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    /// The name and password that the sender showed, in base 64.
    pub(crate) credentials: Option<String>,
    pub(crate) from: String,
    pub(crate) to: String,
    /// Headers and text, with transfer encoding.
    pub(crate) data: String,
}

impl Mail {
    /// The token in its text.
    pub(crate) fn token(&self) -> String {
        let start = self.data.find("bw_rst_").unwrap_or_else(|| panic!("no token: {}", self.data));
        self.data[start..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (headers, _) = self.data.split_once("\r\n\r\n")?;
        headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// How a mail server has its senders speak.
#[derive(Clone)]
pub(crate) enum Line {
    /// Unencrypted. It says nothing of TLS, or somebody on the way takes that out.
    Clear,
    /// Unencrypted until STARTTLS, which it says it has.
    StartTls(Arc<ServerConfig>),
    /// The same, but when it comes to it, it has not.
    NoStartTlsToday,
    /// By TLS from the first byte.
    Tls(Arc<ServerConfig>),
}

/// The server. It ends with the test.
pub(crate) struct MailServer {
    port: u16,
    inbox: Arc<Mutex<Vec<Mail>>>,
    /// The first words of all that it was told without TLS.
    clear: Arc<Mutex<Vec<String>>>,
    conversations: Arc<AtomicUsize>,
}

impl MailServer {
    /// One that takes every mail.
    pub(crate) fn start() -> Self {
        Self::of(Line::Clear, 0)
    }

    /// One that says to the first `refusals` mails that it is busy.
    pub(crate) fn busy_for(refusals: usize) -> Self {
        Self::of(Line::Clear, refusals)
    }

    /// One that takes every mail that comes by this line.
    pub(crate) fn on(line: Line) -> Self {
        Self::of(line, 0)
    }

    fn of(line: Line, refusals: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let inbox: Arc<Mutex<Vec<Mail>>> = Arc::default();
        let clear: Arc<Mutex<Vec<String>>> = Arc::default();
        let conversations = Arc::new(AtomicUsize::new(0));
        let (kept, heard, had) = (Arc::clone(&inbox), Arc::clone(&clear), Arc::clone(&conversations));
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let answers =
                    Answers { is_busy: number < refusals, line: &line, inbox: &kept, clear: &heard };
                // One after the other: there is one sender. A sender that goes away is no failure of the test.
                let _ = answers.receive(stream.unwrap());
                had.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { port, inbox, clear, conversations }
    }

    pub(crate) fn url(&self) -> String {
        format!("smtp://mailer:s3cr%40t@127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn heard_in_the_clear(&self) -> Vec<String> {
        self.clear.lock().unwrap().clone()
    }

    /// Waits until it has spoken with a sender.
    pub(crate) async fn conversation(&self) {
        while self.conversations.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Its mails, once there are so many.
    pub(crate) async fn mails(&self, wanted: usize) -> Vec<Mail> {
        for _ in 0..2000 {
            let inbox = self.inbox.lock().unwrap().clone();
            assert!(inbox.len() <= wanted, "more mail than expected: {inbox:#?}");
            if inbox.len() == wanted {
                return inbox;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{wanted} mails do not come: {:#?}", self.inbox.lock().unwrap())
    }

    /// That no mail comes after those that are there, as far as a moment can tell.
    pub(crate) async fn no_more_than(&self, mails: usize) {
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.mails(mails).await;
    }
}

/// What a server says in one conversation.
struct Answers<'s> {
    is_busy: bool,
    line: &'s Line,
    inbox: &'s Mutex<Vec<Mail>>,
    clear: &'s Mutex<Vec<String>>,
}

/// Whether there is TLS already.
#[derive(Clone, Copy, PartialEq)]
enum Secrecy {
    Clear,
    Tls,
}

/// How a conversation ended.
enum End {
    Quit,
    StartTls,
}

impl Answers<'_> {
    fn receive(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let by_tls = |config: &Arc<ServerConfig>, stream| {
            let connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
            Ok::<_, io::Error>(BufReader::new(StreamOwned::new(connection, stream)))
        };
        if let Line::Tls(config) = self.line {
            let mut stream = by_tls(config, stream)?;
            greet(&mut stream)?;
            self.converse(&mut stream, Secrecy::Tls)?;
            return Ok(());
        }
        let mut clear = BufReader::new(stream);
        greet(&mut clear)?;
        match (self.converse(&mut clear, Secrecy::Clear)?, self.line) {
            (End::StartTls, Line::StartTls(config)) => {
                self.converse(&mut by_tls(config, clear.into_inner())?, Secrecy::Tls).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// RFC 5321, as much of it as a sender needs, and RFC 3207.
    fn converse(&self, stream: &mut BufReader<impl Read + Write>, secrecy: Secrecy) -> io::Result<End> {
        let mut mail =
            Mail { credentials: None, from: String::new(), to: String::new(), data: String::new() };
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Ok(End::Quit);
            }
            let line = line.trim_end();
            let (command, rest) = line.split_at(line.find([' ', ':']).unwrap_or(line.len()));
            let command = command.to_ascii_uppercase();
            if secrecy == Secrecy::Clear {
                self.clear.lock().unwrap().push(command.clone());
            }
            match (command.as_str(), self.line) {
                ("EHLO", line) => {
                    say(stream, "250-mail.test")?;
                    if secrecy == Secrecy::Clear && matches!(line, Line::StartTls(_) | Line::NoStartTlsToday)
                    {
                        say(stream, "250-STARTTLS")?;
                    }
                    say(stream, "250 AUTH PLAIN")?;
                }
                ("STARTTLS", Line::StartTls(_)) => {
                    say(stream, "220 go on")?;
                    return Ok(End::StartTls);
                }
                ("STARTTLS", _) => say(stream, "454 not today")?,
                ("AUTH", _) => {
                    mail.credentials = rest.trim().strip_prefix("PLAIN ").map(str::to_owned);
                    say(stream, "235 welcome")?;
                }
                ("MAIL", _) => {
                    mail.from = address(rest);
                    say(stream, if self.is_busy { "451 busy" } else { "250 ok" })?;
                }
                ("RCPT", _) => {
                    mail.to = address(rest);
                    say(stream, "250 ok")?;
                }
                ("DATA", _) => {
                    say(stream, "354 go on")?;
                    loop {
                        let mut line = String::new();
                        stream.read_line(&mut line)?;
                        if line == ".\r\n" {
                            break;
                        }
                        mail.data.push_str(line.strip_prefix('.').unwrap_or(&line));
                    }
                    self.inbox.lock().unwrap().push(mail.clone());
                    say(stream, "250 taken")?;
                }
                ("QUIT", _) => {
                    say(stream, "221 bye")?;
                    return Ok(End::Quit);
                }
                _ => say(stream, "250 ok")?,
            }
        }
    }
}

fn greet(stream: &mut BufReader<impl Read + Write>) -> io::Result<()> {
    say(stream, "220 mail.test ESMTP")
}

fn say(stream: &mut BufReader<impl Read + Write>, text: &str) -> io::Result<()> {
    stream.get_mut().write_all(format!("{text}\r\n").as_bytes())?;
    stream.get_mut().flush()
}

fn address(rest: &str) -> String {
    let start = rest.find('<').map_or(0, |at| at + 1);
    let end = rest.find('>').unwrap_or(rest.len());
    rest[start..end].to_owned()
}

/// Asks a real server for a token of `ann`'s.
pub(crate) fn ask(server: &Server) {
    let body = json!({"email": "ann@example.com"});
    let asked = server.connect().ask("POST", "/api/v1/auth/password/reset/", "", Some(&body)).unwrap();
    assert_eq!(asked.status, 202);
}

// PWD-19: the token is in the mail, and nowhere else.
#[tokio::test]
async fn mail_goes_to_standard_error_if_nothing_else_is_said_and_never_into_the_log_or_the_database() {
    let site = Site::new();
    let server = site.serve();
    ask(&server);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let output = server.stop();
    let mail = Mail {
        credentials: None,
        from: String::new(),
        to: String::new(),
        data: output.err.replace('\n', "\r\n"),
    };
    let token = mail.token();
    assert!(output.err.contains("To: ann@example.com\n"), "{}", output.err);
    assert!(
        output.err.contains(&format!("http://127.0.0.1:8000/reset-password#{token}\n")),
        "{}",
        output.err
    );
    assert!(!output.out.contains(&token) && !output.out.contains("ann@example.com"), "{}", output.out);
    let entries = std::fs::read_dir(site.path(".")).unwrap().map(|entry| entry.unwrap().path());
    for file in entries.filter(|path| path.is_file()) {
        let bytes = std::fs::read(file).unwrap();
        let found = bytes.windows(token.len()).any(|window| window == token.as_bytes());
        assert!(!found, "the token is in a file");
    }
}

#[tokio::test]
async fn a_server_that_stops_sends_the_mail_that_it_has_taken() {
    let mails = MailServer::busy_for(1);
    let mut site = Site::new();
    site.set("BAILIWICK_MAIL__TRANSPORT", &mails.url());
    site.set("BAILIWICK_MAIL__FROM", "noreply@example.com");
    let server = site.serve();
    ask(&server);
    mails.conversation().await;
    let output = server.stop();
    mails.mails(1).await;
    assert!(!output.out.contains("lost"), "{}", output.out);
}

#[tokio::test]
async fn a_mail_that_cannot_be_sent_is_told_in_the_log_without_what_it_holds() {
    let mut site = Site::new();
    // Nobody listens on a port that was just given back.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    site.set("BAILIWICK_MAIL__TRANSPORT", &format!("smtp://mailer:s3cret@127.0.0.1:{port}"));
    site.set("BAILIWICK_MAIL__FROM", "noreply@example.com");
    let server = site.serve();
    ask(&server);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let output = server.stop();
    assert!(output.out.contains("mail that waits to be sent is lost"), "{}", output.out);
    let everything = format!("{}{}", output.out, output.err);
    for secret in ["bw_rst_", "s3cret", "ann@example.com"] {
        assert!(!everything.contains(secret), "{secret}: {everything}");
    }
}

// PWD-19: whoever gives a stranger's address to many accounts floods nobody.
#[tokio::test]
async fn one_wish_is_one_mail_however_many_accounts_have_the_address() {
    let mails = MailServer::start();
    let mut site = Site::new();
    site.set("BAILIWICK_MAIL__TRANSPORT", &mails.url());
    site.set("BAILIWICK_MAIL__FROM", "noreply@example.com");
    site.set("BAILIWICK_THROTTLE__RATES__ANON", "1000/s");
    for (name, email) in (0..12)
        .map(|number| (format!("bomb{number}"), "Ann@example.com".to_owned()))
        .chain([("beth".to_owned(), "ann@example.com".to_owned())])
    {
        site.done(&["user", "create", &name, "--email", &email, "--password-stdin"], Some(PASSWORD));
    }
    let server = site.serve();
    ask(&server);
    // One for each way in which the address is written.
    let sent = mails.mails(2).await;
    let of_ann = sent.iter().find(|mail| mail.to == "ann@example.com").unwrap();
    assert!(of_ann.data.contains("ann.") && of_ann.data.contains("beth."), "{}", of_ann.data);
    assert_eq!(of_ann.data.matches("reset-password#bw_rst_").count(), 2);
    let bombed = sent.iter().find(|mail| mail.to == "Ann@example.com").unwrap();
    assert_eq!(bombed.data.matches("reset-password#bw_rst_").count(), 10);
    // Five an hour: these two, and three more.
    for _ in 0..6 {
        ask(&server);
    }
    mails.no_more_than(5).await;
}

// Contract §2: two servers share the database, and between them the owner of a leaked token is told once.
#[tokio::test]
async fn two_servers_that_hear_of_one_leak_write_one_letter_that_only_its_owner_reads() {
    use std::os::unix::fs::PermissionsExt;
    let mut site = Site::new();
    site.set("BAILIWICK_MAIL__TRANSPORT", "file:mails");
    let servers = [site.serve(), site.serve()];
    let body = json!({"token": site.token});
    let finders: Vec<_> = (0..16)
        .map(|number| {
            let (mut connection, body) = (servers[number % 2].connect(), body.clone());
            thread::spawn(move || {
                let head = "POST /api/v1/auth/tokens/report-leak/ HTTP/1.1\r\nHost: localhost\r\n";
                let body = body.to_string();
                let typed = "Content-Type: application/json";
                let request = format!("{head}{typed}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                connection.send(request.as_bytes()).unwrap();
                connection.answer(false).unwrap()
            })
        })
        .collect();
    for finder in finders {
        let answer = finder.join().unwrap();
        assert_eq!((answer.status, answer.body.len()), (202, 0), "{answer:?}");
    }
    for server in servers {
        assert!(!server.stop().out.contains(&site.token));
    }
    let mails: Vec<_> =
        std::fs::read_dir(site.path("mails")).unwrap().map(|mail| mail.unwrap().path()).collect();
    let [mail] = &mails[..] else { panic!("{mails:?}") };
    assert_eq!(std::fs::metadata(mail).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(mail).unwrap();
    assert!(text.contains("To: ann@example.com") && text.contains("name: test\r\n"), "{text}");
    assert!(!text.contains(&site.token), "{text}");
}
