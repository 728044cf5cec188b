//! The one table that `cargo xtask tidy` holds the tree against. To allow something new, add a line here with
//! its reason; the reviewer of that line is the reviewer of the exception.

/// Where the framework lives; its folders are in [`ROOMS`].
pub(super) const FRAMEWORK: &str = "crates/bailiwick";
/// Where the core lives; its modules are in [`CORE_LAYERS`].
pub(super) const CORE: &str = "crates/bailiwick-core";

/// The modules of the core, top first. A module uses only modules of the layers below its own; modules of one
/// layer may use each other, but not in a circle.
pub(super) const CORE_LAYERS: &[&[&str]] = &[
    &["db"],
    &["store"],
    &["query"],
    &["access"],
    &["model"],
    &["request"],
    &["audit"],
    &["identity"],
    &["error", "units", "secret", "clock", "text", "id", "meter", "named"],
];

/// A module or folder of the framework.
pub(super) struct Room {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Names of other rooms that it may import.
    pub(super) imports: Imports,
}

/// What a room is.
#[derive(PartialEq)]
pub(super) enum Kind {
    /// A folder that holds [`CONTROL_FILES`] and is usable alone as a tower layer.
    Control,
    /// Anything else.
    Part,
}

/// What a room may import from the framework itself (the core is open to all).
pub(super) enum Imports {
    Only(&'static [&'static str]),
    Anything,
}

/// The framework's rooms. A new control is one line: `control("hosts")`.
pub(super) const ROOMS: &[Room] = &[
    part("problem", &[]),
    part("origin", &[]),
    // Routes that a control treats in a way of their own.
    part("route_set", &[]),
    // Two controls and the handlers read and write the same two cookies.
    part("cookies", &["origin"]),
    // The gate reads the principal from the request, however it came there: it never imports `authn`.
    part("gate", &["problem"]),
    // A route names the quota that its callers spend.
    part("routes", &["problem", "gate", "throttle"]),
    part("resource", &["problem", "gate"]),
    // A download is an answer with a tag like any other.
    part("upload", &["problem", "resource"]),
    part("tenancy", &["problem"]),
    part("check", &["problem"]),
    part("health", &["problem"]),
    control("request_id"),
    control("trace"),
    control("metrics"),
    control("audit"),
    control("headers"),
    control("overload"),
    control("hosts"),
    control("proxies"),
    control("limits"),
    Room { name: "cors", kind: Kind::Control, imports: Imports::Only(&["problem", "origin"]) },
    Room { name: "authn", kind: Kind::Control, imports: Imports::Only(&["problem", "cookies", "route_set"]) },
    Room {
        name: "csrf",
        kind: Kind::Control,
        imports: Imports::Only(&["problem", "cookies", "origin", "route_set"]),
    },
    control("throttle"),
    // Re-exports for users, and nothing else; nobody in here imports it.
    Room { name: "prelude", kind: Kind::Part, imports: Imports::Anything },
    // The only place that knows them all; nobody imports it.
    Room { name: "app", kind: Kind::Part, imports: Imports::Anything },
];

/// Every control's folder has these.
pub(super) const CONTROL_FILES: &[&str] = &["mod.rs", "layer.rs", "service.rs", "tests.rs"];

const fn control(name: &'static str) -> Room {
    Room { name, kind: Kind::Control, imports: Imports::Only(&["problem"]) }
}

