use std::fmt::Write as _;

use bailiwick_core::{
    id::Id,
    identity::Role,
    model::Assignments,
    query::{Action, Precondition},
};
use uuid::Uuid;

use super::*;
use crate::fixture::{Actor, NOTES, TITLE, assigned, titled, version_in};

/// Plans of every kind, with a name each.
fn plans() -> Vec<(&'static str, Plan)> {
    let (owner, member) = (Actor::invented(Role::Owner), Actor::invented(Role::Member));
    let id = Id::from_uuid(Uuid::from_u128(1));
    let one = "0192f0c1-2345-7abc-8def-0123456789ab";
    let in_three = format!("assignee__in={one},{one},{one}");
    vec![
        ("list", owner.list("")),
        ("list by rank and text", owner.list("ordering=-rank,title,notes&page=3&page_size=10")),
        (
            "list with filters",
            owner.list(&format!("rank=low&created_at__gte=2026-01-01T00:00:00Z&title__lte=m&{in_three}")),
        ),
        ("list with search", owner.list("search=ab%25 c_d")),
        ("retrieve", owner.retrieve(id)),
        ("create", owner.create(titled("a"))),
        ("create with reference", owner.create(assigned(titled("a"), Id::from_uuid(Uuid::from_u128(2))))),
        ("update", owner.update(id, titled("b").set(NOTES, None), Precondition::None)),
        ("update one's own", member.update(id, titled("b"), version_in(&[1, 2, 3]))),
        ("update nothing", member.update(id, Assignments::new(), version_in(&[7]))),
        ("update no version", member.update(id, titled("b"), version_in(&[]))),
        ("delete", owner.delete(id, Precondition::None)),
        ("delete one's own", member.delete(id, version_in(&[1]))),
    ]
}

/// All that a store may ask for a plan.
fn asks(plan: &Plan) -> Vec<Ask<'_>> {
    match plan.action() {
        Action::List(list) => vec![Ask::Rows(list), Ask::Count(list), Ask::KeptCount],
        Action::Retrieve { key } => vec![Ask::Row { key }],
        Action::Insert { values, references, .. } => {
            std::iter::once(Ask::Insert { values }).chain(references.iter().map(Ask::Exists)).collect()
        }
        Action::Update { key, values, precondition, visible, .. } => {
            let mut asks = vec![Ask::Diagnose { key, visible }];
            asks.extend(versions(plan, precondition).map(|versions| match &values[..] {
                [] => Ask::Unchanged { key, versions },
                _ => Ask::Update { key, values, versions },
            }));
            asks
        }
        Action::Delete { key, precondition, visible } => {
            let mut asks = vec![Ask::Diagnose { key, visible }];
            asks.extend(versions(plan, precondition).map(|versions| Ask::Delete { key, versions }));
            asks
        }
    }
}

#[test]
fn each_placeholder_gets_the_value_that_sea_query_would_bind() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        for (name, plan) in plans() {
            for ask in asks(&plan) {
                let (text, values) = text::of(dialect, &plan, &ask);
                let theirs: Vec<_> = values
                    .into_iter()
                    .map(|value| match value {
                        sea_query::Value::BigUnsigned(Some(count)) => {
                            sea_query::Value::BigInt(Some(count as i64))
                        }
                        other => other,
                    })
                    .collect();
                let ours: Vec<_> = binds::of(&plan, &ask).into_iter().map(text::to_sea_query).collect();
                assert_eq!(ours, theirs, "{name}: {text}");
                let placeholders = match dialect {
                    Dialect::Sqlite => text.matches('?').count(),
                    Dialect::Postgres => text.matches('$').count(),
                };
                assert_eq!(placeholders, ours.len(), "{name}: {text}");
            }
        }
    }
}

#[test]
fn equal_shapes_have_equal_texts_and_different_texts_different_shapes() {
    let mut texts: HashMap<Shape, String> = HashMap::new();
    let (all, again) = (plans(), plans());
    for (_, plan) in all.iter().chain(&again) {
        for ask in asks(plan) {
            let (text, _) = text::of(Dialect::Sqlite, plan, &ask);
            let known = texts.entry(shape::of(plan, &ask)).or_insert_with(|| text.clone());
            assert_eq!(*known, text);
        }
    }
    let distinct: std::collections::HashSet<_> = texts.values().collect();
    assert_eq!(distinct.len(), texts.len());
}

