//! What the derives of `Model`, `Input`, `Patch` and `View` write, at work.
use bailiwick::{
    Input, Model, Patch, View,
    clock::Timestamp,
    error::DecodeError,
    id::Id,
    identity::{OrgId, UserId},
    model::{
        Assignments, Body, Change, ColumnDef, Direction, FieldError, FilterOps, FromJson as _, Kind,
        Location, Model as _, Part, Ref, RowBuf, ScopeKind, Value, View as _, json,
    },
};
use uuid::Uuid;

bailiwick::choices! {
    /// How far a task is.
    pub(crate) enum Status {
        /// Not begun.
        Todo = "todo",
        /// Ended.
        Done = "done",
    }
}

#[derive(Model)]
#[model(table = "people", scope = Org)]
pub(crate) struct Person {
    #[model(tenant)]
    org_id: OrgId,
    #[model(id)]
    user_id: UserId,
}

/// A row with a column of every part, of every kind, and with every right.
#[derive(Model, Clone, Debug, PartialEq)]
#[model(table = "tasks", scope = Org, counted)]
#[expect(unused_qualifications, reason = "the module of columns must find `self::Status` too")]
pub(crate) struct Task {
    #[model(id)]
    id: Id<Self>,
    #[model(tenant)]
    org_id: OrgId,
    #[model(owner, filter(eq))]
    created_by: UserId,
    #[model(updated_by)]
    updated_by: Option<UserId>,
    #[model(filter(eq), order, search)]
    title: String,
    #[model(search)]
    description: Option<String>,
    #[model(filter(eq, in), order)]
    status: self::Status,
    #[model(filter(eq))]
    assignee: Option<UserId>,
    #[model(filter(gte, lte), order)]
    due_at: Option<Timestamp>,
    #[model(managed)]
    locked: bool,
    #[model(filter(eq, gte, lte, in))]
    r#type: i64,
    #[model(created_at, order(default = desc))]
    created_at: Timestamp,
    #[model(updated_at)]
    updated_at: Timestamp,
    #[model(version)]
    version: i64,
}

#[derive(Debug, Input)]
#[input(for = Task)]
pub(crate) struct NewTask {
    #[input(chars(1..=5))]
    title: String,
    #[input(chars(..=5))]
    description: Option<String>,
    #[input(default = Status::Todo)]
    status: Status,
    assignee: Option<Ref<Person>>,
    due_at: Option<Timestamp>,
    #[input(default)]
    r#type: i64,
}

#[derive(Debug, Patch)]
#[patch(for = Task)]
pub(crate) struct TaskPatch {
    #[patch(chars(1..=5))]
    title: Change<String>,
    #[patch(chars(2..=5))]
    description: Change<Option<String>>,
    status: Change<Status>,
    assignee: Change<Option<Ref<Person>>>,
}

#[derive(View)]
#[view(of = Task)]
pub(crate) struct TaskView {
    title: String,
    id: Id<Task>,
    description: Option<String>,
    status: Status,
    assignee: Option<UserId>,
    due_at: Option<Timestamp>,
    r#type: i64,
    created_by: UserId,
    created_at: Timestamp,
}

mod elsewhere {
    //! A model whose bodies and view stand in another module, and whose rows belong to one user.
    use super::Timestamp;

    #[derive(bailiwick::Model)]
    #[model(table = "api_tokens", scope = Caller)]
    pub(super) struct APIToken {
        #[model(id)]
        pub(super) id: bailiwick::id::Id<Self>,
        #[model(tenant)]
        user_id: super::UserId,
        #[model(order)]
        pub(super) name: String,
        #[model(managed)]
        pub(super) last_used_at: Option<Timestamp>,
        seen_at: Option<Timestamp>,
    }
}

#[derive(Input)]
#[input(for = elsewhere::APIToken)]
struct NewToken {
    #[input(default = "unnamed")]
    name: String,
}

#[derive(View)]
#[view(of = elsewhere::APIToken)]
struct TokenView {
    id: Id<elsewhere::APIToken>,
    name: String,
    last_used_at: Option<Timestamp>,
}

/// The body of an action that makes no row.
#[derive(Input)]
struct LogIn {
    username: String,
    #[input(chars(1..=5))]
    password: String,
}

/// The body of an action that takes no members.
#[derive(Input)]
#[input(for = Task)]
struct Nothing;

#[derive(Patch)]
#[patch(for = Task)]
struct NoChange {}

fn uuid(last: u128) -> Uuid {
    Uuid::from_u128(0x0192_f0c1_2345_7abc_8def_0000_0000_0000 + last)
}

