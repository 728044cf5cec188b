//! Reads Rust well enough to see imports, names and comments; a parser would cost the project a heavy
//! dependency for questions that tokens answer.
use std::path::Path;

/// One Rust file, split into what the compiler reads and what people read.
pub(crate) struct Source {
    /// Path inside the repository, with forward slashes.
    pub(crate) path: String,
    /// Line comments and doc comments, in order.
    pub(crate) comments: Vec<Comment>,
    /// Every path written in code, with `use` trees taken apart.
    pub(crate) paths: Vec<PathUse>,
    /// Every identifier in code.
    pub(crate) words: Vec<Word>,
    /// Modules and types this file declares.
    pub(crate) declared: Vec<Declared>,
    /// Lints that an `allow` or `expect` attribute names: line, name without the tool, in a test.
    waivers: Vec<(usize, String, bool)>,
}

/// A comment of one line (a block comment gives one for each of its lines).
pub(crate) struct Comment {
    pub(crate) line: usize,
    pub(crate) text: String,
    /// Whether it stands in code that only tests compile.
    pub(crate) test: bool,
}

/// A path such as `crate::store::Rows`, one leaf of a `use` tree or one path in an expression or type.
pub(crate) struct PathUse {
    pub(crate) line: usize,
    /// As written, `crate`, `self` and `super` included.
    pub(crate) segments: Vec<String>,
    /// Modules of this file that enclose it (`tests` in most files).
    pub(crate) inside: Vec<String>,
    pub(crate) test: bool,
    /// For a leaf of `pub use`: the name it is known by from outside.
    pub(crate) exported_as: Option<String>,
}

/// An identifier.
pub(crate) struct Word {
    pub(crate) line: usize,
    pub(crate) text: String,
    pub(crate) test: bool,
}

/// A module or type that a file declares.
pub(crate) struct Declared {
    pub(crate) line: usize,
    pub(crate) kind: &'static str,
    pub(crate) name: String,
}

struct Token<'a> {
    text: &'a str,
    line: usize,
}

enum Scope {
    Module { name: String, test: bool },
    Block { test: bool },
}

impl Scope {
    fn test(&self) -> bool {
        match self {
            Self::Module { test, .. } | Self::Block { test } => *test,
        }
    }
}

