//! Counts what the test runners ran, from the summaries they print.
use std::{
    fmt,
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
    process::{Command, Stdio},
    thread,
};

/// Tests by outcome.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
    /// Lines in which a test that passed says that it did not do its work.
    pub(super) silent_skips: Vec<String>,
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

impl Tally {
    /// Adds nextest's `Summary [ 0.1s] 5 tests run: 4 passed (1 slow), 1 failed, 0 skipped`; `false` if the output
    /// has none.
    pub(super) fn add_nextest(&mut self, output: &str) -> bool {
        let Some((_, counts)) = output
            .lines()
            .rev()
            .find(|line| line.trim_start().starts_with("Summary ["))
            .and_then(|line| line.split_once("run:"))
        else {
            return false;
        };
        for part in counts.split([',', '(', ')']) {
            let Some((number, what)) = part.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what.trim() {
                "passed" => self.passed += number,
                "skipped" => self.skipped += number,
                "failed" | "timed out" | "exec failed" => self.failed += number,
                // Flaky, slow and leaky ones are counted among the passed.
                _ => {}
            }
        }
        true
    }

    /// Adds each `test result: ok. 3 passed; 0 failed; 1 ignored; …` of `cargo test`.
    pub(super) fn add_libtest(&mut self, output: &str) {
        for line in output.lines().filter_map(|line| line.trim_start().strip_prefix("test result: ")) {
            for part in line.split([';', '.']) {
                let Some((number, what)) = part.trim().split_once(' ') else { continue };
                let Ok(number) = number.parse::<u64>() else { continue };
                match what {
                    "passed" => self.passed += number,
                    "failed" => self.failed += number,
                    "ignored" => self.skipped += number,
                    _ => {}
                }
            }
        }
    }

    /// Looks through nextest's JUnit report, which holds what each test printed, for lines that begin with
    /// "skip", "skipped" or "skipping".
    pub(super) fn add_silent_skips(&mut self, report: &str) {
        let mut test = String::new();
        for line in report.lines() {
            if let Some((_, rest)) = line.split_once("<testcase name=\"") {
                test = rest.split('"').next().unwrap_or_default().to_owned();
            }
            // The first line of what was printed follows the tag.
            let printed = line.rsplit_once("<system-out>").or_else(|| line.rsplit_once("<system-err>"));
            let printed = printed.map_or(line, |(_, printed)| printed).trim_start();
            // Without capture, the harness leaves the test's first line behind its own `test name ... `.
            let behind_name = printed.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "));
            let printed = behind_name.map_or(printed, |(_, printed)| printed);
            let first =
                printed.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_ascii_lowercase();
            if matches!(first.as_str(), "skip" | "skipped" | "skipping") {
                self.silent_skips.push(format!("{test}: {printed}"));
            }
        }
    }
}

/// Runs the command, shows what it prints as it comes, and hands it back, without colours.
pub(super) fn watch(command: &mut Command) -> io::Result<(bool, String)> {
    if io::stdout().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let on_error = thread::spawn(move || show(stderr, &mut io::stderr()));
    let mut output = show(stdout, &mut io::stdout());
    // A thread that panicked has shown nothing worth keeping; the missing summary is noticed.
    output.push_str(&on_error.join().unwrap_or_default());
    Ok((child.wait()?.success(), output))
}

fn show(from: Option<impl Read>, to: &mut impl Write) -> String {
    let mut seen = String::new();
    let Some(from) = from else { return seen };
    let mut lines = BufReader::new(from);
    let mut line = Vec::new();
    while let Ok(1..) = lines.read_until(b'\n', &mut line) {
        // Nobody may be reading any more; the count goes on.
        let _ = to.write_all(&line).and_then(|()| to.flush());
        seen.push_str(&without_colours(&String::from_utf8_lossy(&line)));
        line.clear();
    }
    seen
}

/// The text without terminal escapes of the form `ESC [ … letter`.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            // The `[` is no letter, so the first letter ends the escape.
            rest.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nextest(summary: &str) -> (bool, Tally) {
        let mut tally = Tally::default();
        (tally.add_nextest(summary), tally)
    }

    #[test]
    fn summaries_of_nextest_are_counted() {
        let (found, tally) =
            nextest("x\n     Summary [   0.123s] 5 tests run: 5 passed, 1 skipped\nwarning: y");
        assert!(found);
        assert_eq!(tally.to_string(), "5 passed, 0 failed, 1 skipped");
        let (_, tally) = nextest(
            "Summary [  61.0s] 9/10 tests run: 4 passed (1 slow, 2 leaky), 3 failed, 1 exec failed, 1 timed out, 0 skipped",
        );
        assert_eq!(tally.to_string(), "4 passed, 5 failed, 0 skipped");
    }

    #[test]
    fn a_run_without_summary_is_noticed() {
        assert_eq!(nextest("error: could not compile"), (false, Tally::default()));
    }

    #[test]
    fn results_of_every_documentation_test_binary_are_added_up() {
        let mut tally = Tally::default();
        tally.add_libtest(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.20s\n\
             test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.5s",
        );
        assert_eq!(tally.to_string(), "4 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn a_test_that_says_it_skipped_is_found_by_name() {
        let mut tally = Tally::default();
        tally.add_silent_skips(
            "<testcase name=\"db::postgres::reads\" classname=\"x\">\n<system-out>running 1 test\nSkipped: no server\n</system-out>\n\
             <testcase name=\"b\"><system-err>skipping, no redis</system-err>\n<testcase name=\"c::skips_blank_lines\">\nskipper\ntest skips ... ok\n\
             <testcase name=\"d\">\ntest d ... skipped\n",
        );
        assert_eq!(
            tally.silent_skips,
            ["db::postgres::reads: Skipped: no server", "b: skipping, no redis</system-err>", "d: skipped"]
        );
    }

    #[test]
    fn colours_do_not_hide_the_summary() {
        let plain = without_colours(
            "\u{1b}[32;1m     Summary\u{1b}[0m [   0.1s] \u{1b}[1m1\u{1b}[0m test run: 1 passed, 0 skipped",
        );
        assert_eq!(nextest(&plain).1.passed, 1);
    }
}
