//! A Redis to test with: one that runs, or one of our own.
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

/// How long a server on this machine may take to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}/")
}

/// Whether a server there answers without a password; the error says why not.
pub(super) fn usable(address: &str) -> Result<(), String> {
    let mut stream = connect(address)?;
    stream.write_all(b"PING\r\n").map_err(|error| error.to_string())?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).map_err(|error| error.to_string())?;
    if &answer == b"+PONG\r\n" { Ok(()) } else { Err("it does not answer PING".to_owned()) }
}

pub(super) fn connect(address: &str) -> Result<TcpStream, String> {
    let address: SocketAddr = address.parse().map_err(|_| format!("{address} is no address"))?;
    let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| error.to_string())?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
        .map_err(|error| error.to_string())?;
    Ok(stream)
}

/// The arguments of a server that keeps nothing.
pub(super) fn arguments(command: &mut Command, folder: &Path, port: u16) {
    command
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
        ])
        .arg(folder);
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    fn answering(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the test connects");
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(answer);
        });
        address
    }

    #[test]
    fn only_a_server_that_answers_a_ping_is_used() {
        assert_eq!(usable(&answering(b"+PONG\r\n")), Ok(()));
        assert!(usable(&answering(b"-NOAUTH Authentication required.\r\n")).is_err());
        assert!(usable(&answering(b"")).is_err());
        assert!(usable("127.0.0.1:1").is_err());
    }
}
