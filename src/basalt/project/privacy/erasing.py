"""Does what the plan says, in one transaction, and counts what changed, cascades included. A dry run does the same
and takes it back, so that it tells exactly what would happen."""

from collections.abc import Mapping, Set
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from basalt.config import PrivacyTableSettings, Settings
from basalt.errors import BasaltError
from basalt.postgres import DatabaseAccess
from basalt.project.privacy.blanks import build_blanks
from basalt.project.privacy.files import OBJECTS, delete_bytes, delete_objects
from basalt.project.privacy.finding import SEE_EVERYTHING, find_user, lock_user, note
from basalt.project.privacy.planning import Plan, Step, plan_erasure, refuse_leftovers
from basalt.project.privacy.references import find_tables

# Triggers of the project run as others, whom policies bind.
SEE_AS_EVER: Final = "set local row_security = on"
LOCK_LIMIT: Final = "set local lock_timeout = '10s'"
# Else a dry run would not learn what keys and triggers say that wait for the commit.
CHECK_NOW: Final = "set constraints all immediate"

# Including what triggers and cascades did; rows that this transaction made do not count.
COUNT_CHANGES: Final = """
select schemaname || '.' || relname as "table", n_tup_del as deleted, n_tup_upd as changed
from pg_catalog.pg_stat_xact_all_tables
where n_tup_del + n_tup_upd > 0 and schemaname not in ('pg_catalog', 'pg_toast', 'information_schema')
order by 1
"""
COUNT_KEPT: Final = "select count(*) from {} where {}"

