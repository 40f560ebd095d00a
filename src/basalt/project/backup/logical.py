"""A dump becomes a database: on a private cluster for a rehearsal, on an external server for a restore."""

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
from psycopg import sql

from basalt.config import Settings
from basalt.postgres import DatabaseAccess, PrivateCluster, apply_bootstrap
from basalt.postgres.backup import feed, list_archive
from basalt.project.backup.errors import BackupError
from basalt.project.backup.files import Shelf
from basalt.project.backup.manifest import Manifest, read_contents
from basalt.project.backup.objects import bring_objects
from basalt.project.backup.progress import Progress, Tell
from basalt.project.backup.properties import apply_grants, apply_settings

RESTORED: Final = "basalt_restored"
MAINTENANCE: Final = "template1"
HAS_TABLES: Final = """
select exists (select from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where c.relkind = 'r' and n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema')
"""
LIST_SCHEMAS: Final = "select nspname from pg_catalog.pg_namespace where nspname not like 'pg\\_%'"
# In a dump's table of contents: a schema, or who may do what in it.
SCHEMA_LINE: Final = re.compile(r"\d+; \d+ \d+ (?:SCHEMA - |ACL - SCHEMA )")


def load_dump(cluster: PrivateCluster, shelf: Shelf, manifest: Manifest, tell: Tell) -> DatabaseAccess:
    """A private cluster with the dump in a database of its own. The platform's roles come from the bootstrap. Raises
    BackupError, DumpError, ClusterError."""
    access = cluster.ensure()
    apply_bootstrap(access)
    restored = access.with_dbname(RESTORED)
    with psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} template template0").format(sql.Identifier(RESTORED)))
    _load(restored, shelf, manifest, tell)
    return restored


def restore_dump(
    settings: Settings, access: DatabaseAccess, shelf: Shelf, manifest: Manifest, tell: Tell, *, force: bool
) -> tuple[int, int, str | None]:
    """The external database as the dump shows it. One that holds tables is renamed with `force`, and refused without.
    Returns how many rows name bytes, how many of these are missing, and the earlier database's name. Raises
    BackupError and DumpError, with the earlier database in its place."""
    aside = _make_room(access, force=force)
    before = _list_schemas(access)
    try:
        _load(access, shelf, manifest, tell)
        objects, missing = bring_objects(settings, shelf, access.conninfo("supabase_admin"), tell)
    except BaseException:
        if aside is not None:
            _put_back(access, aside)
        else:
            _drop_schemas(access, _list_schemas(access) - before)
        raise
    return objects, missing, aside


def _load(access: DatabaseAccess, shelf: Shelf, manifest: Manifest, tell: Tell) -> None:
    """Schemas and what is granted in them come first: who restores may be no superuser, and gives a table only to a
    role that may create some there. Roles may be there already, or be a superuser's alone to make; without one that is
    needed pg_restore fails."""
    major, contents = manifest.postgres_major, read_contents(shelf, manifest)
    roles = _leave_out_own(access.login("supabase_admin"), shelf.read_stream(manifest.files["roles"]))
    feed("psql", access, major, ["--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=0", "--file=-"], roles)
    apply_grants(access, contents.grants, tell)
    lines = list_archive(shelf.read_stream(manifest.files["dump"]), major)
    schemas = [line for line in lines if SCHEMA_LINE.match(line)]
    _restore(access, shelf, manifest, schemas, Progress(lambda _: None, "Schemas"))
    progress = Progress(tell, "Database")
    _restore(access, shelf, manifest, [line for line in lines if not SCHEMA_LINE.match(line)], progress)
    progress.end()
    apply_settings(access, contents.settings, tell)


def _leave_out_own(role: str, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """What the role that restores may do stays: `supabase_admin` of a server on which it may not even log in would
    lose here what it does this with."""
    altered = (f"ALTER ROLE {role} WITH ".encode(), f'ALTER ROLE "{role}" WITH '.encode())
    for line in b"".join(blocks).splitlines(keepends=True):
        if not line.startswith(altered):
            yield line


def _restore(
    access: DatabaseAccess, shelf: Shelf, manifest: Manifest, lines: Sequence[str], progress: Progress
) -> None:
    """Of the dump what these lines of its table of contents name."""

    def counted() -> Iterator[bytes]:
        for block in shelf.read_stream(manifest.files["dump"]):
            progress.add(len(block))
            yield block

    with tempfile.NamedTemporaryFile("w", suffix=".list") as wanted:
        wanted.writelines(lines)
        wanted.flush()
        arguments = ["--exit-on-error", "--single-transaction", f"--use-list={wanted.name}"]
        feed("pg_restore", access, manifest.postgres_major, arguments, counted())


def _list_schemas(access: DatabaseAccess) -> set[str]:
    with psycopg.connect(access.conninfo("supabase_admin")) as connection:
        return {name for (name,) in connection.execute(LIST_SCHEMAS)}


def _drop_schemas(access: DatabaseAccess, names: set[str]) -> None:
    with psycopg.connect(access.conninfo("supabase_admin")) as connection:
        for name in names:
            connection.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(name)))


def _make_room(access: DatabaseAccess, *, force: bool) -> str | None:
    """Returns the name that the database has now, where it was renamed. Raises BackupError."""
    create = sql.SQL("create database {} template template0").format(sql.Identifier(access.dbname))
    try:
        with psycopg.connect(access.conninfo("supabase_admin")) as connection:
            if connection.execute(HAS_TABLES).fetchone() == (False,):
                return None
    except psycopg.OperationalError as exc:
        if f'database "{access.dbname}" does not exist' not in str(exc):
            raise
        with _maintaining(access) as connection:
            connection.execute(create)
        return None
    if not force:
        raise BackupError(
            "restore_refused",
            place=f"Database {access.dbname} on {access.host}",
            hint="With --force it is renamed, and a new one takes its place",
        )
    aside = f"{access.dbname}_before_{datetime.now(UTC):%Y%m%d%H%M%S}"
    with _maintaining(access) as connection:
        _rename(connection, access.dbname, aside)
        try:
            connection.execute(create)
        except psycopg.Error:
            _rename(connection, aside, access.dbname)
            raise
    return aside


def _put_back(access: DatabaseAccess, aside: str) -> None:
    with _maintaining(access) as connection:
        name = sql.Identifier(access.dbname)
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(name))
        _rename(connection, aside, access.dbname)


@contextmanager
def _maintaining(access: DatabaseAccess) -> Iterator[psycopg.Connection[Any]]:
    """From outside of the database. Raises BackupError where the server does not let us."""
    try:
        with psycopg.connect(access.conninfo("supabase_admin", MAINTENANCE), autocommit=True) as connection:
            yield connection
    except psycopg.Error as exc:
        cause = exc.diag.message_primary or exc
        reason = f"{access.dbname} cannot be made anew ({cause}); restore into an empty database"
        raise BackupError("restore_not_possible", reason=reason) from exc


def _rename(connection: psycopg.Connection[Any], name: str, to: str) -> None:
    connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
    connection.execute(
        sql.SQL("alter database {} rename to {}").format(sql.Identifier(name), sql.Identifier(to))
    )
