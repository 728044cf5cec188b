//! What clients may send.
use std::{borrow::Cow, marker::PhantomData, ops::RangeInclusive};

use serde::{Serialize, Serializer, ser::SerializeStruct};
use uuid::Uuid;

use super::{
    assign::Assignments,
    json::{Json, Mismatch, choice},
    table::{Model, TableDef},
    value::FieldType,
};
use crate::{
    clock::Timestamp,
    id,
    identity::Role,
    text::{Lines, visible},
};

/// One thing that is wrong with a request, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Where.
    pub location: Location,
    /// The permanent code, for example `too-long`.
    pub code: &'static str,
    /// What would be right.
    pub detail: Cow<'static, str>,
}

/// Where in a request something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A member of the body, as a JSON pointer in URI-fragment form (`#/title`).
    Body(String),
    /// A query parameter, by its name.
    Query(String),
}

impl FieldError {
    /// Something is wrong at `pointer` of the body.
    pub fn body(
        pointer: impl Into<String>,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { location: Location::Body(pointer.into()), code, detail: detail.into() }
    }

    /// Something is wrong with the query parameter `name`.
    pub fn query(name: impl Into<String>, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { location: Location::Query(name.into()), code, detail: detail.into() }
    }
}

impl Serialize for FieldError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_struct("FieldError", 3)?;
        match &self.location {
            Location::Body(pointer) => members.serialize_field("pointer", pointer)?,
            Location::Query(parameter) => members.serialize_field("parameter", parameter)?,
        }
        members.serialize_field("code", self.code)?;
        members.serialize_field("detail", &self.detail)?;
        members.end()
    }
}

/// A body that is read member by member, with all that is wrong with it named at once.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from a request",
    note = "add #[derive(Input)]; with #[input(for = YourModel)] it also creates rows"
)]
pub trait FromJson: Sized + Send {
    /// Reads the body.
    ///
    /// # Errors
    /// One [`FieldError`] for each member that is unknown, missing, or does not fit.
    fn from_json(body: Json<'_>) -> Result<Self, Vec<FieldError>>;
}

/// A body that becomes assignments.
pub trait Body: FromJson {
    /// The model it is for.
    type For: Model;

    /// The values for the columns.
    fn into_assignments(self) -> Assignments<Self::For>;
}

/// A body that creates or replaces a row: absent members take their defaults. Derive it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot create a row: it is no input",
    note = "add #[derive(Input)] and #[input(for = YourModel)]"
)]
pub trait Input: Body {}

/// A body that changes a row: absent members stay as they are (RFC 7396). Derive it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot change a row: it is no patch",
    note = "add #[derive(Patch)] and #[patch(for = YourModel)], and make each field a Change<_>"
)]
pub trait Patch: Body {}

/// A member of a [`Patch`]: absent, or a new value. `null` clears a `Change<Option<_>>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// The member was absent: the column stays as it is.
    #[default]
    Keep,
    /// The member was there.
    Set(T),
}

/// The body of an operation that a resource does not offer.
#[derive(Debug)]
pub struct NoInput<M>(PhantomData<fn() -> M>);

impl<M: Model> FromJson for NoInput<M> {
    fn from_json(_: Json<'_>) -> Result<Self, Vec<FieldError>> {
        Ok(Self(PhantomData))
    }
}

impl<M: Model> Body for NoInput<M> {
    type For = M;

    fn into_assignments(self) -> Assignments<M> {
        Assignments::new()
    }
}

impl<M: Model> Input for NoInput<M> {}
impl<M: Model> Patch for NoInput<M> {}

/// A value that clients may send.
#[diagnostic::on_unimplemented(
    message = "clients cannot send a `{Self}`",
    note = "a field of an input is a String, i64, bool, Timestamp, Ref<_>, an enum declared with `choices!`, or an Option of these"
)]
pub trait InputValue: Sized {
    /// The type of the column it is for.
    type Stored: FieldType;
    /// Whether the member may be absent or null: only for `Option`.
    const OPTIONAL: bool = false;

    /// Reads the value.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    fn from_json(value: &Json<'_>) -> Result<Self, Mismatch>;

    /// What it is when the member is absent; only for `Option`.
    fn absent() -> Option<Self> {
        None
    }

    /// The value for the column.
    fn into_stored(self) -> Self::Stored;

    /// The row it points at, if it does.
    fn reference(&self) -> Option<(&'static TableDef, Uuid)> {
        None
    }

    /// Its text, if it has one: what length limits apply to.
    fn as_text(&self) -> Option<&str> {
        None
    }
}

