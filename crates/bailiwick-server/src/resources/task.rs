//! Tasks of an organisation.
use bailiwick::{
    access::Rule,
    model::{Column, Model},
    prelude::*,
};

use super::member::Member;

choices! {
    pub(crate) enum Status { Todo = "todo", Doing = "doing", Done = "done" }
}
choices! {
    pub(crate) enum Priority { Low = "low", Normal = "normal", High = "high", Urgent = "urgent" }
}

#[derive(Model)]
#[model(table = "tasks", scope = Org, counted)]
pub(crate) struct Task {
    #[model(id)]
    id: Id<Task>,
    #[model(tenant)]
    org_id: OrgId,
    #[model(order, search)]
    title: String,
    #[model(search)]
    description: String,
    #[model(filter(eq, in))]
    status: Status,
    #[model(filter(eq, in), order)]
    priority: Priority,
    #[model(filter(eq))]
    assignee: Option<UserId>,
    #[model(filter(eq, gte, lte), order)]
    due_at: Option<Timestamp>,
    #[model(owner, filter(eq))]
    created_by: UserId,
    #[model(updated_by)]
    updated_by: UserId,
    #[model(created_at, filter(eq, gte, lte), order(default = desc))]
    created_at: Timestamp,
    #[model(updated_at, order)]
    updated_at: Timestamp,
    #[model(version)]
    version: i64,
}

#[derive(Input)]
#[input(for = Task)]
pub(crate) struct NewTask {
    #[input(chars(1..=200))]
    title: String,
    #[input(chars(0..=10_000), lines, default)]
    description: String,
    #[input(default = Status::Todo)]
    status: Status,
    #[input(default = Priority::Normal)]
    priority: Priority,
    assignee: Option<Ref<Member>>,
    due_at: Option<Timestamp>,
}

#[derive(Patch)]
#[patch(for = Task)]
pub(crate) struct TaskPatch {
    #[patch(chars(1..=200))]
    title: Change<String>,
    #[patch(chars(0..=10_000), lines)]
    description: Change<String>,
    status: Change<Status>,
    priority: Change<Priority>,
    assignee: Change<Option<Ref<Member>>>,
    due_at: Change<Option<Timestamp>>,
}

#[derive(View)]
#[view(of = Task)]
pub(crate) struct TaskView {
    id: Id<Task>,
    title: String,
    description: String,
    status: Status,
    priority: Priority,
    assignee: Option<UserId>,
    due_at: Option<Timestamp>,
    created_by: UserId,
    updated_by: UserId,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Resource for Task {
    const PATH: &'static str = "tasks";
    type New = NewTask;
    type Patch = TaskPatch;
    type View = TaskView;

    fn rules() -> Rules<Self> {
        Rules::deny_all()
            .allow::<List>(role(Role::Viewer))
            .allow::<Retrieve>(role(Role::Viewer))
            .allow::<Create>(role(Role::Member))
            .allow::<Update>(may_change(task::assignee))
            .allow::<Delete>(role(Role::Admin).or(role(Role::Member).and(own())))
    }
}

/// Who may change a task, and what belongs to it.
pub(super) fn may_change<T: Model, W>(assignee: Column<T, Option<UserId>, W>) -> Rule<T> {
    role(Role::Admin).or(role(Role::Member).and(own().or(is_me(assignee))))
}
