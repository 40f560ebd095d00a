"""Does what the plan says, in one transaction, and counts what changed, cascades included. A dry run does the same
and takes it back, so that it tells exactly what would happen."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from basalt import observe
from basalt.config import Settings
from basalt.errors import BasaltError
from basalt.postgres import DatabaseAccess
from basalt.project.privacy.finding import SEE_EVERYTHING, find_user, note
from basalt.project.privacy.planning import Plan, Step, plan_erasure, refuse_leftovers
from basalt.project.privacy.references import load_columns, load_keys, reach
from basalt.storage import open_store

OBJECTS: Final = "storage.objects"
# Triggers of the project run as others, whom policies bind.
SEE_AS_EVER: Final = "set local row_security = on"
LOCK_LIMIT: Final = "set local lock_timeout = '10s'"

# Including what triggers and cascades did; rows that this transaction made do not count.
COUNT_CHANGES: Final = """
select schemaname || '.' || relname as "table", n_tup_del as deleted, n_tup_upd as changed
from pg_catalog.pg_stat_xact_all_tables
where n_tup_del + n_tup_upd > 0 and schemaname not in ('pg_catalog', 'pg_toast', 'information_schema')
order by 1
"""
COUNT_KEPT: Final = "select count(*) from {} where {}"

ALLOW_DELETE: Final = "select set_config('storage.allow_delete_query', 'true', true)"
DELETE_OBJECTS: Final = """
delete from storage.objects where owner_id = %(id)s::text or owner = %(id)s
returning version, coalesce((metadata ->> 'size')::bigint, 0)
"""
# What names the user without a key that says so.
ELSEWHERE: Final = (
    "delete from storage.s3_multipart_uploads where owner_id = %(id)s::text",
    "delete from basalt.resumable_uploads where owner_id = %(id)s::text",
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
LIST_AUTH_TABLES: Final = """
select c.relname, a.attname from pg_constraint as k
join pg_class as c on c.oid = k.conrelid
join pg_attribute as a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
where k.contype = 'f' and k.confrelid = to_regclass('auth.users') and c.relnamespace = to_regnamespace('auth')
"""
EMPTY_USER: Final = """
update auth.users set email = null, phone = null, encrypted_password = null, email_change = '', phone_change = '',
    confirmation_token = '', recovery_token = '', email_change_token_new = '', email_change_token_current = '',
    phone_change_token = '', reauthentication_token = '', raw_user_meta_data = '{}', raw_app_meta_data = '{}',
    last_sign_in_at = null, email_confirmed_at = null, phone_confirmed_at = null, deleted_at = now(), updated_at = now()
where id = %(id)s
"""
# What stands in a column that must hold something.
BLANKS: Final[Mapping[str, str]] = {
    "text": "''", "character varying": "''", "character": "''", "jsonb": "'{}'", "json": "'{}'", "boolean": "false",
    "integer": "0", "bigint": "0", "smallint": "0", "numeric": "0", "double precision": "0", "real": "0",
    "bytea": "''",
}  # fmt: skip
TEXTS: Final = ("text", "character varying")


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
    commit, or with the next collection where the back end cannot be reached."""
    rules = settings.basalt.privacy.tables
    try:
        with psycopg.connect(
            access.conninfo("supabase_admin"), application_name="basalt/privacy"
        ) as connection:
            connection.execute(SEE_EVERYTHING)
            connection.execute(LOCK_LIMIT)
            user_id, _ = find_user(connection, who, lock=True)
            plan = plan_erasure(reach(load_keys(connection), rules), rules)
            _check_leftovers(connection, plan, user_id)
            _check_sight(connection, plan)
            connection.execute(SEE_AS_EVER)
            kept = _perform_steps(connection, plan, user_id)
            keeps_files = OBJECTS in rules and rules[OBJECTS].on_erase == "keep"
            objects = [] if keeps_files else _delete_objects(connection, user_id)
            _erase_from_auth(connection, plan, user_id)
            erasure = Erasure(
                user_id=user_id,
                is_dry=is_dry,
                tables=_count(connection, kept),
                file_count=len(objects),
                file_bytes=sum(size for _, size in objects),
                keeps_user=plan.keeps_user,
            )
            if is_dry:
                connection.rollback()
                return erasure
            counts = {"tables": erasure.tables, "files": erasure.file_count, "bytes": erasure.file_bytes}
            note(connection, "erase", user_id, counts)
    except psycopg.errors.ForeignKeyViolation as error:
        raise _refused_by_key(error) from error
    except psycopg.Error as error:
        raise BasaltError(
            "erase_failed",
            500,
            f"Nothing was erased: {error.diag.message_primary or error}",
            hint=error.diag.message_hint,
        ) from error
    _delete_bytes(settings, [version for version, _ in objects if version])
    return erasure


