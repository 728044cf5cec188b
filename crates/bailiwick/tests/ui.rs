//! What must not compile, and what it says (I1 to I6).
//!
//! The first lines of each file name the rule. After a change that is meant, run with `TRYBUILD=overwrite` and read
//! the difference: the text is for people who have just made the mistake.

#[test]
fn misuse_does_not_compile_and_says_why() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
    cases.pass("tests/ui/pass/*.rs");
}
