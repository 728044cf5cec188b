#!/usr/bin/env python3
"""Measures the Bailiwick server against two peers, on the same data, in one run.

    bench/run.py                      everything, five rounds; about ten minutes after the builds
    bench/run.py --quick              one short round: does it run at all
    bench/run.py --only bare,django   some of the servers
    bench/run.py --credentials        only the list of bailiwick by token, by JWT and by session
    bench/run.py --controls           only bailiwick, with its controls and without
    bench/run.py --write              also put the tables into bench/README.md

The servers have one core, where only one works at a time, and wrk has another. First every server must give the
right answers. Then each round starts them anew on fresh copies of the database, and calls them in turns, scenario
after scenario. Any answer that a scenario does not expect ends the run with exit code 1. What is measured, and what
it can be trusted for, is in bench/README.md.

Needs Linux, Python 3.11, Rust, and wrk (installed with apt-get when it is missing and we are root).
"""

import argparse
import contextlib
import datetime
import hashlib
import http.client
import json
import os
import random
import re
import resource
import secrets
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
WORK = BENCH / ".work"
README = BENCH / "README.md"

SEED = 20_251_101
ORGS, USERS, TASKS = 10, 100, 100_000
CONNECTIONS = 16
# Ours, without what would change the settings of the server behind its settings file.
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("BAILIWICK_")}
TURNS = 2  # of each server, for each scenario, in each round
FAR_FUTURE = 4_102_444_800_000_000  # 2100-01-01T00:00:00Z, when the tokens of the bench expire
SCENARIOS = ("list", "retrieve", "create", "401")
# What a list is called with, where a server takes more than tokens; the first is what the others are compared with.
CREDENTIALS = ("token", "jwt", "session")
# What issue 3 asks for: CPU time at most so many times that with a token, throughput at least so many times.
CREDENTIAL_GOALS = (1.10, 0.90)
# What issue 4 asks for: throughput with the controls at least so many times that without.
CONTROLS_GOAL = 0.85
ORIGIN = "https://app.example.com"
PASSWORD = "a password of the bench"
# What issue 2 asks for: CPU time at most so many times that of bare, throughput at least so many times django's.
GOALS = {"list": (1.8, 35), "retrieve": (2.5, 70), "create": (2.0, 30)}
BARE_OVER_DJANGO_GOAL = 55
FIELDS = [
    "id", "title", "description", "status", "priority", "assignee",
    "due_at", "created_by", "updated_by", "created_at", "updated_at",
]  # fmt: skip


class BenchError(Exception):
    """Something that makes the figures worthless; its text says what to do about it."""


# ---- The data ------------------------------------------------------------------------------------------------


@dataclass
class User:
    """A user, member of exactly one organisation."""

    id: uuid.UUID
    name: str
    org: int
    role: str
    created_at: int
    token: str
    django_token: str


@dataclass
class Org:
    """An organisation with ten users and ten thousand tasks."""

    id: uuid.UUID
    slug: str
    created_at: int


@dataclass
class Task:
    """A task; times are microseconds since the epoch, users are indices."""

    id: uuid.UUID
    org: int
    title: str
    description: str
    status: str
    priority: str
    assignee: int | None
    due_at: int | None
    created_by: int
    updated_by: int
    created_at: int
    updated_at: int


BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
WORDS = (
    "review the quarterly invoice before shipping new pallets to northern depot and call back supplier about "
    "missing labels while waiting for customs papers from harbour office draft contract update budget plan "
    "clean storage room order spare parts fix printer on second floor renew licence train colleague"
).split()


