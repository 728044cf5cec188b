//! Both databases keep the promises of `bailiwick_core::store`: one suite, in `bailiwick-testkit`.
use bailiwick_testkit::conformance;

mod sqlite {
    bailiwick_testkit::conformance_tests!(super::conformance::sqlite());
}

mod postgres {
    bailiwick_testkit::conformance_tests!(super::conformance::postgres());
}