impl Source {
    /// Takes the text of the file at `path` apart.
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let (code, mut comments) = strip(text);
        let tokens = tokens(&code);
        let mut source = Self {
            path: path.to_owned(),
            comments: Vec::new(),
            paths: Vec::new(),
            words: Vec::new(),
            declared: Vec::new(),
            waivers: Vec::new(),
        };
        let test_lines = source.walk(&tokens, is_test_file(path));
        for comment in &mut comments {
            comment.test = is_test_file(path)
                || test_lines.iter().any(|(from, to)| (*from..=*to).contains(&comment.line));
        }
        source.comments = comments;
        source
    }

    /// The modules that lead to this file inside its crate: `["access", "rules"]` for `src/access/rules.rs`,
    /// nothing for the root, `None` for a file outside `src`.
    pub(crate) fn module(&self) -> Option<Vec<String>> {
        let (_, inside) = self.path.split_once("/src/")?;
        let mut parts: Vec<String> = inside.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            parts.pop();
        }
        Some(parts)
    }

    /// Where an attribute allows or expects `lint`, and whether that is test code.
    pub(crate) fn lint_waivers(&self, lint: &str) -> impl Iterator<Item = (usize, bool)> {
        self.waivers.iter().filter(move |(_, name, _)| name == lint).map(|(line, _, test)| (*line, *test))
    }

    /// The path from the crate's root that `used` means, `None` where it does not begin at this crate.
    pub(crate) fn absolute(&self, used: &PathUse) -> Option<Vec<String>> {
        let first = used.segments.first()?.as_str();
        let mut at = match first {
            "crate" => Vec::new(),
            "self" | "super" => {
                let mut base = self.module()?;
                base.extend(used.inside.iter().cloned());
                base
            }
            _ => return None,
        };
        let rest = used.segments.iter().skip_while(|segment| match segment.as_str() {
            "crate" | "self" => true,
            "super" => {
                at.pop();
                true
            }
            _ => false,
        });
        let rest: Vec<String> = rest.cloned().collect();
        at.extend(rest);
        Some(at)
    }

    /// Fills paths, words and declarations; returns the line ranges that only tests compile.
    fn walk(&mut self, tokens: &[Token<'_>], whole_file_is_test: bool) -> Vec<(usize, usize)> {
        let mut scopes: Vec<Scope> = Vec::new();
        let mut test_lines = Vec::new();
        let mut opened_at: Vec<usize> = Vec::new();
        // An attribute counts for what follows it, up to that item's `;` or closing brace.
        let mut pending_test = false;
        let mut pending_module: Option<String> = None;
        let mut brackets = 0_usize;
        let mut at = 0;
        while at < tokens.len() {
            let token = &tokens[at];
            let test = whole_file_is_test || pending_test || scopes.iter().any(Scope::test);
            match token.text {
                "#" => {
                    let (end, means_test) = attribute(tokens, at);
                    if means_test {
                        pending_test = true;
                    }
                    let inside = &tokens[at..end.min(tokens.len())];
                    if inside.iter().any(|token| matches!(token.text, "allow" | "expect")) {
                        let lints = inside.iter().filter(|token| is_word(token.text));
                        self.waivers.extend(
                            lints.map(|token| (token.line, token.text.to_owned(), test || means_test)),
                        );
                    }
                    at = end;
                    continue;
                }
                "(" | "[" => brackets += 1,
                ")" | "]" => brackets = brackets.saturating_sub(1),
                ";" if brackets == 0 => pending_test = false,
                "{" => {
                    opened_at.push(token.line);
                    scopes.push(match pending_module.take() {
                        Some(name) => Scope::Module { name, test: pending_test },
                        None => Scope::Block { test: pending_test },
                    });
                    pending_test = false;
                }
                "}" => {
                    let from = opened_at.pop().unwrap_or(token.line);
                    if scopes.pop().is_some_and(|scope| scope.test()) {
                        test_lines.push((from, token.line));
                    }
                    pending_test = false;
                }
                "mod" | "struct" | "enum" | "trait" | "type" | "union"
                    if tokens.get(at + 1).is_some_and(|next| is_word(next.text)) =>
                {
                    let name = tokens[at + 1].text.to_owned();
                    if token.text == "mod" && tokens.get(at + 2).is_some_and(|next| next.text == "{") {
                        pending_module = Some(name.clone());
                    }
                    let kind = if token.text == "mod" { "module" } else { "type" };
                    self.declared.push(Declared { line: token.line, kind, name });
                }
                _ => {}
            }
            if !is_word(token.text) {
                at += 1;
                continue;
            }
            if starts_path(tokens, at) {
                let inside: Vec<String> = scopes
                    .iter()
                    .filter_map(|scope| match scope {
                        Scope::Module { name, .. } => Some(name.clone()),
                        Scope::Block { .. } => None,
                    })
                    .collect();
                let public = is_public_use(tokens, at);
                let mut leaves = Vec::new();
                let end = tree(tokens, at, &[], &mut leaves);
                for leaf in leaves {
                    let known_as = leaf.alias.or_else(|| leaf.segments.last().cloned());
                    self.paths.push(PathUse {
                        line: leaf.line,
                        segments: leaf.segments,
                        inside: inside.clone(),
                        test,
                        exported_as: if public { known_as } else { None },
                    });
                }
                for word in &tokens[at..end] {
                    self.word(word, test);
                }
                at = end;
            } else {
                self.word(token, test);
                at += 1;
            }
        }
        test_lines
    }

    fn word(&mut self, token: &Token<'_>, test: bool) {
        if is_word(token.text) {
            self.words.push(Word { line: token.line, text: token.text.to_owned(), test });
        }
    }
}

