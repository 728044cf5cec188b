//! Lists: pages, filters, order and search, from a query string.
use std::{borrow::Cow, marker::PhantomData, num::NonZeroU32};

use smallvec::SmallVec;

use super::plan::ListPlan;
use crate::{
    id,
    model::{Column, ColumnDef, Direction, FieldError, FieldType, Kind, Model, Part, Value},
};

/// How large a page is when the client says nothing, and at most.
#[derive(Clone, Copy, Debug)]
pub struct PageSettings {
    /// Rows of a page when the client says nothing.
    pub default_size: u32,
    /// Rows of a page at most.
    pub max_size: u32,
    /// What happens above that.
    pub over_limit: OverLimit,
}

impl Default for PageSettings {
    fn default() -> Self {
        Self { default_size: 25, max_size: 100, over_limit: OverLimit::Cap }
    }
}

impl PageSettings {
    /// How many pages of the default size the page begins that the decoded parameters of a query string ask for (THR-37): of
    /// 25 rows and at most 100, one page for 25 rows, two for 26, four for 100 and for whatever is more.
    ///
    /// It is one if nothing is asked for or what is no size. A size above the cap counts as the cap, also where it is refused;
    /// of a size that is repeated, which is refused, the first counts.
    pub fn pages_asked<'q>(
        &self,
        mut parameters: impl Iterator<Item = (Cow<'q, str>, Cow<'q, str>)>,
    ) -> NonZeroU32 {
        let asked = parameters.find(|(name, _)| name == PAGE_SIZE).and_then(|(_, value)| positive(&value));
        let rows = asked.map_or(self.default_size, |asked| self.capped(asked));
        NonZeroU32::new(rows.div_ceil(self.default_size.max(1))).unwrap_or(NonZeroU32::MIN)
    }

    /// How many rows a page has at most for which `asked` were asked.
    fn capped(&self, asked: u64) -> u32 {
        u32::try_from(asked).map_or(self.max_size, |asked| asked.min(self.max_size))
    }
}

/// What happens to a `page_size` above the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverLimit {
    /// The cap is used.
    Cap,
    /// The request is refused.
    Reject,
}

/// Why a query string makes no list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// The `page` is no page number: answered like a page past the end (PAG-02).
    NoSuchPage,
    /// Parameters that are unknown, repeated, or do not fit.
    Invalid(Vec<FieldError>),
}

/// A page of rows of `R` that a client asked for. It names declared columns only.
#[derive(Debug)]
pub struct ListQuery<R> {
    filters: Vec<Filter>,
    search: Vec<String>,
    order: SmallVec<[(usize, Direction); 4]>,
    page: u64,
    size: u32,
    of: PhantomData<fn() -> R>,
}

/// A condition on one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The column's position.
    pub column: usize,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what: one value, or for [`Comparison::In`] several.
    pub values: SmallVec<[Value; 1]>,
}

/// How a filter compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// Is the value.
    Equal,
    /// Is the value or larger.
    AtLeast,
    /// Is the value or smaller.
    AtMost,
    /// Is one of the values.
    In,
}

/// A page of rows.
#[derive(Debug)]
pub struct Page<R> {
    /// The rows, in order.
    pub rows: Vec<R>,
    /// How many rows the whole list has.
    pub count: u64,
    /// The number of this page; the first is 1.
    pub number: u64,
    /// How many rows a full page has.
    pub size: u32,
}

impl<R> Page<R> {
    /// Whether a page follows.
    pub fn has_next(&self) -> bool {
        self.number.saturating_mul(u64::from(self.size)) < self.count
    }

    /// Whether the list has such a page: the first page of nothing is one.
    pub fn exists(&self) -> bool {
        self.number == 1 || (self.number - 1).saturating_mul(u64::from(self.size)) < self.count
    }
}

