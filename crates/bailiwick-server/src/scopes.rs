//! What a token can be limited to (contract §2).
use bailiwick::identity::Scopes;

/// The resources of which each can be read and written.
const RESOURCES: &[&str] =
    &["tasks", "attachments", "articles", "comments", "orgs", "members", "invitations", "audit"];

/// A name that is no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no scope {name:?}; the scopes are {}", all().join(", "))]
pub(crate) struct UnknownScope {
    name: String,
}

/// The scopes that are named.
///
/// # Errors
/// Names the first that does not exist.
pub(crate) fn parse<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Scopes, UnknownScope> {
    let known = all();
    let names: Vec<_> = names.into_iter().collect();
    match names.iter().find(|name| !known.iter().any(|known| known == *name)) {
        Some(unknown) => Err(UnknownScope { name: unknown.chars().take(64).collect() }),
        None => Ok(Scopes::only(names)),
    }
}

/// All there are.
fn all() -> Vec<String> {
    let of = |resource| [format!("{resource}:read"), format!("{resource}:write")];
    RESOURCES.iter().flat_map(of).chain([bailiwick::gate::ACCOUNT.to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_exists_is_a_scope() {
        let scopes = parse(["tasks:write", "account", "tasks:read", "tasks:read"]).unwrap();
        assert_eq!(scopes.as_stored(), Some("account tasks:read tasks:write"));
        for wrong in ["tasks", "tasks:", "tasks:delete", "Tasks:read", "account:read", "*", "", "tasks:read "]
        {
            assert!(parse(["tasks:read", wrong]).is_err(), "{wrong:?}");
        }
    }
}