const fn part(name: &'static str, imports: &'static [&'static str]) -> Room {
    Room { name, kind: Kind::Part, imports: Imports::Only(imports) }
}

/// An import against the arrows that is right all the same.
pub(super) struct Crossing {
    /// The file that imports.
    pub(super) file: &'static str,
    /// The module it imports from.
    pub(super) module: &'static str,
    pub(super) reason: &'static str,
}

/// See [`Crossing`].
pub(super) const CROSSINGS: &[Crossing] = &[Crossing {
    file: "crates/bailiwick/src/routes.rs",
    module: "app",
    reason: "the default of a type parameter, so that users write `Routes` and not `Routes<app::State>`",
}];

/// A control's folder without one of [`CONTROL_FILES`].
pub(super) struct Missing {
    pub(super) control: &'static str,
    pub(super) file: &'static str,
    pub(super) reason: &'static str,
}

/// See [`Missing`].
pub(super) const MISSING: &[Missing] = &[];

/// A place outside tests that lowers a protection, or defines how it can be lowered (invariant I11), or reads
/// the clock or randomness of the machine (I10).
pub(super) struct Loud {
    pub(super) file: &'static str,
    /// `danger`, an identifier that begins with `insecure_`, or `disallowed_methods`.
    pub(super) word: &'static str,
    pub(super) reason: &'static str,
}

/// See [`Loud`].
pub(super) const LOUD: &[Loud] = &[
    Loud {
        file: "crates/bailiwick-core/src/clock.rs",
        word: "disallowed_methods",
        reason: "the clock and the entropy of the machine, which everything else takes as arguments",
    },
    Loud {
        file: "crates/bailiwick/src/app/builder.rs",
        word: "insecure_no_throttle",
        reason: "defines the way to serve without any quota, for benches and for those who throttle elsewhere",
    },
    Loud {
        file: "crates/bailiwick-server/src/application.rs",
        word: "insecure_no_throttle",
        reason: "the operator's `throttle.enabled = false`, which `check` reports",
    },
    Loud {
        file: "crates/bailiwick-core/src/audit/chain.rs",
        word: "insecure_without_key",
        reason: "defines the key of chains that show damage and no forgery, for databases without a secret",
    },
    Loud {
        file: "crates/bailiwick/src/cors/policy.rs",
        word: "insecure_any_origin",
        reason: "defines the way to let pages of any origin read, without cookies",
    },
    Loud {
        file: "crates/bailiwick/src/cors/policy.rs",
        word: "insecure_allow_credentials",
        reason: "defines the way to let pages use cookies whose origins are known by pattern only",
    },
    Loud {
        file: "crates/bailiwick-server/src/application.rs",
        word: "insecure_any_origin",
        reason: "the operator's `cors.allow_all_origins`, which `check` reports",
    },
    Loud {
        file: "crates/bailiwick-server/src/application.rs",
        word: "insecure_allow_credentials",
        reason: "the operator's `cors.allow_credentials` with patterns, which `check` refuses unless it is accepted",
    },
    Loud {
        file: "crates/bailiwick-core/src/identity.rs",
        word: "from_store",
        reason: "defines what stores vouch with",
    },
    Loud {
        file: "crates/bailiwick-store/src/sqlite/directory.rs",
        word: "from_store",
        reason: "reads a place from the database",
    },
    Loud {
        file: "crates/bailiwick-store/src/sqlite/principals.rs",
        word: "from_store",
        reason: "reads a place from the database, with the token",
    },
    Loud {
        file: "crates/bailiwick-store/src/postgres/directory.rs",
        word: "from_store",
        reason: "reads a place from the database",
    },
    Loud {
        file: "crates/bailiwick-store/src/postgres/principals.rs",
        word: "from_store",
        reason: "reads a place from the database, with the token",
    },
    Loud {
        file: "crates/bailiwick-store/src/fixture.rs",
        word: "from_store",
        reason: "tests of the store, which have no directory",
    },
    Loud {
        file: "xtask/src/stopwatch.rs",
        word: "disallowed_methods",
        reason: "the suite tells how long its steps took and how long it waits for a service",
    },
];

/// Words that say nothing about what a file or type holds. Matched whole, between underscores or capitals.
pub(super) const EMPTY_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "manager", "managers"];

/// How paths of one person's machine begin. Cut in two, so that this file passes its own check.
pub(super) const MACHINE_PATHS: &[&str] = &[
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
    concat!("C:", "\\Users"),
];

/// Prefixes of the rule ids that comments cite, as in `THR-30`.
pub(super) const RULE_PREFIXES: &[&str] = &[
    "ACL", "CND", "CORS", "CSRF", "DEP", "ERR", "HDR", "HST", "IDM", "JWT", "KEY", "LIM", "LOG", "MET",
    "OAS", "PAG", "PIP", "PRX", "PWD", "RLS", "RST", "SES", "THR", "TLS", "TOK", "VER",
];
