//! A real browser to test with: Debian's Chromium, and the npm package that drives it.
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::tools;

/// Names the program for the tests, or for us one that somebody chose on purpose.
pub(super) const CHROMIUM: &str = "BAILIWICK_TEST_CHROMIUM";
/// Where the script of the tests and its lock file are.
const FOLDER: &str = "crates/bailiwick-server/tests/browser";

/// Finds a browser, after installing what there is not: the program to run.
///
/// # Errors
/// The one line to print when something is missing and cannot be installed.
pub(super) fn find(root: &Path) -> Result<PathBuf, String> {
    tools::debian_packages(&lacking)?;
    install_driver(&root.join(FOLDER))?;
    chromium().ok_or_else(|| "missing: chromium".to_owned())
}

fn lacking() -> Vec<&'static str> {
    let found =
        [(chromium(), "chromium"), (tools::on_path("node"), "nodejs"), (tools::on_path("npm"), "npm")];
    found.into_iter().filter(|(program, _)| program.is_none()).map(|(_, package)| package).collect()
}

fn chromium() -> Option<PathBuf> {
    let chosen = env::var_os(CHROMIUM).filter(|program| !program.is_empty());
    // Not every distribution calls it as Debian does.
    let names = ["chromium", "chromium-browser", "google-chrome"];
    chosen.map(PathBuf::from).or_else(|| names.into_iter().find_map(tools::on_path))
}

/// Brings what the lock file names, unless it is there.
fn install_driver(folder: &Path) -> Result<(), String> {
    if is_installed(folder) {
        return Ok(());
    }
    println!("installing the driver of the browser in {}", folder.display());
    let installed = Command::new("npm")
        // Nothing of a package is run to install it.
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if installed && is_installed(folder) {
        return Ok(());
    }
    Err(format!("missing: npm packages of the browser tests; get them with `npm ci --prefix {FOLDER}`"))
}

/// Whether npm has installed just what the lock file names: it notes what it did in a lock file of its own.
fn is_installed(folder: &Path) -> bool {
    let wanted = packages(&folder.join("package-lock.json"));
    wanted.is_some() && wanted == packages(&folder.join("node_modules/.package-lock.json"))
}

/// The packages of a lock file, without the project itself, which only one of the two names.
fn packages(lock: &Path) -> Option<serde_json::Map<String, serde_json::Value>> {
    let lock: serde_json::Value = serde_json::from_str(&fs::read_to_string(lock).ok()?).ok()?;
    let mut packages = lock["packages"].as_object()?.clone();
    packages.remove("");
    Some(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_of_another_version_is_not_the_one_that_is_locked() {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        assert!(!is_installed(folder.path()), "nothing is locked");
        write("package-lock.json", r#"{"packages":{"":{},"node_modules/a":{"version":"2"}}}"#);
        assert!(!is_installed(folder.path()), "nothing is installed");
        fs::create_dir(folder.path().join("node_modules")).unwrap();
        write("node_modules/.package-lock.json", r#"{"packages":{"node_modules/a":{"version":"1"}}}"#);
        assert!(!is_installed(folder.path()));
        write("node_modules/.package-lock.json", r#"{"packages":{"node_modules/a":{"version":"2"}}}"#);
        assert!(is_installed(folder.path()));
    }
}
