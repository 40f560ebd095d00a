"""Modules: tables and routines that a project has only where its settings ask for them, in its own schema `public`.

The SQL is in `modules/NAME/`, split as the bootstrap's: `NNN_name.sql` runs once, `routines/name.sql` again whenever
its text changes; both are recorded in `basalt.bootstrap_versions`. All of it is one transaction under the bootstrap's
lock. Tables belong to `postgres`, so that the project's migrations extend them; on a server that is not ours that is
the owner named by the URL. What a file may call beside the bootstrap's helpers is in `PREAMBLE`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, LiteralString

import psycopg
from psycopg import sql

from basalt.late import LateModule
from basalt.postgres.access import DatabaseAccess
from basalt.postgres.bootstrap import (
    LOCK_KEY,
    RECORD,
    BootstrapFile,
    is_due,
    load_recorded,
    prepare,
)
from basalt.postgres.module_error import ModuleError

if TYPE_CHECKING:
    from basalt.postgres import earlier_tables
else:
    earlier_tables = LateModule("basalt.postgres.earlier_tables")  # its parser is large, and seldom of use

MODULES_DIR = Path(__file__).with_name("modules")
MODULE_NAMES = ("notify",)

PREAMBLE = """
create function pg_temp.become_owner() returns void
language plpgsql
as $$
begin
    if session_user = 'supabase_admin' then
        set local role postgres;
    end if;
end
$$;

create function pg_temp.give_to_owner(routine regprocedure) returns void
language plpgsql
as $$
begin
    if session_user = 'supabase_admin' then
        execute format('alter routine %s owner to postgres', routine);
    end if;
end
$$;

create temporary table earlier_tables (name text primary key) on commit drop;
grant select, insert on earlier_tables to public;
"""
CREATED_TABLE = re.compile(r"^create table if not exists public\.(\w+)", re.MULTILINE)
CREATED_ROUTINE = re.compile(r"^create or replace function public\.(\w+)", re.MULTILINE)
BECOME_OWNER = "select pg_temp.become_owner()"
WRITE_SETTING: LiteralString = """
insert into {} as s (name, value) values (%s, %s) on conflict (name) do update set value = excluded.value
"""
FIND_EARLIER = """
select from pg_catalog.pg_class as c
where c.relnamespace = 'public'::regnamespace and c.relname = any (%s::text[])
"""
ENSURE_SERVICE_POLICIES = "select basalt.ensure_service_policies()"


def apply_module(access: DatabaseAccess, name: str, settings: Mapping[str, float]) -> list[str]:
    """Applies what the database does not have yet of a module, after the bootstrap, and writes the settings that its
    routines go by into `basalt.NAME_settings`; the names of the files that ran. Raises ModuleError."""
    conninfo = access.conninfo("supabase_admin")
    try:
        with psycopg.connect(conninfo, application_name="basalt modules", connect_timeout=10) as connection:
            connection.execute("select pg_advisory_xact_lock(%s)", [LOCK_KEY])
            recorded = load_recorded(connection)
            due = [file for file in module_files(name) if is_due(file, recorded)]
            if due:
                _apply_files(connection, due)
            _write_settings(connection, name, settings)
    except psycopg.OperationalError as exc:
        raise ModuleError(f"The database cannot be reached: {exc}") from exc
    return [file.name for file in due]


def _write_settings(connection: psycopg.Connection, name: str, settings: Mapping[str, float]) -> None:
    table = sql.Identifier("basalt", f"{name}_settings")
    written: dict[str, float] = dict(
        connection.execute(sql.SQL("select name, value from {}").format(table)).fetchall()
    )
    changed = [(key, value) for key, value in settings.items() if written.get(key) != value]
    if changed:
        connection.cursor().executemany(sql.SQL(WRITE_SETTING).format(table), changed)


def module_files(name: str) -> list[BootstrapFile]:
    """The files of a module in the order of application."""
    folder = MODULES_DIR / name
    numbered = sorted(folder.glob("[0-9][0-9][0-9]_*.sql"))
    routines = sorted(folder.glob("routines/*.sql"))
    return [
        *(_read(path, is_routine=False) for path in numbered),
        *(_read(path, is_routine=True) for path in routines),
    ]


def _read(path: Path, *, is_routine: bool) -> BootstrapFile:
    name = f"modules/{path.relative_to(MODULES_DIR).as_posix()}"
    return BootstrapFile(name, path.read_text("utf-8"), is_routine)


def _apply_files(connection: psycopg.Connection, files: list[BootstrapFile]) -> None:
    prepare(connection)
    connection.execute(PREAMBLE)
    for file in files:
        connection.execute("select set_config('search_path', '', true)")
        connection.execute(BECOME_OWNER)
        try:
            if not file.is_routine and _has_earlier_tables(connection, file):
                earlier_tables.apply_beside_earlier_tables(connection, file.text)
            else:
                connection.execute(file.text.encode())
        except psycopg.Error as exc:
            raise ModuleError(f"{file.name}: {exc}") from exc
        connection.execute("reset role")
        connection.execute(RECORD, [file.name, file.sha256])
    connection.execute(ENSURE_SERVICE_POLICIES)


def module_tables(name: str) -> frozenset[str]:
    """The tables that a module creates in `public`, by their bare names."""
    return frozenset(
        table for file in module_files(name) if not file.is_routine for table in _created_tables(file)
    )


def module_routines(name: str) -> frozenset[str]:
    """The routines that a module creates in `public`, by their bare names."""
    return frozenset(routine for file in module_files(name) for routine in CREATED_ROUTINE.findall(file.text))


def _has_earlier_tables(connection: psycopg.Connection, file: BootstrapFile) -> bool:
    return connection.execute(FIND_EARLIER, [_created_tables(file)]).rowcount > 0


def _created_tables(file: BootstrapFile) -> list[str]:
    return CREATED_TABLE.findall(file.text)
