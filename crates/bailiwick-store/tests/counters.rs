//! Every back-end counts the same: one suite, in `bailiwick-testkit`.
use bailiwick_testkit::conformance;

mod memory {
    bailiwick_testkit::counter_conformance_tests!(super::conformance::memory_counters());
}

mod sqlite {
    bailiwick_testkit::counter_conformance_tests!(super::conformance::sqlite_counters());
}

mod postgres {
    bailiwick_testkit::counter_conformance_tests!(super::conformance::postgres_counters());
}

mod redis {
    bailiwick_testkit::counter_conformance_tests!(super::conformance::redis_counters());
}
