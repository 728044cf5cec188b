//! `cargo xtask bench`: the measurement itself is `bench/run.py`.
use std::{
    path::Path,
    process::{Command, ExitCode},
};

/// Hands the arguments over, and the exit code back.
pub(crate) fn run(root: &Path, arguments: &[String]) -> ExitCode {
    match Command::new("python3").current_dir(root).arg("bench/run.py").args(arguments).status() {
        // A signal has no code; 1 says that it went wrong.
        Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(error) => {
            println!(
                "bench: cannot start python3 ({error}); install it with `apt-get install python3 python3-venv`"
            );
            ExitCode::from(2)
        }
    }
}
