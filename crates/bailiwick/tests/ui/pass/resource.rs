//! A resource as it should be: all four derives, nothing used but what is declared, and no warning.
#![deny(warnings, missing_docs, unreachable_pub, unused_qualifications)]

mod tasks {
    use bailiwick::{
        Input, Model, Patch, View,
        clock::Timestamp,
        id::Id,
        identity::{OrgId, UserId},
        model::{Change, Ref},
    };

    bailiwick::choices! {
        /// How far it is.
        pub(crate) enum Status {
            /// Not begun.
            Todo = "todo",
            /// Ended.
            Done = "done",
        }
    }

    /// Someone.
    #[derive(Model)]
    #[model(table = "members", scope = Org)]
    pub(crate) struct Member {
        #[model(tenant)]
        org_id: OrgId,
        #[model(id)]
        user_id: UserId,
    }

    /// Something to do.
    #[derive(Model)]
    #[model(table = "tasks", scope = Org, counted)]
    pub(crate) struct Task {
        #[model(id)]
        id: Id<Task>,
        #[model(tenant)]
        org_id: OrgId,
        #[model(owner)]
        created_by: UserId,
        #[model(filter(eq), order, search)]
        title: String,
        #[model(filter(eq, in))]
        status: Status,
        assignee: Option<UserId>,
        #[model(created_at, order(default = desc))]
        created_at: Timestamp,
        #[model(version)]
        version: i64,
    }

    /// A new one.
    #[derive(Input)]
    #[input(for = Task)]
    pub(crate) struct NewTask {
        #[input(chars(1..=200))]
        title: String,
        #[input(default = Status::Todo)]
        status: Status,
        assignee: Option<Ref<Member>>,
    }

    /// A change.
    #[derive(Patch)]
    #[patch(for = Task)]
    pub(crate) struct TaskPatch {
        #[patch(chars(1..=200))]
        title: Change<String>,
        status: Change<Status>,
        assignee: Change<Option<Ref<Member>>>,
    }

    /// What is seen.
    #[derive(View)]
    #[view(of = Task)]
    pub(crate) struct TaskView {
        id: Id<Task>,
        title: String,
        status: Status,
        created_at: Timestamp,
    }
}

use bailiwick::model::{Assignments, Input, Model, Patch, View};
use tasks::{NewTask, Status, Task, TaskPatch, TaskView, task};

fn offered<M: Model, N: Input<For = M>, P: Patch<For = M>, V: View<Of = M>>() -> usize {
    M::TABLE.columns.len() - V::FIELDS.len()
}

fn main() {
    assert_eq!(offered::<Task, NewTask, TaskPatch, TaskView>(), 4);
    let assignments = Assignments::new().set(task::status, Status::Done).set(task::title, "Milk");
    assert!(!assignments.is_empty());
}
