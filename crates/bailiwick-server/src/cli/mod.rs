//! The command line: `bailiwick serve`, and everything an operator does to a database.
//!
//! What a script needs goes to standard output, what a person reads to standard error. The exit code is 0
//! when it is done, 1 when the answer is no, 2 for wrong usage or settings that are refused, 3 when the
//! database or another service is out of reach. A password comes from a prompt, from standard input or from a
//! file, never from an argument, which every user of the machine could read.
mod arguments;
mod audit;
mod check;
mod config;
mod database;
mod demo;
mod failure;
mod init;
mod key;
mod migrate;
mod operator;
mod org;
mod output;
mod password;
mod serve;
mod session;
mod token;
mod user;

use std::{ffi::OsString, future::Future, path::PathBuf, process::ExitCode};

use bailiwick::clock::OsEntropy;
use clap::{Parser, Subcommand};

pub(crate) use self::database::embedded;
use self::failure::Failure;
use crate::config::{CONFIG_VARIABLE, DEFAULT_FILE, Inputs, Loaded};

/// What every command answers.
type Outcome = Result<(), Failure>;

/// A multi-tenant API server that is secure by default.
#[derive(Debug, Parser)]
#[command(
    name = "bailiwick",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Examples:\n  bailiwick demo\n  bailiwick init --owner ann --email ann@example.com --org acme\n  \
                  bailiwick serve --config /etc/bailiwick/bailiwick.toml\n\nExit codes: 0 done, 1 the answer is no, \
                  2 wrong usage or refused settings, 3 the database or another service is out of reach."
)]
struct Cli {
    /// The settings file [env: BAILIWICK_CONFIG] [default: bailiwick.toml in the current directory]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Init(init::Args),
    Serve(serve::Args),
    Migrate(migrate::Args),
    Check(check::Args),
    #[command(subcommand)]
    User(user::Command),
    #[command(subcommand)]
    Org(org::Command),
    #[command(subcommand)]
    Session(session::Command),
    #[command(subcommand)]
    Token(token::Command),
    #[command(subcommand)]
    Key(key::Command),
    #[command(subcommand)]
    Audit(audit::Command),
    #[command(subcommand)]
    Config(config::Command),
}

/// Runs the command that `arguments` spell, the first of which is the name of the program.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output and is no failure; clap knows.
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            return match error.print() {
                Ok(()) => ExitCode::from(code),
                Err(_) => ExitCode::from(2),
            };
        }
    };
    let makes_its_own = matches!(cli.command, Command::Demo(_) | Command::Init(_));
    if makes_its_own && cli.config.is_some() {
        let failure = Failure::refused("this command makes settings of its own", "leave --config out");
        return failure.report();
    }
    // An empty variable is one that somebody could not unset.
    let variable = || std::env::var_os(CONFIG_VARIABLE).filter(|file| !file.is_empty()).map(PathBuf::from);
    let context = Context { config: cli.config.or_else(variable) };
    let outcome = match cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Init(args) => init::run(&args),
        Command::Serve(_) => serve::run(&context),
        Command::Migrate(args) => migrate::run(&context, args),
        Command::Check(args) => check::run(&context, args),
        Command::User(command) => user::run(&context, command),
        Command::Org(command) => org::run(&context, command),
        Command::Session(command) => session::run(&context, command),
        Command::Token(command) => token::run(&context, command),
        Command::Key(command) => key::run(&context, command),
        Command::Audit(command) => audit::run(&context, command),
        Command::Config(command) => config::run(&context, command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// What commands have in common.
#[derive(Debug)]
struct Context {
    config: Option<PathBuf>,
}

impl Context {
    fn inputs(&self) -> Inputs {
        Inputs::of_process(self.config.clone())
    }

    /// The settings, defaults where none are given.
    fn settings(&self) -> Result<Loaded, Failure> {
        Ok(Loaded::load(&self.inputs())?)
    }

    /// The settings of a command that works on a database: with defaults alone it would be one that nobody
    /// meant.
    fn given_settings(&self) -> Result<Loaded, Failure> {
        let inputs = self.inputs();
        if !inputs.are_given() {
            return Err(Failure::refused(
                format!(
                    "there are no settings: no {DEFAULT_FILE} in this directory, and none in the environment"
                ),
                "name the file with --config or BAILIWICK_CONFIG, or make one with `bailiwick init`",
            ));
        }
        Ok(Loaded::load(&inputs)?)
    }

    /// The same, of a command that opens the database: what it does there is recorded, under a key that is derived from the
    /// master key.
    fn keyed_settings(&self) -> Result<Loaded, Failure> {
        let mut loaded = self.given_settings()?;
        loaded.ensure_master_key(&OsEntropy)?;
        Ok(loaded)
    }
}

/// Runs the asynchronous part of a command to its end, on this thread.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    run_on(&mut tokio::runtime::Builder::new_current_thread(), work)
}

fn run_on<T>(
    runtime: &mut tokio::runtime::Builder,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match runtime.enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => Err(Failure::out_of_reach(
            format!("the system gives no threads or files to run with: {error}"),
            "raise the limits of this user (`ulimit -n`, `ulimit -u`)",
        )),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_declaration_of_commands_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every command, down to the last subcommand.
    fn leaves(command: &clap::Command, path: &str, found: &mut Vec<(String, clap::Command)>) {
        for inner in command.get_subcommands() {
            let path = format!("{path} {}", inner.get_name());
            if inner.has_subcommands() {
                leaves(inner, &path, found);
            } else {
                found.push((path, inner.clone()));
            }
        }
    }

    #[test]
    fn the_help_of_every_command_has_an_example_of_it() {
        let mut found = Vec::new();
        leaves(&Cli::command(), "bailiwick", &mut found);
        assert!(found.len() >= 20, "{}", found.len());
        for (path, command) in found {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Example") && help.contains(&path), "{path}: {help}");
            assert!(command.get_about().is_some(), "{path}");
        }
    }

    #[test]
    fn no_command_takes_a_password_as_an_argument() {
        let mut found = Vec::new();
        leaves(&Cli::command(), "bailiwick", &mut found);
        for (path, command) in found {
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                let name = argument.get_id().as_str();
                assert!(!name.contains("password") || !argument.get_action().takes_values(), "{path} {name}");
            }
        }
    }
}