#[test]
fn a_text_is_written_once_for_all_values_of_a_shape() {
    let statements = Statements::new(Dialect::Sqlite);
    let owner = Actor::invented(Role::Owner);
    let texts: Vec<_> = ["title__in=a,b,c", "title__in=x,y,z,w&page=9"]
        .map(|parameters| owner.list(parameters))
        .iter()
        .map(|plan| {
            let Action::List(list) = plan.action() else { unreachable!() };
            statements.rows(plan, list).text
        })
        .collect();
    assert!(Arc::ptr_eq(&texts[0], &texts[1]));
}

#[test]
fn whoever_invents_shapes_does_not_fill_the_memory() {
    let statements = Statements::new(Dialect::Sqlite);
    let owner = Actor::invented(Role::Owner);
    let names = ["title", "notes", "rank", "created_at"];
    for at in 0..2000_usize {
        let sign = |bit: usize| if at >> bit & 1 == 0 { "" } else { "-" };
        let orders: Vec<_> =
            (0..4).map(|place| format!("{}{}", sign(place), names[(place + at / 16) % 4])).collect();
        let terms = vec!["x"; at % 8 + 1].join(" ");
        let filters = if at % 3 == 0 { "&title=a" } else { "" };
        let filters = if at % 5 == 0 { format!("{filters}&rank=low") } else { filters.to_owned() };
        let plan = owner.list(&format!("ordering={}&search={terms}{filters}", orders.join(",")));
        let Action::List(list) = plan.action() else { unreachable!() };
        statements.rows(&plan, list);
        assert!(statements.texts.read().unwrap().len() <= MAX_TEXTS);
    }
}

// ACL-04
#[test]
fn every_statement_on_rows_begins_with_the_scope() {
    for (name, plan) in plans() {
        for ask in asks(&plan) {
            let (text, _) = text::of(Dialect::Postgres, &plan, &ask);
            let scoped = match ask {
                Ask::Insert { .. } => text.starts_with("INSERT INTO \"cards\" (\"org_id\", "),
                Ask::KeptCount => text.contains("\"scope_id\" = $2"),
                _ => text.contains(" WHERE \"org_id\" = $"),
            };
            assert!(scoped, "{name}: {text}");
        }
    }
}

#[test]
fn the_texts_are_these() {
    let mut written = String::new();
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        for (name, plan) in plans() {
            for ask in asks(&plan) {
                let (text, _) = text::of(dialect, &plan, &ask);
                writeln!(written, "-- {dialect:?}, {name}\n{text}").unwrap();
            }
        }
    }
    insta::assert_snapshot!(written);
}

#[test]
fn a_diagnosis_says_missing_before_forbidden_before_stale() {
    let (none, two) = (Precondition::None, version_in(&[2, 4]));
    let row = |allowed, version| Some(Diagnosis { allowed, version });
    for (found, precondition, verdict) in [
        (None, &two, Some(Written::Missing)),
        (row(false, Some(2)), &two, Some(Written::Forbidden)),
        (row(false, Some(3)), &two, Some(Written::Forbidden)),
        (row(true, Some(3)), &two, Some(Written::Stale)),
        (row(true, None), &two, Some(Written::Stale)),
        (row(true, Some(3)), &version_in(&[]), Some(Written::Stale)),
        (row(true, Some(4)), &two, None),
        (row(true, Some(3)), &none, None),
    ] {
        assert_eq!(Diagnosis::verdict(found, precondition), verdict, "{found:?} {precondition:?}");
    }
}

#[test]
fn a_reference_into_another_kind_of_scope_is_never_looked_up() {
    use bailiwick_core::model::{Model, ScopeKind, TableDef};
    static ELSEWHERE: TableDef = TableDef {
        scope: ScopeKind::Caller,
        name: "elsewhere",
        counted: false,
        columns: <crate::fixture::Member as Model>::TABLE.columns,
    };
    let plan = Actor::invented(Role::Owner).create(titled("a").set(TITLE, "b".to_owned()));
    let reference = Reference { table: &ELSEWHERE, key: Uuid::nil(), pointer: "#/x".to_owned() };
    assert!(Statements::new(Dialect::Sqlite).exists(&plan, &reference).is_none());
}
