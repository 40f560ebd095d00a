"""The migrations of a project: `supabase/migrations/<version>_<name>.sql` and what a database has of them.

Layout, order and history table (`supabase_migrations.schema_migrations`) are the Supabase CLI's
(`pkg/migration/{list,apply,history}.go`), so that either tool goes on where the other stopped. Two things
differ because real projects need them: two files of one version are both applied, where the CLI stops at the
second, and a file older than the newest applied one is applied with a warning.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from basalt.errors import BasaltError
from basalt.postgres.access import DatabaseAccess
from basalt.postgres.extension_statements import ExtensionStatements
from basalt.postgres.migration_error import MigrationError
from basalt.postgres.migration_folder import (
    MigrationFile,
    MigrationStatus,
    compare,
    find_created_extensions,
    read_folder,
)
from basalt.postgres.scripts import Connection, OnProgress, Progress, run_script

# One number for all of Basalt's processes and nobody else's.
ADVISORY_LOCK = 0x6261_7361_6C74_6D69
LOCK_LIMIT_S = 120

CREATE_HISTORY = """
set lock_timeout = '4s';
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (version text not null primary key);
alter table supabase_migrations.schema_migrations add column if not exists statements text[];
alter table supabase_migrations.schema_migrations add column if not exists name text;
create table if not exists supabase_migrations.seed_files (
    path text not null primary key, hash text not null
);
"""
HAS_HISTORY = """
select count(*) = 3 and pg_catalog.to_regclass('supabase_migrations.seed_files') is not null
from pg_catalog.pg_attribute
where attrelid = pg_catalog.to_regclass('supabase_migrations.schema_migrations')
    and attname in ('version', 'statements', 'name') and not attisdropped
"""
HAS_VERSIONS = "select pg_catalog.to_regclass('supabase_migrations.schema_migrations') is not null"
LOAD_HISTORY = """
select h.version, coalesce(pg_catalog.to_jsonb(h) ->> 'name', '')
from supabase_migrations.schema_migrations as h order by h.version
"""
# A second file of a version joins the row of the first.
RECORD = """
insert into supabase_migrations.schema_migrations as m (version, name, statements) values (%s, %s, %s)
on conflict (version) do update set
    name = concat_ws(', ', m.name, excluded.name), statements = m.statements || excluded.statements
