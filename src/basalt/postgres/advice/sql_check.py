"""A check as a statement: each of its rows is a finding, with columns `subject`, `what`, `remedy`, `schema` and, where
it depends, `severity`. What SQL cannot tell, such as what an expression means, `judge` makes of the rows."""

import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, LiteralString, cast

import psycopg
from psycopg.rows import dict_row

from basalt.postgres.advice.finding import Finding, Severity

STATEMENT_LIMIT_S: Final = 10
# A server that does not even cancel a statement is not waited for any longer.
SILENCE_LIMIT_S: Final = 10

# Not the project's: what the bootstrap makes, what Supabase has beside it, and what belongs to PostgreSQL.
PLATFORM_SCHEMAS: Final = (
    *("_analytics", "_realtime", "_supavisor", "auth", "basalt", "basalt_cache", "cache", "cron", "etl"),
    *("extensions", "flags", "graphql", "graphql_public", "information_schema", "net", "pgbouncer", "pgmq"),
    *("pgmq_public", "pgsodium", "pgsodium_masks", "realtime", "storage", "supabase_functions"),
    *("supabase_migrations", "tiger", "tiger_data", "topology", "vault"),
)

# Names and expressions come with their schemas. Compiling such statements takes longer than running them.
PREPARE: Final = """
select set_config('transaction_read_only', 'on', true), set_config('search_path', '', true),
    set_config('statement_timeout', %s, true), set_config('lock_timeout', '1s', true), set_config('jit', 'off', true)
"""

# Tables and views of the project: not the platform's, not PostgreSQL's, not an extension's. `is_exposed`: REST serves
# the schema, and requests without or with a token may do something there, be it with one column.
RELATIONS: LiteralString = """
with relations as (
    select c.oid, n.nspname, c.relname, c.relkind, c.relrowsecurity, c.reloptions, c.reltuples, c.relreplident,
        c.relispartition, n.nspname = any (%(schemas)s) as is_in_api,
        n.nspname = any (%(schemas)s) and exists (
            select from pg_catalog.pg_roles as r
            where r.rolname in ('anon', 'authenticated')
                and (has_any_column_privilege(r.oid, c.oid, 'select, insert, update')
                    or has_table_privilege(r.oid, c.oid, 'delete, truncate'))) as is_exposed
    from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname <> all (%(platform)s) and n.nspname not like 'pg\\_%%'
        and not exists (select from pg_catalog.pg_depend as d
            where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
)"""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlCheck:
    """`needs` are relations without which there is nothing to look at. The statement may name `%(schemas)s`, those
    that REST serves, and `%(platform)s`, those that are not the project's."""

    name: str
    group: str
    severity: Severity
    title: str
    why: str
    statement: LiteralString
    needs: Sequence[str] = ()
    judge: Callable[[Sequence[Row]], Iterable[Row]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRun:
    """`unseen` is why the check could not look, empty where it could."""

    check: SqlCheck
    findings: Sequence[Finding] = ()
    unseen: str = ""


def run_checks(
    connection: psycopg.Connection[Any], checks: Iterable[SqlCheck], *, schemas: Sequence[str]
) -> Iterator[CheckRun]:
    """Each check in its own read-only transaction: what becomes of one is not the others' affair. `schemas` are those
    that REST serves. Raises psycopg.OperationalError when the connection is lost, or the server falls silent."""
    params = {"schemas": list(schemas), "platform": list(PLATFORM_SCHEMAS)}
    for check in checks:
        try:
            with _cut_after(connection, STATEMENT_LIMIT_S + SILENCE_LIMIT_S):
                run = _run_check(connection, check, params)
        except psycopg.Error as error:
            if connection.closed:
                raise
            run = CheckRun(check=check, unseen=_explain(error))
        yield run


def _run_check(connection: psycopg.Connection[Any], check: SqlCheck, params: Mapping[str, Any]) -> CheckRun:
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(PREPARE, [f"{STATEMENT_LIMIT_S}s"])
        for name in check.needs:
            cursor.execute("select to_regclass(%s) is null as is_missing", [name])
            if cast(Row, cursor.fetchone())["is_missing"]:
                return CheckRun(check=check)
        rows: Iterable[Row] = cursor.execute(check.statement, params).fetchall()
    if check.judge is not None:
        rows = check.judge(list(rows))
    return CheckRun(
        check=check,
        findings=[
            Finding(
                check=check.name,
                severity=row.get("severity") or check.severity,
                subject=row["subject"],
                what=row["what"],
                why=check.why,
                remedy=row.get("remedy") or "",
                schema=row.get("schema") or "",
            )
            for row in rows
        ],
    )


def _explain(error: psycopg.Error) -> str:
    match error:
        case psycopg.errors.QueryCanceled():
            return f"took longer than {STATEMENT_LIMIT_S} s"
        case psycopg.errors.InsufficientPrivilege():
            return f"not allowed: {error.diag.message_primary}"
    return error.diag.message_primary or str(error)


@contextmanager
def _cut_after(connection: psycopg.Connection[Any], limit_s: float) -> Iterator[None]:
    """Ends the connection when the block takes longer, so that whoever waits for its answer gets an error. The server's
    own limit is shorter; this one is for a server that is stopped, or a network that is gone."""
    is_cut = threading.Event()

    def cut() -> None:
        is_cut.set()
        with suppress(OSError):
            own.shutdown(socket.SHUT_RDWR)

    with socket.socket(fileno=os.dup(connection.fileno())) as own:
        timer = threading.Timer(limit_s, cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        except psycopg.OperationalError as error:
            if is_cut.is_set():
                raise psycopg.OperationalError(f"it did not answer within {limit_s:g} s") from error
            raise
        finally:
            timer.cancel()
