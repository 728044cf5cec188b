//! The transcripts of the guide: what its pages tell people to type is typed here, and answers as they say.
#![cfg(unix)]
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use serde_json::Value;
use tempfile::TempDir;

/// What stands on a page for what differs from run to run.
const ANYTHING: char = '…';
const DEMO: &str = "http://127.0.0.1:8000";

/// A block of a page that is to be typed, and the lines that are then seen, among others.
struct Step {
    script: String,
    answer: Vec<String>,
}

fn steps(page: &str) -> Vec<Step> {
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide").join(page);
    let text = fs::read_to_string(text).unwrap();
    let mut steps: Vec<Step> = Vec::new();
    // The blocks of a page are at odd places between its fences; each begins with its language.
    for block in text.split("```").skip(1).step_by(2) {
        let (language, lines) = block.split_once('\n').unwrap();
        match language {
            "sh" => steps.push(Step { script: lines.to_owned(), answer: Vec::new() }),
            "text" => steps.last_mut().unwrap().answer.extend(lines.lines().map(str::to_owned)),
            _ => {}
        }
    }
    let start = steps.remove(0);
    assert_eq!(start.script, "cargo run --release -- demo\n", "a transcript begins with the demo");
    steps
}

/// A demo that runs, and the shell of somebody who tries it.
struct Demo {
    child: Child,
    folder: TempDir,
    url: String,
    password: String,
    /// The assignments typed so far.
    variables: String,
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Demo {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bailiwick"));
        command.args(["demo", "--bind", "127.0.0.1:0", "--data", "data"]);
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut after =
            |start: &str| lines.by_ref().find_map(|line| Some(line.strip_prefix(start)?.to_owned()));
        let url = after("# Bailiwick demo at ").unwrap();
        let password = after("#   mia ").unwrap().split_whitespace().next().unwrap().to_owned();
        // Somebody must go on reading.
        thread::spawn(move || lines.count());
        Self { child, folder, url, password, variables: String::new() }
    }

    /// Types a block; what is seen then. `last` is what was seen before, from which people copy.
    fn run(&mut self, block: &str, last: &str) -> String {
        let member = |name: &str| {
            let bodies = last.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut values = bodies.filter_map(|body| Some(body[name].as_str()?.to_owned()));
            values.next().unwrap_or_else(|| panic!("there is no {name} to copy in: {last}"))
        };
        let mut script = block.replace(DEMO, &self.url);
        script = script.replace(r#""password":"…""#, &format!(r#""password":"{}""#, self.password));
        // `NAME=start…` is a line for whoever copies a value that begins so.
        for typed in block.lines() {
            let assigned = typed.strip_suffix(ANYTHING).and_then(|typed| typed.split_once('='));
            let Some((name, start)) = assigned else { continue };
            let copied = match start {
                "bw_pat_" => "token",
                "bw_rt_" => "refresh",
                "eyJ" => "access",
                "" => "csrf_token",
                other => panic!("nobody knows what begins with {other}"),
            };
            let value = member(copied);
            assert!(value.starts_with(start), "{name} does not begin with {start}: {last}");
            let assignment = format!("{name}={value}");
            script = script.replace(typed, &assignment);
            self.variables += &format!("{assignment}\n");
        }
        assert!(!script.contains(ANYTHING), "nobody can type this: {script}");
        let mut command = Command::new("sh");
        command.args(["-euc", &format!("{}{script}", self.variables)]).current_dir(self.folder.path());
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{error}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Whether a line that was seen is what the page says.
fn is_said(line: &str, said: &str) -> bool {
    let Some((start, said)) = said.split_once(ANYTHING) else { return line == said };
    let (middle, end) = said.rsplit_once(ANYTHING).unwrap_or(("", said));
    let Some(mut rest) = line.strip_prefix(start).and_then(|rest| rest.strip_suffix(end)) else {
        return false;
    };
    for piece in middle.split(ANYTHING) {
        match rest.split_once(piece) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

fn the_page_is_true(page: &str) {
    let mut demo = Demo::start();
    let mut seen = String::new();
    let steps = steps(page);
    assert!(steps.len() > 2 && steps.iter().all(|step| !step.answer.is_empty()), "{page}");
    for step in steps {
        // Some bodies end without a line end, and the next head follows them.
        let script = step.script.replace("curl ", r"curl -w '\n' ");
        seen = demo.run(&script, &seen);
        let mut lines = seen.lines();
        for said in &step.answer {
            let said = said.replace(DEMO, &demo.url);
            let is_there = lines.any(|line| is_said(line, &said));
            assert!(is_there, "{page} says\n{said}\nand after\n{}there is\n{seen}", step.script);
        }
    }
}

#[test]
fn serial_lab_a_is_true() {
    the_page_is_true("lab-a.md");
}

#[test]
fn serial_lab_b_is_true() {
    the_page_is_true("lab-b.md");
}

#[test]
fn serial_the_page_about_sessions_is_true() {
    the_page_is_true("sessions.md");
}

#[test]
fn what_a_page_leaves_out_may_be_anything_and_nothing_else() {
    for (line, said) in [("ab", "ab"), ("axxb", "a…b"), ("ab", "a…b"), ("xxab", "…ab"), ("abxx", "ab…")]
    {
        assert!(is_said(line, said), "{line} {said}");
    }
    for (line, said) in [("abx", "ab"), ("xab", "ab"), ("ba", "a…b"), ("axb", "a…bc"), ("axbx", "a…b")]
    {
        assert!(!is_said(line, said), "{line} {said}");
    }
}
