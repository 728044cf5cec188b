//! What goes to standard output, for scripts, and to standard error, for people.
use std::io::{self, Write};

use clap::{Args, ValueEnum};
use comfy_table::{Table as Grid, presets};
use serde_json::{Map, Value};

use super::{Outcome, failure::Failure};

/// The form of an answer.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Format {
    /// How the answer is printed
    #[arg(long = "format", value_enum, default_value_t = Form::Text, value_name = "FORMAT")]
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people
    Text,
    /// For programs
    Json,
}

impl Format {
    /// Whether programs read the answer.
    pub(super) fn is_json(self) -> bool {
        self.form == Form::Json
    }

    /// Prints a table: in JSON as a list of objects, one for each row.
    pub(super) fn print_table(self, columns: &[&str], rows: Vec<Vec<Value>>) -> Outcome {
        if self.is_json() {
            let object =
                |row: Vec<Value>| columns.iter().map(ToString::to_string).zip(row).collect::<Map<_, _>>();
            return print_json(&rows.into_iter().map(object).collect::<Vec<_>>());
        }
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING);
        grid.set_header(columns.iter().map(|name| name.to_uppercase().replace('_', " ")));
        for row in rows {
            grid.add_row(row.iter().map(cell));
        }
        // A margin of one space on both sides stays even without borders.
        let text: String =
            grid.lines().map(|line| line.trim_end().get(1..).unwrap_or_default().to_owned() + "\n").collect();
        print(&text)
    }

    /// Prints one thing: in JSON as an object, else only `text`.
    pub(super) fn print_one(self, text: &str, object: &Value) -> Outcome {
        if self.is_json() { print_json(object) } else { print(&format!("{text}\n")) }
    }
}

/// Text without control characters: a name in the database must not be able to drive the terminal.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    };
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

/// Prints JSON to standard output.
pub(super) fn print_json(value: &impl serde::Serialize) -> Outcome {
    let text = serde_json::to_string_pretty(value).expect("text, numbers and lists of them are JSON");
    print(&(text + "\n"))
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no failure.
pub(super) fn print(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::out_of_reach(format!("standard output cannot be written: {error}"), ""))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error. If nobody listens there, there is nobody to tell.
pub(super) fn tell(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_cannot_drive_the_terminal() {
        assert_eq!(cell(&Value::from("Ann \x1b[31m\n")), "Ann \\u{1b}[31m\\n");
        assert_eq!(cell(&Value::from("Zoë")), "Zoë");
        assert_eq!(cell(&Value::Null), "-");
    }
}