/// Names [`InputValue`]s that have a text, so that a limit on characters has something to limit.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no characters to limit",
    label = "chars(…) is for text"
)]
pub trait Text: InputValue {}
impl Text for String {}
impl<T: Text> Text for Option<T> {}

impl InputValue for String {
    type Stored = Self;

    fn from_json(value: &Json<'_>) -> Result<Self, Mismatch> {
        match value {
            // PostgreSQL cannot store it, and C programs downstream end their strings at it.
            Json::String(text) if text.contains('\0') => {
                Err(Mismatch::new("invalid-character", "must not contain the character U+0000"))
            }
            Json::String(text) => Ok(text.clone().into_owned()),
            other => Err(Mismatch::wrong_type("a string", other)),
        }
    }

    fn into_stored(self) -> Self {
        self
    }

    fn as_text(&self) -> Option<&str> {
        Some(self)
    }
}

impl InputValue for i64 {
    type Stored = Self;

    fn from_json(value: &Json<'_>) -> Result<Self, Mismatch> {
        match value {
            Json::Number(number) => number
                .as_i64()
                .ok_or_else(|| Mismatch::new("invalid-type", "must be a whole number of at most 64 bits")),
            other => Err(Mismatch::wrong_type("a whole number", other)),
        }
    }

    fn into_stored(self) -> Self {
        self
    }
}

impl InputValue for bool {
    type Stored = Self;

    fn from_json(value: &Json<'_>) -> Result<Self, Mismatch> {
        match value {
            Json::Bool(bool) => Ok(*bool),
            other => Err(Mismatch::wrong_type("true or false", other)),
        }
    }

    fn into_stored(self) -> Self {
        self
    }
}

impl InputValue for Role {
    type Stored = Self;

    fn from_json(value: &Json<'_>) -> Result<Self, Mismatch> {
        choice(value, Self::NAMES, |name| name.parse().ok())
    }

    fn into_stored(self) -> Self {
        self
    }
}

impl InputValue for Timestamp {
    type Stored = Self;

    fn from_json(value: &Json<'_>) -> Result<Self, Mismatch> {
        match value {
            Json::String(text) => text.parse().map_err(|error: crate::clock::InvalidTimestamp| {
                Mismatch::new("invalid-format", error.to_string())
            }),
            other => Err(Mismatch::wrong_type("a time as a string", other)),
        }
    }

    fn into_stored(self) -> Self {
        self
    }
}

impl<T: InputValue> InputValue for Option<T> {
    type Stored = Option<T::Stored>;
    const OPTIONAL: bool = true;

    fn from_json(value: &Json<'_>) -> Result<Self, Mismatch> {
        match value {
            Json::Null => Ok(None),
            present => T::from_json(present).map(Some),
        }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn into_stored(self) -> Self::Stored {
        self.map(T::into_stored)
    }

    fn reference(&self) -> Option<(&'static TableDef, Uuid)> {
        self.as_ref().and_then(T::reference)
    }

    fn as_text(&self) -> Option<&str> {
        self.as_ref().and_then(T::as_text)
    }
}

/// How many words a list may have.
const MAX_WORDS: usize = 100;

/// A list of words, such as names of scopes; kept as one text with spaces between.
impl InputValue for Vec<String> {
    type Stored = String;

    fn from_json(value: &Json<'_>) -> Result<Self, Mismatch> {
        let Json::Array(words) = value else { return Err(Mismatch::wrong_type("a list of strings", value)) };
        if words.len() > MAX_WORDS {
            return Err(Mismatch::new("too-long", format!("at most {MAX_WORDS} entries")));
        }
        let word = |value| {
            let word = String::from_json(value)?;
            match word.is_empty() || word.contains(char::is_whitespace) {
                true => Err(Mismatch::new("invalid-format", "must be words without white space")),
                false => Ok(word),
            }
        };
        words.iter().map(word).collect()
    }

    fn into_stored(self) -> String {
        self.join(" ")
    }
}

/// A row of `M` in the same scope, named by its key.
///
/// It is resolved in the transaction that writes: another tenant's row is answered like one that does not exist
/// (I5, ACL-05).
pub struct Ref<M: Model>(M::Key, Uuid);

impl<M: Model> std::fmt::Debug for Ref<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.1.fmt(f)
    }
}

/// A row that the server found, such as that in the path of a request. It is looked up once more in the transaction that
/// writes.
impl<M: Model<Key = id::Id<M>>> From<id::Id<M>> for Ref<M> {
    fn from(id: id::Id<M>) -> Self {
        Self(id, id.as_uuid())
    }
}

