//! The derives of Bailiwick: what a resource is made of, declared once on plain structs.
//!
//! | derive | on | promises |
//! |---|---|---|
//! | [`Model`] | a stored row | its table as a value, and constants for its columns that say who may write |
//! | [`Input`] | a body that creates or replaces | unknown members are refused, columns of the server do not compile |
//! | [`Patch`] | a body that changes | the same, and an absent member is told from `null` |
//! | [`View`] | what clients see | only its fields leave, and by nothing else can clients filter, order or search |
//!
//! All of it can be written by hand: the traits are in `bailiwick::model`. The derives write paths that begin
//! with `::bailiwick`, so a crate that uses them depends on `bailiwick` under that name.
use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

mod attr;
mod body;
mod model;
mod names;
mod view;

/// Makes a struct a stored row: implements `bailiwick::model::Model`, and writes a module with its columns.
///
/// ```
/// use bailiwick::{
///     Model,
///     clock::Timestamp,
///     id::Id,
///     identity::{OrgId, UserId},
///     model::{Assignments, Direction, Model as _},
/// };
///
/// #[derive(Model)]
/// #[model(table = "notes", scope = Org, counted)]
/// pub struct Note {
///     #[model(id)]
///     id: Id<Note>,
///     #[model(tenant)]
///     org_id: OrgId,
///     #[model(owner, filter(eq))]
///     created_by: UserId,
///     #[model(order, search)]
///     title: String,
///     #[model(filter(eq, gte, lte))]
///     due_at: Option<Timestamp>,
///     #[model(created_at, order(default = desc))]
///     created_at: Timestamp,
///     #[model(version)]
///     version: i64,
/// }
///
/// # fn main() {
/// let created_at = &Note::TABLE.columns[note::created_at.position()];
/// assert_eq!(created_at.default_order, Some(Direction::Descending));
/// // `set(note::version, 1)` would not compile: the server owns that column.
/// let _ = Assignments::new().set(note::title, "Milk");
/// # }
/// ```
///
/// # On the struct
/// | `#[model(…)]` | means | default |
/// |---|---|---|
/// | `table = "notes"` | the table's name in SQL: `a-z`, `0-9`, `_`, at most 63 | required |
/// | `scope = Org` | rows belong to an organisation; the tenant column is an `OrgId` | required |
/// | `scope = Caller` | rows belong to one user, and to nobody else; the tenant column is a `UserId` | |
/// | `counted` | a trigger keeps the number of rows of each tenant, so that no list counts | off |
///
/// # On a field
/// A column plays at most one part; a column without one may be written by clients.
///
/// | `#[model(…)]` | the column | type |
/// |---|---|---|
/// | `id` | identifies the row within its scope; exactly one | `Id<_>` |
/// | `tenant` | says whom the row belongs to, stamped from the scope; exactly one | `OrgId`, `UserId` |
/// | `owner` | says who created the row, stamped; `own()` compares it | `UserId`, or an `Option` of it |
/// | `created_at`, `updated_at` | are stamped with the clock's time | `Timestamp` |
/// | `updated_by` | says who changed the row last, stamped | `UserId`, or an `Option` of it |
/// | `version` | grows with every change; the `ETag` is made of it | `i64` |
/// | `managed` | is written by code of the server only (ACL-13) | any |
///
/// What clients may do with it in a list; nothing, unless it says so (PAG-11, PAG-12):
///
/// | `#[model(…)]` | allows |
/// |---|---|
/// | `filter(eq, in)` | `?title=…` and `?title__in=a,b` |
/// | `filter(gte, lte)` | `?due_at__gte=…` and `?due_at__lte=…`, on `i64` and `Timestamp` |
/// | `order` | `?ordering=title` and `?ordering=-title` |
/// | `order(default = desc)` | the same, and it is the order of lists by default: `asc` or `desc`, on one column |
/// | `search` | `?search=…` looks into it, on text |
///
/// # The module
/// `Note` gets a module `note` of the same visibility, with one constant a field, each a `Column<Note, T, W>`
/// where `W` is `Writable` or `ServerOwned`. The struct must stand in a module, not in a function.
///
/// # Security
/// A stored row has no `Serialize`, so that no handler can return one (I4): a model that has is refused.
#[proc_macro_derive(Model, attributes(model))]
pub fn derive_model(input: TokenStream) -> TokenStream {
    model::derive(&parse_macro_input!(input as DeriveInput)).into()
}