/// The parameter that names the size of a page.
const PAGE_SIZE: &str = "page_size";
/// How many terms a search may have.
const MAX_SEARCH_TERMS: usize = 8;
/// How long a search may be, in characters.
const MAX_SEARCH_CHARS: usize = 200;
/// How many values `__in` may name.
const MAX_IN_VALUES: usize = 50;

impl<R: Model> ListQuery<R> {
    /// Reads the decoded parameters of a query string.
    ///
    /// # Errors
    /// Names every parameter that is unknown, repeated or does not fit, and what is allowed.
    pub fn parse<'q>(
        parameters: impl Iterator<Item = (Cow<'q, str>, Cow<'q, str>)>,
        settings: &PageSettings,
    ) -> Result<Self, QueryError> {
        let mut query = Self::unordered(settings.default_size);
        let mut errors = Vec::new();
        let mut no_such_page = false;
        let mut seen: SmallVec<[Cow<'q, str>; 8]> = SmallVec::new();
        for (name, value) in parameters {
            if seen.contains(&name) {
                errors.push(FieldError::query(clipped(&name), "repeated", "may be given once"));
                continue;
            }
            let read = match name.as_ref() {
                "page" => {
                    match positive(&value) {
                        Some(page) => query.page = page,
                        None => no_such_page = true,
                    }
                    Ok(())
                }
                PAGE_SIZE => query.read_size(&value, settings),
                "ordering" => query.read_order(&value),
                "search" => query.read_search(&value),
                other => query.read_filter(other, &value),
            };
            if let Err((code, detail)) = read {
                errors.push(FieldError::query(clipped(&name), code, detail));
            }
            seen.push(name);
        }
        if !errors.is_empty() {
            return Err(QueryError::Invalid(errors));
        }
        if no_such_page {
            return Err(QueryError::NoSuchPage);
        }
        query.complete_order();
        Ok(query)
    }

    /// The first page of everything, in the default order.
    pub fn first_page(size: u32) -> Self {
        let mut query = Self::unordered(size.max(1));
        query.complete_order();
        query
    }

    fn unordered(size: u32) -> Self {
        Self {
            filters: Vec::new(),
            search: Vec::new(),
            order: SmallVec::new(),
            page: 1,
            size,
            of: PhantomData,
        }
    }

    /// The same of those rows alone that have `value` in `column`, whatever else the client asked for: for lists of what
    /// belongs to one row.
    #[must_use]
    pub fn only<T: FieldType, W>(mut self, column: Column<R, T, W>, value: T) -> Self {
        let values = SmallVec::from_iter([value.into_value()]);
        self.filters.push(Filter { column: column.position(), comparison: Comparison::Equal, values });
        self
    }

    /// The page after this one.
    #[must_use]
    pub fn next_page(mut self) -> Self {
        self.page = self.page.saturating_add(1);
        self
    }

    /// The number of the page; the first is 1.
    pub const fn page(&self) -> u64 {
        self.page
    }

    /// How many rows a full page has.
    pub const fn size(&self) -> u32 {
        self.size
    }

    pub(super) fn to_plan(&self) -> ListPlan {
        ListPlan {
            filters: self.filters.clone(),
            search: self.search.clone(),
            order: self.order.clone(),
            offset: (self.page - 1).saturating_mul(u64::from(self.size)).min(i64::MAX as u64),
            limit: u64::from(self.size),
        }
    }

    fn read_size(&mut self, value: &str, settings: &PageSettings) -> Result<(), Invalid> {
        self.size = page_size(value, settings)?;
        Ok(())
    }

    fn read_order(&mut self, value: &str) -> Result<(), Invalid> {
        if !R::TABLE.columns.iter().any(|column| column.order) {
            return Err(unknown::<R>());
        }
        for name in value.split(',') {
            let (bare, direction) = match name.strip_prefix('-') {
                Some(bare) => (bare, Direction::Descending),
                None => (name, Direction::Ascending),
            };
            let position = R::TABLE
                .find(bare)
                .filter(|position| R::TABLE.columns[*position].order)
                .ok_or_else(|| {
                    (
                        "invalid-choice",
                        format!("may be {}, each with - before it to turn it round", orderable::<R>()),
                    )
                })?;
            if self.order.iter().any(|(other, _)| *other == position) {
                return Err(("repeated", "names a field twice".to_owned()));
            }
            self.order.push((position, direction));
        }
        Ok(())
    }

    fn read_search(&mut self, value: &str) -> Result<(), Invalid> {
        if !R::TABLE.columns.iter().any(|column| column.search) {
            return Err(unknown::<R>());
        }
        if value.contains('\0') {
            return Err(("invalid-character", "must not contain the character U+0000".to_owned()));
        }
        if value.chars().count() > MAX_SEARCH_CHARS {
            return Err(("too-long", format!("at most {MAX_SEARCH_CHARS} characters")));
        }
        self.search = value.split_whitespace().map(str::to_lowercase).collect();
        if self.search.len() > MAX_SEARCH_TERMS {
            return Err(("too-long", format!("at most {MAX_SEARCH_TERMS} terms")));
        }
        Ok(())
    }

    fn read_filter(&mut self, name: &str, value: &str) -> Result<(), Invalid> {
        let (bare, suffix) =
            name.split_once("__").map_or((name, None), |(bare, suffix)| (bare, Some(suffix)));
        let column = R::TABLE.find(bare).ok_or_else(unknown::<R>)?;
        let definition = &R::TABLE.columns[column];
        let comparison = match suffix {
            None if definition.filters.eq => Comparison::Equal,
            Some("gte") if definition.filters.gte => Comparison::AtLeast,
            Some("lte") if definition.filters.lte => Comparison::AtMost,
            Some("in") if definition.filters.is_in => Comparison::In,
            _ => return Err(unknown::<R>()),
        };
        let values: SmallVec<[Value; 1]> = if comparison == Comparison::In {
            if value.split(',').count() > MAX_IN_VALUES {
                return Err(("too-long", format!("at most {MAX_IN_VALUES} values")));
            }
            value.split(',').map(|part| read_value(definition, part)).collect::<Result<_, _>>()?
        } else {
            SmallVec::from_iter([read_value(definition, value)?])
        };
        self.filters.push(Filter { column, comparison, values });
        Ok(())
    }

    /// Makes the order total (PAG-08): the default where none was asked for, and the id last.
    fn complete_order(&mut self) {
        if self.order.is_empty() {
            let by_default = R::TABLE.columns.iter().enumerate();
            self.order
                .extend(by_default.filter_map(|(position, column)| Some((position, column.default_order?))));
        }
        let id = R::TABLE.position(Part::Id).expect("the derive demands an id");
        if !self.order.iter().any(|(position, _)| *position == id) {
            // In the direction of the first column, so that one index serves both ways.
            let direction = self.order.first().map_or(Direction::Descending, |(_, direction)| *direction);
            self.order.push((id, direction));
        }
    }
}

