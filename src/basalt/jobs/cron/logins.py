"""A connection as the user of a schedule, from which no command finds the way to greater rights.

`set role` alone would not do: the command resets it. So a role whose password Basalt knows logs in itself. Any other
role is lent a login of its own, `basalt_cron_<database>_<role>`, which is a member of that role and of nothing else:
whatever the command resets, it ends there. A lent login may log in only for the moment in which the worker does, with
a password made for that moment.
"""

import secrets
from collections.abc import Sequence
from typing import Final

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.pq.abc import PGconn
from psycopg.rows import dict_row

from basalt import observe
from basalt.jobs.cron.board import LOCK_CLASS, Connection, Run
from basalt.postgres import DatabaseAccess, build_verifier, connect

CONNECT_LIMIT_S = 10
PREFIX = "basalt_cron"


async def connect_as(access: DatabaseAccess, run: Run) -> tuple[PGconn, str | None]:
    """A connection, and the role to set on it before the command. Raises psycopg.Error, OSError."""
    login = access.login(run.username)
    if login in access.passwords or login == access.owner:
        return await _connect(access.conninfo(run.username, run.database), run), None
    async with await psycopg.AsyncConnection.connect(
        access.conninfo("supabase_admin"),
        autocommit=True,
        application_name="basalt/cron-login",
        connect_timeout=CONNECT_LIMIT_S,
        row_factory=dict_row,
    ) as administrator:
        return await _connect_lent(access, run, administrator), run.username


async def _connect(conninfo: str, run: Run) -> PGconn:
    named = make_conninfo(conninfo, application_name=f"basalt/cron {run.runid}", client_encoding="UTF8")
    return await connect(named, timeout_s=CONNECT_LIMIT_S)


# The lock is one number for each role: workers lend its login one after the other.
FIND_LOGIN: Final = """
select format('%%s_%%s_%%s', %(prefix)s::text, d.oid, r.oid) as login,
    pg_catalog.pg_advisory_lock((%(lock_class)s::bigint << 32) + r.oid::bigint)
from pg_catalog.pg_roles as r, pg_catalog.pg_database as d
where r.rolname = %(role)s and d.datname = current_database()
"""
IS_LENT: Final = """
select pg_catalog.pg_has_role(l.oid, (select oid from pg_catalog.pg_roles where rolname = %s), 'member') as is_member
from pg_catalog.pg_roles as l where l.rolname = %s
"""


async def _connect_lent(access: DatabaseAccess, run: Run, administrator: Connection) -> PGconn:
    parameters = {"prefix": PREFIX, "lock_class": LOCK_CLASS + 1, "role": run.username}
    found = await (await administrator.execute(FIND_LOGIN, parameters)).fetchone()
    if found is None:
        raise psycopg.errors.UndefinedObject(f'role "{run.username}" does not exist')
    name: str = found["login"]
    login, role = sql.Identifier(name), sql.Identifier(run.username)
    lent = await (await administrator.execute(IS_LENT, [run.username, name])).fetchone()
    if lent is None:
        await administrator.execute(sql.SQL("create role {} nologin").format(login))
    if lent is None or not lent["is_member"]:
        await administrator.execute(sql.SQL("grant {} to {}").format(role, login))
    password = secrets.token_urlsafe(32)
    try:
        await administrator.execute(
            sql.SQL("alter role {} login password {}").format(login, sql.Literal(build_verifier(password)))
        )
        conninfo = access.conninfo("supabase_admin", run.database)
        return await _connect(make_conninfo(conninfo, user=name, password=password), run)
    finally:
        await administrator.execute(sql.SQL("alter role {} nologin").format(login))


FIND_IDLE: Final = """
select l.rolname
from pg_catalog.pg_roles as l, pg_catalog.pg_database as d
where d.datname = current_database() and starts_with(l.rolname, format('%%s_%%s_', %(prefix)s::text, d.oid))
    and not l.rolcanlogin and not exists (
        select from cron.job as j join pg_catalog.pg_roles as r on r.rolname = j.username
        where l.rolname = format('%%s_%%s_%%s', %(prefix)s::text, d.oid, r.oid))
"""


async def drop_idle_logins(connection: Connection) -> Sequence[str]:
    """Remove lent logins of roles that have no schedules any more; their names."""
    rows = await (await connection.execute(FIND_IDLE, {"prefix": PREFIX})).fetchall()
    dropped = []
    for row in rows:
        try:
            await connection.execute(sql.SQL("drop role {}").format(sql.Identifier(row["rolname"])))
            dropped.append(row["rolname"])
        except psycopg.errors.DependentObjectsStillExist:  # a command left something behind under this name
            observe.event("cron_login_kept", level="debug", login=row["rolname"])
    return dropped
