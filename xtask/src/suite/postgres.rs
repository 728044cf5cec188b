//! A PostgreSQL to test with: one that runs, or one of our own.
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

use super::{redis::connect, tools};

/// An answer longer than this is not one of a server we want to talk to, in bytes.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// The tests make databases of their own from here.
pub(super) fn url(user: &str, port: u16) -> String {
    format!("postgres://{user}@127.0.0.1:{port}/postgres")
}

/// The version of the server there, if it lets `user` in without a password and make databases; else why not.
///
/// Speaks the protocol itself, since `psql` may be missing where the server runs in a container.
pub(super) fn usable(address: &str, user: &str) -> Result<String, String> {
    let mut stream = connect(address)?;
    let parameters = format!("user\0{user}\0database\0postgres\0\0");
    // 196608 is version 3.0 of the protocol.
    let mut startup = 196_608_i32.to_be_bytes().to_vec();
    startup.extend(parameters.as_bytes());
    send(&mut stream, None, &startup)?;

    let mut version = String::new();
    let mut asked = false;
    let mut may = false;
    loop {
        let (kind, body) = receive(&mut stream)?;
        match kind {
            // 0: no password wanted.
            b'R' if !body.starts_with(&[0, 0, 0, 0]) => return Err("it wants a password".to_owned()),
            b'S' => {
                if let Some(value) = body.strip_prefix(b"server_version\0") {
                    version = String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
                }
            }
            b'E' => return Err(error_message(&body)),
            // The one column of the one row: 2 bytes count, 4 bytes length, then the text.
            b'D' => may = body.get(6) == Some(&b't'),
            b'Z' if asked => {
                // A server that hears a farewell logs no lost connection; nothing depends on it.
                let _ = send(&mut stream, Some(b'X'), &[]);
                return if may { Ok(version) } else { Err(format!("{user} may not create databases")) };
            }
            b'Z' => {
                let question = "select rolsuper or rolcreatedb from pg_roles where rolname = current_user\0";
                send(&mut stream, Some(b'Q'), question.as_bytes())?;
                asked = true;
            }
            _ => {}
        }
    }
}

fn send(stream: &mut TcpStream, kind: Option<u8>, body: &[u8]) -> Result<(), String> {
    let length = i32::try_from(body.len() + 4).map_err(|error| error.to_string())?;
    let mut message: Vec<u8> = kind.into_iter().collect();
    message.extend(length.to_be_bytes());
    message.extend(body);
    stream.write_all(&message).map_err(|error| error.to_string())
}

fn receive(stream: &mut TcpStream) -> Result<(u8, Vec<u8>), String> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).map_err(|error| error.to_string())?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if !(4..=MAX_MESSAGE_BYTES).contains(&length) {
        return Err("it does not speak PostgreSQL's protocol".to_owned());
    }
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body).map_err(|error| error.to_string())?;
    Ok((head[0], body))
}

/// The field `M` of an error.
fn error_message(body: &[u8]) -> String {
    let mut fields = body.split(|byte| *byte == 0);
    let message = fields.find_map(|field| field.strip_prefix(b"M"));
    String::from_utf8_lossy(message.unwrap_or(b"it refuses us")).into_owned()
}

/// Where Debian or `PATH` hold a program of the server; the newest version first.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let mut versions: Vec<(u32, PathBuf)> = installed
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin").join(name)))
        })
        .filter(|(_, file)| file.is_file())
        .collect();
    versions.sort();
    versions.pop().map(|(_, file)| file).or_else(|| tools::on_path(name))
}

/// Fills `initdb`'s arguments: one superuser that needs no password, since only this machine can reach it.
pub(super) fn initdb_arguments(command: &mut Command, data: &Path) {
    command
        .args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "-D",
        ])
        .arg(data);
}

/// Fills the server's arguments. The data dies with the run, so nothing waits for the disk.
pub(super) fn server_arguments(command: &mut Command, data: &Path, port: u16) {
    command.arg("-D").arg(data).args(["-p", &port.to_string()]);
    for setting in [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "max_connections=200",
        "fsync=off",
        "full_page_writes=off",
        "shared_buffers=64MB",
    ] {
        command.args(["-c", setting]);
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut message = vec![kind];
        message.extend(u32::try_from(body.len() + 4).expect("short").to_be_bytes());
        message.extend(body);
        message
    }

    /// A server that reads the start-up message, then says each part, reading a message in between.
    fn saying(parts: Vec<Vec<u8>>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the test connects");
            for part in parts {
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(&part);
            }
        });
        address
    }

    fn greeting() -> Vec<u8> {
        [message(b'R', &[0; 4]), message(b'S', b"server_version\x0015.8\x00"), message(b'Z', b"I")].concat()
    }

    fn row(value: u8) -> Vec<u8> {
        [message(b'D', &[0, 1, 0, 0, 0, 1, value]), message(b'Z', b"I")].concat()
    }

    #[test]
    fn a_server_that_lets_us_make_databases_is_used() {
        assert_eq!(usable(&saying(vec![greeting(), row(b't')]), "postgres"), Ok("15.8".to_owned()));
    }

    #[test]
    fn each_reason_against_a_server_is_named() {
        let reason = |parts| usable(&saying(parts), "postgres").expect_err("it is not usable");
        assert_eq!(reason(vec![message(b'R', &[0, 0, 0, 10])]), "it wants a password");
        assert_eq!(reason(vec![message(b'E', b"SFATAL\0Mno such role\0\0")]), "no such role");
        assert_eq!(reason(vec![greeting(), row(b'f')]), "postgres may not create databases");
        assert_eq!(
            reason(vec![b"HTTP/1.1 400 Bad Request\r\n".to_vec()]),
            "it does not speak PostgreSQL's protocol"
        );
        assert!(usable("127.0.0.1:1", "postgres").is_err());
    }
}
