"""Brings a database to the contract: roles, schemas, tables and routines of a Supabase project.

The SQL is in `bootstrap/SCHEMA/`: `NNN_name.sql` runs once, in the order of the numbers; `routines/name.sql`
runs again whenever its text changes. Everything happens in one transaction under an advisory lock and is
recorded in `basalt.bootstrap_versions`. On a server that is not ours the owner named by the URL runs it
without superuser's rights: what is refused there goes through `pg_temp.attempt` and ends in the report.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from basalt.errors import BasaltError
from basalt.postgres.access import DatabaseAccess
from basalt.postgres.extensions import (
    EXTENSIONS_DIR,
    OWN_EXTENSIONS,
    numbered_files,
    own_extension_version,
    routine_files,
)
from basalt.postgres.scram import build_verifier, is_verifier_of
from basalt.postgres.vault import ensure_vault_key

BOOTSTRAP_DIR = Path(__file__).with_name("bootstrap")
LOCK_KEY = 0x6261_7361_6C74  # "basalt"

# What the files may call; gone with the connection.
PREAMBLE = """
create function pg_temp.attempt(statement text) returns boolean
language plpgsql
as $$
begin
    execute statement;
    return true;
exception
    when insufficient_privilege or undefined_object or undefined_file or feature_not_supported
        or invalid_grant_operation then
        insert into pg_temp.refusals (statement, reason) values (statement, sqlerrm);
        return false;
end
$$;

create function pg_temp.ensure_role(role_name text, options text, variadic privileged text[] default '{}')
returns void
language plpgsql
as $$
declare
    option text;
begin
    if not exists (select from pg_catalog.pg_roles where rolname = role_name) then
        execute format('create role %I %s', role_name, options);
        foreach option in array privileged loop
            perform pg_temp.attempt(format('alter role %I %s', role_name, option));
        end loop;
    end if;
    if not pg_catalog.pg_has_role(session_user, role_name, 'member') then
        execute format('grant %I to %I', role_name, session_user);
    end if;
end
$$;

create temporary table refusals (statement text, reason text) on commit drop;
grant insert on refusals to public;
"""

RECORD = """
insert into basalt.bootstrap_versions (name, sha256) values (%s, %s)
on conflict (name) do update set sha256 = excluded.sha256, applied_at = now()
"""

DATABASE_OPTIONS = """
select d.datname, pg_catalog.pg_get_userbyid(d.datdba), exists (
    select from pg_catalog.pg_db_role_setting as s, unnest(s.setconfig) as setting
    where s.setdatabase = d.oid and (s.setrole = 0 or pg_catalog.pg_get_userbyid(s.setrole) = session_user)
        and setting like 'search_path=%')
