//! A ClamAV to test with, of our own: it knows one virus, the test file of EICAR.
//!
//! The signatures that the project publishes are hundreds of megabytes, and change by the hour; a test needs neither.
use std::{
    fmt::Write as _,
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::Command,
};

use super::{Failure, redis::connect, tools};

/// The file that every scanner takes for a virus. In two parts, so that none takes this program for it.
const EICAR: [&str; 2] = [r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-", "ANTIVIRUS-TEST-FILE!$H+H*"];

pub(super) fn url(port: u16) -> String {
    format!("clamd://127.0.0.1:{port}")
}

pub(super) fn program() -> Option<PathBuf> {
    tools::on_path("clamd")
}

/// Whether a daemon there answers; the error says why not.
pub(super) fn usable(address: &str) -> Result<(), String> {
    let mut stream = connect(address)?;
    stream.write_all(b"zPING\0").map_err(|error| error.to_string())?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).map_err(|error| error.to_string())?;
    if &answer == b"PONG\0" { Ok(()) } else { Err("it does not answer PING".to_owned()) }
}

/// Writes what the daemon needs into `folder`, and fills its arguments.
pub(super) fn arguments(command: &mut Command, folder: &Path, port: u16) -> Result<(), Failure> {
    let written = || {
        let database = folder.join("signatures");
        fs::create_dir_all(&database)?;
        let mut signature = "Eicar-Test-Signature:0:0:".to_owned();
        for byte in EICAR.concat().bytes() {
            let _ = write!(signature, "{byte:02x}");
        }
        fs::write(database.join("test.ndb"), signature + "\n")?;
        let settings = folder.join("clamd.conf");
        let database = database.display();
        let text =
            format!("Foreground yes\nTCPSocket {port}\nTCPAddr 127.0.0.1\nDatabaseDirectory {database}\n");
        fs::write(&settings, text)?;
        Ok::<_, std::io::Error>(settings)
    };
    let settings = written().map_err(|error| format!("{}: {error}", folder.display()))?;
    command.arg("--config-file").arg(settings);
    Ok(())
}
