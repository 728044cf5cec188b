//! `cargo xtask test`: the whole suite, on a fresh Debian machine with Rust as on a developer's.
//!
//! A step that fails does not stop the ones after it; what failed is listed at the end. What a step needs and
//! the machine lacks is installed, or named in one line with the way to get it.
mod browser;
mod clamd;
mod django;
pub(crate) mod keeper;
mod postgres;
mod python;
mod redis;
mod s3;
mod tally;
mod tools;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use self::{
    keeper::{Services, Wanted},
    tally::Tally,
};
use crate::stopwatch::{Spoken, Stopwatch};

/// The target directory that CI keeps between its clones is emptied above this size, in bytes.
const MAX_KEPT_TARGET_BYTES: u64 = 16 << 30;

/// How much of the suite to run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave out rustdoc, the build of each feature alone, and cargo-deny.
    #[arg(long)]
    quick: bool,
    /// Run only the tests that this nextest filter expression selects, and no documentation tests.
    #[arg(long, value_name = "EXPR")]
    filter: Option<String>,
    /// Start a PostgreSQL and a Redis of our own even where running ones answer.
    #[arg(long)]
    private_services: bool,
}

/// Why a step did not pass. Its text is the one line at the end of the run.
type Failure = String;

struct Suite<'a> {
    root: &'a Path,
    options: &'a Options,
    /// On CI a lock file that is out of date and a skipped test are failures.
    ci: bool,
    /// What every command of the run gets.
    environment: Vec<(String, String)>,
    tally: Tally,
    failures: Vec<String>,
}

/// Runs the suite and prints it; the last line is `N passed, M failed, K skipped`.
pub(crate) fn run(root: &Path, options: &Options) -> ExitCode {
    let ci = env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    let mut suite =
        Suite { root, options, ci, environment: Vec::new(), tally: Tally::default(), failures: Vec::new() };
    if ci && env::var_os("CARGO_TARGET_DIR").is_none() {
        match kept_target() {
            Ok(target) => {
                suite
                    .environment
                    .push(("CARGO_TARGET_DIR".to_owned(), target.to_string_lossy().into_owned()));
            }
            Err(error) => println!("building in this clone, since no target directory can be kept: {error}"),
        }
    }
    suite.environment.push(("BAILIWICK_TEST_ALL".to_owned(), "1".to_owned()));

    let whole = Stopwatch::start();
    if let Some(Err(missing)) = suite.step("browser", Suite::find_browser) {
        println!("{missing}");
        return ExitCode::from(2);
    }
    if let Some(Err(missing)) = suite.step("django", Suite::find_django) {
        println!("{missing}");
        return ExitCode::from(2);
    }
    // Started before anything is built, so that a machine that lacks them says so within seconds. They stop
    // when this value goes, and also when this process is killed.
    let services = match suite.step("services", Suite::start_services) {
        Some(Ok(services)) => Some(services),
        Some(Err(missing)) => {
            println!("{missing}");
            return ExitCode::from(2);
        }
        // The tests that need them say so; everything else can still be known.
        None => None,
    };
    suite.step("fmt", Suite::fmt);
    suite.step("clippy", Suite::clippy);
    suite.step("tidy", Suite::tidy);
    if !options.quick {
        suite.step("rustdoc", Suite::rustdoc);
    }
    suite.step("tests", Suite::tests);
    if options.filter.is_none() {
        suite.step("documentation tests", Suite::documentation_tests);
    }
    if !options.quick {
        suite.step("each feature alone", Suite::features);
        suite.step("cargo-deny", Suite::deny);
    }
    if let Some(services) = services.filter(Services::any) {
        suite.step("stop our own services", |_| services.stop());
    }
    suite.finish(&whole)
}

