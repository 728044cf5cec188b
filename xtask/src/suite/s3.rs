//! An S3 server to test with, of our own: `moto`, from PyPI.
use std::{
    io::{Read, Write},
    path::PathBuf,
    process::Command,
};

use super::{
    python::{self, Environment},
    redis::connect,
};

const MOTO: Environment<'_> = Environment { name: "moto", requirements: "moto[server,s3]==5.2.5\n" };
/// The bucket that tests use.
const BUCKET: &str = "bailiwick-test";

pub(super) fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// The program, once it is installed.
pub(super) fn program() -> Option<PathBuf> {
    MOTO.program("moto_server")
}

/// Installs it, unless it is there.
///
/// # Errors
/// The one line to print when that cannot be.
pub(super) fn install() -> Result<(), String> {
    MOTO.install()
}

/// The Debian packages that it needs and this machine lacks.
pub(super) fn lacking() -> Option<&'static str> {
    if program().is_some() { None } else { python::lacking() }
}

pub(super) fn arguments(command: &mut Command, port: u16) {
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
}

/// Whether the server there answers. What tests need to be there is made by asking: the bucket.
pub(super) fn usable(address: &str) -> Result<(), String> {
    let mut stream = connect(address)?;
    let request = format!(
        "PUT /{BUCKET} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).map_err(|error| error.to_string())?;
    let made = answer.starts_with(b"HTTP/1.1 200");
    if made { Ok(()) } else { Err("it makes no bucket".to_owned()) }
}
