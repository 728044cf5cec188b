//! Each of two tenants sees exactly what it would see alone, whatever the other does in between.
use std::time::Duration;

use bailiwick::identity::Role;
use bailiwick_testkit::{Bare, Call, Person, TestApp};
use http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{self, NOBODY};

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tenant {
    Acme,
    Globex,
}

/// One step of one tenant.
#[derive(Clone, Debug)]
struct Step {
    tenant: Tenant,
    /// Which of the tenant's people: its owner, or one of its members.
    by_owner: bool,
    act: Act,
}

/// What they do. Numbers count the tasks that the tenant has made so far, around and around.
#[derive(Clone, Debug)]
enum Act {
    Create(Fields),
    List(usize),
    Retrieve(usize),
    Replace(usize, Fields),
    Change(usize, Fields),
    Delete(usize),
    /// Something with a task or a user of the other tenant.
    Attack(Attack, usize),
}

#[derive(Clone, Debug)]
struct Fields {
    title: String,
    status: &'static str,
    priority: &'static str,
    assigned: bool,
    due: Option<u8>,
}

/// The ways to reach for what is another's.
#[derive(Clone, Copy, Debug)]
enum Attack {
    /// Their task, in our organisation.
    Retrieve,
    Change,
    Delete,
    /// Their organisation.
    TheirList,
    TheirTask,
    TheirDelete,
    CreateThere,
    /// Their user, in our organisation.
    AssignNew,
    AssignOld,
    FilterAssignee,
    FilterMaker,
}

fn fields() -> impl Strategy<Value = Fields> {
    let status = prop::sample::select(vec!["todo", "doing", "done"]);
    let priority = prop::sample::select(vec!["low", "normal", "high", "urgent"]);
    let title = prop::sample::select(vec!["alpha", "beta", "Alpha Beta", "gamma_1", "100%"]);
    let due = prop::option::of(1_u8..5);
    (title, status, priority, any::<bool>(), due).prop_map(|(title, status, priority, assigned, due)| {
        Fields { title: title.to_owned(), status, priority, assigned, due }
    })
}