fn row() -> RowBuf {
    RowBuf(vec![
        Value::Uuid(uuid(1)),
        Value::Uuid(uuid(2)),
        Value::Uuid(uuid(3)),
        Value::Null(Kind::Uuid),
        Value::Text("Milk".into()),
        Value::Null(Kind::Text),
        Value::Text("done".into()),
        Value::Uuid(uuid(4)),
        Value::Timestamp(Timestamp::from_micros(5)),
        Value::Bool(true),
        Value::Integer(6),
        Value::Timestamp(Timestamp::from_micros(7)),
        Value::Timestamp(Timestamp::from_micros(8)),
        Value::Integer(9),
    ])
}

fn read<B: Body>(body: &str) -> Result<B, Vec<FieldError>> {
    B::from_json(json::parse(body.as_bytes(), 32).expect("the test sends JSON"))
}

fn wrong<B: Body>(body: &str) -> Vec<(String, &'static str)> {
    let Err(errors) = read::<B>(body) else { panic!("{body} was accepted") };
    let named = errors.into_iter().map(|error| match error.location {
        Location::Body(pointer) => (pointer, error.code),
        Location::Query(parameter) => panic!("the body has no parameter {parameter}"),
    });
    named.collect()
}

fn at(pointer: &str, code: &'static str) -> (String, &'static str) {
    (pointer.to_owned(), code)
}

/// What is assigned, by column.
fn assigned(assignments: &Assignments<Task>) -> Vec<(&'static str, &Value)> {
    let mut assigned: Vec<_> =
        assignments.values().map(|(position, value)| (Task::TABLE.columns[position].name, value)).collect();
    assigned.sort_by_key(|(name, _)| *name);
    assigned
}

#[test]
fn a_table_says_what_the_struct_says() {
    let table = Task::TABLE;
    assert_eq!((table.name, table.scope, table.counted), ("tasks", ScopeKind::Org, true));
    assert_eq!((Person::TABLE.scope, Person::TABLE.counted), (ScopeKind::Org, false));
    assert_eq!(elsewhere::APIToken::TABLE.scope, ScopeKind::Caller);

    let columns: Vec<_> = table.columns.iter().map(|column| (column.name, column.part)).collect();
    assert_eq!(
        columns,
        [
            ("id", Part::Id),
            ("org_id", Part::Tenant),
            ("created_by", Part::Owner),
            ("updated_by", Part::UpdatedBy),
            ("title", Part::Writable),
            ("description", Part::Writable),
            ("status", Part::Writable),
            ("assignee", Part::Writable),
            ("due_at", Part::Writable),
            ("locked", Part::Managed),
            ("type", Part::Writable),
            ("created_at", Part::CreatedAt),
            ("updated_at", Part::UpdatedAt),
            ("version", Part::Version),
        ]
    );
    let column = |name| &table.columns[table.find(name).unwrap()];
    assert_eq!((column("due_at").kind, column("due_at").nullable), (Kind::Timestamp, true));
    assert_eq!((column("title").kind, column("title").nullable), (Kind::Text, false));
    assert_eq!(column("status").choices, Some(&["todo", "done"][..]));
    assert_eq!(column("title").filters, FilterOps { eq: true, ..FilterOps::NONE });
    assert_eq!(column("status").filters, FilterOps { eq: true, is_in: true, ..FilterOps::NONE });
    assert_eq!(column("due_at").filters, FilterOps { gte: true, lte: true, ..FilterOps::NONE });
    assert_eq!(column("type").filters, FilterOps { eq: true, gte: true, lte: true, is_in: true });
    assert_eq!(column("locked").filters, FilterOps::NONE);
    let orders = |column: &&ColumnDef| column.order;
    let ordered: Vec<_> = table.columns.iter().filter(orders).map(|column| column.name).collect();
    assert_eq!(ordered, ["title", "status", "due_at", "created_at"]);
    assert_eq!(column("created_at").default_order, Some(Direction::Descending));
    assert_eq!(column("title").default_order, None);
    let searched: Vec<_> =
        table.columns.iter().filter(|column| column.search).map(|column| column.name).collect();
    assert_eq!(searched, ["title", "description"]);
}