def uuid7(micros: int, rng: random.Random) -> uuid.UUID:
    """A UUIDv7 (RFC 9562 §5.7) of that time."""
    value = (micros // 1000) << 80 | 0x7 << 76 | rng.getrandbits(12) << 64 | 0b10 << 62 | rng.getrandbits(62)
    return uuid.UUID(int=value)


def token_text(rng: random.Random) -> str:
    """A personal token: prefix, 30 characters of entropy, their CRC-32 in six more."""
    entropy = "".join(rng.choices(BASE62, k=30))
    crc, checksum = zlib.crc32(entropy.encode()), ""
    for _ in range(6):
        crc, digit = divmod(crc, 62)
        checksum = BASE62[digit] + checksum
    return f"bw_pat_{entropy}{checksum}"


def words(rng: random.Random, least: int, most: int) -> str:
    """A text of at least `least` characters, and about `most` at the most."""
    length = rng.randint(least, most)
    text = rng.choice(WORDS).capitalize()
    while len(text) < length:
        text += " " + rng.choice(WORDS)
    return text


class Data:
    """The same rows for every server, and in every run."""

    def __init__(self) -> None:
        rng = random.Random(SEED)
        start = 1_735_689_600_000_000  # 2025-01-01T00:00:00Z
        now = start
        self.orgs, self.users, self.tasks = [], [], []
        for number in range(ORGS):
            now += rng.randint(1, 60_000_000)
            self.orgs.append(Org(uuid7(now, rng), f"bench-{number:02}", now))
        for number in range(USERS):
            now += rng.randint(1, 60_000_000)
            role = ("owner", "admin", *["member"] * 8)[number // ORGS]
            django_token = f"{rng.getrandbits(160):040x}"
            self.users.append(
                User(
                    uuid7(now, rng),
                    f"user-{number:03}",
                    number % ORGS,
                    role,
                    now,
                    token_text(rng),
                    django_token,
                )
            )
        members = [[n for n, user in enumerate(self.users) if user.org == org] for org in range(ORGS)]
        placement = [number % ORGS for number in range(TASKS)]
        rng.shuffle(placement)
        for org in placement:
            now += rng.randint(1, 400_000_000)
            due_at = now + rng.randint(1, 60) * 86_400_000_000
            self.tasks.append(
                Task(
                    id=uuid7(now, rng),
                    org=org,
                    title=words(rng, 15, 60),
                    description=words(rng, 60, 240),
                    status=rng.choice(("todo", "doing", "done")),
                    priority=rng.choice(("low", "normal", "high", "urgent")),
                    assignee=rng.choice(members[org]) if rng.random() < 0.7 else None,
                    due_at=due_at if rng.random() < 0.5 else None,
                    created_by=rng.choice(members[org]),
                    updated_by=rng.choice(members[org]),
                    created_at=now,
                    updated_at=now + rng.randint(0, 86_400_000_000),
                )
            )
        self.members = members

    def view(self, task: Task) -> dict:
        """The task as a server must show it, with times as datetimes."""
        user = lambda n: None if n is None else str(self.users[n].id)  # noqa: E731
        return {
            "id": str(task.id),
            "title": task.title,
            "description": task.description,
            "status": task.status,
            "priority": task.priority,
            "assignee": user(task.assignee),
            "due_at": moment(task.due_at),
            "created_by": user(task.created_by),
            "updated_by": user(task.updated_by),
            "created_at": moment(task.created_at),
            "updated_at": moment(task.updated_at),
        }


def moment(micros: int | None) -> datetime.datetime | None:
    """Microseconds since the epoch as a datetime."""
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return None if micros is None else epoch + datetime.timedelta(microseconds=micros)


# ---- The servers ---------------------------------------------------------------------------------------------


class Server:
    """One of the servers that are measured."""

    name: str
    about: str
    takes_every_credential = False
    # What its requests say of where their page is from.
    origin = None

    def build(self) -> None:
        """Makes it runnable."""
        raise NotImplementedError

    def load(self, data: Data) -> None:
        """Makes `self.pristine`, a database with the data."""
        raise NotImplementedError

    def command(self, port: int) -> tuple[list[str], dict[str, str]]:
        """The command that serves `self.database` on that port, and what it adds to the environment."""
        raise NotImplementedError

    def authorization(self, user: User) -> str:
        """What the user sends in `Authorization`."""
        return f"Token {user.token}"

    @property
    def pristine(self) -> Path:
        """The database as loaded."""
        return WORK / f"{self.name}-pristine.db"

    @property
    def database(self) -> Path:
        """The database that the server works on."""
        return WORK / f"{self.name}.db"

    def fresh_database(self) -> None:
        """Puts a copy of the pristine database in place, written out so that no write-back disturbs the round."""
        remove_database(self.database)
        shutil.copyfile(self.pristine, self.database)
        os.chmod(self.database, 0o600)
        descriptor = os.open(self.database, os.O_RDWR)
        os.fsync(descriptor)
        os.close(descriptor)


class Bare(Server):
    """The routes by hand."""

    name = "bare"
    about = "axum + rusqlite by hand, no control but token and membership"
    target = BENCH / "bare" / "target"

    def build(self) -> None:
        run("cargo", "build", "--release", "--locked", "--target-dir", str(self.target), cwd=BENCH / "bare")

    def load(self, data: Data) -> None:
        with new_database(self.pristine) as db:
            db.executescript((BENCH / "bare" / "schema.sql").read_text())
            load_uuid_blobs(db, data)

    def command(self, port: int) -> tuple[list[str], dict[str, str]]:
        return [str(self.target / "release" / "bare"), str(self.database), f"127.0.0.1:{port}"], {}


class Bailiwick(Server):
    """The server of this repository, with every control on."""

    name = "bailiwick"
    about = "this repository, every control on"
    settings = WORK / "bailiwick.toml"
    takes_every_credential = True
    # What else its settings say.
    more = ""

    @property
    def binary(self) -> Path:
        """The release build."""
        return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "bailiwick"

    def build(self) -> None:
        run("cargo", "build", "--release", "--locked", "-p", "bailiwick-server", cwd=ROOT)

    def write_settings(self, port: int, database: Path) -> None:
        """Settings as they come, but for rates that no bench can spend."""
        rate = '"1000000/s"'
        self.settings.write_text(
            f"""# Written by bench/run.py.
[server]
environment = "development"
bind = "127.0.0.1:{port}"
operations_bind = "127.0.0.1:{free_port()}"
allowed_hosts = ["localhost", "127.0.0.1"]

[database]
url = "sqlite://{database}"

[throttle.rates]
anon = {rate}
user = {rate}
login = {rate}
{self.more}"""
        )

    def load(self, data: Data) -> None:
        remove_database(self.pristine)
        self.write_settings(free_port(), self.pristine)
        run(str(self.binary), "migrate", "--config", str(self.settings), cwd=WORK)
        with contextlib.closing(sqlite3.connect(self.pristine, isolation_level=None)) as db:
            load_uuid_blobs(db, data)
        first = data.users[0].name
        set_password = ("user", "set-password", first, "--password-stdin", "--config", str(self.settings))
        run(str(self.binary), *set_password, cwd=WORK, typed=PASSWORD)
        with contextlib.closing(sqlite3.connect(self.pristine, isolation_level=None)) as db:
            # One hash for all: it is verified alike whosever it is, and hashing one takes a while.
            hash_of_first = "(SELECT password_hash FROM users WHERE username = ?)"
            db.execute(f"UPDATE users SET password_hash = {hash_of_first}", (first,))
            finish_database(db)

    def command(self, port: int) -> tuple[list[str], dict[str, str]]:
        self.write_settings(port, self.database)
        return [str(self.binary), "serve", "--config", str(self.settings)], {}


class Controlled(Bailiwick):
    """The same, asked by pages of another origin, so that CORS has something to say too."""

    name = "controlled"
    about = "bailiwick, every control on, with an `Origin`"
    settings = WORK / "controlled.toml"
    takes_every_credential = False
    origin = ORIGIN
    more = f"""
[cors]
allowed_origins = ["{ORIGIN}"]
"""


class Uncontrolled(Bailiwick):
    """The same program without CORS, throttle, limits and load shedding: a build that nothing but this bench makes."""

    name = "uncontrolled"
    about = "bailiwick, built without CORS, throttle, limits and load shedding"
    settings = WORK / "uncontrolled.toml"
    takes_every_credential = False
    origin = ORIGIN
    target = WORK / "uncontrolled-target"

    @property
    def binary(self) -> Path:
        """The build that leaves them out."""
        return self.target / "release" / "bailiwick"

    def build(self) -> None:
        without = {"RUSTFLAGS": "--cfg bailiwick_bench_uncontrolled"}
        command = ("cargo", "build", "--release", "--locked", "-p", "bailiwick-server")
        run(*command, "--target-dir", str(self.target), cwd=ROOT, env=without)


class Django(Server):
    """The chapter's own stack."""

    name = "django"
    about = "Django REST Framework under gunicorn"
    home = BENCH / "django"
    venv = WORK / "venv"
    secret = secrets.token_hex(32)

    def build(self) -> None:
        wanted = (self.home / "requirements.txt").read_text()
        stamp = self.venv / "requirements.txt"
        if stamp.exists() and stamp.read_text() == wanted:
            return
        shutil.rmtree(self.venv, ignore_errors=True)
        # Debian's Python comes without what `venv` needs to install pip, so ours installs from outside.
        need(sys.executable, "-m", "pip", "--version", package="python3-pip")
        run(self.python(), "-m", "venv", "--without-pip", str(self.venv), cwd=WORK)
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(self.venv / "bin" / "python"),
            "install",
            "--quiet",
        ]
        run(*pip, "--require-hashes", "-r", str(self.home / "requirements.txt"), cwd=WORK)
        stamp.write_text(wanted)

    @staticmethod
    def python() -> str:
        """The distribution's Python if it is new enough: it is built with profile-guided optimisation, which one
        from pyenv is not, and Django is a tenth to a quarter faster on it."""
        system = "/usr/bin/python3"
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            question = "import sys; print(sys.version_info >= (3, 11))"
            if subprocess.check_output([system, "-c", question], text=True).strip() == "True":
                return system
        return sys.executable

    def environment(self, database: Path) -> dict[str, str]:
        """What the settings read."""
        return {
            "BENCH_DATABASE": str(database),
            "BENCH_SECRET_KEY": self.secret,
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def load(self, data: Data) -> None:
        remove_database(self.pristine)
        manage = [str(self.venv / "bin" / "python"), "manage.py", "migrate", "--verbosity", "0"]
        run(*manage, cwd=self.home, env=self.environment(self.pristine))
        text = lambda micros: micros and moment(micros).strftime("%Y-%m-%d %H:%M:%S.%f")  # noqa: E731
        user = lambda n: None if n is None else data.users[n].id.hex  # noqa: E731
        with contextlib.closing(sqlite3.connect(self.pristine, isolation_level=None)) as db:
            db.execute("BEGIN")
            db.executemany(
                "INSERT INTO tasks_organization (id, slug, name, created_at) VALUES (?, ?, ?, ?)",
                ((org.id.hex, org.slug, org.slug.title(), text(org.created_at)) for org in data.orgs),
            )
            db.executemany(
                "INSERT INTO tasks_user (id, password, is_superuser, username, first_name, last_name, email,"
                " is_staff, is_active, date_joined) VALUES (?, '!', 0, ?, '', '', ?, 0, 1, ?)",
                ((u.id.hex, u.name, f"{u.name}@example.com", text(u.created_at)) for u in data.users),
            )
            db.executemany(
                "INSERT INTO tasks_membership (organization_id, user_id, role, joined_at) VALUES (?, ?, ?, ?)",
                ((data.orgs[u.org].id.hex, u.id.hex, u.role, text(u.created_at)) for u in data.users),
            )
            db.executemany(
                "INSERT INTO authtoken_token (key, user_id, created) VALUES (?, ?, ?)",
                ((u.django_token, u.id.hex, text(u.created_at)) for u in data.users),
            )
            db.executemany(
                "INSERT INTO tasks_task (id, organization_id, title, description, status, priority, assignee_id,"
                " due_at, created_by_id, updated_by_id, created_at, updated_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (t.id.hex, data.orgs[t.org].id.hex, t.title, t.description, t.status, t.priority,
                     user(t.assignee), text(t.due_at), user(t.created_by), user(t.updated_by),
                     text(t.created_at), text(t.updated_at))
                    for t in data.tasks
                ),
            )  # fmt: skip
            db.execute("COMMIT")
            finish_database(db)

    def command(self, port: int) -> tuple[list[str], dict[str, str]]:
        gunicorn = [str(self.venv / "bin" / "gunicorn"), "--chdir", str(self.home)]
        gunicorn += ["--config", str(self.home / "gunicorn.conf.py"), "--bind", f"127.0.0.1:{port}"]
        return gunicorn, self.environment(self.database)

    def authorization(self, user: User) -> str:
        return f"Token {user.django_token}"