/// Whether every line of the file is compiled for tests or benches only.
pub(crate) fn is_test_file(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.any(|part| matches!(part, "tests" | "benches" | "fuzz"))
        || Path::new(path).file_name().is_some_and(|name| name == "tests.rs")
        || path.starts_with("crates/bailiwick-testkit/")
}

struct Leaf {
    line: usize,
    segments: Vec<String>,
    alias: Option<String>,
}

/// Takes the path or `use` tree at `at` apart and returns the index behind it.
fn tree(tokens: &[Token<'_>], mut at: usize, prefix: &[String], leaves: &mut Vec<Leaf>) -> usize {
    let mut segments = prefix.to_vec();
    let mut line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        match token.text {
            "{" => {
                at += 1;
                while let Some(inner) = tokens.get(at) {
                    match inner.text {
                        "}" => return at + 1,
                        "{" => at = tree(tokens, at, &segments, leaves),
                        text if is_word(text) || text == "*" => at = tree(tokens, at, &segments, leaves),
                        _ => at += 1,
                    }
                }
                return at;
            }
            "*" => {
                segments.push("*".to_owned());
                leaves.push(Leaf { line: token.line, segments, alias: None });
                return at + 1;
            }
            text if is_word(text) => {
                // `a::{self}` names `a`.
                if text != "self" || segments.is_empty() {
                    segments.push(text.to_owned());
                }
                line = token.line;
                at += 1;
                if tokens.get(at).is_none_or(|next| next.text != "::") {
                    break;
                }
                at += 1;
            }
            _ => break,
        }
    }
    let alias = match (tokens.get(at), tokens.get(at + 1)) {
        (Some(keyword), Some(name)) if keyword.text == "as" && is_word(name.text) => {
            at += 2;
            Some(name.text.to_owned())
        }
        _ => None,
    };
    leaves.push(Leaf { line, segments, alias });
    at
}