"""
# Seeds, and `roles.sql`, which the CLI runs where it makes a database and nowhere else.
LOAD_SEED_FILES = "select path, hash from supabase_migrations.seed_files"
RECORD_SEED_FILE = """
insert into supabase_migrations.seed_files (path, hash) values (%s, %s)
on conflict (path) do update set hash = excluded.hash
"""


@dataclass(frozen=True, slots=True)
class MigrationReport:
    applied: tuple[MigrationFile, ...]
    warnings: tuple[str, ...]


def list_migrations(access: DatabaseAccess, project_dir: Path) -> list[MigrationStatus]:
    """What the folder and the database have, by version."""
    with connect_for_scripts(access) as connection:
        return compare(read_folder(project_dir).files, _load_history(connection))


def apply_migrations(
    access: DatabaseAccess,
    project_dir: Path,
    *,
    on_progress: OnProgress | None = None,
    until: MigrationFile | None = None,
) -> MigrationReport:
    """Applies what is pending, in order, each file by itself. Raises MigrationError at the first that fails;
    those before it stay. A second process waits until the first is done. `roles.sql` runs once, before the
    first migration of a database. With `until`, what comes after that file stays pending."""
    run = _Run(project_dir, on_progress or (lambda _: None))
    with lock_migrations(access), connect_for_scripts(access) as connection:
        ensure_history(connection)
        return run.apply(connection, until)


@contextmanager
def connect_for_scripts(access: DatabaseAccess) -> Iterator[Connection]:
    """A connection as role `postgres`, in autocommit: the files decide about transactions."""
    conninfo = make_conninfo(access.conninfo("postgres"), application_name="basalt migrations")
    try:
        connection = psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)
    except psycopg.OperationalError as exc:
        message = f"Database {access.dbname} on {access.host}:{access.port} cannot be reached: {exc}"
        raise BasaltError("database_unreachable", 503, message) from exc
    with connection:
        yield connection


@contextmanager
def lock_migrations(access: DatabaseAccess) -> Iterator[None]:
    """One process at a time; on a connection of its own, because a file may say `discard all`."""
    with connect_for_scripts(access) as connection:
        connection.execute("select set_config('lock_timeout', %s, false)", (f"{LOCK_LIMIT_S}s",))
        try:
            connection.execute("select pg_catalog.pg_advisory_lock(%s)", (ADVISORY_LOCK,))
        except psycopg.errors.LockNotAvailable as exc:
            message = (
                f"Another process has been applying migrations to this database for {LOCK_LIMIT_S} seconds."
            )
            raise BasaltError("migrations_locked", 503, message) from exc
        yield


def ensure_history(connection: Connection) -> None:
    row = connection.execute(HAS_HISTORY).fetchone()
    if row is None or not row[0]:
        connection.execute(CREATE_HISTORY)


def _load_history(connection: Connection) -> dict[str, str]:
    row = connection.execute(HAS_VERSIONS).fetchone()
    return dict(connection.execute(LOAD_HISTORY).fetchall()) if row and row[0] else {}


def load_seed_files(connection: Connection) -> dict[str, str]:
    """The SHA-256 of each seed file that ran, by its path below the project."""
    return dict(connection.execute(LOAD_SEED_FILES).fetchall())


def record_seed_file(connection: Connection, shown: str, digest: str) -> None:
    connection.execute(RECORD_SEED_FILE, (shown, digest))


def hash_file(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


class _Run:
    """One call of `apply_migrations`."""

    def __init__(self, project_dir: Path, on_progress: OnProgress) -> None:
        self._project_dir = project_dir
        self._on_progress = on_progress
        self._folder = read_folder(project_dir)
        self._warnings: list[str] = []

    def apply(self, connection: Connection, until: MigrationFile | None) -> MigrationReport:
        history = _load_history(connection)
        statuses = compare(self._folder.files, history)
        waiting = {status.path for status in statuses if status.state == "pending"}
        files = self._folder.files
        files = files if until is None else files[: files.index(until) + 1]
        pending = [file for file in files if file.path in waiting]
        self._warn_of(statuses, pending)
        extensions = ExtensionStatements(connection)
        self._check_extensions(extensions, pending)
        if not history:
            self._run_roles(connection, extensions)
        for file in pending:
            self._run_file(connection, extensions, file)
        return MigrationReport(tuple(pending), tuple(self._warnings))

    def _warn_of(self, statuses: Iterable[MigrationStatus], pending: Sequence[MigrationFile]) -> None:
        for path, reason in self._folder.passed_over:
            self._on_progress(Progress("skipped", self._shown(path), reason))
        for file in _second_files(pending):
            self._warn(
                f"{self._shown(file.path)}: version {file.version} occurs twice; both files are applied"
            )
        newest = max((status.version for status in statuses if status.state == "applied"), default="")
        for file in pending:
            if file.version < newest:
                self._warn(f"{self._shown(file.path)} is older than {newest}, which is applied already")
        if missing := [status.version for status in statuses if status.state == "missing"]:
            self._warn(f"Applied, but not in supabase/migrations: {', '.join(missing)}")

    def _check_extensions(self, extensions: ExtensionStatements, pending: Iterable[MigrationFile]) -> None:
        """What no server here can offer is said before the first file changes anything."""
        for file in pending:
            for name, line in find_created_extensions(file.path):
                if refusal := extensions.missing(name):
                    reason, hint = refusal.error or "", refusal.hint
                    raise MigrationError(self._shown(file.path), reason, line=line, hint=hint)

    def _run_roles(self, connection: Connection, extensions: ExtensionStatements) -> None:
        path = self._project_dir / "supabase" / "roles.sql"
        shown = self._shown(path)
        if not path.is_file() or shown in load_seed_files(connection):
            return
        digest = hash_file(path)
        self._run(connection, extensions, path, lambda _: record_seed_file(connection, shown, digest))

    def _run_file(self, connection: Connection, extensions: ExtensionStatements, file: MigrationFile) -> None:
        def record(statements: list[str]) -> None:
            connection.execute(RECORD, (file.version, file.name, statements))

        self._run(connection, extensions, file.path, record)

    def _run(
        self,
        connection: Connection,
        extensions: ExtensionStatements,
        path: Path,
        record: Callable[[list[str]], None],
    ) -> None:
        shown = self._shown(path)
        self._on_progress(Progress("applying", shown))
        started = time.monotonic()
        run_script(connection, path, shown=shown, extensions=extensions, warn=self._warn, record=record)
        self._on_progress(Progress("applied", shown, duration_s=time.monotonic() - started))

    def _warn(self, text: str) -> None:
        self._warnings.append(text)
        self._on_progress(Progress("warning", "", text))

    def _shown(self, path: Path) -> str:
        return path.relative_to(self._project_dir).as_posix()


def _second_files(files: Iterable[MigrationFile]) -> Iterator[MigrationFile]:
    seen: set[str] = set()
    for file in files:
        if file.version in seen:
            yield file
        seen.add(file.version)
