//! Which module may import which.
use std::collections::{BTreeMap, BTreeSet};

use super::{
    Finding, TABLE,
    source::{PathUse, Source},
    table::{CORE, CORE_LAYERS, CROSSINGS, Crossing, FRAMEWORK, Imports, ROOMS, Room},
};

/// An import from one top-level module of a crate to another, outside tests.
struct Arrow<'a> {
    from: String,
    to: Target,
    source: &'a Source,
    used: &'a PathUse,
}

/// What a path that begins at the crate's root leads to.
enum Target {
    Module(String),
    /// Something the root re-exports from another crate.
    Outside,
    /// A name of the root that leads nowhere we can see.
    Unknown(String),
}

/// What `lib.rs` makes known: name to first module, or `None` for what comes from another crate.
struct Root {
    names: BTreeMap<String, Option<String>>,
    /// It re-exports everything of another crate, so an unknown name may be from there.
    open: bool,
}

impl Root {
    fn of(sources: &[Source], krate: &str) -> Self {
        let lib = format!("{krate}/src/lib.rs");
        let mut root = Self { names: BTreeMap::new(), open: false };
        let exports = sources
            .iter()
            .filter(|source| source.path == lib)
            .flat_map(|source| source.paths.iter().map(move |used| (source, used)));
        for (source, used) in exports {
            let Some(name) = &used.exported_as else { continue };
            let first = used.segments.first().map(String::as_str);
            let inner = source.absolute(used).and_then(|path| path.first().cloned());
            // Since the 2018 edition `pub use gate::Anyone` in the root may also name a module.
            let module =
                inner.or_else(|| first.filter(|first| declares_module(source, first)).map(str::to_owned));
            if name == "*" && module.is_none() {
                root.open = true;
            }
            root.names.insert(name.clone(), module);
        }
        root
    }

    fn target(&self, name: &str, modules: &BTreeSet<String>) -> Target {
        if modules.contains(name) {
            return Target::Module(name.to_owned());
        }
        match self.names.get(name) {
            Some(Some(module)) => Target::Module(module.clone()),
            Some(None) => Target::Outside,
            None if self.open => Target::Outside,
            None => Target::Unknown(name.to_owned()),
        }
    }
}

fn declares_module(source: &Source, name: &str) -> bool {
    source.declared.iter().any(|declared| declared.kind == "module" && declared.name == name)
}

/// The top-level modules of a crate, by its files.
fn modules(sources: &[Source], krate: &str) -> BTreeSet<String> {
    let inside = format!("{krate}/src/");
    let of_crate = sources.iter().filter(|source| source.path.starts_with(&inside));
    of_crate.filter_map(Source::module).filter_map(|path| path.into_iter().next()).collect()
}

fn arrows<'a>(sources: &'a [Source], krate: &str) -> Vec<Arrow<'a>> {
    let inside = format!("{krate}/src/");
    let root = Root::of(sources, krate);
    let known = modules(sources, krate);
    let mut arrows = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with(&inside)) {
        // The root and binaries beside it declare; they import for nobody.
        let Some(from) = source.module().and_then(|path| path.into_iter().next()) else { continue };
        for used in source.paths.iter().filter(|used| !used.test) {
            let Some(first) = source.absolute(used).and_then(|path| path.into_iter().next()) else {
                continue;
            };
            if first == from || first == "*" {
                continue;
            }
            let to = root.target(&first, &known);
            if matches!(&to, Target::Module(to) if *to == from) {
                continue;
            }
            arrows.push(Arrow { from: from.clone(), to, source, used });
        }
    }
    arrows
}

impl Arrow<'_> {
    fn finding(&self, what: String, mend: String) -> Finding {
        Finding { file: self.source.path.clone(), line: self.used.line, what, mend }
    }

    fn crossed_on_purpose(&self, crossings: &[Crossing]) -> bool {
        let Target::Module(to) = &self.to else { return false };
        crossings.iter().any(|crossing| crossing.file == self.source.path && crossing.module == to)
    }

    fn unknown(&self, name: &str) -> Finding {
        self.finding(
            format!(
                "`crate::{name}` names no module of this crate, so nobody can see which way the import points"
            ),
            format!("write the path through the module that holds `{name}`"),
        )
    }
}

fn not_in_table(krate: &str, module: &str, mend: &str) -> Finding {
    Finding {
        file: format!("{krate}/src/{module}"),
        line: 0,
        what: format!("module `{module}` has no place in the table of arrows"),
        mend: mend.to_owned(),
    }
}

fn gone(krate: &str, module: &str) -> Finding {
    Finding {
        file: TABLE.to_owned(),
        line: 0,
        what: format!("the table names `{module}`, which {krate} does not have"),
        mend: "take the line out, or bring the module back".to_owned(),
    }
}

/// The arrows inside the core: downwards only, and no circle inside a layer.
pub(super) fn core(sources: &[Source]) -> Vec<Finding> {
    layers(sources, CORE, CORE_LAYERS, CROSSINGS)
}

