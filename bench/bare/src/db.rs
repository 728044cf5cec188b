//! SQLite: reads in place on a connection of each worker thread, creates through one thread that commits in groups.

use std::{
    borrow::Cow,
    cell::{RefCell, RefMut},
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
};

use rusqlite::{Connection, OpenFlags, Row, Statement, config::DbConfig, params};
use serde::{Serialize, Serializer, ser::Error as _, ser::SerializeSeq as _};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::time::Micros;

static PATH: OnceLock<PathBuf> = OnceLock::new();

/// Names the database file. Once, before any other use of this module.
pub fn set_path(path: &Path) {
    PATH.set(path.to_owned()).expect("the path is set once");
}

fn open() -> rusqlite::Result<Connection> {
    let path = PATH.get().expect("main sets the path first");
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    // Without this SQLite compiles the page statement anew for every request, because the bound LIMIT could change
    // its plan: a fifth of the time of a list.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // FULL: a commit is on the disk when it returns. 64 MiB of cache and 1 GiB of map hold the whole file.
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
         PRAGMA busy_timeout = 5000; PRAGMA cache_size = -65536; PRAGMA mmap_size = 1073741824;
         PRAGMA temp_store = MEMORY;",
    )?;
    Ok(db)
}

/// A caller who is a member of the organisation that the path names.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    pub user: Uuid,
    pub org: Uuid,
    pub may_write: bool,
    /// How many tasks the organisation has.
    pub tasks: i64,
}

/// What the one look-up of token and membership found.
pub enum Caller {
    /// No live token of an active user.
    Unknown,
    /// Not a member, or there is no such organisation.
    Outsider,
    Member(Member),
}

/// The statements of one worker thread.
pub struct Reader {
    begin: Statement<'static>,
    end: Statement<'static>,
    caller: Statement<'static>,
    page: Statement<'static>,
    one: Statement<'static>,
}

const COLUMNS: &str = "id, title, description, status, priority, assignee, due_at, created_by, updated_by, \
                       created_at, updated_at";

thread_local! {
    static READER: RefCell<Option<Reader>> = const { RefCell::new(None) };
}

/// Runs `read` on this thread's connection, inside one read transaction.
///
/// One transaction for all statements of a request: they see one state, and SQLite takes its locks once.
pub fn read<T>(read: impl FnOnce(&mut Reader) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    READER.with(|slot| {
        let mut slot = slot.borrow_mut();
        if slot.is_none() {
            *slot = Some(Reader::open()?);
        }
        let mut reader = RefMut::map(slot, |reader| reader.as_mut().expect("opened above"));
        reader.begin.raw_execute()?;
        let result = read(&mut reader);
        reader.end.raw_execute()?;
        result
    })
}

impl Reader {
    fn open() -> rusqlite::Result<Self> {
        // One for each worker thread, for the life of the process: so the statements may borrow it for ever.
        let db: &'static Connection = Box::leak(Box::new(open()?));
        Ok(Self {
            begin: db.prepare("BEGIN")?,
            end: db.prepare("COMMIT")?,
            caller: db.prepare(
                "SELECT t.user_id, m.org_id, m.role, c.rows
                   FROM api_tokens t
                   JOIN users u ON u.id = t.user_id AND u.is_active
                   LEFT JOIN orgs o ON o.slug = ?2
                   LEFT JOIN memberships m ON m.org_id = o.id AND m.user_id = t.user_id
                   LEFT JOIN task_counts c ON c.org_id = m.org_id
                  WHERE t.digest = ?1 AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > ?3)",
            )?,
            page: db.prepare(&format!(
                "SELECT {COLUMNS} FROM tasks WHERE org_id = ?1 ORDER BY created_at DESC, id DESC LIMIT ?2 OFFSET ?3"
            ))?,
            one: db.prepare(&format!("SELECT {COLUMNS} FROM tasks WHERE id = ?1 AND org_id = ?2"))?,
        })
    }

    /// Who sent the token with this digest, as seen by the organisation `slug`.
    pub fn caller(&mut self, digest: &[u8; 32], slug: &str) -> rusqlite::Result<Caller> {
        let mut rows = self.caller.query(params![digest, slug, Micros::now().0])?;
        let Some(row) = rows.next()? else { return Ok(Caller::Unknown) };
        let Some(role) = row.get_ref(2)?.as_str_or_null()? else { return Ok(Caller::Outsider) };
        Ok(Caller::Member(Member {
            user: row.get(0)?,
            org: row.get(1)?,
            may_write: role != "viewer",
            tasks: row.get(3)?,
        }))
    }

    /// Writes `size` tasks of the organisation after the first `skip`, newest first, by `write`.
    pub fn page<T>(
        &mut self,
        org: Uuid,
        size: i64,
        skip: i64,
        write: impl FnOnce(RowStream<'_>) -> T,
    ) -> rusqlite::Result<T> {
        let rows = self.page.query(params![org, size, skip])?;
        Ok(write(RowStream(RefCell::new(rows))))
    }

    /// Writes the task `id` of the organisation by `write`, if there is one.
    pub fn one<T>(
        &mut self,
        org: Uuid,
        id: Uuid,
        write: impl FnOnce(TaskView<'_>) -> T,
    ) -> rusqlite::Result<Option<T>> {
        let mut rows = self.one.query(params![id, org])?;
        match rows.next()? {
            Some(row) => Ok(Some(write(TaskView::of(row)?))),
            None => Ok(None),
        }
    }
}

/// A task as clients see it (v1). The texts are borrowed from SQLite's page.
#[derive(Serialize)]
pub struct TaskView<'a> {
    pub id: Uuid,
    pub title: Cow<'a, str>,
    pub description: Cow<'a, str>,
    pub status: &'a str,
    pub priority: &'a str,
    pub assignee: Option<Uuid>,
    pub due_at: Option<Micros>,
    pub created_by: Uuid,
    pub updated_by: Uuid,
    pub created_at: Micros,
    pub updated_at: Micros,
}