def remove_database(path: Path) -> None:
    """Removes a SQLite file and what belongs to it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


@contextlib.contextmanager
def new_database(path: Path):
    """An empty SQLite file, finished at the end."""
    remove_database(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        yield db
        finish_database(db)


def finish_database(db: sqlite3.Connection) -> None:
    """Checks the data and leaves one file without a log beside it."""
    broken = db.execute("PRAGMA foreign_key_check").fetchall()
    if broken:
        raise BenchError(f"the loaded data breaks foreign keys, for example {broken[0]}")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def load_uuid_blobs(db: sqlite3.Connection, data: Data) -> None:
    """Loads the tables of bare or Bailiwick. A column that a table lacks is left out; one we do not fill keeps
    its default, and a new one without a default makes SQLite refuse the row."""
    user = lambda n: None if n is None else data.users[n].id.bytes  # noqa: E731
    db.execute("BEGIN")
    insert(db, "users", (
        dict(id=u.id.bytes, username=u.name, email=f"{u.name}@example.com", password_hash="!", is_active=1,
             is_staff=0, is_author=0, is_editor=0, created_at=u.created_at)
        for u in data.users
    ))  # fmt: skip
    insert(db, "orgs", (
        dict(id=o.id.bytes, slug=o.slug, name=o.slug.title(), created_at=o.created_at, updated_at=o.created_at,
             version=1)
        for o in data.orgs
    ))  # fmt: skip
    insert(db, "memberships", (
        dict(org_id=data.orgs[u.org].id.bytes, user_id=u.id.bytes, role=u.role, joined_at=u.created_at)
        for u in data.users
    ))  # fmt: skip
    rng = random.Random(SEED)
    insert(db, "api_tokens", (
        dict(id=uuid7(u.created_at, rng).bytes, digest=hashlib.sha256(u.token.encode()).digest(),
             user_id=u.id.bytes, name="bench", display=f"bw_pat_…{u.token[-4:]}", created_at=u.created_at,
             expires_at=FAR_FUTURE)
        for u in data.users
    ))  # fmt: skip
    insert(db, "tasks", (
        dict(id=t.id.bytes, org_id=data.orgs[t.org].id.bytes, title=t.title, description=t.description,
             status=t.status, priority=t.priority, assignee=user(t.assignee), due_at=t.due_at,
             created_by=user(t.created_by), updated_by=user(t.updated_by), created_at=t.created_at,
             updated_at=t.updated_at, version=1)
        for t in data.tasks
    ))  # fmt: skip
    db.execute("COMMIT")


def insert(db: sqlite3.Connection, table: str, rows) -> None:
    """Inserts the rows, as far as the table has columns for them."""
    present = {name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")}
    if not present:
        raise BenchError(f"there is no table {table}: has the schema changed?")
    columns, values = None, []
    for row in rows:
        columns = columns or [name for name in row if name in present]
        values.append([row[name] for name in columns])
    marks = ", ".join("?" * len(columns))
    db.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", values)


# ---- Running and calling -------------------------------------------------------------------------------------


def run(*command: str, cwd: Path, env: dict[str, str] | None = None, typed: str | None = None) -> None:
    """Runs a command and shows its output only if it fails."""
    done = subprocess.run(command, cwd=cwd, env={**ENVIRONMENT, **(env or {})}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, input=typed)  # fmt: skip
    if done.returncode != 0:
        raise BenchError(f"`{' '.join(command)}` failed with {done.returncode}:\n{done.stdout[-4000:]}")


def free_port() -> int:
    """A port of the loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Running:
    """A started server."""

    server: Server
    process: subprocess.Popen
    port: int
    log: Path
    start_seconds: float

    def processes(self) -> list[int]:
        """The server's process and all of its descendants."""
        parents = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    stat = (entry / "stat").read_text()
                    parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
        found = [self.process.pid]
        for pid in found:
            found.extend(parents.get(pid, ()))
        return found

    def cpu_seconds(self) -> float:
        """User and system time of the process tree so far."""
        ticks = 0
        for pid in self.processes():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        """Resident memory of the process tree, pages of mapped files included."""
        kib = 0
        for pid in self.processes():
            kib += int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])
        return kib / 1024