fn layers(sources: &[Source], krate: &str, layers: &[&[&str]], crossings: &[Crossing]) -> Vec<Finding> {
    let depth = |module: &str| layers.iter().position(|layer| layer.contains(&module));
    let mut findings = Vec::new();
    for module in modules(sources, krate) {
        if depth(&module).is_none() {
            findings.push(not_in_table(
                krate,
                &module,
                "give it a layer in CORE_LAYERS, and draw it in ARCHITECTURE.md",
            ));
        }
    }
    let mut beside: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let arrows = arrows(sources, krate);
    for arrow in &arrows {
        let to = match &arrow.to {
            Target::Module(to) => to,
            Target::Outside => continue,
            Target::Unknown(name) => {
                findings.push(arrow.unknown(name));
                continue;
            }
        };
        if arrow.crossed_on_purpose(crossings) {
            continue;
        }
        match (depth(&arrow.from), depth(to)) {
            (Some(from_depth), Some(to_depth)) if to_depth < from_depth => findings.push(arrow.finding(
                format!("`{}` imports `{to}`, which stands above it", arrow.from),
                format!("move what both need below both, or pass it in; the order is {}", drawn(layers)),
            )),
            (Some(from_depth), Some(to_depth)) if to_depth == from_depth => {
                beside.entry(arrow.from.clone()).or_default().insert(to.clone());
            }
            _ => {}
        }
    }
    for arrow in &arrows {
        let Target::Module(to) = &arrow.to else { continue };
        let in_layer = beside.get(&arrow.from).is_some_and(|targets| targets.contains(to));
        if in_layer && reaches(&beside, to, &arrow.from) {
            findings.push(
                arrow.finding(
                    format!("`{}` and `{to}` import each other", arrow.from),
                    "one of the two directions has to go: move the shared part to the one that is imported"
                        .to_owned(),
                ),
            );
        }
    }
    findings
}

fn drawn(layers: &[&[&str]]) -> String {
    layers.iter().map(|layer| layer.join(", ")).collect::<Vec<_>>().join(" → ")
}

fn reaches(edges: &BTreeMap<String, BTreeSet<String>>, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        if at == to {
            return true;
        }
        if seen.insert(at) {
            open.extend(edges.get(at).into_iter().flatten().map(String::as_str));
        }
    }
    false
}

/// The arrows inside the framework: each room imports what its line of the table allows.
pub(super) fn framework(sources: &[Source]) -> Vec<Finding> {
    let mut findings = rooms(sources, FRAMEWORK, ROOMS, CROSSINGS);
    // Only here, since one look at the whole table is enough.
    findings.extend(stale_crossings(sources, CROSSINGS));
    findings
}

fn rooms(sources: &[Source], krate: &str, rooms: &[Room], crossings: &[Crossing]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let known = modules(sources, krate);
    for module in known.iter().filter(|module| !rooms.iter().any(|room| room.name == **module)) {
        findings.push(not_in_table(
            krate,
            module,
            "add a line to ROOMS: a control, or a part with what it may import",
        ));
    }
    for room in rooms.iter().filter(|room| !known.contains(room.name)) {
        findings.push(gone(krate, room.name));
    }
    for arrow in arrows(sources, krate) {
        let to = match &arrow.to {
            Target::Module(to) => to,
            Target::Outside => continue,
            Target::Unknown(name) => {
                findings.push(arrow.unknown(name));
                continue;
            }
        };
        let Some(room) = rooms.iter().find(|room| room.name == arrow.from) else { continue };
        let allowed = match room.imports {
            Imports::Anything => true,
            Imports::Only(names) => names.contains(&to.as_str()),
        };
        if !allowed && !arrow.crossed_on_purpose(crossings) {
            let may = match room.imports {
                Imports::Only(names) if !names.is_empty() => format!("`{}`", names.join("`, `")),
                _ => "nothing of the framework".to_owned(),
            };
            findings.push(arrow.finding(
                format!("`{}` imports `{to}`; it may import {may} (and the core)", arrow.from),
                "what two rooms need belongs in the core; what one room needs from another is passed in by `app`".to_owned(),
            ));
        }
    }
    findings
}

