//! The project's own commands: `cargo xtask test`, `tidy` and `bench`.
#![expect(clippy::print_stdout, reason = "these commands talk to people on standard output")]

mod bench;
mod stopwatch;
mod suite;
mod tidy;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// Everything this project does to itself.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the whole suite: fmt, clippy, tidy, rustdoc, tests on SQLite, PostgreSQL, Redis, S3 and a scanner, features, licences.
    Test(suite::Options),
    /// Checks what the compiler cannot: import arrows, names, places that lower a protection, links.
    Tidy,
    /// Measures the running server against its peers; arguments go to `bench/run.py`.
    #[command(disable_help_flag = true)]
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Runs private services until standard input ends; started by `test`.
    #[command(hide = true)]
    KeepServices(suite::keeper::Wanted),
}

fn main() -> ExitCode {
    let root = root();
    match Cli::parse().command {
        Command::Test(options) => suite::run(&root, &options),
        Command::Tidy => {
            let ok = run_tidy(&root);
            if ok {
                println!("tidy: nothing to mend");
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Command::Bench { arguments } => bench::run(&root, &arguments),
        Command::KeepServices(wanted) => suite::keeper::keep(&wanted),
    }
}

/// Prints what is to mend; `true` when nothing is.
fn run_tidy(root: &std::path::Path) -> bool {
    match tidy::check(root) {
        Ok(findings) => {
            for finding in &findings {
                println!("{finding}");
            }
            if !findings.is_empty() {
                println!("tidy: {} to mend", findings.len());
            }
            findings.is_empty()
        }
        Err(error) => {
            println!("tidy: cannot read the tree: {error}");
            false
        }
    }
}

/// The repository this binary was built from.
fn root() -> PathBuf {
    // Cargo sets the variable for `cargo xtask`, so that a moved clone still finds itself.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map_or_else(|| PathBuf::from("."), PathBuf::from)
}
