//! Which files there are, which a control must have, and whether links lead to one.
use std::{
    fs, io,
    path::{Component, Path, PathBuf},
    process::Command,
};

use super::{
    Finding, TABLE,
    table::{CONTROL_FILES, FRAMEWORK, Kind, MISSING, Missing, ROOMS, Room},
};

/// Folders that hold what builds and runs leave behind; only needed where git cannot be asked.
const LEFTOVERS: &[&str] = &["target", ".git", ".work", "__pycache__", "node_modules"];

/// The files of the tree that are or could be committed, sorted, with forward slashes.
pub(super) fn list(root: &Path) -> io::Result<Vec<String>> {
    let mut files = match from_git(root) {
        Some(files) => files,
        None => {
            let mut files = Vec::new();
            walk(root, root, &mut files)?;
            files
        }
    };
    // A deleted file is still in git's index.
    files.retain(|file| root.join(file).is_file());
    files.sort();
    files.dedup();
    Ok(files)
}

fn from_git(root: &Path) -> Option<Vec<String>> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").current_dir(root).args(arguments).output().ok()?;
    let files: Vec<String> = String::from_utf8(output.stdout)
        .ok()?
        .split('\0')
        .filter(|file| !file.is_empty())
        .map(str::to_owned)
        .collect();
    (output.status.success() && !files.is_empty()).then_some(files)
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() && !LEFTOVERS.iter().any(|name| entry.file_name() == *name) {
            walk(root, &path, files)?;
        } else if kind.is_file()
            && let Ok(inside) = path.strip_prefix(root)
        {
            files.push(inside.to_string_lossy().replace('\\', "/"));
        }
    }
    Ok(())
}

/// Every control's folder has all of [`CONTROL_FILES`].
pub(super) fn controls(files: &[String]) -> Vec<Finding> {
    complete(files, ROOMS, MISSING)
}

fn complete(files: &[String], rooms: &[Room], missing: &[Missing]) -> Vec<Finding> {
    let has = |path: &str| files.iter().any(|file| file == path);
    let mut findings = Vec::new();
    for room in rooms.iter().filter(|room| room.kind == Kind::Control) {
        let folder = format!("{FRAMEWORK}/src/{}", room.name);
        if !files.iter().any(|file| file.starts_with(&format!("{folder}/"))) {
            // The arrows already say that the room is gone.
            continue;
        }
        for file in CONTROL_FILES {
            let excused = missing.iter().any(|entry| entry.control == room.name && entry.file == *file);
            if !has(&format!("{folder}/{file}")) && !excused {
                findings.push(Finding {
                    file: folder.clone(),
                    line: 0,
                    what: format!("control `{}` has no {file}", room.name),
                    mend: "docs and configuration in mod.rs, then layer.rs, service.rs, tests.rs; or a line with the reason in MISSING".to_owned(),
                });
            }
        }
    }
    for entry in missing {
        if has(&format!("{FRAMEWORK}/src/{}/{}", entry.control, entry.file)) {
            findings.push(Finding {
                file: TABLE.to_owned(),
                line: 0,
                what: format!(
                    "MISSING excuses {} of `{}` ({}), which is there",
                    entry.file, entry.control, entry.reason
                ),
                mend: "take the line out".to_owned(),
            });
        }
    }
    findings
}

/// Every relative link of a Markdown file leads to a file or folder of the tree.
pub(super) fn links(files: &[String], texts: &[(String, String)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in texts.iter().filter(|(file, _)| file.ends_with(".md")) {
        for (line, target) in targets(text) {
            let path = target.split(['#', '?']).next().unwrap_or_default();
            let outside = target.contains("://") || target.starts_with("mailto:");
            if outside || path.is_empty() {
                continue;
            }
            let resolved = resolve(file, path);
            let there = resolved.as_deref().is_some_and(|resolved| {
                resolved.is_empty()
                    || files
                        .iter()
                        .any(|other| other == resolved || other.starts_with(&format!("{resolved}/")))
            });
            if !there {
                findings.push(Finding {
                    file: file.clone(),
                    line,
                    what: format!("the link to `{target}` leads to no file of the tree"),
                    mend: "mend the path (it is relative to this file), or write the page".to_owned(),
                });
            }
        }
    }
    findings
}

/// `path` as seen from the folder of `file`, `None` where it leaves the tree.
fn resolve(file: &str, path: &str) -> Option<String> {
    let mut at = if path.starts_with('/') { PathBuf::new() } else { Path::new(file).parent()?.to_owned() };
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir if !at.pop() => {
                return None;
            }
            Component::Normal(part) => at.push(part),
            _ => {}
        }
    }
    Some(at.to_string_lossy().replace('\\', "/"))
}