fn act() -> impl Strategy<Value = Act> {
    let number = 0_usize..6;
    let attack = prop::sample::select(vec![
        Attack::Retrieve,
        Attack::Change,
        Attack::Delete,
        Attack::TheirList,
        Attack::TheirTask,
        Attack::TheirDelete,
        Attack::CreateThere,
        Attack::AssignNew,
        Attack::AssignOld,
        Attack::FilterAssignee,
        Attack::FilterMaker,
    ]);
    prop_oneof![
        4 => fields().prop_map(Act::Create),
        3 => (0..QUERIES.len()).prop_map(Act::List),
        2 => number.clone().prop_map(Act::Retrieve),
        2 => (number.clone(), fields()).prop_map(|(at, fields)| Act::Replace(at, fields)),
        2 => (number.clone(), fields()).prop_map(|(at, fields)| Act::Change(at, fields)),
        1 => number.clone().prop_map(Act::Delete),
        3 => (attack, number).prop_map(|(attack, at)| Act::Attack(attack, at)),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let tenant = prop_oneof![Just(Tenant::Acme), Just(Tenant::Globex)];
    let step =
        (tenant, any::<bool>(), act()).prop_map(|(tenant, by_owner, act)| Step { tenant, by_owner, act });
    prop::collection::vec(step, 1..40)
}

/// Lists that meet the kept count, a scan, a search, every kind of order, and a page that may not be there.
const QUERIES: [&str; 10] = [
    "",
    "page_size=2",
    "page_size=2&page=2",
    "ordering=title",
    "ordering=-priority,due_at",
    "status=todo",
    "priority__in=high,urgent",
    "search=alpha",
    "search=a&page_size=1&page=3",
    "due_at__lte=2026-03-03T00:00:00Z&ordering=-updated_at",
];

/// One side of one application: who acts, and what they have made.
struct Side {
    slug: &'static str,
    owner: Person,
    member: Person,
    made: Vec<String>,
    seen: Vec<Bare>,
}

impl Side {
    fn at(&self, number: usize) -> String {
        let id = match self.made.len() {
            0 => NOBODY,
            count => &self.made[number % count],
        };
        id.to_owned()
    }
}

/// What the other tenant has, for attacks; invented where there is no other tenant.
struct Other {
    slug: &'static str,
    user: String,
    task: String,
}

struct World {
    app: TestApp,
    sides: [Side; 2],
}

impl World {
    async fn new(app: TestApp) -> Self {
        let acme_member = app.member();
        let globex_member = app.person("globex-member", &[("globex", Role::Member)]).await;
        let side = |slug, owner, member| Side { slug, owner, member, made: Vec::new(), seen: Vec::new() };
        let sides =
            [side("acme", app.owner(), acme_member), side("globex", app.other_tenant(), globex_member)];
        Self { app, sides }
    }

    /// Runs the steps of `tenants`. The time of a step is its number, whoever takes part.
    async fn run(mut self, steps: &[Step], tenants: &[Tenant]) -> [Vec<Bare>; 2] {
        for step in steps {
            self.app.clock().advance(Duration::from_secs(61));
            if tenants.contains(&step.tenant) {
                let both = tenants.len() == 2;
                self.take(step, both).await;
            }
        }
        // And at the end everything there is.
        for tenant in tenants {
            let side = &mut self.sides[*tenant as usize];
            let list = side.owner.get(&format!("/orgs/{}/tasks/?page_size=100", side.slug)).await;
            side.seen.push(normalised(list.bare(), side, None));
        }
        self.sides.map(|side| side.seen)
    }

    async fn take(&mut self, step: &Step, both: bool) {
        let number = step.tenant as usize;
        let theirs = &self.sides[1 - number];
        let other = match (&step.act, both) {
            (Act::Attack(_, at), true) => {
                Other { slug: theirs.slug, user: theirs.owner.id().to_string(), task: theirs.at(*at) }
            }
            _ => Other { slug: "nowhere", user: NOBODY.to_owned(), task: NOBODY.to_owned() },
        };
        let side = &mut self.sides[number];
        let person = if step.by_owner { &side.owner } else { &side.member };
        let reply = call(person, side, &step.act, &other).await;
        if reply.status() == 201 {
            side.made.push(reply.id());
        }
        let seen = normalised(reply.bare(), side, Some(&other));
        side.seen.push(seen);
    }
}

fn body(side: &Side, fields: &Fields) -> Value {
    json!({
        "title": fields.title,
        "status": fields.status,
        "priority": fields.priority,
        "assignee": fields.assigned.then(|| side.member.id()),
        "due_at": fields.due.map(|day| format!("2026-03-0{day}T00:00:00Z")),
    })
}

fn call(person: &Person, side: &Side, act: &Act, other: &Other) -> Call {
    let tasks = format!("/orgs/{}/tasks/", side.slug);
    let task = |at: usize| format!("{tasks}{}/", side.at(at));
    let their_tasks = format!("/orgs/{}/tasks/", other.slug);
    let (foreign, their_task) = (format!("{tasks}{}/", other.task), format!("{their_tasks}{}/", other.task));
    match act {
        Act::Create(fields) => person.post(&tasks, body(side, fields)),
        Act::List(query) => person.get(&format!("{tasks}?{}", QUERIES[*query])),
        Act::Retrieve(at) => person.get(&task(*at)),
        Act::Replace(at, fields) => person.put(&task(*at), body(side, fields)),
        Act::Change(at, fields) => person.patch(&task(*at), body(side, fields)),
        Act::Delete(at) => person.delete(&task(*at)),
        Act::Attack(attack, at) => match attack {
            Attack::Retrieve => person.get(&foreign),
            Attack::Change => person.patch(&foreign, json!({"title": "taken"})),
            Attack::Delete => person.delete(&foreign),
            Attack::TheirList => person.get(&their_tasks),
            Attack::TheirTask => person.request(Method::PUT, &their_task).json(&json!({"title": "taken"})),
            Attack::TheirDelete => person.delete(&their_task),
            Attack::CreateThere => person.post(&their_tasks, json!({"title": "planted"})),
            Attack::AssignNew => person.post(&tasks, json!({"title": "x", "assignee": other.user})),
            Attack::AssignOld => person.patch(&task(*at), json!({"assignee": other.user})),
            Attack::FilterAssignee => person.get(&format!("{tasks}?assignee={}", other.user)),
            Attack::FilterMaker => person.get(&format!("{tasks}?created_by={}", other.user)),
        },
    }
}

/// What was seen, with ids by their number and without the name of the other tenant.
fn normalised(mut seen: Bare, side: &Side, other: Option<&Other>) -> Bare {
    let mut names: Vec<(String, String)> =
        side.made.iter().enumerate().map(|(number, id)| (id.clone(), format!("task-{number}"))).collect();
    names.push((side.owner.id().to_string(), "the-owner".to_owned()));
    names.push((side.member.id().to_string(), "the-member".to_owned()));
    if let Some(other) = other {
        names.push((other.user.clone(), "a-stranger".to_owned()));
        names.push((other.task.clone(), "a-strange-task".to_owned()));
    }
    for (id, name) in names {
        seen.body = seen.body.replace(&id, &name);
        for (_, value) in &mut seen.headers {
            *value = value.replace(&id, &name);
        }
    }
    seen
}

/// Runs `steps` with both tenants in one application, and with each alone; what each sees is the same.
async fn check(steps: &[Step], together: TestApp, alone: [TestApp; 2]) -> Result<(), TestCaseError> {
    let [acme, globex] = World::new(together).await.run(steps, &[Tenant::Acme, Tenant::Globex]).await;
    let [acme_app, globex_app] = alone;
    let [acme_alone, _] = World::new(acme_app).await.run(steps, &[Tenant::Acme]).await;
    let [_, globex_alone] = World::new(globex_app).await.run(steps, &[Tenant::Globex]).await;
    prop_assert_eq!(acme, acme_alone);
    prop_assert_eq!(globex, globex_alone);
    Ok(())
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn a_tenant_sees_what_it_would_see_alone(steps in steps()) {
        runtime().block_on(async {
            let app = |seed: u64| support::builder(&[]).seed(seed).start();
            check(&steps, app(1).await, [app(2).await, app(3).await]).await
        })?;
    }
}

mod postgres {
    use bailiwick_testkit::databases::{FreshPostgres, fresh_postgres};

    use super::*;

    async fn databases() -> Option<[FreshPostgres; 3]> {
        Some([fresh_postgres().await?, fresh_postgres().await?, fresh_postgres().await?])
    }

    proptest! {
        #![proptest_config(config(4))]

        #[test]
        fn a_tenant_sees_what_it_would_see_alone(steps in steps()) {
            runtime().block_on(async {
                let Some(databases) = databases().await else { return Ok(()) };
                let mut apps = Vec::new();
                for (database, seed) in databases.into_iter().zip(1..) {
                    apps.push(support::builder(&[]).seed(seed).postgres(database).start().await);
                }
                let [together, acme, globex] = apps.try_into().expect("three databases make three applications");
                check(&steps, together, [acme, globex]).await
            })?;
        }
    }
}