impl Suite<'_> {
    /// Runs one step and prints its line; `None` if it failed.
    fn step<T>(&mut self, name: &str, run: impl FnOnce(&mut Self) -> Result<T, Failure>) -> Option<T> {
        let watch = Stopwatch::start();
        let result = run(self);
        let time = Spoken(watch.elapsed());
        match result {
            Ok(value) => {
                println!("== {name} ({time})");
                Some(value)
            }
            Err(failure) => {
                println!("== {name} ({time}) FAILED: {failure}");
                self.failures.push(format!("{name}: {failure}"));
                None
            }
        }
    }

    fn finish(mut self, whole: &Stopwatch) -> ExitCode {
        println!("== all ({})", Spoken(whole.elapsed()));
        println!("skipped: {}", self.tally.skipped);
        for line in &self.tally.silent_skips {
            println!("a test said that it skipped: {line}");
        }
        let skips = self.tally.skipped > 0 && self.options.filter.is_none();
        if self.ci && (skips || !self.tally.silent_skips.is_empty()) {
            self.failures.push("skipped tests: CI runs every test".to_owned());
        }
        for failure in &self.failures {
            println!("failed: {failure}");
        }
        println!("{}", self.tally);
        if self.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// A command that runs at the root with the environment of the suite.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.root).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let mut command = self.command(&cargo);
        // Set for this binary by `cargo xtask`; a build script that watches one of them would build anew.
        for (name, _) in env::vars_os() {
            if name
                .to_str()
                .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
            {
                command.env_remove(name);
            }
        }
        command.args(arguments);
        command
    }

    /// `--locked` on CI, so that a dependency which the lock file does not know is a failure.
    fn locked(&self) -> &'static [&'static str] {
        if self.ci { &["--locked"] } else { &[] }
    }

    /// The inner `Err` names what this machine lacks.
    fn find_browser(&mut self) -> Result<Result<(), String>, Failure> {
        Ok(browser::find(self.root).map(|program| {
            let program = program.to_string_lossy().into_owned();
            println!("browser {program}");
            self.environment.push((browser::CHROMIUM.to_owned(), program));
        }))
    }

    /// The inner `Err` names what this machine lacks.
    fn find_django(&mut self) -> Result<Result<(), String>, Failure> {
        Ok(django::find(self.root).map(|python| {
            println!("Django of {python}");
            self.environment.push((django::DJANGO_PYTHON.to_owned(), python));
        }))
    }

    /// The outer `Err` is a service that does not start; the inner one names what this machine lacks.
    fn start_services(&mut self) -> Result<Result<Services, String>, Failure> {
        // Whoever names a scanner or a store has set them up for tests; others on this machine are not.
        let mut wanted = Wanted {
            clamd: env::var_os(CLAMD_URL).is_none(),
            s3: env::var_os(S3_URL).is_none(),
            ..Wanted::default()
        };
        if self.options.private_services {
            wanted = Wanted { postgres: true, redis: true, ..wanted };
        } else {
            self.reuse_postgres(&mut wanted);
            self.reuse_redis(&mut wanted);
        }
        if let Err(missing) = tools::install_services(&wanted) {
            return Ok(Err(missing));
        }
        let services = Services::start(&wanted)?;
        for (name, url) in services.urls() {
            println!("{name} of our own at {url}");
            self.environment.push((variable(name).to_owned(), url.to_owned()));
        }
        Ok(Ok(services))
    }

    fn reuse_postgres(&mut self, wanted: &mut Wanted) {
        // A database that somebody chose on purpose is used as it is; the tests say what is wrong with it.
        if env::var_os(POSTGRES_URL).is_some() {
            println!("PostgreSQL of {POSTGRES_URL}");
            return;
        }
        match postgres::usable("127.0.0.1:5432", "postgres") {
            Ok(version) => {
                println!("PostgreSQL {version} found at 127.0.0.1:5432");
                self.environment.push((POSTGRES_URL.to_owned(), postgres::url("postgres", 5432)));
            }
            Err(reason) => {
                println!("PostgreSQL at 127.0.0.1:5432 is not for us ({reason})");
                wanted.postgres = true;
            }
        }
    }

    fn reuse_redis(&mut self, wanted: &mut Wanted) {
        if env::var_os(REDIS_URL).is_some() {
            println!("Redis of {REDIS_URL}");
            return;
        }
        match redis::usable("127.0.0.1:6379") {
            Ok(()) => {
                println!("Redis found at 127.0.0.1:6379");
                self.environment.push((REDIS_URL.to_owned(), redis::url(6379)));
            }
            Err(reason) => {
                println!("Redis at 127.0.0.1:6379 is not for us ({reason})");
                wanted.redis = true;
            }
        }
    }

    fn fmt(&mut self) -> Result<(), Failure> {
        passes(
            &mut self.cargo(&["fmt", "--all", "--check", "--", "--files-with-diff"]),
            "run `cargo fmt --all`",
        )
    }

    fn clippy(&mut self) -> Result<(), Failure> {
        let mut command = self.cargo(&["clippy", "--workspace", "--all-targets"]);
        command.args(self.locked()).args(["--", "-D", "warnings"]);
        passes(&mut command, "see above")
    }

    fn tidy(&mut self) -> Result<(), Failure> {
        if crate::run_tidy(self.root) { Ok(()) } else { Err("see above".to_owned()) }
    }

    fn rustdoc(&mut self) -> Result<(), Failure> {
        let mut command = self.cargo(&["doc", "--workspace", "--no-deps"]);
        command.args(self.locked()).env("RUSTDOCFLAGS", "-D warnings");
        passes(&mut command, "see above")
    }

    fn tests(&mut self) -> Result<(), Failure> {
        tools::cargo_tool(self.root, "nextest")?;
        let profile = if self.ci { "ci" } else { "default" };
        // nextest keeps its reports in the workspace, wherever cargo builds.
        let report = self.root.join("target/nextest").join(profile).join("junit.xml");
        // An old report must not stand in for a run that wrote none.
        match fs::remove_file(&report) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(format!("{}: {error}", report.display()));
            }
            _ => {}
        }
        let mut command =
            self.cargo(&["nextest", "run", "--workspace", "--no-fail-fast", "--profile", profile]);
        command.args(self.locked());
        if let Some(filter) = &self.options.filter {
            command.args(["--filterset", filter]);
        }
        let (ok, output) =
            tally::watch(&mut command).map_err(|error| format!("cannot start cargo nextest: {error}"))?;
        let counted = self.tally.add_nextest(&output);
        match fs::read_to_string(&report) {
            Ok(report) => self.tally.add_silent_skips(&report),
            Err(error) if ok => {
                return Err(format!("nextest left no report at {}: {error}", report.display()));
            }
            Err(_) => {}
        }
        match (ok, counted) {
            (true, true) => Ok(()),
            (true, false) => Err("nextest passed without a summary that can be read".to_owned()),
            (false, true) => Err("see above".to_owned()),
            (false, false) => Err("they did not run; see above".to_owned()),
        }
    }

    fn documentation_tests(&mut self) -> Result<(), Failure> {
        let mut command = self.cargo(&["test", "--doc", "--workspace", "--no-fail-fast"]);
        command.args(self.locked());
        let (ok, output) =
            tally::watch(&mut command).map_err(|error| format!("cannot start cargo test: {error}"))?;
        self.tally.add_libtest(&output);
        if ok { Ok(()) } else { Err("see above".to_owned()) }
    }

    /// A feature adds API and never changes behaviour (I12), so each must build without the others.
    fn features(&mut self) -> Result<(), Failure> {
        let output = self
            .cargo(&["metadata", "--no-deps", "--format-version", "1"])
            .output()
            .map_err(|error| format!("cannot start cargo metadata: {error}"))?;
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("cargo metadata cannot be read: {error}"))?;
        let mut failed = Vec::new();
        let features = features(&metadata);
        for (package, feature) in &features {
            let mut command = self.cargo(&[
                "check",
                "--quiet",
                "-p",
                package,
                "--no-default-features",
                "--features",
                feature,
            ]);
            command.args(self.locked());
            if passes(&mut command, "").is_err() {
                failed.push(format!("{package}/{feature}"));
            }
        }
        println!("{} features", features.len());
        if failed.is_empty() { Ok(()) } else { Err(format!("{} do not build alone", failed.join(", "))) }
    }

    fn deny(&mut self) -> Result<(), Failure> {
        tools::cargo_tool(self.root, "deny")?;
        let mut checks = vec!["deny", "--all-features", "check", "--hide-inclusion-graph"];
        if env::var("CI_ADVISORIES").is_ok_and(|value| value == "1") {
            checks.push("advisories");
        } else {
            println!(
                "advisories are NOT checked: their database cannot be fetched everywhere; set CI_ADVISORIES=1 to try"
            );
        }
        checks.extend(["bans", "licenses", "sources"]);
        passes(&mut self.cargo(&checks), "see above")
    }
}

