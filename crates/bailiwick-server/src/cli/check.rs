//! `bailiwick check`.
use clap::Args as ClapArgs;

use super::{
    Context, Outcome,
    failure::Failure,
    output::{Format, print, print_json, tell},
};
use crate::check::{Strictness, check, checklist_text, rules};

/// Check whether the settings are safe: every problem with a code, a reason and a fix
///
/// Exits with 1 if any of them is an error.
#[derive(ClapArgs, Clone, Copy, Debug)]
#[command(after_help = "Examples:\n  bailiwick check\n  bailiwick check --deploy --format json")]
pub(super) struct Args {
    /// Check as for production, whatever the settings say, and go through the production checklist
    #[arg(long)]
    deploy: bool,

    /// List everything that is looked for, and look at nothing
    #[arg(long, conflicts_with = "deploy")]
    list: bool,

    #[command(flatten)]
    format: Format,
}

pub(super) fn run(context: &Context, args: Args) -> Outcome {
    if args.list {
        return list(args.format);
    }
    let loaded = context.settings()?;
    let strictness = if args.deploy { Strictness::Deploy } else { Strictness::AsConfigured };
    let report = check(&loaded, strictness);
    for finding in report.accepted() {
        tell(&format!("accepted: {finding}"));
    }
    if args.deploy {
        tell(&format!(
            "{}[x] seen to  [!] a finding speaks against it  [ ] yours to confirm",
            checklist_text(&report)
        ));
    }
    if args.format.is_json() {
        print_json(&report.findings())?;
    } else {
        let text: String = report.findings().iter().map(|finding| format!("{finding}\n")).collect();
        print(&text)?;
        if report.findings().is_empty() {
            tell("no findings");
        }
    }
    if report.has_errors() { Err(Failure::answered_no()) } else { Ok(()) }
}

fn list(format: Format) -> Outcome {
    if format.is_json() {
        return print_json(&rules().collect::<Vec<_>>());
    }
    let text: String =
        rules().map(|rule| format!("{} ({}): {}\n", rule.code, rule.severity, rule.finds)).collect();
    print(&text)
}