fn starts_path(tokens: &[Token<'_>], at: usize) -> bool {
    if tokens.get(at + 1).is_none_or(|next| next.text != "::") {
        return false;
    }
    let continues = at >= 2
        && tokens[at - 1].text == "::"
        && (is_word(tokens[at - 2].text) || tokens[at - 2].text == ">");
    !continues
}

fn is_public_use(tokens: &[Token<'_>], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).and_then(|at| tokens.get(at)).map(|token| token.text);
    before(1) == Some("use") && matches!(before(2), Some("pub" | ")"))
}

/// Skips the attribute at `at`, and says whether what it marks is compiled for tests only.
fn attribute(tokens: &[Token<'_>], at: usize) -> (usize, bool) {
    let mut end = at + 1;
    if tokens.get(end).is_some_and(|token| token.text == "!") {
        end += 1;
    }
    if tokens.get(end).is_none_or(|token| token.text != "[") {
        return (at + 1, false);
    }
    let first = end + 1;
    let mut depth = 0_usize;
    while let Some(token) = tokens.get(end) {
        match token.text {
            "[" => depth += 1,
            "]" => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            _ => {}
        }
        end += 1;
    }
    let inside = &tokens[first.min(end)..end.min(tokens.len())];
    let mentions = |word: &str| inside.iter().any(|token| token.text == word);
    let names_test = match inside.first().map(|token| token.text) {
        Some("cfg") => mentions("test") && !mentions("not") && !mentions("any"),
        Some("test") => true,
        // `#[tokio::test]` and its like.
        Some(_) => inside.windows(2).any(|pair| pair[0].text == "::" && pair[1].text == "test"),
        None => false,
    };
    (end + 1, names_test)
}

fn is_word(text: &str) -> bool {
    text.chars().next().is_some_and(|first| first.is_alphabetic() || first == '_')
}

fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = code.char_indices().peekable();
    while let Some((start, c)) = rest.next() {
        if c == '\n' {
            line += 1;
        } else if c.is_alphanumeric() || c == '_' {
            let mut end = start + c.len_utf8();
            while let Some((at, next)) = rest.peek().copied() {
                if !(next.is_alphanumeric() || next == '_') {
                    break;
                }
                end = at + next.len_utf8();
                rest.next();
            }
            tokens.push(Token { text: &code[start..end], line });
        } else if c == ':' && rest.peek().is_some_and(|(_, next)| *next == ':') {
            rest.next();
            tokens.push(Token { text: "::", line });
        } else if !c.is_whitespace() {
            tokens.push(Token { text: &code[start..start + c.len_utf8()], line });
        }
    }
    tokens
}

/// The text with comments and the insides of literals turned to spaces, and the comments.
fn strip(text: &str) -> (String, Vec<Comment>) {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut comments = Vec::new();
    let mut line = 1;
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                let end = find(bytes, at, b"\n").unwrap_or(bytes.len());
                comments.push(Comment { line, text: text[at..end].to_owned(), test: false });
                blank(&mut code, at, end);
                end
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                let end = block_comment_end(bytes, at);
                for (offset, part) in text[at..end].lines().enumerate() {
                    comments.push(Comment { line: line + offset, text: part.to_owned(), test: false });
                }
                blank(&mut code, at, end);
                end
            }
            b'r' | b'b' | b'c' if !follows_word(bytes, at) => match raw_string_end(bytes, at) {
                Some(end) => {
                    blank(&mut code, at, end);
                    end
                }
                None => at + 1,
            },
            b'"' => {
                let end = quoted_end(bytes, at, b'"');
                blank(&mut code, at + 1, end.saturating_sub(1));
                end
            }
            b'\'' => match char_literal_end(text, at) {
                Some(end) => {
                    blank(&mut code, at, end);
                    end
                }
                None => at + 1,
            },
            _ => at + 1,
        };
        line += bytes[at..end].iter().filter(|byte| **byte == b'\n').count();
        at = end;
    }
    (String::from_utf8_lossy(&code).into_owned(), comments)
}