impl<M: Model<Key: From<Uuid>>> InputValue for Ref<M> {
    type Stored = M::Key;

    fn from_json(value: &Json<'_>) -> Result<Self, Mismatch> {
        match value {
            Json::String(text) => id::parse_uuid(text)
                .map(|uuid| Self(uuid.into(), uuid))
                .ok_or_else(|| Mismatch::new("invalid-format", id::InvalidId.to_string())),
            other => Err(Mismatch::wrong_type("an id as a string", other)),
        }
    }

    fn into_stored(self) -> M::Key {
        self.0
    }

    fn reference(&self) -> Option<(&'static TableDef, Uuid)> {
        Some((M::TABLE, self.1))
    }
}

/// Takes a JSON object apart, member by member, and collects what is wrong: what the derives of `Input` and
/// `Patch` call, and hand-written bodies may.
///
/// ```
/// use bailiwick_core::model::{ObjectReader, json};
///
/// let body = json::parse(br#"{"name": "x", "admin": true}"#, 32).unwrap();
/// let mut object = ObjectReader::new(body, &["name"]);
/// let name: Option<String> = object.required("name");
/// let errors = object.finish().unwrap_err();
/// assert_eq!((name.as_deref(), errors[0].code), (Some("x"), "unknown-field"));
/// ```
#[derive(Debug)]
pub struct ObjectReader<'a> {
    members: Vec<(Cow<'a, str>, Json<'a>)>,
    errors: Vec<FieldError>,
}

impl<'a> ObjectReader<'a> {
    /// How many unknown members are named at most: with so many errors there may be more.
    pub const MAX_UNKNOWN: usize = 20;

    /// Starts to read `body`, in which `known` are the only members.
    pub fn new(body: Json<'a>, known: &[&'static str]) -> Self {
        let members = match body {
            Json::Object(members) => members,
            other => {
                let detail = format!("the body must be an object, not {}", other.type_name());
                return Self {
                    members: Vec::new(),
                    errors: vec![FieldError::body("#", "invalid-type", detail)],
                };
            }
        };
        let errors = members
            .iter()
            .filter(|(name, _)| !known.contains(&name.as_ref()))
            // A body of a million unknown members must not be answered with a million errors.
            .take(Self::MAX_UNKNOWN)
            .map(|(name, _)| {
                let detail = if known.is_empty() {
                    "no member is accepted here".to_owned()
                } else {
                    format!("not accepted here; accepted are {}", known.join(", "))
                };
                FieldError::body(pointer(name), "unknown-field", detail)
            })
            .collect();
        Self { members, errors }
    }

    /// A member that must be there, unless its type is an `Option`.
    pub fn required<V: InputValue>(&mut self, name: &'static str) -> Option<V> {
        match self.find(name) {
            Some(value) => self.read(name, &value),
            None if self.has_no_body() => None,
            None => {
                let absent = V::absent();
                if absent.is_none() {
                    self.errors.push(FieldError::body(pointer(name), "required", "must be there"));
                }
                absent
            }
        }
    }

    /// A member that takes `default` when it is absent.
    pub fn or_default<V: InputValue>(
        &mut self,
        name: &'static str,
        default: impl FnOnce() -> V,
    ) -> Option<V> {
        match self.find(name) {
            Some(value) => self.read(name, &value),
            None => Some(default()),
        }
    }

    /// A member of a patch: absent means that nothing changes.
    pub fn change<V: InputValue>(&mut self, name: &'static str) -> Option<Change<V>> {
        match self.find(name) {
            Some(value) => self.read(name, &value).map(Change::Set),
            None => Some(Change::Keep),
        }
    }

    /// Checks that the text of `value` has a number of characters (Unicode code points) in `range`, and none that `lines`
    /// forbids. For the least number only [what is seen](visible) counts: a title of spaces is none.
    pub fn chars<V: Text>(
        &mut self,
        name: &'static str,
        value: Option<&V>,
        range: &RangeInclusive<usize>,
        lines: Lines,
    ) {
        let Some(text) = value.and_then(V::as_text) else { return };
        if let Some(forbidden) = lines.first_forbidden(text) {
            let detail = format!("must not contain the character U+{:04X}", u32::from(forbidden));
            self.fail(name, "invalid-character", detail);
        } else if text.chars().count() > *range.end() {
            self.fail(name, "too-long", format!("at most {} characters", range.end()));
        } else if visible(text).chars().count() < *range.start() {
            let detail = match range.start() {
                1 => "must not be empty or blank".to_owned(),
                least => format!("at least {least} characters, without white space at the ends"),
            };
            self.fail(name, "too-short", detail);
        }
    }

    /// Notes that the member `name` is wrong.
    pub fn fail(&mut self, name: &str, code: &'static str, detail: impl Into<Cow<'static, str>>) {
        self.errors.push(FieldError::body(pointer(name), code, detail));
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// All that was wrong.
    pub fn finish(self) -> Result<(), Vec<FieldError>> {
        if self.errors.is_empty() { Ok(()) } else { Err(self.errors) }
    }

    fn has_no_body(&self) -> bool {
        matches!(self.errors.first(), Some(error) if error.location == Location::Body("#".to_owned()))
    }

    fn find(&mut self, name: &str) -> Option<Json<'a>> {
        let at = self.members.iter().position(|(member, _)| member == name)?;
        Some(self.members.swap_remove(at).1)
    }

    fn read<V: InputValue>(&mut self, name: &'static str, value: &Json<'_>) -> Option<V> {
        match V::from_json(value) {
            Ok(read) => Some(read),
            Err(mismatch) => {
                self.errors.push(FieldError::body(pointer(name), mismatch.code, mismatch.detail));
                None
            }
        }
    }
}

