//! Gets what the suite needs and the machine lacks, or says in one line how to get it.
use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{Failure, clamd, keeper::Wanted, postgres, s3};

/// Installs `cargo-<name>` from crates.io into cargo's own folder, where it is kept, unless it is there.
pub(super) fn cargo_tool(root: &Path, name: &str) -> Result<(), Failure> {
    let answers = quiet(Command::new("cargo").current_dir(root).args([name, "--version"]));
    if answers {
        return Ok(());
    }
    let package = format!("cargo-{name}");
    println!("installing {package}; the first time takes some minutes");
    let installed = Command::new("cargo")
        .current_dir(root)
        .args(["install", "--locked", &package])
        // What it builds is of no use to the workspace.
        .env_remove("CARGO_TARGET_DIR")
        .status()
        .is_ok_and(|status| status.success());
    if installed { Ok(()) } else { Err(format!("get it with `cargo install --locked {package}`")) }
}

/// Installs the Debian packages of the wanted services, and what comes from elsewhere, unless their programs are there.
///
/// # Errors
/// The one line to print when they are missing and cannot be installed.
pub(super) fn install_services(wanted: &Wanted) -> Result<(), String> {
    debian_packages(&|| lacking(wanted))?;
    if wanted.s3 { s3::install() } else { Ok(()) }
}

/// Installs the Debian packages that `lacking` names, until it names none.
///
/// # Errors
/// The one line to print when they are missing and cannot be installed.
pub(super) fn debian_packages(lacking: &dyn Fn() -> Vec<&'static str>) -> Result<(), String> {
    let missing = lacking();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    println!("installing {packages}");
    let as_root: &[&str] = if is_root() { &[] } else { &["sudo", "-n"] };
    let apt = |arguments: &[&str]| {
        let line: Vec<&str> = as_root
            .iter()
            .chain(&["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"])
            .copied()
            .collect();
        Command::new(line[0])
            .args(&line[1..])
            .args(arguments)
            .stdin(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let install =
        ["install", "-y", "--no-install-recommends"].iter().chain(&missing).copied().collect::<Vec<_>>();
    // On a fresh machine the list of packages is empty or old.
    let installed = apt(&install) || (apt(&["update"]) && apt(&install));
    if installed && lacking().is_empty() {
        return Ok(());
    }
    Err(format!("missing: {packages}; get it with `sudo apt-get update && sudo apt-get install {packages}`"))
}

fn lacking(wanted: &Wanted) -> Vec<&'static str> {
    let mut packages = Vec::new();
    if wanted.postgres && (postgres::program("initdb").is_none() || postgres::program("postgres").is_none()) {
        packages.push("postgresql");
    }
    if wanted.redis && on_path("redis-server").is_none() {
        packages.push("redis-server");
    }
    if wanted.clamd && clamd::program().is_none() {
        packages.push("clamav-daemon");
    }
    if wanted.s3 {
        packages.extend(s3::lacking());
    }
    packages
}

/// Where `PATH`, or the folders that only root's `PATH` has, hold the program.
pub(super) fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

pub(super) fn is_root() -> bool {
    number(Command::new("id").arg("-u")) == Some(0)
}

/// What the command prints, as a number.
pub(super) fn number(command: &mut Command) -> Option<u32> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().parse().ok()).flatten()
}

fn quiet(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
