//! The tasks of the demo, made through the same guarded path as a client's.
use std::{sync::Arc, time::Duration};

use bailiwick::{
    access::{self, Create},
    clock::{Clock, OsEntropy, SystemClock, Timestamp},
    db::{Db, DbError},
    error::StoreError,
    id::Id,
    identity::{ApiToken, Credential, Principal, PrincipalParts, Scopes},
    model::Assignments,
    resource::Resource,
    store::Store,
};

use crate::resources::task::{Priority, Status, Task, task};

/// Who makes which tasks, and where: 40 for acme, 20 for globex.
const MAKERS: [(&str, &str, usize); 6] = [
    ("olivia", "acme", 8),
    ("adam", "acme", 12),
    ("mia", "acme", 20),
    ("adam", "globex", 8),
    ("victor", "globex", 11),
    ("victor", "globex", 1),
];

const WHAT: [&str; 10] = [
    "Renew the certificate of",
    "Write the release notes for",
    "Answer the questions about",
    "Review the contract for",
    "Measure the response times of",
    "Plan the migration of",
    "Order new hardware for",
    "Invite the testers of",
    "Check the backups of",
    "Close the accounts of",
];
const WHOSE: [&str; 6] =
    ["the shop", "the support desk", "the warehouse", "billing", "the mobile app", "the intranet"];

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Why the demo has no tasks.
#[derive(Debug, thiserror::Error)]
pub(super) enum FillError {
    #[error("the database failed")]
    Store(#[from] StoreError),
    #[error("a task of the demo was refused")]
    Refused(#[from] DbError),
    #[error("the people of the demo are not there")]
    NoMaker,
}

/// Adds the tasks; answers the id of one of globex.
pub(super) async fn fill(store: &Arc<dyn Store>) -> Result<String, FillError> {
    let rules = <Task as Resource>::rules();
    let now = SystemClock::new().now();
    let mut made = 0;
    let mut last = String::new();
    for (name, slug, count) in MAKERS {
        let login = store.login(name).await?.ok_or(FillError::NoMaker)?;
        let membership = store.membership(login.user_id, slug).await?;
        let principal = Principal::new(PrincipalParts {
            user_id: login.user_id,
            username: name.to_owned(),
            email: format!("{name}@example.com"),
            is_staff: false,
            service_of: None,
            created_at: now,
            credential: Credential::ApiToken(Id::<ApiToken>::new(&SystemClock::new(), &OsEntropy)),
            scopes: Scopes::ALL,
            last_used_at: None,
            expires_at: Timestamp::MAX,
        });
        let access = access::decide::<Task, Create>(&rules, &principal, membership.as_ref())
            .map_err(|_| FillError::NoMaker)?;
        for _ in 0..count {
            let clock = Arc::new(Stopped(now_minus(now, HOUR * (60 - made))));
            let db = Db::new(Arc::clone(store), clock, Arc::new(OsEntropy));
            let at = made as usize;
            let status = [Status::Todo, Status::Doing, Status::Done, Status::Todo][at % 4];
            let priority =
                [Priority::Normal, Priority::Low, Priority::High, Priority::Normal, Priority::Urgent][at % 5];
            let due = at.is_multiple_of(3).then(|| now.saturating_add(HOUR * 24 * (made % 14 + 1)));
            let assignments = Assignments::new()
                .set(task::title, format!("{} {}", WHAT[at % WHAT.len()], WHOSE[at / WHAT.len()]))
                .set(task::description, "A task of the demo.")
                .set(task::status, status)
                .set(task::priority, priority)
                .set(task::assignee, at.is_multiple_of(2).then_some(login.user_id))
                .set(task::due_at, due);
            last = bailiwick::model::Model::key(&db.create(&access, assignments).await?).to_string();
            made += 1;
        }
    }
    Ok(last)
}

fn now_minus(now: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_micros(now.as_micros().saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
}

/// A clock that stands, so that the tasks of the demo look made over days.
struct Stopped(Timestamp);

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}