/// Which page a client asked for of a list that has neither filters nor another order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageQuery {
    page: u64,
    size: u32,
}

impl PageQuery {
    /// Reads the decoded parameters of a query string.
    ///
    /// # Errors
    /// Names every parameter that is unknown, repeated or does not fit, and what is allowed.
    pub fn parse<'q>(
        parameters: impl Iterator<Item = (Cow<'q, str>, Cow<'q, str>)>,
        settings: &PageSettings,
    ) -> Result<Self, QueryError> {
        let mut query = Self { page: 1, size: settings.default_size };
        let mut errors = Vec::new();
        let mut no_such_page = false;
        let mut seen: SmallVec<[Cow<'q, str>; 2]> = SmallVec::new();
        for (name, value) in parameters {
            let read = match name.as_ref() {
                _ if seen.contains(&name) => Err(("repeated", "may be given once".to_owned())),
                "page" => {
                    no_such_page = positive(&value).map(|page| query.page = page).is_none();
                    Ok(())
                }
                PAGE_SIZE => page_size(&value, settings).map(|size| query.size = size),
                _ => Err((UNKNOWN, "not accepted here; accepted are page, page_size".to_owned())),
            };
            if let Err((code, detail)) = read {
                errors.push(FieldError::query(clipped(&name), code, detail));
            }
            seen.push(name);
        }
        match (errors.is_empty(), no_such_page) {
            (false, _) => Err(QueryError::Invalid(errors)),
            (true, true) => Err(QueryError::NoSuchPage),
            (true, false) => Ok(query),
        }
    }

    /// The page of `all`.
    pub fn of<T>(self, all: Vec<T>) -> Page<T> {
        let count = all.len() as u64;
        let before = usize::try_from((self.page - 1).saturating_mul(u64::from(self.size)));
        let rows = all.into_iter().skip(before.unwrap_or(usize::MAX)).take(self.size as usize).collect();
        Page { rows, count, number: self.page, size: self.size }
    }
}

