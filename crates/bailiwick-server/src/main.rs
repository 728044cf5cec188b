//! The `bailiwick` server.
use std::process::ExitCode;

fn main() -> ExitCode {
    bailiwick_server::cli::run(std::env::args_os())
}