fn stale_crossings(sources: &[Source], crossings: &[Crossing]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for crossing in crossings {
        let used = [CORE, FRAMEWORK].iter().any(|krate| {
            crossing.file.starts_with(krate)
                && arrows(sources, krate)
                    .iter()
                    .any(|arrow| arrow.crossed_on_purpose(std::slice::from_ref(crossing)))
        });
        if !used {
            findings.push(Finding {
                file: TABLE.to_owned(),
                line: 0,
                what: format!(
                    "CROSSINGS allows {} to import `{}` ({}), which it does not",
                    crossing.file, crossing.module, crossing.reason
                ),
                mend: "take the line out".to_owned(),
            });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{super::table::Kind, *};

    const LAYERS: &[&[&str]] = &[&["top"], &["middle"], &["left", "right"]];

    fn parse(files: &[(&str, &str)]) -> Vec<Source> {
        files.iter().map(|(path, text)| Source::parse(&format!("crates/x/src/{path}"), text)).collect()
    }

    fn layered(files: &[(&str, &str)]) -> Vec<String> {
        layers(&parse(files), "crates/x", LAYERS, &[]).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn imports_downwards_are_fine_and_upwards_are_not() {
        assert_eq!(layered(&[("top.rs", "use crate::left::A;"), ("left.rs", "")]), Vec::<String>::new());
        let upwards = layered(&[("middle/a.rs", "\nuse super::super::top::B;"), ("top.rs", "")]);
        assert_eq!(upwards, ["`middle` imports `top`, which stands above it"]);
    }

    #[test]
    fn a_finding_points_at_the_line() {
        let sources = parse(&[("middle/a.rs", "\n\nfn f() { crate::top::g() }"), ("top.rs", "")]);
        let findings = layers(&sources, "crates/x", LAYERS, &[]);
        assert_eq!((findings[0].file.as_str(), findings[0].line), ("crates/x/src/middle/a.rs", 3));
    }

    #[test]
    fn one_layer_may_not_go_in_a_circle() {
        assert_eq!(layered(&[("left.rs", "use crate::right::A;"), ("right.rs", "")]), Vec::<String>::new());
        let circle = layered(&[("left.rs", "use crate::right::A;"), ("right.rs", "use crate::left::B;")]);
        assert_eq!(circle, ["`left` and `right` import each other", "`right` and `left` import each other"]);
    }

    #[test]
    fn a_name_re_exported_by_the_root_is_followed_to_its_module() {
        let files =
            [("lib.rs", "pub mod top; pub use self::top::A;"), ("top.rs", ""), ("left.rs", "use crate::A;")];
        assert_eq!(layered(&files), ["`left` imports `top`, which stands above it"]);
        let files = [("lib.rs", "pub use other::A;"), ("left.rs", "use crate::A;")];
        assert_eq!(layered(&files), Vec::<String>::new());
        let hidden = layered(&[("left.rs", "use crate::A;")]);
        assert!(hidden[0].contains("`crate::A` names no module"), "{hidden:?}");
    }

    #[test]
    fn test_code_may_import_what_it_likes() {
        let files = [("left.rs", "#[cfg(test)] mod tests { use crate::top::A; }"), ("top.rs", "")];
        assert_eq!(layered(&files), Vec::<String>::new());
    }

    #[test]
    fn a_module_outside_the_table_is_found() {
        assert_eq!(layered(&[("cellar.rs", "")]), ["module `cellar` has no place in the table of arrows"]);
    }

    fn furnished(files: &[(&str, &str)], crossings: &[Crossing]) -> Vec<String> {
        let rooms_of_table = [
            Room { name: "problem", kind: Kind::Part, imports: Imports::Only(&[]) },
            Room { name: "gate", kind: Kind::Part, imports: Imports::Only(&["problem"]) },
            Room { name: "authn", kind: Kind::Control, imports: Imports::Only(&["problem"]) },
            Room { name: "app", kind: Kind::Part, imports: Imports::Anything },
        ];
        let mut all =
            vec![("problem/mod.rs", ""), ("gate/mod.rs", ""), ("authn/mod.rs", ""), ("app/mod.rs", "")];
        all.extend(files);
        rooms(&parse(&all), "crates/x", &rooms_of_table, crossings)
            .into_iter()
            .map(|finding| finding.what)
            .collect()
    }

    #[test]
    fn the_gate_does_not_import_authn_and_nobody_imports_app() {
        assert_eq!(
            furnished(&[("gate/routes.rs", "use crate::{authn::Authn, problem::Problem};")], &[]),
            ["`gate` imports `authn`; it may import `problem` (and the core)"]
        );
        assert_eq!(
            furnished(&[("authn/layer.rs", "use super::super::app::Stack;")], &[]),
            ["`authn` imports `app`; it may import `problem` (and the core)"]
        );
        assert_eq!(
            furnished(&[("app/stack.rs", "use crate::{authn, gate::Gate};")], &[]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_crossing_in_the_table_is_allowed_for_that_file_alone() {
        let crossing = Crossing { file: "crates/x/src/gate/routes.rs", module: "authn", reason: "tried" };
        let files = [("gate/routes.rs", "use crate::authn::A;"), ("gate/other.rs", "use crate::authn::A;")];
        assert_eq!(furnished(&files, &[crossing]).len(), 1);
    }

    #[test]
    fn a_room_that_is_gone_is_found() {
        let table = [Room { name: "attic", kind: Kind::Control, imports: Imports::Anything }];
        let findings = rooms(&[], "crates/x", &table, &[]);
        assert_eq!(findings[0].what, "the table names `attic`, which crates/x does not have");
    }

    #[test]
    fn a_crossing_nobody_uses_is_found() {
        let crossing = Crossing { file: "crates/bailiwick/src/gate/mod.rs", module: "authn", reason: "once" };
        assert_eq!(stale_crossings(&[], &[crossing]).len(), 1);
    }
}
