"""A dump becomes a database: on a private cluster for a rehearsal, on an external server for a restore."""

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import psycopg
from psycopg import sql

from basalt.config import Settings
from basalt.postgres import DatabaseAccess, PrivateCluster, apply_bootstrap
from basalt.postgres.backup import feed, list_objects
from basalt.project.backup.errors import BackupError
from basalt.project.backup.files import Shelf
from basalt.project.backup.manifest import Manifest
from basalt.project.backup.objects import bring_objects
from basalt.project.backup.progress import Progress, Tell
from basalt.storage import build_store

RESTORED: Final = "basalt_restored"
MAINTENANCE: Final = "template1"
# Roles that are there, and what only a superuser may say of them.
TOLERATED: Final = re.compile(
    r"already exists|permission denied|must be|Only roles with|cannot be dropped", re.IGNORECASE
)

HAS_TABLES: Final = """
select exists (select from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where c.relkind = 'r' and n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema')
"""


def load_dump(cluster: PrivateCluster, shelf: Shelf, manifest: Manifest, tell: Tell) -> DatabaseAccess:
    """A private cluster with the dump in a database of its own. The platform's roles come from the bootstrap. Raises
    BackupError, DumpError, ClusterError."""
    access = cluster.ensure()
    apply_bootstrap(access)
    restored = access.with_dbname(RESTORED)
    with psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} template template0").format(sql.Identifier(RESTORED)))
    _load(restored, shelf, manifest, tell, role="supabase_admin")
    return restored


def restore_dump(
    settings: Settings, access: DatabaseAccess, shelf: Shelf, manifest: Manifest, tell: Tell, *, force: bool
) -> tuple[int, int, str | None]:
    """The external database as the dump shows it. One that holds tables is renamed with `force`, and refused without.
    Returns how many rows name bytes, how many of these are missing, and the earlier database's name."""
    aside = _make_room(access, force=force)
    _load(access, shelf, manifest, tell, role="supabase_admin")
    with psycopg.connect(access.conninfo("supabase_admin")) as connection:
        wanted = [version for version, _ in list_objects(connection)]
    progress = Progress(tell, "Objects")
    missing = asyncio.run(_bring(settings, shelf, wanted, progress))
    progress.end()
    return len(wanted), len(missing), aside


def _load(access: DatabaseAccess, shelf: Shelf, manifest: Manifest, tell: Tell, *, role: str) -> None:
    major = manifest.postgres_major
    feed(
        "psql",
        access,
        major,
        ["--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=0", "--file=-"],
        shelf.read_stream(manifest.files["roles"]),
        role=role,
        tolerated=TOLERATED,
    )
    progress = Progress(tell, "Database")

    def counted() -> Iterator[bytes]:
        for block in shelf.read_stream(manifest.files["dump"]):
            progress.add(len(block))
            yield block

    feed(
        "pg_restore",
        access,
        major,
        ["--exit-on-error", "--single-transaction"],
        counted(),
        role=role,
    )
    progress.end()


def _make_room(access: DatabaseAccess, *, force: bool) -> str | None:
    try:
        with psycopg.connect(access.conninfo("supabase_admin")) as connection:
            if connection.execute(HAS_TABLES).fetchone() == (False,):
                return None
    except psycopg.OperationalError as exc:
        if "does not exist" not in str(exc):
            raise
    else:
        if not force:
            raise BackupError(
                "restore_refused",
                place=f"Database {access.dbname} on {access.host}",
                hint="With --force it is renamed, and a new one takes its place",
            )
    aside = f"{access.dbname}_before_{datetime.now(UTC):%Y%m%d%H%M%S}"
    name = sql.Identifier(access.dbname)
    try:
        with psycopg.connect(access.conninfo("supabase_admin", MAINTENANCE), autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [access.dbname]
            )
            connection.execute(sql.SQL("alter database {} rename to {}").format(name, sql.Identifier(aside)))
            connection.execute(sql.SQL("create database {} template template0").format(name))
    except psycopg.Error as exc:
        cause = exc.diag.message_primary or exc
        reason = f"{access.dbname} cannot be renamed ({cause}); restore into an empty database"
        raise BackupError("restore_not_possible", reason=reason) from exc
    return aside


async def _bring(settings: Settings, shelf: Shelf, versions: list[str], progress: Progress) -> list[str]:
    store = build_store(settings)
    await store.open()
    try:
        return await bring_objects(shelf, store, versions, progress.add)
    finally:
        await store.close()
