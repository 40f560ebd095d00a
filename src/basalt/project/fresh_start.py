"""`basalt db reset`: the database as on the first day, from the migrations and seeds that are there now."""

import re

import psycopg
from psycopg import sql

from basalt.config import Settings
from basalt.errors import BasaltError
from basalt.postgres import BOOTSTRAP_DIR, DatabaseAccess, MigrationReport, apply_bootstrap, lock_migrations
from basalt.project.migration import Tell, migrate
from basalt.storage import check_bucket_settings

MAINTENANCE_DATABASE = "template1"
_PLATFORM_ROLE = re.compile(r"ensure_role\('([a-z_]+)'")

LIST_ROLES = "select rolname from pg_catalog.pg_roles where rolname not like 'pg\\_%'"


def reset(access: DatabaseAccess, settings: Settings, *, on_progress: Tell | None = None) -> MigrationReport:
    """Drops the project's database with everything in it, makes it again and applies all migrations and
    seeds. Connections to it are closed. Raises like `migrate`, and BasaltError for an external database, which is not
    ours to drop."""
    tell = on_progress or (lambda _: None)
    check_bucket_settings(settings)
    if access.is_external:
        raise BasaltError(
            "reset_refused",
            400,
            f"Database {access.dbname} on {access.host} is not Basalt's own and is not dropped.",
            hint="Drop and create it with the server's own tools; the next start fills it.",
        )
    tell(f"Making database {access.dbname} anew")
    with lock_migrations(access.with_dbname(MAINTENANCE_DATABASE)):
        recreate(access)
    return migrate(access, settings, on_progress=on_progress)


def recreate(access: DatabaseAccess) -> None:
    """A database with the contract and nothing else, in a private cluster. What was there is dropped."""
    name = sql.Identifier(access.dbname)
    conninfo = access.conninfo("supabase_admin", MAINTENANCE_DATABASE)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(name))
        connection.execute(sql.SQL("create database {} template template0").format(name))
        _drop_roles(connection)
    apply_bootstrap(access)


def platform_roles() -> frozenset[str]:
    """The roles that the bootstrap makes; every other one is the project's."""
    files = (BOOTSTRAP_DIR / "roles").glob("*.sql")
    return frozenset(name for path in files for name in _PLATFORM_ROLE.findall(path.read_text("utf-8")))


def _drop_roles(connection: psycopg.Connection[tuple[str, ...]]) -> None:
    """Roles belong to the cluster and outlive the database, so that a migration which creates one would
    fail. What migrations set on the platform's roles goes too; the bootstrap sets its own again."""
    platform = platform_roles()
    for (name,) in connection.execute(LIST_ROLES).fetchall():
        role = sql.Identifier(name)
        if name in platform:
            connection.execute(sql.SQL("alter role {} reset all").format(role))
        else:
            try:
                connection.execute(sql.SQL("drop role {}").format(role))
            except psycopg.errors.DependentObjectsStillExist:
                continue  # another database of this cluster uses it