/// Makes a struct the body of a request that creates or replaces a row: implements `bailiwick::model::FromJson` and
/// `bailiwick::model::Input`.
///
/// ```
/// use bailiwick::{
///     Input, Model,
///     id::Id,
///     identity::OrgId,
///     model::{FromJson as _, json},
/// };
///
/// #[derive(Model)]
/// #[model(table = "notes", scope = Org)]
/// pub struct Note {
///     #[model(id)]
///     id: Id<Note>,
///     #[model(tenant)]
///     org_id: OrgId,
///     title: String,
///     body: String,
///     stars: i64,
///     source: Option<String>,
/// }
///
/// #[derive(Input)]
/// #[input(for = Note)]
/// pub struct NewNote {
///     #[input(chars(1..=200))]
///     title: String,
///     #[input(chars(..=10_000), lines, default)]
///     body: String,
///     #[input(default = 3)]
///     stars: i64,
///     source: Option<String>,
/// }
///
/// # fn main() {
/// let body = json::parse(br#"{"title": "", "org_id": "x"}"#, 32).expect("it is JSON");
/// let errors = NewNote::from_json(body).err().expect("two members are wrong");
/// assert_eq!(errors.iter().map(|error| error.code).collect::<Vec<_>>(), ["unknown-field", "too-short"]);
/// # }
/// ```
///
/// On the struct, `#[input(for = Note)]` names the model; it may be a path, `for = notes::Note`, beside which
/// the module of columns is found. Each field must be called like a column that clients may write, and hold its
/// type, or a `Ref<_>` to the row that the column points at.
///
/// Without that attribute the struct is the body of an action that makes no row, such as a log-in: it implements
/// `bailiwick::model::FromJson` alone, and its fields are what clients may send, whatever they are called.
///
/// # On a field
/// | `#[input(…)]` | means |
/// |---|---|
/// | `chars(1..=200)` | text has that many characters (Unicode code points; white space at the ends does not count for the least number), else `too-short` or `too-long`, and is one line: no control character, none that turns text around and none that hides, else `invalid-character` |
/// | `lines` | with `chars`: the text may have ends of lines, tabs, and what hides between words, such as soft hyphens |
/// | `default` | the member may be absent, and is then `Default::default()` |
/// | `default = …` | the same, with the value of this expression |
///
/// A member without a default must be there, unless its type is an `Option`: then it may be absent or `null`.
/// Members that are not fields are refused with `unknown-field`.
///
/// # Security
/// A field for a column that the server owns does not compile (I3).
#[proc_macro_derive(Input, attributes(input))]
pub fn derive_input(input: TokenStream) -> TokenStream {
    body::derive(&parse_macro_input!(input as DeriveInput), body::Kind::Input).into()
}

/// Makes a struct the body of a request that changes a row: implements `bailiwick::model::FromJson` and
/// `bailiwick::model::Patch`.
///
/// ```
/// use bailiwick::{
///     Model, Patch,
///     id::Id,
///     identity::OrgId,
///     model::{Change, FromJson as _, json},
/// };
///
/// #[derive(Model)]
/// #[model(table = "notes", scope = Org)]
/// pub struct Note {
///     #[model(id)]
///     id: Id<Note>,
///     #[model(tenant)]
///     org_id: OrgId,
///     title: String,
///     source: Option<String>,
/// }
///
/// #[derive(Patch)]
/// #[patch(for = Note)]
/// pub struct NotePatch {
///     #[patch(chars(1..=200))]
///     title: Change<String>,
///     source: Change<Option<String>>,
/// }
///
/// # fn main() {
/// let body = json::parse(br#"{"source": null}"#, 32).expect("it is JSON");
/// let patch = NotePatch::from_json(body).expect("it fits");
/// assert_eq!((patch.title, patch.source), (Change::Keep, Change::Set(None)));
/// # }
/// ```
///
/// On the struct, `#[patch(for = Note)]` names the model. Each field is a `Change<_>`: an absent member stays
/// as it is, and `null` clears a `Change<Option<_>>` (RFC 7396).
///
/// # On a field
/// | `#[patch(…)]` | means |
/// |---|---|
/// | `chars(1..=200)` | a new text has that many characters (Unicode code points; white space at the ends does not count for the least number), else `too-short` or `too-long`, and is one line: no control character, none that turns text around and none that hides, else `invalid-character` |
/// | `lines` | with `chars`: the new text may have ends of lines, tabs, and what hides between words, such as soft hyphens |
///
/// # Security
/// A field for a column that the server owns does not compile (I3).
#[proc_macro_derive(Patch, attributes(patch))]
pub fn derive_patch(input: TokenStream) -> TokenStream {
    body::derive(&parse_macro_input!(input as DeriveInput), body::Kind::Patch).into()
}

/// Makes a struct what clients see of a row: implements `bailiwick::model::View`, `Serialize`, and `From` the
/// model.
///
/// ```
/// use bailiwick::{
///     Model, View,
///     id::Id,
///     identity::OrgId,
///     model::View as _,
/// };
///
/// #[derive(Model)]
/// #[model(table = "notes", scope = Org)]
/// pub struct Note {
///     #[model(id)]
///     id: Id<Note>,
///     #[model(tenant)]
///     org_id: OrgId,
///     #[model(order)]
///     title: String,
/// }
///
/// #[derive(View)]
/// #[view(of = Note)]
/// pub struct NoteView {
///     id: Id<Note>,
///     title: String,
/// }
///
/// # fn main() {
/// assert_eq!(NoteView::FIELDS, ["id", "title"]);
/// # }
/// ```
///
/// On the struct, `#[view(of = Note)]` names the model. Each field takes the value of the model's field of the
/// same name and type; they become the members of the JSON object, in this order. A view whose shape differs is
/// written by hand.
///
/// # Security
/// A column that clients may filter, order or search by must be in the view: comparing leaks what it does not
/// show (PAG-11). A view that lacks one does not compile.
#[proc_macro_derive(View, attributes(view))]
pub fn derive_view(input: TokenStream) -> TokenStream {
    view::derive(&parse_macro_input!(input as DeriveInput)).into()
}