impl<'a> TaskView<'a> {
    fn of(row: &'a Row<'_>) -> rusqlite::Result<Self> {
        let text = |at| Ok::<_, rusqlite::Error>(row.get_ref(at)?.as_str()?);
        Ok(Self {
            id: row.get(0)?,
            title: text(1)?.into(),
            description: text(2)?.into(),
            status: text(3)?,
            priority: text(4)?,
            assignee: row.get(5)?,
            due_at: row.get::<_, Option<i64>>(6)?.map(Micros),
            created_by: row.get(7)?,
            updated_by: row.get(8)?,
            created_at: Micros(row.get(9)?),
            updated_at: Micros(row.get(10)?),
        })
    }
}

/// Rows that are written to JSON as SQLite steps through them, without a list in between.
pub struct RowStream<'a>(RefCell<rusqlite::Rows<'a>>);

impl Serialize for RowStream<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(None)?;
        let mut rows = self.0.borrow_mut();
        while let Some(row) = rows.next().map_err(S::Error::custom)? {
            sequence.serialize_element(&TaskView::of(row).map_err(S::Error::custom)?)?;
        }
        sequence.end()
    }
}

/// A task to be stored.
pub struct NewRow {
    pub org: Uuid,
    pub task: TaskView<'static>,
}

/// Why a task was not stored.
pub enum WriteError {
    /// The assignee is no member of the organisation.
    Assignee,
    /// The database failed, or is stopping.
    Failed,
}

struct Job {
    row: NewRow,
    answer: oneshot::Sender<Result<NewRow, WriteError>>,
}

/// The queue to the one thread that writes.
#[derive(Clone)]
pub struct Writer(mpsc::Sender<Job>);

/// Enough for every connection of the bench many times over; more wait in `create`.
const QUEUE: usize = 1024;
/// So that one group cannot hold back its first answer for long.
const GROUP: usize = 256;

impl Writer {
    /// Opens the writing connection and starts its thread.
    pub fn start() -> rusqlite::Result<Self> {
        let db = open()?;
        let (queue, jobs) = mpsc::channel(QUEUE);
        thread::Builder::new()
            .name("writer".into())
            .spawn(move || {
                if let Err(error) = write_groups(&db, jobs) {
                    eprintln!("the writer stopped: {error}");
                }
            })
            .expect("a thread can be started");
        Ok(Self(queue))
    }

    /// Stores the task and gives it back once it is on the disk.
    pub async fn create(&self, row: NewRow) -> Result<NewRow, WriteError> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Job { row, answer }).await.map_err(|_| WriteError::Failed)?;
        answered.await.unwrap_or(Err(WriteError::Failed))
    }
}

fn write_groups(db: &Connection, mut jobs: mpsc::Receiver<Job>) -> rusqlite::Result<()> {
    let mut begin = db.prepare("BEGIN IMMEDIATE")?;
    let mut commit = db.prepare("COMMIT")?;
    let mut member = db.prepare("SELECT 1 FROM memberships WHERE org_id = ?1 AND user_id = ?2")?;
    let mut insert = db.prepare(
        "INSERT INTO tasks (id, org_id, title, description, status, priority, assignee, due_at, created_by,
                            updated_by, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    let mut store = |row: &NewRow| {
        let (org, task) = (row.org, &row.task);
        if let Some(user) = task.assignee
            && !member.exists(params![org, user]).map_err(|_| WriteError::Failed)?
        {
            return Err(WriteError::Assignee);
        }
        insert
            .execute(params![
                task.id,
                org,
                task.title,
                task.description,
                task.status,
                task.priority,
                task.assignee,
                task.due_at.map(|at| at.0),
                task.created_by,
                task.updated_by,
                task.created_at.0,
                task.updated_at.0,
            ])
            .map(drop)
            .map_err(|_| WriteError::Failed)
    };

    let mut group = Vec::with_capacity(GROUP);
    while let Some(first) = jobs.blocking_recv() {
        begin.raw_execute()?;
        let mut next = Some(first);
        while let Some(job) = next {
            let stored = store(&job.row);
            group.push((job, stored));
            next = if group.len() < GROUP { jobs.try_recv().ok() } else { None };
        }
        // Dropping the group answers every job in it with `Failed`: nothing is confirmed that is not on the disk.
        commit.raw_execute()?;
        for (job, stored) in group.drain(..) {
            // The client may have gone; its task is stored all the same.
            let _ = job.answer.send(stored.map(|()| job.row));
        }
    }
    Ok(())
}