#[test]
fn a_constant_names_its_column() {
    assert_eq!(task::id.position(), 0);
    assert_eq!(task::r#type.position(), Task::TABLE.find("type").unwrap());
    assert_eq!(task::version.position(), 13);
    assert_eq!(elsewhere::api_token::last_used_at.position(), 3);
}

#[test]
fn a_row_is_read_in_the_order_of_its_columns() {
    let task = Task::from_row(&row()).unwrap();
    assert_eq!(
        task,
        Task {
            id: Id::from_uuid(uuid(1)),
            org_id: Id::from_uuid(uuid(2)),
            created_by: Id::from_uuid(uuid(3)),
            updated_by: None,
            title: "Milk".into(),
            description: None,
            status: Status::Done,
            assignee: Some(Id::from_uuid(uuid(4))),
            due_at: Some(Timestamp::from_micros(5)),
            locked: true,
            r#type: 6,
            created_at: Timestamp::from_micros(7),
            updated_at: Timestamp::from_micros(8),
            version: 9,
        }
    );
    assert_eq!((task.key(), task.version()), (Id::from_uuid(uuid(1)), Some(9)));
    let person = Person::from_row(&RowBuf(vec![Value::Uuid(uuid(2)), Value::Uuid(uuid(3))])).unwrap();
    assert_eq!((person.key(), person.version()), (Id::from_uuid(uuid(3)), None));
}

#[test]
fn a_stored_value_that_does_not_fit_is_named_by_its_column() {
    for (position, value) in [
        (4, Value::Null(Kind::Text)),
        (4, Value::Integer(1)),
        (6, Value::Text("DONE".into())),
        (13, Value::Null(Kind::Integer)),
    ] {
        let mut row = row();
        row.0[position] = value;
        let error: DecodeError = Task::from_row(&row).unwrap_err();
        assert_eq!(error.column, position);
    }
    let mut short = row();
    short.0.pop();
    assert_eq!(Task::from_row(&short).unwrap_err().column, 13);
}

#[test]
fn an_input_takes_defaults_for_what_is_absent() {
    let new: NewTask = read(r#"{"title": "Milk"}"#).unwrap();
    assert_eq!((new.title.as_str(), new.status, new.r#type), ("Milk", Status::Todo, 0));
    assert!(new.description.is_none() && new.assignee.is_none() && new.due_at.is_none());
    let token: NewToken = read("{}").unwrap();
    assert_eq!(token.name, "unnamed");
}

#[test]
fn an_input_takes_what_is_sent() {
    let sent = format!(
        r#"{{"type": 7, "due_at": "2026-01-31T09:00:00Z", "assignee": "{}", "status": "done",
             "description": "ééééé", "title": "Milk"}}"#,
        uuid(4)
    );
    let new: NewTask = read(&sent).unwrap();
    let assignments = new.into_assignments();
    assert_eq!(
        assigned(&assignments),
        [
            ("assignee", &Value::Uuid(uuid(4))),
            ("description", &Value::Text("ééééé".into())),
            ("due_at", &Value::Timestamp("2026-01-31T09:00:00Z".parse().unwrap())),
            ("status", &Value::Text("done".into())),
            ("title", &Value::Text("Milk".into())),
            ("type", &Value::Integer(7)),
        ]
    );
    // I5: what is pointed at is looked up in scope before anything is written.
    let [reference] = assignments.references() else { panic!("one member is a reference") };
    assert_eq!((reference.table.name, reference.key), ("people", uuid(4)));
    assert_eq!(reference.pointer, "#/assignee");
}

#[test]
fn a_body_that_makes_no_row_is_read_as_strictly() {
    let sent = json::parse(br#"{"username": "ann", "password": "123456", "admin": true}"#, 32);
    let errors = LogIn::from_json(sent.expect("the test sends JSON")).err().expect("two members are wrong");
    let named: Vec<_> = errors.into_iter().map(|error| (error.location, error.code)).collect();
    assert_eq!(
        named,
        [
            (Location::Body("#/admin".into()), "unknown-field"),
            (Location::Body("#/password".into()), "too-long")
        ]
    );
    let sent = json::parse(br#"{"username": "ann", "password": "12345"}"#, 32);
    let log_in = LogIn::from_json(sent.expect("the test sends JSON")).expect("it fits");
    assert_eq!((log_in.username.as_str(), log_in.password.as_str()), ("ann", "12345"));
}

#[test]
fn a_null_is_assigned_as_one_of_its_column() {
    let assignments = read::<NewTask>(r#"{"title": "Milk", "due_at": null}"#).unwrap().into_assignments();
    assert_eq!(assigned(&assignments)[2], ("due_at", &Value::Null(Kind::Timestamp)));
    assert!(assignments.references().is_empty());
}

// ACL-13
#[test]
fn everything_that_is_wrong_with_an_input_is_named_at_once() {
    assert_eq!(
        wrong::<NewTask>(
            r#"{"org_id": "x", "description": "123456", "status": "DONE", "due_at": "tomorrow",
                "assignee": 3, "type": 1.5}"#
        ),
        [
            at("#/org_id", "unknown-field"),
            at("#/title", "required"),
            at("#/description", "too-long"),
            at("#/status", "invalid-choice"),
            at("#/assignee", "invalid-type"),
            at("#/due_at", "invalid-format"),
            at("#/type", "invalid-type"),
        ]
    );
    assert_eq!(wrong::<NewTask>(r#"{"title": null}"#), [at("#/title", "null")]);
    assert_eq!(wrong::<NewTask>(r#"{"title": ""}"#), [at("#/title", "too-short")]);
    // A default is for what is absent, not for what is null.
    assert_eq!(wrong::<NewTask>(r#"{"title": "a", "status": null}"#), [at("#/status", "null")]);
    for no_object in ["[]", "null", "\"title\"", "1"] {
        assert_eq!(wrong::<NewTask>(no_object), [at("#", "invalid-type")]);
        assert_eq!(wrong::<Nothing>(no_object), [at("#", "invalid-type")]);
    }
}

// ACL-13: each column that is not a field of the input, the server's own among them.
#[test]
fn a_column_of_the_server_is_no_member() {
    let writable = ["title", "description", "status", "assignee", "due_at", "type"];
    for column in Task::TABLE.columns.iter().filter(|column| !writable.contains(&column.name)) {
        let sent = format!(r#"{{"title": "a", "{}": null}}"#, column.name);
        assert_eq!(wrong::<NewTask>(&sent), [at(&format!("#/{}", column.name), "unknown-field")]);
        let sent = format!(r#"{{"{}": null}}"#, column.name);
        assert_eq!(wrong::<TaskPatch>(&sent), [at(&format!("#/{}", column.name), "unknown-field")]);
    }
}

#[test]
fn an_absent_member_of_a_patch_changes_nothing() {
    let patch: TaskPatch = read("{}").unwrap();
    assert!(patch.into_assignments().is_empty());
    assert!(read::<NoChange>("{}").unwrap().into_assignments().is_empty());
    assert!(read::<Nothing>("{}").unwrap().into_assignments().is_empty());
    assert_eq!(wrong::<NoChange>(r#"{"title": "a"}"#), [at("#/title", "unknown-field")]);
}

#[test]
fn a_null_in_a_patch_clears_what_may_be_null() {
    let patch: TaskPatch = read(r#"{"description": null, "assignee": null}"#).unwrap();
    assert_eq!(patch.description, Change::Set(None));
    let assignments = patch.into_assignments();
    assert_eq!(
        assigned(&assignments),
        [("assignee", &Value::Null(Kind::Uuid)), ("description", &Value::Null(Kind::Text))]
    );
    assert!(assignments.references().is_empty());
    assert_eq!(
        wrong::<TaskPatch>(r#"{"title": null, "status": null}"#),
        [at("#/title", "null"), at("#/status", "null")]
    );
}

#[test]
fn a_patch_sets_what_is_sent_and_nothing_else() {
    let sent = format!(r#"{{"title": "Bread", "assignee": "{}"}}"#, uuid(4));
    let assignments = read::<TaskPatch>(&sent).unwrap().into_assignments();
    assert_eq!(
        assigned(&assignments),
        [("assignee", &Value::Uuid(uuid(4))), ("title", &Value::Text("Bread".into()))]
    );
    assert_eq!(assignments.references().len(), 1);
}

#[test]
fn everything_that_is_wrong_with_a_patch_is_named_at_once() {
    assert_eq!(
        wrong::<TaskPatch>(
            r#"{"locked": true, "title": "123456", "description": "1", "status": 1, "assignee": "me"}"#
        ),
        [
            at("#/locked", "unknown-field"),
            at("#/title", "too-long"),
            at("#/description", "too-short"),
            at("#/status", "invalid-type"),
            at("#/assignee", "invalid-format"),
        ]
    );
}

#[test]
fn a_view_shows_its_fields_in_their_order_and_nothing_else() {
    let view = TaskView::from(Task::from_row(&row()).unwrap());
    assert_eq!(
        serde_json::to_string(&view).unwrap(),
        format!(
            r#"{{"title":"Milk","id":"{}","description":null,"status":"done","assignee":"{}","#,
            uuid(1),
            uuid(4)
        ) + &format!(r#""due_at":"1970-01-01T00:00:00.000005Z","type":6,"created_by":"{}","#, uuid(3))
            + r#""created_at":"1970-01-01T00:00:00.000007Z"}"#
    );
    assert_eq!(
        TaskView::FIELDS,
        ["title", "id", "description", "status", "assignee", "due_at", "type", "created_by", "created_at"]
    );
    assert_eq!(TokenView::FIELDS, ["id", "name", "last_used_at"]);
}