/// A code, and what would be right.
type Invalid = (&'static str, String);

const UNKNOWN: &str = "unknown-parameter";

fn unknown<R: Model>() -> Invalid {
    let mut allowed = vec!["page".to_owned(), PAGE_SIZE.to_owned()];
    if R::TABLE.columns.iter().any(|column| column.order) {
        allowed.push("ordering".to_owned());
    }
    if R::TABLE.columns.iter().any(|column| column.search) {
        allowed.push("search".to_owned());
    }
    for column in R::TABLE.columns {
        let operators = [
            ("", column.filters.eq),
            ("__gte", column.filters.gte),
            ("__lte", column.filters.lte),
            ("__in", column.filters.is_in),
        ];
        allowed.extend(
            operators.iter().filter(|(_, is)| *is).map(|(suffix, _)| format!("{}{suffix}", column.name)),
        );
    }
    (UNKNOWN, format!("not accepted here; accepted are {}", allowed.join(", ")))
}

fn orderable<R: Model>() -> String {
    let names: Vec<_> =
        R::TABLE.columns.iter().filter(|column| column.order).map(|column| column.name).collect();
    names.join(", ")
}

fn read_value(column: &ColumnDef, text: &str) -> Result<Value, Invalid> {
    if let Some(choices) = column.choices {
        if choices.contains(&text) {
            return Ok(Value::Text(text.to_owned()));
        }
        return Err(("invalid-choice", format!("must be one of {}", choices.join(", "))));
    }
    let invalid = |detail: &str| ("invalid-format", detail.to_owned());
    match column.kind {
        Kind::Text if text.contains('\0') => {
            Err(("invalid-character", "must not contain the character U+0000".to_owned()))
        }
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::Uuid => {
            id::parse_uuid(text).map(Value::Uuid).ok_or_else(|| invalid(&id::InvalidId.to_string()))
        }
        Kind::Integer => text.parse().map(Value::Integer).map_err(|_| invalid("must be a whole number")),
        Kind::Bool => text.parse().map(Value::Bool).map_err(|_| invalid("must be true or false")),
        Kind::Timestamp => text
            .parse()
            .map(Value::Timestamp)
            .map_err(|error: crate::clock::InvalidTimestamp| invalid(&error.to_string())),
    }
}

fn page_size(value: &str, settings: &PageSettings) -> Result<u32, Invalid> {
    let size = positive(value).ok_or(("invalid-type", "must be a positive whole number".to_owned()))?;
    let cap = u64::from(settings.max_size);
    if size > cap && settings.over_limit == OverLimit::Reject {
        return Err(("too-large", format!("at most {cap}")));
    }
    Ok(settings.capped(size))
}

/// Reads a positive integer of ASCII digits; what is too large for 64 bits is the largest (PAG-04).
fn positive(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX)).filter(|number| *number > 0)
}