from pg_catalog.pg_database as d where d.datname = current_database()
"""


class BootstrapError(BasaltError):
    """A file of the bootstrap failed; nothing of it stays."""

    def __init__(self, message: str) -> None:
        super().__init__("bootstrap_failed", 500, message)


@dataclass(frozen=True)
class BootstrapReport:
    """`applied`: names of the files that ran. `refused`: statements that the server did not allow, with its
    reason."""

    applied: list[str]
    refused: list[tuple[str, str]]


@dataclass(frozen=True)
class BootstrapFile:
    name: str
    text: str
    is_routine: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def apply_bootstrap(access: DatabaseAccess, *, dbname: str | None = None) -> BootstrapReport:
    """Applies what the database does not have yet; a second run changes nothing."""
    conninfo = access.conninfo("supabase_admin", dbname)
    try:
        with psycopg.connect(conninfo, application_name="basalt bootstrap", connect_timeout=10) as connection:
            connection.execute("select pg_advisory_xact_lock(%s)", [LOCK_KEY])
            report = _apply_files(connection)
            _set_passwords(connection, access)
            _set_database_options(connection, is_ours=not access.is_external)
            connection.execute("select realtime.ensure_message_partitions()")
            connection.execute("select basalt.ensure_service_policies()")
            if access.is_external:
                ensure_vault_key(connection)
    except psycopg.OperationalError as exc:
        raise BootstrapError(f"The database cannot be reached: {exc}") from exc
    return report


def bootstrap_files() -> list[BootstrapFile]:
    """The files of the contract in the order of application."""
    numbered = sorted(BOOTSTRAP_DIR.glob("*/[0-9][0-9][0-9]_*.sql"), key=lambda path: path.name)
    routines = sorted(BOOTSTRAP_DIR.glob("*/routines/*.sql"))
    return [
        *(_read(path, BOOTSTRAP_DIR, is_routine=False) for path in numbered),
        *(_read(path, BOOTSTRAP_DIR, is_routine=True) for path in routines),
    ]


def _extension_files(connection: psycopg.Connection) -> Iterator[BootstrapFile]:
    """Own extensions. One that the server offers is PostgreSQL's affair, but for routines that have changed
    since it was created; the objects of the others are made here."""
    offered = _offered_extensions(connection)
    for name in OWN_EXTENSIONS:
        comment, installed_version = offered.get(name, ("", None))
        if name in offered and ("Basalt" not in comment or installed_version is None):
            continue
        if name not in offered:
            for path in numbered_files(name):
                yield _read(path, EXTENSIONS_DIR, is_routine=False)
        elif installed_version != str(own_extension_version(name)):
            connection.execute(sql.SQL("alter extension {} update").format(sql.Identifier(name)))
        for path in routine_files(name):
            yield _read(path, EXTENSIONS_DIR, is_routine=True)


def _offered_extensions(connection: psycopg.Connection) -> dict[str, tuple[str, str | None]]:
    rows = connection.execute(
        "select name, comment, installed_version from pg_available_extensions where name = any(%s)",
        [list(OWN_EXTENSIONS)],
    ).fetchall()
    return {name: (comment, installed_version) for name, comment, installed_version in rows}


def _read(path: Path, root: Path, *, is_routine: bool) -> BootstrapFile:
    return BootstrapFile(path.relative_to(root).as_posix(), path.read_text("utf-8"), is_routine)


def _apply_files(connection: psycopg.Connection) -> BootstrapReport:
    recorded = load_recorded(connection)
    contract = [file for file in bootstrap_files() if is_due(file, recorded)]
    prepare(connection)
    for file in contract:
        _apply(connection, file)
    own_extensions = [file for file in _extension_files(connection) if is_due(file, recorded)]
    for file in own_extensions:
        _apply(connection, file)
    refused = connection.execute("select statement, reason from pg_temp.refusals").fetchall()
    names = [file.name for file in contract + own_extensions]
    return BootstrapReport(names, [(statement, reason) for statement, reason in refused])


def is_due(file: BootstrapFile, recorded: dict[str, str]) -> bool:
    if file.name not in recorded:
        return True
    return file.is_routine and recorded[file.name] != file.sha256


def prepare(connection: psycopg.Connection) -> None:
    connection.execute("set local client_min_messages = error")  # nobody reads notices here
    connection.execute("set local check_function_bodies = off")  # routines may call each other in any order
    if connection.info.server_version >= 160000:
        connection.execute("set local createrole_self_grant = 'set, inherit'")
    connection.execute(PREAMBLE)


def _apply(connection: psycopg.Connection, file: BootstrapFile) -> None:
    # Own extensions refer to their schema and to pgcrypto's as an extension script does.
    path = "extensions" if file.name.startswith(OWN_EXTENSIONS) else ""
    connection.execute("select set_config('search_path', %s, true)", [path])
    try:
        connection.execute(file.text.replace("@extschema@", "extensions").encode())
    except psycopg.Error as exc:
        raise BootstrapError(f"bootstrap/{file.name}: {exc}") from exc
    connection.execute("reset role")
    connection.execute(RECORD, [file.name, file.sha256])


def load_recorded(connection: psycopg.Connection) -> dict[str, str]:
    if connection.execute("select to_regclass('basalt.bootstrap_versions')").fetchone() == (None,):
        return {}
    return dict(connection.execute("select name, sha256 from basalt.bootstrap_versions").fetchall())


def _set_passwords(connection: psycopg.Connection, access: DatabaseAccess) -> None:
    """The login roles have the passwords of `access`, sent as verifiers only."""
    roles = [role for role in access.passwords if role != access.owner]
    for role in _wrong_passwords(connection, access, roles):
        verifier = build_verifier(access.passwords[role])
        connection.execute(
            sql.SQL("alter role {} login password {}").format(sql.Identifier(role), sql.Literal(verifier))
        )


def _wrong_passwords(connection: psycopg.Connection, access: DatabaseAccess, roles: list[str]) -> list[str]:
    try:
        with connection.transaction():
            stored = connection.execute(
                "select rolname, rolpassword from pg_authid where rolname = any(%s)", [roles]
            ).fetchall()
    except (
        psycopg.errors.InsufficientPrivilege
    ):  # a managed server keeps its verifiers to itself: try to log in
        return [role for role in roles if not _logs_in(access, role)]
    return [role for role, verifier in stored if not is_verifier_of(verifier, access.passwords[role])]


def _logs_in(access: DatabaseAccess, role: str) -> bool:
    try:
        psycopg.connect(access.conninfo(role), connect_timeout=10).close()
    except psycopg.OperationalError:
        return False
    return True


def _set_database_options(connection: psycopg.Connection, *, is_ours: bool) -> None:
    """`extensions` is on the search path of every session, and `postgres` owns the database where it is ours
    to give. These do not come along when a database is copied, so that they are looked at every time."""
    row = connection.execute(DATABASE_OPTIONS).fetchone()
    assert row is not None
    dbname, owner, has_search_path = row
    database = sql.Identifier(dbname)
    if is_ours and owner != "postgres":
        connection.execute(sql.SQL("alter database {} owner to postgres").format(database))
    if has_search_path:
        return
    setting = sql.SQL('set search_path = "$user", public, extensions')
    try:
        with connection.transaction():
            connection.execute(sql.SQL("alter database {} {}").format(database, setting))
    except (
        psycopg.errors.InsufficientPrivilege
    ):  # not the owner of the database: then for our own sessions at least
        connection.execute(sql.SQL("alter role current_user in database {} {}").format(database, setting))
