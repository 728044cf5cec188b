//! An S3 server to test with, of our own: `moto`, from PyPI.
use std::{
    env,
    io::{Read, Write},
    path::PathBuf,
    process::{Command, Stdio},
};

use super::redis::connect;

/// The version, which names the folder too: another one is installed beside it.
const MOTO: &str = "5.2.5";
/// The bucket that tests use.
const BUCKET: &str = "bailiwick-test";

pub(super) fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Where it is kept between runs.
fn folder() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("bailiwick").join(format!("moto-{MOTO}")))
}

/// The program, once it is installed.
pub(super) fn program() -> Option<PathBuf> {
    folder().map(|folder| folder.join("bin/moto_server")).filter(|program| program.is_file())
}

/// Installs it, unless it is there.
///
/// # Errors
/// The one line to print when that cannot be.
pub(super) fn install() -> Result<(), String> {
    if program().is_some() {
        return Ok(());
    }
    let missing = || format!("missing: moto {MOTO} of PyPI; it needs python3 with venv, and PyPI in reach");
    let folder = folder().ok_or_else(missing)?;
    println!("installing moto, an S3 server, in {}", folder.display());
    let quiet =
        |command: &mut Command| command.stdin(Stdio::null()).status().is_ok_and(|done| done.success());
    let made = quiet(Command::new("python3").args(["-m", "venv"]).arg(&folder));
    let wanted = format!("moto[server,s3]=={MOTO}");
    let installed = made && quiet(Command::new(folder.join("bin/pip")).args(["install", "--quiet", &wanted]));
    if installed && program().is_some() { Ok(()) } else { Err(missing()) }
}

/// The Debian packages that it needs and this machine lacks.
pub(super) fn lacking() -> Vec<&'static str> {
    let has_venv = Command::new("python3")
        .args(["-c", "import venv, ensurepip"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if program().is_some() || has_venv { Vec::new() } else { vec!["python3-venv"] }
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
