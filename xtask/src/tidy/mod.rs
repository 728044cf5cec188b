//! `cargo xtask tidy`: what the compiler cannot hold about this tree, held against one table (`table.rs`).
//!
//! Every finding names a file and line, what is wrong there, and how to mend it. Code that only tests compile
//! may import what it likes; everything else in it is checked.
mod arrows;
mod files;
mod loud;
mod names;
mod notes;
mod source;
mod table;

use std::{fmt, fs, io, path::Path};

use self::source::Source;

/// One thing to mend.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) file: String,
    /// `0` where the finding is about the whole file or folder.
    pub(crate) line: usize,
    pub(crate) what: String,
    pub(crate) mend: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, what, mend } = self;
        match line {
            0 => write!(out, "{file}: {what}\n    mend: {mend}"),
            _ => write!(out, "{file}:{line}: {what}\n    mend: {mend}"),
        }
    }
}

/// The file a finding about the table itself points at.
const TABLE: &str = "xtask/src/tidy/table.rs";

/// Everything the checks look at, read once.
struct Tree {
    /// Every file that is or could be committed.
    files: Vec<String>,
    /// The Rust files among them.
    sources: Vec<Source>,
    /// The other text files: path and content.
    texts: Vec<(String, String)>,
}

/// Checks the tree at `root`; the answer is sorted by place.
///
/// # Errors
/// When a file of the tree cannot be read.
pub(crate) fn check(root: &Path) -> io::Result<Vec<Finding>> {
    let files = files::list(root)?;
    let mut tree = Tree { files, sources: Vec::new(), texts: Vec::new() };
    for file in &tree.files {
        let bytes = fs::read(root.join(file))
            .map_err(|error| io::Error::new(error.kind(), format!("{file}: {error}")))?;
        // A file that is not text (a picture, a database) has nothing to say to these checks.
        let Ok(text) = String::from_utf8(bytes) else { continue };
        if file.ends_with(".rs") {
            tree.sources.push(Source::parse(file, &text));
        }
        tree.texts.push((file.clone(), text));
    }
    Ok(tree.findings())
}

impl Tree {
    fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        findings.extend(arrows::core(&self.sources));
        findings.extend(arrows::framework(&self.sources));
        findings.extend(files::controls(&self.files));
        findings.extend(files::links(&self.files, &self.texts));
        findings.extend(loud::sites(&self.sources, table::LOUD));
        findings.extend(names::empty(&self.files, &self.sources));
        findings.extend(notes::unbounded_todos(&self.sources, &self.texts));
        findings.extend(notes::rule_ids(&self.sources));
        findings.extend(notes::machine_paths(&self.texts));
        findings.sort();
        findings
    }
}