# What names the user without a key that says so.
ELSEWHERE: Final = (
    "update storage.buckets set owner = null, owner_id = null where owner_id = %(id)s::text or owner = %(id)s",
    "update flags.cohorts set user_ids = array_remove(user_ids, %(id)s::text) where %(id)s::text = any (user_ids)",
    "delete from auth.refresh_tokens where user_id = %(id)s::text",
    "delete from auth.flow_state where user_id = %(id)s",
    "delete from basalt.inbox_messages where recipient in (select unnest(array[u.email::text, u.phone, "
    "'+' || u.phone]) from auth.users as u where u.id = %(id)s)",
    """
    update auth.audit_log_entries set ip_address = '',
        payload = (payload::jsonb - 'actor_username' - 'actor_name' - 'traits')::json
    where payload ->> 'actor_id' = %(id)s::text or payload -> 'traits' ->> 'user_id' = %(id)s::text
    """,
)
DELETE_USER: Final = "delete from auth.users where id = %(id)s"
LIST_OWN_TABLES: Final = """
select n.nspname, c.relname, a.attname from pg_constraint as k
join pg_class as c on c.oid = k.conrelid join pg_namespace as n on n.oid = c.relnamespace
join pg_attribute as a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
where k.contype = 'f' and k.confrelid = to_regclass('auth.users') and n.nspname in ('auth', 'basalt')
"""
EMPTY_USER: Final = """
update auth.users set email = null, phone = null, encrypted_password = null, email_change = '', phone_change = '',
    confirmation_token = '', recovery_token = '', email_change_token_new = '', email_change_token_current = '',
    phone_change_token = '', reauthentication_token = '', raw_user_meta_data = '{}', raw_app_meta_data = '{}',
    last_sign_in_at = null, email_confirmed_at = null, phone_confirmed_at = null, deleted_at = now(), updated_at = now()
where id = %(id)s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """`tables` has for each table how many rows were deleted, changed and kept. `keeps_user`: rows that stay refer to
    the user, so that an empty row stays in `auth.users`."""

    user_id: UUID
    is_dry: bool
    tables: Mapping[str, Mapping[str, int]]
    file_count: int
    file_bytes: int
    keeps_user: bool


def erase_user(settings: Settings, access: DatabaseAccess, who: str, *, is_dry: bool) -> Erasure:
    """Raises BasaltError, and then nothing has changed. Sessions end with the rows; bytes of objects go after the
    commit, or with a later collection where the back end cannot be reached."""
    try:
        with closing(
            psycopg.connect(access.conninfo("supabase_admin"), application_name="basalt/privacy")
        ) as connection:
            connection.execute(SEE_EVERYTHING)
            connection.execute(LOCK_LIMIT)
            erasure = _erase_rows(connection, settings.basalt.privacy.tables, who, is_dry=is_dry)
            if not is_dry:
                counts = {
                    "tables": erasure.tables,
                    "files": erasure.file_count,
                    "bytes": erasure.file_bytes,
                }
                note(connection, "erase", erasure.user_id, counts)
                _commit(connection)
                delete_bytes(settings, connection)
    except psycopg.errors.ForeignKeyViolation as error:
        raise _refused_by_key(error) from error
    except psycopg.Error as error:
        raise BasaltError(
            "erase_failed",
            500,
            f"Nothing was erased: {error.diag.message_primary or error}",
            hint=error.diag.message_hint,
        ) from error
    return erasure


def _erase_rows(
    connection: psycopg.Connection[Any], rules: Mapping[str, PrivacyTableSettings], who: str, *, is_dry: bool
) -> Erasure:
    user_id = find_user(connection, who)
    lock_user(connection, user_id)
    plan = plan_erasure(find_tables(connection, rules), rules)
    _check_leftovers(connection, plan, user_id)
    _check_sight(connection, plan)
    connection.execute(SEE_AS_EVER)
    kept, staying = _perform_steps(connection, plan, user_id)
    keeps_user = not plan.holders.isdisjoint(staying)
    keeps_files = OBJECTS in rules and rules[OBJECTS].on_erase == "keep"
    file_count, file_bytes = delete_objects(connection, user_id, keeps_files=keeps_files)
    _erase_from_auth(connection, user_id, keeps_user=keeps_user)
    connection.execute(CHECK_NOW)
    return Erasure(
        user_id=user_id,
        is_dry=is_dry,
        tables=_count(connection, kept),
        file_count=file_count,
        file_bytes=file_bytes,
        keeps_user=keeps_user,
    )


def _commit(connection: psycopg.Connection[Any]) -> None:
    try:
        connection.commit()
    except psycopg.OperationalError as error:
        raise BasaltError(
            "erase_failed",
            500,
            "The connection was lost while the erasure was committed: it may have taken place.",
            hint="Run it again, which tells.",
        ) from error


def _check_leftovers(connection: psycopg.Connection[Any], plan: Plan, user_id: UUID) -> None:
    found = [(step, _count_rows(connection, step, user_id)) for step in plan.must_be_empty]
    if found := [(step, count) for step, count in found if count]:
        raise refuse_leftovers(found)


def _check_sight(connection: psycopg.Connection[Any], plan: Plan) -> None:
    """Raises where a policy would hide rows of a table from us, so that an erasure is not half of one."""
    for step in plan.steps:
        connection.execute(sql.SQL("select from {} limit 0").format(step.reached.identifier), {})


def _count_rows(connection: psycopg.Connection[Any], step: Step, user_id: UUID) -> int:
    query = sql.SQL(COUNT_KEPT).format(step.reached.identifier, step.reached.condition(step.links))
    row = connection.execute(query, {"id": user_id}).fetchone()
    assert row is not None
    return int(row[0])


def _perform_steps(
    connection: psycopg.Connection[Any], plan: Plan, user_id: UUID
) -> tuple[Mapping[str, int], Set[str]]:
    """How many rows each table keeps as they are, and which tables have rows that stay, changed or not."""
    kept: dict[str, int] = {}
    staying: set[str] = set()
    for step in plan.steps:
        where = step.reached.condition(step.links)
        match step.action:
            case "delete":
                query = sql.SQL("delete from {} where {}").format(step.reached.identifier, where)
                connection.execute(query, {"id": user_id})
            case "anonymise" | "unlink":
                query = sql.SQL("update {} set {} where {}").format(
                    step.reached.identifier, build_blanks(connection, step), where
                )
                if connection.execute(query, {"id": user_id}).rowcount and step.action == "anonymise":
                    staying.add(step.reached.table)
            case "keep":
                if count := _count_rows(connection, step, user_id):
                    kept[step.reached.table] = count
                    staying.add(step.reached.table)
    return kept, staying


def _erase_from_auth(connection: psycopg.Connection[Any], user_id: UUID, *, keeps_user: bool) -> None:
    for statement in ELSEWHERE:
        connection.execute(statement, {"id": user_id})
    if not keeps_user:
        connection.execute(DELETE_USER, {"id": user_id})
        return
    for schema, table, column in connection.execute(LIST_OWN_TABLES).fetchall():
        query = sql.SQL("delete from {} where {} = %(id)s").format(
            sql.Identifier(schema, table), sql.Identifier(column)
        )
        connection.execute(query, {"id": user_id})
    connection.execute(EMPTY_USER, {"id": user_id})


def _count(connection: psycopg.Connection[Any], kept: Mapping[str, int]) -> dict[str, Mapping[str, int]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        changes = {row["table"]: row for row in cursor.execute(COUNT_CHANGES).fetchall()}
    tables: dict[str, Mapping[str, int]] = {}
    for name in sorted({*changes, *kept}):
        row = changes.get(name, {"deleted": 0, "changed": 0})
        tables[name] = {"deleted": row["deleted"], "changed": row["changed"], "kept": kept.get(name, 0)}
    return tables


def _refused_by_key(error: psycopg.errors.ForeignKeyViolation) -> BasaltError:
    table = f"{error.diag.schema_name}.{error.diag.table_name}"
    return BasaltError(
        "privacy_rule_missing",
        409,
        f"Nothing was erased: {table} refers to rows that would go ({error.diag.constraint_name}).",
        hint=f'[basalt.privacy.tables."{table}"] on_erase = "delete", "anonymise" (with columns) or "keep"',
    )
