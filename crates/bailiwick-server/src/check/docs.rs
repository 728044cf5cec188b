//! Findings about who may read the documentation.
use super::{Found, Subject};
use crate::config::DocsAccess;

pub(super) fn public_docs(subject: &Subject<'_>, found: &mut Found) {
    if found.is_production && subject.settings.docs.access == DocsAccess::Public {
        found.error(
            "docs.access",
            "everybody may read how each route is called, attackers first",
            "set it to `authenticated`, `staff` or `off`; where the API is meant for everybody, accept this",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::find;

    #[test]
    fn documentation_that_everybody_reads_is_found_in_production() {
        let both = ["error DOCS-001 docs.access", "warning SET-001 docs.access"];
        assert_eq!(find("docs.access = 'public'"), both);
        assert!(!find("docs.access = 'authenticated'").iter().any(|found| found.contains("DOCS-001")));
    }
}