/// The link targets in a Markdown text, with their lines; code is passed over.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fence: Option<&str> = None;
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let marker = ["```", "~~~"].into_iter().find(|marker| trimmed.starts_with(marker));
        match (fence, marker) {
            (None, Some(marker)) => {
                fence = Some(marker);
                continue;
            }
            (Some(open), Some(marker)) if open == marker => {
                fence = None;
                continue;
            }
            (Some(_), _) => continue,
            (None, None) => {}
        }
        // `[name]: target` at the start of a line.
        if trimmed.starts_with('[')
            && let Some((_, target)) = trimmed.split_once("]: ")
            && let Some(target) = target.split_whitespace().next()
        {
            found.push((index + 1, target.trim_matches(['<', '>']).to_owned()));
            continue;
        }
        let prose = without_code(line);
        for (at, _) in prose.match_indices("](") {
            let rest = &prose[at + 2..];
            if let Some(end) = rest.find(')') {
                let target = rest[..end].split_whitespace().next().unwrap_or_default();
                found.push((index + 1, target.trim_matches(['<', '>']).to_owned()));
            }
        }
    }
    found
}

/// The line without what stands between back-ticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

#[cfg(test)]
mod tests {
    use super::{super::table::Imports, *};

    fn names(files: &[&str]) -> Vec<String> {
        files.iter().map(|file| (*file).to_owned()).collect()
    }

    #[test]
    fn links_are_seen_from_their_file_and_dead_ones_are_found() {
        let files = names(&["README.md", "docs/guide/limits.md", "docs/guide/start.md"]);
        let text = "[a](limits.md) [b](../../README.md#top) [c](gone.md)\n[d](https://x.y/z) [e](#here) [f](..)\n[g]: ../no.md";
        let found = links(&files, &[("docs/guide/start.md".to_owned(), text.to_owned())]);
        let what: Vec<(usize, &str)> =
            found.iter().map(|finding| (finding.line, finding.what.as_str())).collect();
        assert_eq!(
            what,
            [
                (1, "the link to `gone.md` leads to no file of the tree"),
                (3, "the link to `../no.md` leads to no file of the tree")
            ]
        );
    }

    #[test]
    fn code_in_markdown_holds_no_links() {
        let text = "`[a](gone.md)`\n```text\n[b](gone.md)\n```\n~~~\n[c](gone.md)\n~~~\n`x` [d](gone.md)";
        let found = links(&[], &[("a.md".to_owned(), text.to_owned())]);
        assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [8]);
    }

    #[test]
    fn a_link_out_of_the_tree_is_dead() {
        assert_eq!(links(&names(&["a.md"]), &[("a.md".to_owned(), "[x](../a.md)".to_owned())]).len(), 1);
    }

    #[test]
    fn a_control_without_tests_is_found_unless_excused() {
        let rooms = [Room { name: "cors", kind: Kind::Control, imports: Imports::Anything }];
        let files: Vec<String> = ["mod.rs", "layer.rs", "service.rs"]
            .iter()
            .map(|file| format!("{FRAMEWORK}/src/cors/{file}"))
            .collect();
        assert_eq!(complete(&files, &rooms, &[])[0].what, "control `cors` has no tests.rs");
        let excuse = Missing { control: "cors", file: "tests.rs", reason: "tried" };
        assert_eq!(complete(&files, &rooms, &[excuse]), []);
        let stale = Missing { control: "cors", file: "mod.rs", reason: "tried" };
        assert_eq!(complete(&files, &rooms, &[stale]).len(), 2);
    }

    #[test]
    fn a_tree_without_git_is_walked() {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        fs::create_dir_all(folder.path().join("target/debug")).unwrap();
        fs::create_dir_all(folder.path().join("src")).unwrap();
        fs::write(folder.path().join("target/debug/x.rs"), "").unwrap();
        fs::write(folder.path().join("src/x.rs"), "").unwrap();
        assert_eq!(list(folder.path()).unwrap(), ["src/x.rs"]);
    }
}
