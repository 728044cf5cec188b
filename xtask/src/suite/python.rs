//! Packages of PyPI that the suite needs, in environments of their own that are kept between runs.
use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What pip is given, and where it puts that.
pub(super) struct Environment<'a> {
    /// Names its folder.
    pub(super) name: &'a str,
    /// In the form of a `requirements.txt`.
    pub(super) requirements: &'a str,
}

impl Environment<'_> {
    /// A program of it, once all is installed.
    pub(super) fn program(&self, name: &str) -> Option<PathBuf> {
        let folder = folder(self.name).filter(|folder| self.is_in(folder))?;
        Some(folder.join("bin").join(name)).filter(|program| program.is_file())
    }

    /// Installs what is required, unless just that is there.
    ///
    /// # Errors
    /// The one line to print when that cannot be.
    pub(super) fn install(&self) -> Result<(), String> {
        let name = self.name;
        let missing =
            || format!("missing: {name} of PyPI; it needs python3 with venv, and PyPI in reach of pip");
        let folder = folder(name).ok_or_else(missing)?;
        if self.is_in(&folder) {
            return Ok(());
        }
        println!("installing {name}, from PyPI, in {}", folder.display());
        self.install_in(&folder).ok().filter(|done| *done).map(drop).ok_or_else(missing)
    }

    /// Whether all went well is what the last file says, so that half an installation is none.
    fn install_in(&self, folder: &Path) -> io::Result<bool> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        let quiet =
            |command: &mut Command| command.stdin(Stdio::null()).status().is_ok_and(|done| done.success());
        if !quiet(Command::new("python3").args(["-m", "venv"]).arg(folder)) {
            return Ok(false);
        }
        let wanted = folder.join("wanted.txt");
        fs::write(&wanted, self.requirements)?;
        let pip =
            Command::new(folder.join("bin/pip")).args(["install", "--quiet", "-r"]).arg(&wanted).spawn();
        let installed = pip?.wait()?.success();
        if installed {
            fs::rename(wanted, folder.join(INSTALLED))?;
        }
        Ok(installed)
    }

    fn is_in(&self, folder: &Path) -> bool {
        fs::read_to_string(folder.join(INSTALLED)).is_ok_and(|installed| installed == self.requirements)
    }
}

/// Says what is installed in an environment.
const INSTALLED: &str = "installed.txt";

fn folder(name: &str) -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("bailiwick").join(name))
}

/// The Debian packages that an environment needs and this machine lacks.
pub(super) fn lacking() -> Option<&'static str> {
    let has_venv = Command::new("python3")
        .args(["-c", "import venv, ensurepip"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    (!has_venv).then_some("python3-venv")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_is_what_was_asked_for_and_all_of_it() {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let environment = |requirements| Environment { name: "x", requirements };
        assert!(!environment("a==1").is_in(folder.path()));
        fs::write(folder.path().join("wanted.txt"), "a==1").unwrap();
        assert!(!environment("a==1").is_in(folder.path()), "it was begun");
        fs::write(folder.path().join(INSTALLED), "a==1").unwrap();
        assert!(environment("a==1").is_in(folder.path()));
        assert!(!environment("a==2").is_in(folder.path()));
    }
}