/// How much of an unknown member's name an answer repeats at most, in characters.
const MAX_NAME_CHARS: usize = 64;

/// The JSON pointer to the member `name`, in URI-fragment form (RFC 6901 §6). It is plain ASCII whatever the client
/// sent, since it is repeated in the answer.
fn pointer(name: &str) -> String {
    let mut pointer = String::with_capacity(name.len() + 2);
    pointer.push_str("#/");
    for character in name.chars().take(MAX_NAME_CHARS) {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' | '_' => pointer.push(character),
            other => {
                for byte in other.encode_utf8(&mut [0; 4]).bytes() {
                    pointer.push_str(&format!("%{byte:02X}"));
                }
            }
        }
    }
    pointer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::parse;

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let body = parse(br#"{"title": 3, "admin": true, "a/b~": 1}"#, 32).unwrap();
        let mut object = ObjectReader::new(body, &["title", "due"]);
        let title: Option<String> = object.required("title");
        let due: Option<Timestamp> = object.required("due");
        assert!(title.is_none() && due.is_none());
        let errors = object.finish().unwrap_err();
        let named: Vec<_> = errors.iter().map(|error| (error.location.clone(), error.code)).collect();
        assert_eq!(
            named,
            [
                (Location::Body("#/admin".into()), "unknown-field"),
                (Location::Body("#/a~1b~0".into()), "unknown-field"),
                (Location::Body("#/title".into()), "invalid-type"),
                (Location::Body("#/due".into()), "required"),
            ]
        );
    }

    #[test]
    fn a_body_that_is_no_object_is_one_error() {
        let mut object = ObjectReader::new(parse(b"[1]", 32).unwrap(), &["title"]);
        assert!(object.required::<String>("title").is_none());
        assert_eq!(object.finish().unwrap_err().len(), 1);
    }

    #[test]
    fn length_counts_characters_and_absent_text_has_none() {
        let body = parse("{\"t\": \"ééé\"}".as_bytes(), 32).unwrap();
        let mut object = ObjectReader::new(body, &["t", "u"]);
        let t: Option<String> = object.required("t");
        object.chars("t", t.as_ref(), &(1..=3), Lines::One);
        let u: Option<Option<String>> = object.required("u");
        object.chars("u", u.as_ref(), &(1..=3), Lines::One);
        assert!(object.finish().is_ok());
    }

    #[test]
    fn blank_text_is_too_short_and_spaces_around_text_are_none_of_it() {
        let short = |text: &str, least: usize| {
            let mut object = ObjectReader::new(parse(b"{}", 32).unwrap(), &["t"]);
            object.chars("t", Some(&text.to_owned()), &(least..=9), Lines::Many);
            object.finish().err().map(|errors| errors[0].code)
        };
        for blank in ["", " ", "\n\t ", "\u{3000}", "\u{200d}"] {
            assert_eq!((short(blank, 1), short(blank, 0)), (Some("too-short"), None), "{blank:?}");
        }
        assert_eq!([short(" a ", 1), short(" a ", 2)], [None, Some("too-short")]);
    }

    #[test]
    fn a_nul_in_text_is_refused() {
        let body = parse(br#"{"t": "a\u0000b"}"#, 32).unwrap();
        let mut object = ObjectReader::new(body, &["t"]);
        assert!(object.required::<String>("t").is_none());
        assert_eq!(object.finish().unwrap_err()[0].code, "invalid-character");
    }
}
