//! The server in process, with settings of a test.
use std::{ffi::OsString, sync::Arc};

use bailiwick::store::CounterStore;
use bailiwick_server::{
    application,
    config::{Inputs, Loaded, Settings},
    testing,
};
use bailiwick_testkit::{Call, Parts, Person, Reply, TestApp, TestAppBuilder};
use serde_json::{Value, json};

/// The tasks of `acme`.
pub(crate) const TASKS: &str = "/orgs/acme/tasks/";
/// An id that nothing has.
pub(crate) const NOBODY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// The master key of the tests.
pub(crate) const MASTER_KEY: &str = "9f1c04e2b7a95d3360ef4a1b92c7d85e0f6b3a49c1d27e8855aa3c96fe10b472";

/// Nobody is counted: for tests of anything else.
const UNTHROTTLED: [(&str, &str); 1] = [("throttle.enabled", "false")];

/// The server, whose callers have no quotas.
pub(crate) async fn start() -> TestApp {
    with(&[]).await
}

/// The same, with other settings: `("pagination.over_limit", "reject")`.
pub(crate) async fn with(changes: &[(&str, &str)]) -> TestApp {
    builder(&[&UNTHROTTLED, changes].concat()).start().await
}

/// The server with its own quotas, where the changes do not say otherwise.
pub(crate) async fn throttled(changes: &[(&str, &str)]) -> TestApp {
    builder(changes).start().await
}

/// The same, whose quotas are counted in `others` instead of in memory, if there are any.
pub(crate) async fn counted(others: Option<Arc<dyn CounterStore>>, changes: &[(&str, &str)]) -> TestApp {
    assemble(changes, others).start().await
}

/// The server with these settings, not started yet.
pub(crate) fn builder(changes: &[(&str, &str)]) -> TestAppBuilder<'static> {
    assemble(changes, None)
}

fn assemble(changes: &[(&str, &str)], others: Option<Arc<dyn CounterStore>>) -> TestAppBuilder<'static> {
    // Goes with the application, which holds it.
    let files = Arc::new(tempfile::tempdir().unwrap());
    let in_there = [("uploads.directory", files.path().to_str().unwrap())];
    let settings = settings(&[&in_there, changes].concat());
    TestApp::builder(testing::resources(), testing::routes(), testing::migrations()).made_by(
        move |parts, _| {
            let Parts { store, counters, clock, entropy, log } = parts;
            let builder = application::assemble(&settings, store, log)?;
            let built = builder
                .clock(clock)
                .entropy(entropy)
                .give(files)
                .policies(|policies| policies.counters(others.unwrap_or(counters)))
                .build();
            built.map_err(application::ApplicationError::from)
        },
    )
}

fn settings(changes: &[(&str, &str)]) -> Settings {
    let always = [
        ("server.environment", "development"),
        ("secrets.master_key", MASTER_KEY),
        ("passwords.argon2_memory_kib", "8"),
        ("passwords.argon2_iterations", "1"),
    ];
    // The last of a name is the one that counts.
    let mut variables: Vec<(OsString, OsString)> = Vec::new();
    for (key, value) in always.iter().chain(changes) {
        let name = OsString::from(format!("BAILIWICK_{}", key.to_uppercase().replace('.', "__")));
        // Nested sections are joined by two underscores, and so are words of a key by one.
        variables.retain(|(other, _)| *other != name);
        variables.push((name, value.into()));
    }
    Loaded::load(&Inputs { file: None, variables }).unwrap().settings
}

/// Somebody, and what they do to tasks.
pub(crate) trait Tasks {
    /// Makes a task in `acme` and gives its path.
    async fn task(&self, body: Value) -> String;
    /// The titles that a list of `acme` answers to this query, in order.
    async fn titles(&self, query: &str) -> Vec<String>;
}

impl Tasks for Person {
    async fn task(&self, body: Value) -> String {
        let made = self.post(TASKS, body).await.expect(201);
        format!("{TASKS}{}/", made.id())
    }

    async fn titles(&self, query: &str) -> Vec<String> {
        titles(&self.get(&format!("{TASKS}?{query}")).await.expect(200))
    }
}

/// The titles of a page, in order.
pub(crate) fn titles(page: &Reply) -> Vec<String> {
    let page = page.json();
    let results = page["results"].as_array().unwrap().iter();
    results.map(|task| task["title"].as_str().unwrap().to_owned()).collect()
}

/// A log-in.
pub(crate) fn log_in(person: &Person, username: &str, password: &str) -> Call {
    person.post("/auth/token/", json!({"username": username, "password": password}))
}

/// One error of a problem, to compare with.
pub(crate) fn error(place: &str, code: &str) -> (String, String) {
    (place.to_owned(), code.to_owned())
}