const POSTGRES_URL: &str = "BAILIWICK_TEST_POSTGRES_URL";
const REDIS_URL: &str = "BAILIWICK_TEST_REDIS_URL";

const CLAMD_URL: &str = "BAILIWICK_TEST_CLAMD_URL";
const S3_URL: &str = "BAILIWICK_TEST_S3_URL";

fn variable(service: &str) -> &'static str {
    match service {
        "postgres" => POSTGRES_URL,
        "clamd" => CLAMD_URL,
        "s3" => S3_URL,
        _ => REDIS_URL,
    }
}

/// Runs the command with our standard output and error.
fn passes(command: &mut Command, advice: &str) -> Result<(), Failure> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(advice.to_owned()),
        Err(error) => Err(format!("cannot start {}: {error}", command.get_program().to_string_lossy())),
    }
}

/// Each feature of each package of the workspace; `default` is what every other step builds.
fn features(metadata: &serde_json::Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let Some(name) = package["name"].as_str() else { continue };
        for feature in package["features"].as_object().into_iter().flat_map(|features| features.keys()) {
            if feature != "default" {
                found.push((name.to_owned(), feature.clone()));
            }
        }
    }
    found
}

/// A target directory outside the clone, since CI clones afresh for each run.
fn kept_target() -> io::Result<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .ok_or_else(|| io::Error::other("neither XDG_CACHE_HOME nor HOME is set"))?;
    let target = cache.join("bailiwick").join("target");
    // Clones at ever new paths leave their crates behind; a full disk would fail in stranger ways.
    if target.is_dir() && size(&target)? > MAX_KEPT_TARGET_BYTES {
        println!("{} has grown past {} GiB and is emptied", target.display(), MAX_KEPT_TARGET_BYTES >> 30);
        fs::remove_dir_all(&target)?;
    }
    fs::create_dir_all(&target)?;
    Ok(target)
}

fn size(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        bytes += if kind.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_but_default_is_built_alone() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "a", "features": { "default": ["x"], "x": [] } },
            { "name": "b", "features": {} },
        ] });
        assert_eq!(features(&metadata), [("a".to_owned(), "x".to_owned())]);
    }

    #[test]
    fn the_size_of_a_folder_counts_what_is_below_it() {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        fs::create_dir(folder.path().join("deep")).unwrap();
        fs::write(folder.path().join("deep/a"), [0; 1000]).unwrap();
        fs::write(folder.path().join("b"), [0; 24]).unwrap();
        assert_eq!(size(folder.path()).unwrap(), 1024);
    }
}