PRIORITY = 0


def own_core(core: int):
    """What a child does before it becomes the server or wrk: it binds itself to the core, and where `--priority` was
    given, goes before everything else there. It is a session of its own, and Linux weighs sessions (autogroups)
    before it weighs their processes."""

    def prepare() -> None:
        os.sched_setaffinity(0, {core})
        if PRIORITY:
            os.setpriority(os.PRIO_PROCESS, 0, -PRIORITY)
            with contextlib.suppress(FileNotFoundError), open("/proc/self/autogroup", "w") as group:
                group.write(str(-PRIORITY))

    return prepare


@contextlib.contextmanager
def serving(server: Server, core: int, data: Data):
    """Starts the server on the core, waits for its first answer to a member, and stops it at the end."""
    port = free_port()
    command, environment = server.command(port)
    log = WORK / f"{server.name}.log"
    user = data.users[0]
    path = f"/api/v1/orgs/{data.orgs[user.org].slug}/tasks/"
    with log.open("wb") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=WORK,
            env={**ENVIRONMENT, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=own_core(core),
        )
    try:
        while True:
            try:
                status, _, body = call(port, "GET", path, server.authorization(user))
            except OSError:
                if process.poll() is not None or time.monotonic() - began > 30:
                    tail = log.read_text(errors="replace")[-3000:]
                    raise BenchError(f"{server.name} does not serve; the end of its log:\n{tail}") from None
                time.sleep(0.001)
                continue
            break
        start_seconds = time.monotonic() - began
        if status != 200:
            raise BenchError(f"{server.name} answered {status} to a member's list: {body[:500]!r}")
        yield Running(server, process, port, log, start_seconds)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def call(port, method, path, authorization=None, body=None, more=()):
    """One request, with `more` header fields; the status, the headers and the body of its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        headers = dict(more)
        if authorization:
            headers["Authorization"] = authorization
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def check_answers(running: Running, data: Data) -> None:
    """Every server must do the same work: the same rows, fields, order and refusals."""

    def expect(what, found, wanted):
        if found != wanted:
            raise BenchError(f"{running.server.name}: {what} is {found!r}, not {wanted!r}")

    def read(view):
        times = ("due_at", "created_at", "updated_at")
        parse = datetime.datetime.fromisoformat
        return {key: parse(value) if key in times and value else value for key, value in view.items()}

    rng = random.Random(SEED)
    for number in rng.sample(range(USERS), 5):
        user = data.users[number]
        token, tasks = running.server.authorization(user), f"/api/v1/orgs/{data.orgs[user.org].slug}/tasks/"
        mine = sorted(
            (task for task in data.tasks if task.org == user.org), key=lambda t: (-t.created_at, -t.id.int)
        )
        for query, page in (("", 1), ("?page=2", 2), ("?page=400", 400)):
            status, headers, body = call(running.port, "GET", tasks + query, token)
            expect("the status of a list", status, 200)
            expect("the type of a list", headers["Content-Type"].split(";")[0], "application/json")
            answer = json.loads(body)
            expect("the keys of a page", sorted(answer), ["count", "next", "previous", "results"])
            expect("the count", answer["count"], len(mine))
            expect("whether there is a next page", answer["next"] is not None, page < 400)
            expect("whether there is a previous page", answer["previous"] is not None, page > 1)
            wanted = [data.view(task) for task in mine[25 * page - 25 : 25 * page]]
            expect("a page", [read(view) for view in answer["results"]], wanted)
            expect("the fields", sorted(answer["results"][0]), sorted(FIELDS))
        expect("the page past the end", call(running.port, "GET", tasks + "?page=401", token)[0], 404)
        task = rng.choice(mine)
        status, _, body = call(running.port, "GET", f"{tasks}{task.id}/", token)
        expect("the status of a task", status, 200)
        expect("a task", read(json.loads(body)), data.view(task))

        other = next(task for task in data.tasks if task.org != user.org)
        others = f"/api/v1/orgs/{data.orgs[other.org].slug}/tasks/"
        expect("another organisation's list", call(running.port, "GET", others, token)[0], 404)
        expect("a create there", call(running.port, "POST", others, token, '{"title": "x"}')[0], 404)
        expect("another organisation's task", call(running.port, "GET", f"{tasks}{other.id}/", token)[0], 404)
        status, headers, _ = call(running.port, "GET", tasks)
        expect("a list without a token", status, 401)
        expect("its challenge", "WWW-Authenticate" in headers, True)
        expect("a wrong token", call(running.port, "GET", tasks, token[:-6] + "000000")[0], 401)

        sent = {"title": "Geprüft ✓", "description": 'a "quoted"\nline', "priority": "high",
                "assignee": str(data.users[data.members[user.org][3]].id)}  # fmt: skip
        status, _, body = call(running.port, "POST", tasks, token, json.dumps(sent))
        expect("the status of a create", status, 201)
        made = read(json.loads(body))
        expect("the created task", {key: made[key] for key in sent}, sent)
        expect("its maker", made["created_by"], str(user.id))
        expect("its status", made["status"], "todo")
        status, _, body = call(running.port, "GET", f"{tasks}{made['id']}/", token)
        expect("the created task, read again", (status, read(json.loads(body))), (200, made))
        stranger = {**sent, "assignee": str(next(u.id for u in data.users if u.org != user.org))}
        status = call(running.port, "POST", tasks, token, json.dumps(stranger))[0]
        expect("whether a stranger can be an assignee", status in (400, 422), True)
        answer = json.loads(call(running.port, "GET", tasks, token)[2])
        expect("the count after a create", answer["count"], len(mine) + 1)
        expect("the newest task", answer["results"][0]["id"], made["id"])


def write_requests(server: Server, data: Data) -> None:
    """Writes the requests of each scenario for requests.lua, the same ones for every server."""
    rng = random.Random(SEED + 1)
    path = lambda org: f"/api/v1/orgs/{data.orgs[org].slug}/tasks/"  # noqa: E731

    def line(method, target, user=None, body=""):
        return f"{method}\t{target}\t{server.authorization(user) if user else ''}\t{body}\n"

    def new_task():
        task = {"title": words(rng, 15, 60), "description": words(rng, 60, 240)}
        return json.dumps({**task, "priority": rng.choice(("low", "normal", "high", "urgent"))})

    users = list(data.users)
    rng.shuffle(users)
    scenarios = {
        "list": [line("GET", path(user.org), user) for user in users],
        "retrieve": [
            line("GET", f"{path(task.org)}{task.id}/", data.users[rng.choice(data.members[task.org])])
            for task in rng.sample(data.tasks, 20_000)
        ],
        "create": [line("POST", path(user.org), user, new_task()) for user in users * 20],
        "401": [line("GET", path(org)) for org in range(ORGS)],
    }
    for scenario in SCENARIOS:
        (WORK / f"{server.name}-{scenario}.txt").write_text("".join(scenarios[scenario]))


def log_in(running: Running, user: User) -> dict[str, str]:
    """What the user sends with a request, for each of CREDENTIALS, as requests.lua reads it."""
    body = json.dumps({"username": user.name, "password": PASSWORD})

    def ask(method, path, body=None, more=()):
        status, headers, answer = call(running.port, method, f"/api/v1/auth/{path}/", None, body, more)
        if status != 200:
            raise BenchError(f"{running.server.name} answered {status} to auth/{path}/: {answer[:500]!r}")
        return json.loads(answer), (headers["Set-Cookie"] or "").partition(";")[0]

    pair, _ = ask("POST", "jwt", body)
    csrf, cookie = ask("GET", "csrf")
    _, session = ask("POST", "session", body, {"Cookie": cookie, "X-CSRFToken": csrf["csrf_token"]})
    token = running.server.authorization(user)
    return {"token": token, "jwt": f"Bearer {pair['access']}", "session": f"Cookie: {session}"}


def write_credentials(running: Running, data: Data) -> None:
    """Writes the requests of a list by each of CREDENTIALS: of the same users, one an organisation. They hold for five
    minutes, as long as an access token."""
    users = data.users[:ORGS]
    sent = [log_in(running, user) for user in users]
    for credential in CREDENTIALS:
        lines = [
            f"GET\t/api/v1/orgs/{data.orgs[user.org].slug}/tasks/\t{one[credential]}\t\n"
            for user, one in zip(users, sent, strict=True)
        ]
        (WORK / f"{running.server.name}-list-{credential}.txt").write_text("".join(lines))


def wrk(running: Running, scenario: str, seconds: int, core: int, verify: bool = False) -> dict:
    """Calls the server for that long; what happened, with the CPU time of both sides."""
    requests = WORK / f"{running.server.name}-{scenario}.txt"
    command = ["wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds}s",
               "--timeout", "10s", "--latency", "--script", str(BENCH / "requests.lua"),
               f"http://127.0.0.1:{running.port}", "--", str(requests),
               running.server.origin or "-"]  # fmt: skip
    command += ["verify"] if verify else []
    usage, cpu, began = resource.getrusage(resource.RUSAGE_CHILDREN), running.cpu_seconds(), time.monotonic()
    done = subprocess.run(
        command, capture_output=True, text=True, start_new_session=True, preexec_fn=own_core(core)
    )
    wall, cpu = time.monotonic() - began, running.cpu_seconds() - cpu
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    if done.returncode != 0 or not found:
        raise BenchError(f"wrk failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    result = json.loads(found[1])
    if not result["requests"]:
        spent = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
        raise BenchError(
            f"{running.server.name}, {scenario}: not one answer in {wall:.1f} s, in which the server ran for "
            f"{cpu:.2f} s and wrk for {spent:.2f} s; wrk says:\n{done.stdout}{done.stderr}"
        )
    unexpected = (
        result["requests"] - result["status_errors"] if scenario == "401" else result["status_errors"]
    )
    if verify:
        wanted = {"list": 200, "retrieve": 200, "create": 201, "401": 401}[scenario.partition("-")[0]]
        seen = dict(pair.split("=") for pair in result["statuses"].split())
        unexpected += sum(int(times) for status, times in seen.items() if int(status) != wanted)
    if unexpected or result["socket_errors"]:
        tail = running.log.read_text(errors="replace")[-2000:]
        raise BenchError(
            f"{running.server.name}, {scenario}: {unexpected} answers that were not asked for and "
            f"{result['socket_errors']} failed connections of {result}; the end of its log:\n{tail}"
        )
    result["per_second"] = result["requests"] / (result["micros"] / 1e6)
    result["cpu_us"] = cpu / result["requests"] * 1e6
    result["busy"] = cpu / wall
    result["wrk_busy"] = (after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime) / wall
    return result


# ---- The run -------------------------------------------------------------------------------------------------


def by_credential(server: Server) -> list[str]:
    """The scenarios of a list by each credential: none for a server that takes only tokens."""
    return [f"list-{credential}" for credential in CREDENTIALS if server.takes_every_credential]


def measure(
    servers: list[Server], data: Data, rounds: int, seconds: int, cores: tuple[int, int], scenarios
) -> dict:
    """`results[server][scenario]`, a list with one measurement a turn, and `start` and `idle_mib` beside them."""
    results = {
        server.name: {scenario: [] for scenario in (*scenarios, *by_credential(server))} for server in servers
    }

    def turn_of(one, scenario, number):
        result = wrk(one, scenario, seconds, cores[1])
        settle(one)
        results[one.server.name][scenario].append(result)
        say(
            f"{number + 1}/{rounds}  {scenario:12}  {one.server.name:9}  "
            f"{result['per_second']:9,.0f}/s  {result['cpu_us']:8,.1f} µs CPU  "
            f"p99 {result['p99_us'] / 1000:7.2f} ms  server core {result['busy']:4.0%}"
        )

    for server in servers:
        write_requests(server, data)
        server.fresh_database()
        with serving(server, cores[0], data) as running:
            time.sleep(1)
            results[server.name] |= {"start": [], "idle_mib": running.resident_mib()}
            check_answers(running, data)
            if server.takes_every_credential:
                write_credentials(running, data)
            for scenario in (*scenarios, *by_credential(server)):
                wrk(running, scenario, 1, cores[1], verify=True)
            check_rows(running, data)
    for number in range(rounds):
        with contextlib.ExitStack() as stack:
            running = []
            for server in servers:
                server.fresh_database()
                running.append(stack.enter_context(serving(server, cores[0], data)))
                results[server.name]["start"].append(running[-1].start_seconds)
            for scenario in scenarios:
                for one in running:
                    wrk(one, scenario, 1, cores[1])
                    settle(one)
                for turn in range(TURNS):
                    # Short turns, one right after the other, so that whatever else the machine does meets all;
                    # there and back, so that nobody is always the one who follows the heaviest.
                    for one in running if turn % 2 == 0 else running[::-1]:
                        turn_of(one, scenario, number)
            for one in running:
                if not one.server.takes_every_credential:
                    continue
                write_credentials(one, data)
                listed = by_credential(one.server)
                for scenario in listed:
                    wrk(one, scenario, 1, cores[1])
                    settle(one)
                for first in range(len(listed)):
                    # Each is first, second and last once.
                    for scenario in listed[first:] + listed[:first]:
                        turn_of(one, scenario, number)
    return results


def settle(running: Running) -> None:
    """Waits until the server is done with what wrk left unanswered, so that it does not weigh on the next turn."""
    before, deadline = running.cpu_seconds(), time.monotonic() + 2
    while time.monotonic() < deadline:
        time.sleep(0.05)
        now = running.cpu_seconds()
        if now == before:
            return
        before = now


def check_rows(running: Running, data: Data) -> None:
    """The kept counts must agree with the rows, after all the creates of the warm-up."""
    table, column = (
        ("tasks_task", "organization_id") if running.server.name == "django" else ("tasks", "org_id")
    )
    with contextlib.closing(sqlite3.connect(running.server.database)) as db:
        for user in data.users[:ORGS]:
            org = data.orgs[user.org]
            key = org.id.hex if running.server.name == "django" else org.id.bytes
            (rows,) = db.execute(f"SELECT count(*) FROM {table} WHERE {column} = ?", (key,)).fetchone()
            path = f"/api/v1/orgs/{org.slug}/tasks/"
            count = json.loads(call(running.port, "GET", path, running.server.authorization(user))[2])[
                "count"
            ]
            if count != rows:
                raise BenchError(
                    f"{running.server.name} counts {count} tasks in {org.slug}, where {rows} are"
                )


def tables(results: dict, rounds: int, seconds: int, scenarios) -> str:
    """The results in Markdown."""

    def over(values, form, unit=""):
        low, high = min(values), max(values)
        return f"{statistics.median(values):{form}}{unit} ({low:{form}}–{high:{form}})"

    def ratios(key, first, second):
        # Turn by turn: what slows one down is likely to slow the next one down too.
        return [one[key] / other[key] for one, other in zip(first, second, strict=True)]

    def row_of(rows):
        cpu, p99 = ([row[key] / unit for row in rows] for key, unit in (("cpu_us", 1), ("p99_us", 1000)))
        return f"{over(cpu, ',.1f')} | {over(p99, ',.2f')}"

    lines = []
    if scenarios:
        turns = rounds * TURNS
        lines += [f"Median of {turns} turns of {seconds} s in {rounds} rounds (lowest–highest turn).", ""]
        lines += ["| | server | requests/s | CPU µs/request | p99 ms | core busy |", "|---|---|--:|--:|--:|--:|"]
    marks = set()
    for scenario in scenarios:
        for name in results:
            rows = results[name][scenario]
            busy = statistics.median(row["busy"] for row in rows)
            mark = ""
            if busy < 0.85:
                mark = " †" if statistics.median(row["wrk_busy"] for row in rows) > 0.85 else " ‡"
                marks.add(mark)
            lines.append(
                f"| {scenario} | {name} | {over([row['per_second'] for row in rows], ',.0f')}{mark} "
                f"| {row_of(rows)} | {busy:.0%} |"
            )
    if " †" in marks:
        lines += ["", "† The load generator was at its limit before the server: only the CPU time counts."]
    if " ‡" in marks:
        lines += [
            "",
            "‡ The server waited, for the disk or for a core that others used: only the CPU time counts.",
        ]

    no_goal = lambda scenario: ""  # noqa: E731
    cpu_goal = lambda scenario: f", goal ≤ {GOALS[scenario][0]:g}" if scenario in GOALS else ""  # noqa: E731
    speed_goal = lambda scenario: f", goal ≥ {GOALS[scenario][1]:g}" if scenario in GOALS else ""  # noqa: E731
    bare_goal = lambda scenario: f", goal ≥ {BARE_OVER_DJANGO_GOAL}" if scenario == "list" else ""  # noqa: E731
    controls_goal = lambda scenario: f", goal ≥ {CONTROLS_GOAL:.2f}"  # noqa: E731
    columns = []
    if {"controlled", "uncontrolled"} <= results.keys():
        title, both = "with ÷ without controls", ("controlled", "uncontrolled")
        columns.append((f"requests/s {title}", "per_second", *both, ".2f", controls_goal))
        columns.append((f"CPU {title}", "cpu_us", *both, ".2f", no_goal))
    if {"bailiwick", "bare"} <= results.keys():
        columns.append(("CPU bailiwick ÷ bare", "cpu_us", "bailiwick", "bare", ".2f", cpu_goal))
        columns.append(("p99 bailiwick ÷ bare", "p99_us", "bailiwick", "bare", ".2f", no_goal))
    if {"bailiwick", "django"} <= results.keys():
        columns.append(("requests/s bailiwick ÷ django", "per_second", "bailiwick", "django", ".0f", speed_goal))
    if {"bare", "django"} <= results.keys():
        columns.append(("requests/s bare ÷ django", "per_second", "bare", "django", ".0f", bare_goal))
        columns.append(("CPU django ÷ bare", "cpu_us", "django", "bare", ".0f", no_goal))
    if columns and scenarios:
        lines += ["", "| | " + " | ".join(column[0] for column in columns) + " |"]
        lines.append("|---" + "|--:" * len(columns) + "|")
        for scenario in scenarios:
            cells = [
                over(ratios(key, results[first][scenario], results[second][scenario]), form) + goal(scenario)
                for _, key, first, second, form, goal in columns
            ]
            lines.append(f"| {scenario} | " + " | ".join(cells) + " |")

    for name, result in results.items():
        rows_of = {credential: result.get(f"list-{credential}") for credential in CREDENTIALS}
        if not rows_of["token"]:
            continue
        turns = len(rows_of["token"])
        about = f"A list of {name} by each credential, taking turns; median of {turns} turns of {seconds} s."
        lines += ["", about, ""]
        lines += ["| list with | requests/s | CPU µs/request | p99 ms | CPU ÷ token | requests/s ÷ token |"]
        lines += ["|---|--:|--:|--:|--:|--:|"]
        most, least = CREDENTIAL_GOALS
        for credential, rows in rows_of.items():
            line = f"| {credential} | {over([row['per_second'] for row in rows], ',.0f')} | {row_of(rows)} "
            if credential == "token":
                lines.append(line + "| | |")
                continue
            cpu, speed = (ratios(key, rows, rows_of["token"]) for key in ("cpu_us", "per_second"))
            goals = f"| {over(cpu, '.2f')}, goal ≤ {most:.2f} | {over(speed, '.2f')}, goal ≥ {least:.2f} |"
            lines.append(line + goals)

    lines += ["", "| | start to first answer, ms | resident at idle, MiB |", "|---|--:|--:|"]
    for name, result in results.items():
        start = over([1000 * value for value in result["start"]], ".0f")
        lines.append(f"| {name} | {start} | {result['idle_mib']:.0f} |")
    return "\n".join(lines)


def surroundings(servers: list[Server]) -> str:
    """The machine and the versions, for whoever compares two tables."""

    def first_line(*command: str) -> str:
        with contextlib.suppress(OSError):
            done = subprocess.run(command, capture_output=True, text=True)
            return (done.stdout or done.stderr).strip().partition("\n")[0]
        return "unknown"

    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    parts = [
        datetime.date.today().isoformat(),
        f"{cpu[1] if cpu else os.uname().machine}, {os.cpu_count()} cores",
        f"Linux {os.uname().release}",
        first_line("rustc", "--version"),
        re.sub(r"\s+\[.*", "", first_line("wrk", "--version")),
    ]
    if any(server.name == "django" for server in servers):
        pins = dict(
            re.findall(r"^([\w-]+)==([\w.]+)", (BENCH / "django" / "requirements.txt").read_text(), re.M)
        )
        wanted = ("django", "djangorestframework", "gunicorn")
        parts.append(
            first_line(str(WORK / "venv/bin/python"), "--version")
            + ", "
            + ", ".join(f"{name} {pins[name]}" for name in wanted)
        )
    return "; ".join(parts) + "."


def say(text: str) -> None:
    """Progress goes to standard error, the table to standard output."""
    print(text, file=sys.stderr, flush=True)


def need(*command: str, package: str) -> None:
    """Installs the Debian package if the command cannot be run, whatever its exit code."""
    with contextlib.suppress(OSError):
        done = subprocess.run(command, capture_output=True, text=True)
        if "No module named" not in done.stderr:
            return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise BenchError(
            f"{' '.join(command)} does not run: install it, for example with `apt-get install {package}`"
        )
    say(f"installing {package}")
    run("apt-get", "install", "--yes", "--no-install-recommends", package, cwd=WORK)


def write_readme(text: str) -> None:
    """Replaces what stands between the markers."""
    start, end = "<!-- results -->", "<!-- /results -->"
    old = README.read_text()
    if old.count(start) != 1 or old.count(end) != 1 or old.index(start) > old.index(end):
        raise BenchError(f"bench/README.md needs {start} and, after it, {end}, once each")
    before, after = old.split(start)[0], old.split(end)[1]
    README.write_text(f"{before}{start}\n\n{text}\n\n{end}{after}")


def main() -> int:
    """The command line."""
    every = {server.name: server for server in (Bare(), Bailiwick(), Django())}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one round of one second")
    parser.add_argument(
        "--only", default=",".join(every), metavar="NAMES", help="some of " + ", ".join(every)
    )
    credentials = "only the list of bailiwick, by " + ", ".join(CREDENTIALS)
    parser.add_argument("--credentials", action="store_true", help=credentials)
    controls = "only bailiwick, with CORS, throttle, limits and load shedding and built without them"
    parser.add_argument("--controls", action="store_true", help=controls)
    parser.add_argument("--rounds", type=int, help="how many rounds (5)")
    parser.add_argument("--seconds", type=int, help="how long a turn is (2)")
    priority = "0 to 20 (0): put server and wrk before other programs on their cores; needs root"
    parser.add_argument("--priority", type=int, default=0, metavar="N", help=priority)
    parser.add_argument("--no-build", action="store_true", help="measure what was built before")
    parser.add_argument("--write", action="store_true", help="put the tables into bench/README.md")
    options = parser.parse_args()
    rounds = options.rounds or (1 if options.quick else 5)
    seconds = options.seconds or (1 if options.quick else 2)
    names = options.only.split(",")
    if options.credentials:
        names = ["bailiwick"]
    elif options.controls:
        names = ["controlled", "uncontrolled"]
        every |= {server.name: server for server in (Controlled(), Uncontrolled())}
    scenarios = () if options.credentials else SCENARIOS
    if rounds < 1 or seconds < 1 or not set(names) <= every.keys():
        parser.error("rounds and seconds are at least 1, and --only names " + ", ".join(every))
    if options.credentials and options.controls:
        parser.error("--credentials and --controls measure different things")
    if options.write and (options.credentials or options.controls):
        parser.error("--write puts all tables into bench/README.md, and this measures one")
    if options.priority not in range(21) or (options.priority and os.geteuid() != 0):
        parser.error("--priority is 0 to 20, and more than 0 only for root")
    global PRIORITY
    PRIORITY = options.priority
    servers = [every[name] for name in every if name in names]

    try:
        cores = sorted(os.sched_getaffinity(0))[:2]
        if len(cores) < 2:
            raise BenchError("two cores are needed: one for the server, one for the load generator")
        WORK.mkdir(exist_ok=True)
        need("wrk", "--version", package="wrk")
        for server in servers:
            if not options.no_build:
                say(f"building {server.name}")
                server.build()
        say(f"loading {ORGS} organisations, {USERS} users and {TASKS:,} tasks into each")
        data = Data()
        for server in servers:
            server.load(data)
        results = measure(servers, data, rounds, seconds, (cores[0], cores[1]), scenarios)
        (WORK / "results.json").write_text(json.dumps(results, indent=1))
        text = surroundings(servers) + "\n\n" + tables(results, rounds, seconds, scenarios)
        print(text)
        if options.write:
            write_readme(text)
    except (BenchError, sqlite3.Error) as error:
        say(f"bench: {error}")
        return 1
    finally:
        for server in servers:
            remove_database(server.database)
    return 0


if __name__ == "__main__":
    sys.exit(main())