fn blank(code: &mut [u8], from: usize, to: usize) {
    let to = to.max(from);
    for byte in &mut code[from..to] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

fn follows_word(bytes: &[u8], at: usize) -> bool {
    at.checked_sub(1).is_some_and(|before| {
        let byte = bytes[before];
        byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
    })
}

fn find(bytes: &[u8], from: usize, needle: &[u8]) -> Option<usize> {
    bytes.get(from..)?.windows(needle.len()).position(|window| window == needle).map(|at| from + at)
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// The end of `r"…"`, `r#"…"#`, `br"…"` or `cr"…"` that begins at `start`; `None` if none does.
fn raw_string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    if matches!(bytes[at], b'b' | b'c') {
        at += 1;
    }
    if bytes.get(at) != Some(&b'r') {
        return None;
    }
    at += 1;
    let hashes = bytes[at..].iter().take_while(|byte| **byte == b'#').count();
    at += hashes;
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(1 + hashes, b'#');
    Some(find(bytes, at + 1, &close).map_or(bytes.len(), |end| end + close.len()))
}

fn quoted_end(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of the character literal at `start`; `None` for a lifetime.
fn char_literal_end(text: &str, start: usize) -> Option<usize> {
    let rest = &text[start + 1..];
    let first = rest.chars().next()?;
    if first == '\\' {
        return Some(quoted_end(text.as_bytes(), start, b'\''));
    }
    rest[first.len_utf8()..].starts_with('\'').then(|| start + 1 + first.len_utf8() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(text: &str) -> Vec<String> {
        let source = Source::parse("crates/x/src/store/rows.rs", text);
        source.paths.iter().filter_map(|used| source.absolute(used)).map(|path| path.join("::")).collect()
    }

    #[test]
    fn use_trees_are_taken_apart_down_to_each_leaf() {
        let text = "use crate::{access::{Access, rules::*}, id::Id as Key, query::{self, Plan}};";
        assert_eq!(leaves(text), ["access::Access", "access::rules::*", "id::Id", "query", "query::Plan"]);
    }

    #[test]
    fn super_and_self_are_resolved_from_the_file_and_its_inner_modules() {
        assert_eq!(leaves("use super::super::model::Column;"), ["model::Column"]);
        assert_eq!(leaves("fn f() { self::inner::g(); super::h(); }"), ["store::rows::inner::g", "store::h"]);
        assert_eq!(leaves("mod deep { use super::super::Back; }"), ["store::Back"]);
    }

    #[test]
    fn paths_in_types_and_expressions_count_like_imports() {
        let text =
            "fn f(x: crate::a::B<crate::c::D>) -> u8 { <crate::e::F as G>::h(); crate::i::J { k: 1 }.k }";
        assert_eq!(leaves(text), ["a::B", "c::D", "e::F", "i::J"]);
    }

    #[test]
    fn comments_strings_and_characters_hold_no_code() {
        let text = r###"
            // crate::comment::A
            /* crate::block /* crate::nested */ crate::still */
            const S: &str = "crate::string::B \" crate::quoted";
            const R: &str = r#"crate::raw::C " "#;
            const C: char = '"'; const D: char = '\''; const E: u8 = b'{';
            fn f<'a>(x: &'a str) -> crate::real::G { loop {} }
        "###;
        assert_eq!(leaves(text), ["real::G"]);
        assert_eq!(Source::parse("a/src/b.rs", text).comments.len(), 2);
    }

    #[test]
    fn code_for_tests_is_told_apart() {
        let text = "
            use crate::a::A;
            #[cfg(test)] use crate::b::{B, C};
            use crate::d::D;
            #[cfg(not(test))] use crate::e::E;
            #[cfg(test)] mod tests { use crate::f::F; fn g() { crate::h::H; } }
            fn i(x: [u8; 4]) { crate::j::J; }
            #[tokio::test] async fn k() { crate::l::L; }
            use crate::m::M;
        ";
        let source = Source::parse("crates/x/src/y.rs", text);
        let of = |test: bool| -> Vec<&str> {
            source
                .paths
                .iter()
                .filter(|used| used.test == test)
                .map(|used| used.segments[1].as_str())
                .collect()
        };
        assert_eq!(of(false), ["a", "d", "e", "j", "m"]);
        assert_eq!(
            of(true).iter().filter(|name| name.len() == 1).copied().collect::<Vec<_>>(),
            ["b", "b", "f", "h", "l"]
        );
    }

    #[test]
    fn comments_inside_a_test_module_are_test_comments() {
        let text = "// outside\n#[cfg(test)]\nmod tests {\n  // inside\n}\n// after\n";
        let source = Source::parse("crates/x/src/y.rs", text);
        let tests: Vec<bool> = source.comments.iter().map(|comment| comment.test).collect();
        assert_eq!(tests, [false, true, false]);
        assert!(Source::parse("crates/x/tests/it/y.rs", "// all of it").comments[0].test);
    }

    #[test]
    fn re_exports_are_known_by_their_outer_name() {
        let source = Source::parse("crates/x/src/lib.rs", "pub use crate::a::{B, C as D}; use crate::e::F;");
        let names: Vec<Option<&str>> = source.paths.iter().map(|used| used.exported_as.as_deref()).collect();
        assert_eq!(names, [Some("B"), Some("D"), None]);
    }

    #[test]
    fn unfinished_text_does_not_run_past_its_end() {
        for text in ["\"", "r#\"", "/*", "'", "'\\", "use crate::{a", "#[", "#![cfg(", "}", "crate::", "é'é"]
        {
            Source::parse("crates/x/src/y.rs", text);
        }
    }
}