def _check_leftovers(connection: psycopg.Connection[Any], plan: Plan, user_id: UUID) -> None:
    found = [(step, _count_rows(connection, step, user_id)) for step in plan.must_be_empty]
    if found := [(step, count) for step, count in found if count]:
        raise refuse_leftovers(found)


def _check_sight(connection: psycopg.Connection[Any], plan: Plan) -> None:
    """Raises where a policy would hide rows of a table from us, so that an erasure is not half of one."""
    for step in plan.steps:
        connection.execute(sql.SQL("select from {} limit 0").format(step.reached.identifier))


def _count_rows(connection: psycopg.Connection[Any], step: Step, user_id: UUID) -> int:
    query = sql.SQL(COUNT_KEPT).format(step.reached.identifier, step.reached.condition(step.links))
    row = connection.execute(query, {"id": user_id}).fetchone()
    assert row is not None
    return int(row[0])


def _perform_steps(connection: psycopg.Connection[Any], plan: Plan, user_id: UUID) -> dict[str, int]:
    """How many rows each table keeps as they are."""
    kept: dict[str, int] = {}
    for step in plan.steps:
        where = step.reached.condition(step.links)
        match step.action:
            case "delete":
                query = sql.SQL("delete from {} where {}").format(step.reached.identifier, where)
                connection.execute(query, {"id": user_id})
            case "anonymise" | "unlink":
                query = sql.SQL("update {} set {} where {}").format(
                    step.reached.identifier, _build_blanks(connection, step), where
                )
                connection.execute(query, {"id": user_id})
            case "keep":
                if count := _count_rows(connection, step, user_id):
                    kept[step.reached.table] = count
    return kept


def _build_blanks(connection: psycopg.Connection[Any], step: Step) -> sql.Composable:
    """`column = nothing` for each column of the step, whatever nothing is there."""
    columns = load_columns(connection, step.reached.table)
    parts: list[sql.Composable] = []
    by_default = {
        column
        for link in step.links
        if link.key is not None and link.key.on_delete == "set default"
        for column in link.columns
    }
    for name in step.columns:
        if name not in columns:
            raise BasaltError("privacy_rule_invalid", 400, f"{step.reached.table} has no column {name}.")
        blank = "default" if name in by_default and step.action == "unlink" else _choose_blank(columns[name])
        if blank is None:
            raise BasaltError(
                "privacy_rule_invalid",
                400,
                f"{step.reached.table}.{name} cannot be emptied: it must hold a {columns[name]['type']}.",
                hint="Let the column be null, or give it a default.",
            )
        parts.append(sql.SQL("{} = {}").format(sql.Identifier(name), sql.SQL(blank)))
    return sql.SQL(", ").join(parts)


def _choose_blank(column: Mapping[str, Any]) -> str | None:
    """
    >>> column = {"is_required": True, "is_generated": False, "is_unique": False, "has_default": False, "type": "text"}
    >>> _choose_blank(column), _choose_blank(column | {"is_required": False}), _choose_blank(column | {"type": "uuid"})
    ("''", 'null', None)
    """
    if column["is_generated"]:
        return None
    if not column["is_required"]:
        return "null"
    if column["is_unique"] and column["type"] in TEXTS:
        return "'erased-' || gen_random_uuid()"
    return "default" if column["has_default"] else BLANKS.get(column["type"])


def _delete_objects(connection: psycopg.Connection[Any], user_id: UUID) -> Sequence[tuple[str | None, int]]:
    connection.execute(ALLOW_DELETE)
    return connection.execute(DELETE_OBJECTS, {"id": user_id}).fetchall()


def _erase_from_auth(connection: psycopg.Connection[Any], plan: Plan, user_id: UUID) -> None:
    for statement in ELSEWHERE:
        connection.execute(statement, {"id": user_id})
    if not plan.keeps_user:
        connection.execute(DELETE_USER, {"id": user_id})
        return
    for table, column in connection.execute(LIST_AUTH_TABLES).fetchall():
        query = sql.SQL("delete from {} where {} = %(id)s").format(
            sql.Identifier("auth", table), sql.Identifier(column)
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


def _delete_bytes(settings: Settings, versions: Sequence[str]) -> None:
    """The rows are gone, and with them every way to the bytes: a failure here is made good by the collector."""
    if versions:
        try:
            asyncio.run(_delete_versions(settings, versions))
        except Exception as error:
            observe.event("erased_bytes_left", level="warning", count=len(versions), error=error)


async def _delete_versions(settings: Settings, versions: Sequence[str]) -> None:
    async with open_store(settings) as store:
        for start in range(0, len(versions), 1000):
            await store.delete(versions[start : start + 1000])
