"""The migrations of a project: `supabase/migrations/<version>_<name>.sql` and what a database has of them.

Layout, order and history table (`supabase_migrations.schema_migrations`) are the Supabase CLI's
(`pkg/migration/{list,apply,history}.go`), so that either tool goes on where the other stopped. Two things
differ because real projects need them: two files of one version are both applied, where the CLI stops at the
second, and a file older than the newest applied one is applied with a warning.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psycopg
from psycopg.conninfo import make_conninfo

from basalt.errors import BasaltError
from basalt.postgres.access import DatabaseAccess
from basalt.postgres.extension_statements import ExtensionStatements, created_extension
from basalt.postgres.extensions import extension_policy
from basalt.postgres.scripts import Connection, MigrationError, OnProgress, Progress, run_script
from basalt.postgres.statements import split_statements

# One number for all of Basalt's processes and nobody else's.
ADVISORY_LOCK = 0x6261_7361_6C74_6D69
LOCK_LIMIT_S = 120
SCAN_LIMIT_BYTES = 4_000_000

FILE_NAME = re.compile(r"([0-9]+)_(.*)\.sql")
# The CLI's `init` of before December 2021 wrote a file that is not a migration.
OLD_INIT = re.compile(r"[0-9]{14}_init\.sql")
OLD_INIT_BEFORE = "20211209000000"

_CREATE_EXTENSION = re.compile(r"\bcreate\s+extension\b", re.IGNORECASE)

CREATE_HISTORY = """
set lock_timeout = '4s';
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (version text not null primary key);
alter table supabase_migrations.schema_migrations add column if not exists statements text[];
alter table supabase_migrations.schema_migrations add column if not exists name text;
"""
HAS_HISTORY = """
select count(*) = 3 from pg_catalog.pg_attribute
where attrelid = pg_catalog.to_regclass('supabase_migrations.schema_migrations')
    and attname in ('version', 'statements', 'name') and not attisdropped
"""
LOAD_HISTORY = (
    "select version, coalesce(name, '') from supabase_migrations.schema_migrations order by version"
)
# A second file of a version joins the row of the first.
RECORD = """
insert into supabase_migrations.schema_migrations as m (version, name, statements) values (%s, %s, %s)
on conflict (version) do update set
    name = concat_ws(', ', m.name, excluded.name), statements = m.statements || excluded.statements
"""


@dataclass(frozen=True, slots=True)
class MigrationFile:
    version: str
    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class MigrationFolder:
    """The files in the order in which they are applied, and what else is there, with the reason."""

    files: tuple[MigrationFile, ...]
    passed_over: tuple[tuple[Path, str], ...]


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """`missing`: the database has it, the folder has not. `path` is None then."""

    version: str
    name: str
    state: Literal["applied", "pending", "missing"]
    path: Path | None


@dataclass(frozen=True, slots=True)
class MigrationReport:
    applied: tuple[MigrationFile, ...]
    warnings: tuple[str, ...]


def list_migrations(access: DatabaseAccess, project_dir: Path) -> list[MigrationStatus]:
    """What the folder and the database have, by version."""
    with connect_for_scripts(access) as connection:
        return compare(read_folder(project_dir).files, _load_history(connection))


def apply_migrations(
    access: DatabaseAccess, project_dir: Path, *, on_progress: OnProgress | None = None
) -> MigrationReport:
    """Applies what is pending, in order, each file by itself. Raises MigrationError at the first that fails;
    those
    before it stay. A second process waits until the first is done. `roles.sql` comes before the first
    migration
    of a database."""
    run = _Run(project_dir, on_progress or (lambda _: None))
    with lock_migrations(access), connect_for_scripts(access) as connection:
        ensure_history(connection)
        return run.apply(connection)


def read_folder(project_dir: Path) -> MigrationFolder:
    """The names of `supabase/migrations/` as the CLI understands them; nothing when there is no such
    folder."""
    folder = project_dir / "supabase" / "migrations"
    paths = sorted((path for path in folder.glob("*") if path.is_file()), key=lambda path: path.name)
    files, passed_over = [], []
    for index, path in enumerate(paths):
        match = FILE_NAME.fullmatch(path.name)
        if match is None:
            if path.suffix == ".sql":
                passed_over.append((path, "its name is not <version>_<name>.sql"))
        elif index == 0 and OLD_INIT.fullmatch(path.name) and match[1] < OLD_INIT_BEFORE:
            passed_over.append((path, "it is the empty start of an old Supabase CLI"))
        else:
            files.append(MigrationFile(match[1], match[2], path))
    return MigrationFolder(tuple(files), tuple(passed_over))


def compare(files: Sequence[MigrationFile], history: Mapping[str, str]) -> list[MigrationStatus]:
    """What is applied, pending and missing. `history` maps applied versions to their recorded names."""
    twice = {version for version, count in Counter(file.version for file in files).items() if count > 1}

    def is_applied(file: MigrationFile) -> bool:
        recorded = history.get(file.version)
        return recorded is not None and (file.version not in twice or file.name in recorded.split(", "))

    here = [
        MigrationStatus(file.version, file.name, "applied" if is_applied(file) else "pending", file.path)
        for file in files
    ]
    missing = [
        MigrationStatus(version, name, "missing", None)
        for version, name in history.items()
        if version not in {file.version for file in files}
    ]
    return sorted([*here, *missing], key=lambda status: (status.version, status.name))


def list_wanted_extensions(supabase_dir: Path) -> frozenset[str]:
    """The extensions that the project's migrations and seeds create and that a server must offer: neither
    brought
    by Basalt nor dispensable. Files that cannot be read are left for the run to complain about."""
    paths = [
        *supabase_dir.glob("migrations/*.sql"),
        *supabase_dir.glob("seed*.sql"),
        *supabase_dir.glob("seed*/*.sql"),
    ]
    names = {name for path in paths for name, _ in find_created_extensions(path)}
    return frozenset(name for name in names if extension_policy(name, ()) == "missing")


def find_created_extensions(path: Path) -> Iterator[tuple[str, int]]:
    """The names in `create extension` statements of a file, with their lines. A huge file is data and is not
    looked through; what it creates is decided when it runs."""
    try:
        if path.stat().st_size > SCAN_LIMIT_BYTES:
            return
        text = path.read_text("utf-8-sig", "replace")
    except OSError:
        return
    if _CREATE_EXTENSION.search(text):
        for statement in split_statements(text):
            if statement.kind == "extension" and (name := created_extension(statement.text)):
                yield name, statement.line


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
    row = connection.execute(HAS_HISTORY).fetchone()
    return dict(connection.execute(LOAD_HISTORY).fetchall()) if row and row[0] else {}


class _Run:
    """One call of `apply_migrations`."""

    def __init__(self, project_dir: Path, on_progress: OnProgress) -> None:
        self._project_dir = project_dir
        self._on_progress = on_progress
        self._folder = read_folder(project_dir)
        self._warnings: list[str] = []

    def apply(self, connection: Connection) -> MigrationReport:
        history = _load_history(connection)
        statuses = compare(self._folder.files, history)
        pending = [file for file in self._folder.files if _is_pending(file, statuses)]
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
        if path.is_file():
            self._run(connection, extensions, path, lambda _: None)

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


def _is_pending(file: MigrationFile, statuses: Iterable[MigrationStatus]) -> bool:
    return any(status.path == file.path and status.state == "pending" for status in statuses)


def _second_files(files: Iterable[MigrationFile]) -> Iterator[MigrationFile]:
    seen: set[str] = set()
    for file in files:
        if file.version in seen:
            yield file
        seen.add(file.version)
