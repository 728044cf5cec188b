//! Entity tags and preconditions (RFC 9110 §13).
use bailiwick_core::{model::Model, query::Precondition};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use smallvec::SmallVec;

use crate::problem::Problem;

/// A strong entity tag, `"v1-7"`: the representation, and the row's version (CND-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ETag(i64);

const PREFIX: &str = "v1-";

impl ETag {
    /// The tag of a row, if its model keeps versions.
    pub fn of<M: Model>(row: &M) -> Option<Self> {
        row.version().map(Self)
    }

    /// The tag of version `version` of an object.
    pub const fn of_version(version: i64) -> Self {
        Self(version)
    }

    /// The tag as a header's value.
    pub fn to_value(self) -> HeaderValue {
        HeaderValue::try_from(format!("\"{PREFIX}{}\"", self.0)).expect("digits are ASCII")
    }

    fn read(opaque: &str) -> Option<Self> {
        let digits = opaque.strip_prefix(PREFIX)?;
        let version = digits.parse().ok()?;
        // "007" and "+7" are other tags than "7".
        (Self(version).to_value() == format!("\"{opaque}\"")).then_some(Self(version))
    }
}

/// What `If-Match` and `If-None-Match` demand of a row that is to be written. With both, `If-Match` decides first
/// (CND-03), and what it leaves must not be one that `If-None-Match` excludes.
///
/// # Errors
/// 400 if a field is no list of entity tags; 428 if `If-Match` is absent and `required`.
pub(super) fn precondition(headers: &HeaderMap, required: bool) -> Result<Precondition, Problem> {
    let wanted = match read_tags(headers, &header::IF_MATCH)? {
        None if required => return Err(Problem::precondition_required()),
        // The write finds out by itself whether there is a row.
        None | Some(Tags::Any) => None,
        // Strong comparison: a weak tag matches nothing (CND-01).
        Some(Tags::These(tags)) => Some(versions(tags.iter().filter(|tag| !tag.weak))),
    };
    let excluded = match read_tags(headers, &header::IF_NONE_MATCH)? {
        None => return Ok(wanted.map_or(Precondition::None, Precondition::VersionIn)),
        // What is written is there already, so that nothing may be written (CND-02).
        Some(Tags::Any) => return Ok(Precondition::never()),
        // Weak comparison.
        Some(Tags::These(tags)) => versions(tags.iter()),
    };
    Ok(match wanted {
        Some(wanted) => Precondition::VersionIn(
            wanted.into_iter().filter(|version| !excluded.contains(version)).collect(),
        ),
        None => Precondition::VersionNotIn(excluded),
    })
}

/// The versions that tags of ours name.
fn versions<'t>(tags: impl Iterator<Item = &'t Tag>) -> SmallVec<[i64; 2]> {
    tags.filter_map(|tag| tag.tag).map(|ETag(version)| version).collect()
}

/// Whether `If-Match` lets the client read `current` (CND-01).
///
/// # Errors
/// 400 if the field is no list of entity tags.
pub(super) fn client_expects(headers: &HeaderMap, current: Option<ETag>) -> Result<bool, Problem> {
    Ok(match read_tags(headers, &header::IF_MATCH)? {
        None | Some(Tags::Any) => true,
        // Strong comparison.
        Some(Tags::These(tags)) => {
            current.is_some_and(|current| tags.iter().any(|tag| !tag.weak && tag.tag == Some(current)))
        }
    })
}

/// Whether `If-None-Match` says that the client has `current` already, which is a 304 (CND-02).
///
/// # Errors
/// 400 if the field is no list of entity tags.
pub(super) fn client_has(headers: &HeaderMap, current: Option<ETag>) -> Result<bool, Problem> {
    Ok(match read_tags(headers, &header::IF_NONE_MATCH)? {
        None => false,
        Some(Tags::Any) => true,
        Some(Tags::These(tags)) => {
            current.is_some_and(|current| tags.iter().any(|tag| tag.tag == Some(current)))
        }
    })
}

