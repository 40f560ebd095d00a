"""A check as a statement: each of its rows is a finding, with columns `subject`, `what`, `remedy` and, where it
depends,
`severity`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString, cast

import psycopg
from psycopg.rows import dict_row

from basalt.postgres.advice.finding import Finding, Severity

STATEMENT_LIMIT = "15s"

# Not the project's: what the bootstrap makes, and what belongs to PostgreSQL.
PLATFORM_SCHEMAS = (
    "_realtime",
    "auth",
    "basalt",
    "cache",
    "cron",
    "extensions",
    "flags",
    "graphql",
    "graphql_public",
    "information_schema",
    "net",
    "pgbouncer",
    "pgmq",
    "pgmq_public",
    "pgsodium",
    "pgsodium_masks",
    "realtime",
    "storage",
    "supabase_functions",
    "supabase_migrations",
    "vault",
)

# Relations of the project: not the platform's, not PostgreSQL's, not an extension's. `is_exposed`: REST serves the
# schema
# and requests without or with a token may do something there.
RELATIONS: LiteralString = """
with relations as (
    select c.oid, n.nspname, c.relname, c.relkind, c.relrowsecurity, c.reloptions, c.reltuples, c.relreplident,
        c.relispartition, n.nspname = any (%(schemas)s) as is_in_api,
        n.nspname = any (%(schemas)s) and exists (
            select from pg_catalog.pg_roles as r
            where r.rolname in ('anon', 'authenticated')
                and has_table_privilege(r.oid, c.oid, 'select, insert, update, delete')) as is_exposed
    from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where n.nspname <> all (%(platform)s) and n.nspname not like 'pg\\_%%'
        and not exists (select from pg_catalog.pg_depend as d
            where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlCheck:
    """`needs` are relations without which there is nothing to look at. The statement may name `%(schemas)s`, those
    that REST
    serves, and `%(platform)s`, those that are not the project's."""

    name: str
    group: str
    severity: Severity
    title: str
    why: str
    statement: LiteralString
    needs: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRun:
    """`unseen` is why the check could not look, empty where it could."""

    check: SqlCheck
    findings: Sequence[Finding] = ()
    unseen: str = ""


def run_checks(
    connection: psycopg.Connection[Any], checks: Iterable[SqlCheck], *, schemas: Sequence[str]
) -> Iterator[CheckRun]:
    """Each check in its own read-only transaction; a refusal or a time-out of one is its own affair. `schemas` are
    those
    that REST serves."""
    params = {"schemas": list(schemas), "platform": list(PLATFORM_SCHEMAS)}
    for check in checks:
        try:
            yield _run_check(connection, check, params)
        except psycopg.errors.InsufficientPrivilege as error:
            yield CheckRun(check=check, unseen=f"not allowed: {error.diag.message_primary}")
        except psycopg.errors.ObjectNotInPrerequisiteState as error:  # pg_stat_statements is not loaded
            yield CheckRun(check=check, unseen=f"{error.diag.message_primary}")
        except psycopg.errors.QueryCanceled:
            yield CheckRun(check=check, unseen=f"took longer than {STATEMENT_LIMIT}")


def _run_check(connection: psycopg.Connection[Any], check: SqlCheck, params: Mapping[str, Any]) -> CheckRun:
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute("set transaction read only")
        cursor.execute(
            "set local search_path = ''"
        )  # so that expressions and names are shown with their schemas
        cursor.execute(f"set local statement_timeout = '{STATEMENT_LIMIT}'")
        cursor.execute("set local lock_timeout = '1s'")
        for name in check.needs:
            cursor.execute("select to_regclass(%s) is null as is_missing", [name])
            if cast(dict[str, Any], cursor.fetchone())["is_missing"]:
                return CheckRun(check=check)
        rows = cursor.execute(check.statement, params).fetchall()
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
            )
            for row in rows
        ],
    )