/// A parameter's name as an answer may repeat it.
fn clipped(name: &str) -> String {
    name.chars().filter(|character| !character.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_a_list_is_cut_out_of_it() {
        let page = |query: &'static str| {
            let pairs = query.split('&').filter(|pair| !pair.is_empty());
            let parameters = pairs.map(|pair| pair.split_once('=').unwrap());
            PageQuery::parse(
                parameters.map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value))),
                &PageSettings::default(),
            )
            .map(|query| query.of((0..60).collect()))
        };
        let rows = |query| page(query).unwrap().rows;
        assert_eq!(rows(""), (0..25).collect::<Vec<_>>());
        assert_eq!(rows("page=3"), (50..60).collect::<Vec<_>>());
        assert_eq!(rows("page_size=999"), (0..60).collect::<Vec<_>>());
        let last = page("page=6&page_size=10").unwrap();
        assert_eq!((last.rows, last.count, last.number, last.size), ((50..60).collect(), 60, 6, 10));
        assert!(!page("page=99999999999999999999").unwrap().exists());
        assert_eq!(page("page=0").unwrap_err(), QueryError::NoSuchPage);
        for wrong in ["page_size=0", "ordering=x", "page=1&page=0", "page_size=1&page_size=1"] {
            assert!(matches!(page(wrong), Err(QueryError::Invalid(_))), "{wrong}");
        }
    }

    // THR-37: what a page weighs agrees with what the list would be.
    #[test]
    fn a_page_counts_once_for_each_begun_page_of_the_default_size() {
        let pairs = |query: &'static str| {
            let pairs = query.split('&').filter(|pair| !pair.is_empty());
            let pairs = pairs.map(|pair| pair.split_once('=').unwrap());
            pairs.map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value)))
        };
        let settings = PageSettings::default();
        for (query, pages) in [
            ("", 1),
            ("page=7&search=x", 1),
            ("page_size=1", 1),
            ("page_size=25", 1),
            ("page_size=26", 2),
            ("page_size=50", 2),
            ("page_size=0051", 3),
            ("ordering=x&page_size=100", 4),
            ("page_size=101", 4),
            ("page_size=99999999999999999999999", 4),
        ] {
            assert_eq!(settings.pages_asked(pairs(query)).get(), pages, "{query}");
            let refusing = PageSettings { over_limit: OverLimit::Reject, ..settings };
            assert_eq!(refusing.pages_asked(pairs(query)).get(), pages, "{query}");
            if let Ok(list) = PageQuery::parse(pairs(query), &settings) {
                assert_eq!(list.size.div_ceil(25), pages, "{query}");
            }
        }
        for wrong in ["page_size=", "page_size=0", "page_size=-100", "page_size=1e2", "page_size=１００"] {
            assert_eq!(settings.pages_asked(pairs(wrong)).get(), 1, "{wrong}");
            assert!(PageQuery::parse(pairs(wrong), &settings).is_err(), "{wrong}");
        }
        assert_eq!(settings.pages_asked(pairs("page_size=1&page_size=100")).get(), 1);
        // Settings that nobody should make divide by nothing, and let nobody pass for nothing.
        let odd = PageSettings { default_size: 0, max_size: 0, over_limit: OverLimit::Cap };
        assert_eq!(odd.pages_asked(pairs("")).get(), 1);
        assert_eq!(odd.pages_asked(pairs("page_size=9")).get(), 1);
    }

    // PAG-04
    #[test]
    fn a_positive_number_is_ascii_digits_and_nothing_else() {
        for wrong in ["", "0", "-1", "abc", "1e3", "１", " 7 ", "1_0", "+1", "1.0"] {
            assert_eq!(positive(wrong), None, "{wrong}");
        }
        assert_eq!(positive("25"), Some(25));
        assert_eq!(positive("999999"), Some(999_999));
        assert_eq!(positive("007"), Some(7));
        assert_eq!(positive("99999999999999999999999"), Some(u64::MAX));
    }
}