enum Tags {
    Any,
    These(SmallVec<[Tag; 2]>),
}

struct Tag {
    weak: bool,
    /// None for a tag that is none of ours: it matches nothing.
    tag: Option<ETag>,
}

/// Reads a list of entity tags, which may stand in several fields (CND-10).
fn read_tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Problem> {
    let malformed =
        || Problem::malformed_request(format!("{name} must be * or a list of quoted entity tags"));
    let mut tags = SmallVec::new();
    let mut any = false;
    let mut fields = 0;
    for field in headers.get_all(name) {
        fields += 1;
        let mut rest = field.to_str().map_err(|_| malformed())?.trim_matches([' ', '\t']);
        if rest == "*" {
            any = true;
            continue;
        }
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                break;
            }
            let (weak, quoted) = match rest.strip_prefix("W/") {
                Some(quoted) => (true, quoted),
                None => (false, rest),
            };
            let inside = quoted.strip_prefix('"').ok_or_else(malformed)?;
            let (opaque, after) = inside.split_once('"').ok_or_else(malformed)?;
            tags.push(Tag { weak, tag: ETag::read(opaque) });
            rest = after.trim_start_matches([' ', '\t']);
            if !rest.is_empty() && !rest.starts_with(',') {
                return Err(malformed());
            }
        }
    }
    match (fields, any, tags.is_empty()) {
        (0, ..) => Ok(None),
        (1, true, true) => Ok(Some(Tags::Any)),
        (_, false, false) => Ok(Some(Tags::These(tags))),
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn if_match(fields: &[&str]) -> Result<Precondition, Problem> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::IF_MATCH, HeaderValue::from_str(field).unwrap());
        }
        precondition(&headers, false)
    }

    fn versions(versions: &[i64]) -> Precondition {
        Precondition::VersionIn(versions.iter().copied().collect())
    }

    // CND-01, CND-10
    #[test]
    fn if_match_is_read_by_strong_comparison() {
        assert_eq!(if_match(&[]).unwrap(), Precondition::None);
        assert_eq!(if_match(&["*"]).unwrap(), Precondition::None);
        assert_eq!(if_match(&["\"v1-7\""]).unwrap(), versions(&[7]));
        assert_eq!(if_match(&["\"v1-7\", \"v1-8\"", "\"v1-9\""]).unwrap(), versions(&[7, 8, 9]));
        for never in ["W/\"v1-7\"", "\"v1-07\"", "\"v1-+7\"", "\"v2-7\"", "\"x,y\"", "\"\""] {
            assert_eq!(if_match(&[never]).unwrap(), versions(&[]), "{never}");
        }
        for wrong in [
            &["v1-7"][..],
            &["*, \"v1-7\""],
            &["*", "*"],
            &["*", "\"v1-7\""],
            &[""],
            &["\"v1-7"],
            &["\"a\"\"b\""],
        ] {
            assert!(if_match(wrong).is_err(), "{wrong:?}");
        }
    }

    // CND-02, CND-03
    #[test]
    fn if_none_match_keeps_a_write_from_what_the_client_knows() {
        let read = |fields: &[(HeaderName, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(name, HeaderValue::from_str(value).unwrap());
            }
            precondition(&headers, false).unwrap()
        };
        let not = |versions: &[i64]| Precondition::VersionNotIn(versions.iter().copied().collect());
        assert_eq!(read(&[(header::IF_NONE_MATCH, "*")]), versions(&[]));
        assert_eq!(read(&[(header::IF_NONE_MATCH, "\"v1-7\", W/\"v1-8\"")]), not(&[7, 8]));
        assert_eq!(read(&[(header::IF_NONE_MATCH, "\"of another\"")]), not(&[]));
        let both = |none| [(header::IF_MATCH, "\"v1-7\", \"v1-8\""), (header::IF_NONE_MATCH, none)];
        assert_eq!(read(&both("\"v1-7\"")), versions(&[8]));
        assert_eq!(read(&both("*")), versions(&[]));
    }
}
