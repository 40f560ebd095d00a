"""A user's rows as JSON, a file per table, and their objects: into a folder or a ZIP file, row by row, so that a
large account needs no more memory than a small one."""

import asyncio
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import orjson
import psycopg
from psycopg import sql

from basalt.config import PrivacyTableSettings, Settings
from basalt.errors import BasaltError
from basalt.postgres import DatabaseAccess
from basalt.project.privacy.finding import SEE_EVERYTHING, find_user, note
from basalt.project.privacy.references import USERS, Reached, load_columns, load_keys, reach
from basalt.project.privacy.targets import FolderTarget, Target, ZipTarget
from basalt.storage import ContentMissingError, open_store, read_content

ROWS_AT_ONCE: Final = 500

# Auth's tables by what of them is the user's to know: no hashes, tokens, keys or codes.
AUTH_TABLES: Final[Mapping[str, tuple[str, str]]] = {
    "auth.users": (
        "id",
        "id, aud, role, email, phone, email_confirmed_at, phone_confirmed_at, invited_at, last_sign_in_at, "
        "raw_app_meta_data, raw_user_meta_data, is_anonymous, is_sso_user, banned_until, created_at, updated_at",
    ),
    "auth.identities": (
        "user_id",
        "id, provider, provider_id, identity_data, email, last_sign_in_at, created_at, updated_at",
    ),
    "auth.sessions": ("user_id", "id, user_agent, ip, aal, created_at, updated_at, refreshed_at, not_after"),
    "auth.mfa_factors": ("user_id", "id, friendly_name, factor_type, status, phone, created_at, updated_at"),
    "auth.webauthn_credentials": ("user_id", "id, friendly_name, transports, created_at, last_used_at"),
    "auth.oauth_consents": ("user_id", "client_id, scopes, granted_at, revoked_at"),
    "auth.audit_log_entries": ("payload ->> 'actor_id'", "id, payload, ip_address, created_at"),
}
LIST_OBJECTS: Final = """
select id, bucket_id, name, version, metadata, user_metadata, created_at, updated_at, last_accessed_at
from storage.objects where owner_id = %(id)s::text or owner = %(id)s order by bucket_id, name
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """`tables` has the number of rows by table; `missing` are objects whose bytes are not there."""

    user_id: UUID
    place: str
    tables: Mapping[str, int]
    file_count: int
    file_bytes: int
    missing: int


def export_user(settings: Settings, access: DatabaseAccess, who: str, *, to: Path, as_zip: bool) -> Export:
    """Everything about a user as of one instant, into `to`, which must not be there yet. Raises BasaltError; then
    nothing is left there."""
    with (
        psycopg.connect(access.conninfo("supabase_admin"), application_name="basalt/privacy") as connection,
        ZipTarget(to) if as_zip else FolderTarget(to) as target,
    ):
        connection.execute("set transaction isolation level repeatable read")
        connection.execute(SEE_EVERYTHING)
        user_id, _ = find_user(connection, who)
        tables = {
            name: count for name, count in _write_tables(connection, settings, user_id, target) if count
        }
        objects = list(_stream(connection, sql.SQL(LIST_OBJECTS), user_id))
        files = asyncio.run(_write_files(settings, objects, target))
        export = Export(
            user_id=user_id,
            place=str(to),
            tables=tables,
            file_count=sum("file" in each for each in files),
            file_bytes=sum(each.get("bytes", 0) for each in files),
            missing=sum("file" not in each for each in files),
        )
        if files:
            with target.open("files.json") as file:
                file.write(orjson.dumps(files, option=orjson.OPT_INDENT_2))
        with target.open("manifest.json") as file:
            facts = {"project": settings.project_id, "exported_at": datetime.now(UTC), **asdict(export)}
            del facts["place"]
            file.write(orjson.dumps(facts, option=orjson.OPT_INDENT_2))
        counts = {"tables": tables, "files": export.file_count, "bytes": export.file_bytes}
        note(connection, "export", user_id, counts)
        target.finish()
    return export


def _write_tables(
    connection: psycopg.Connection[Any], settings: Settings, user_id: UUID, target: Target
) -> Iterator[tuple[str, int]]:
    for name, (column, columns) in AUTH_TABLES.items():
        query = sql.SQL(
            f"select to_jsonb(t) from (select {columns} from {name} where ({column})::text = %(id)s::text) as t"  # noqa: S608 constants
        )
        yield name, _write_table(connection, name, query, user_id, target)
    rules = settings.basalt.privacy.tables
    for reached in reach(load_keys(connection), rules):
        rule = rules.get(reached.table, PrivacyTableSettings())
        if reached.table != USERS and rule.export:
            yield (
                reached.table,
                _write_table(
                    connection, reached.table, _build_query(connection, reached, rule), user_id, target
                ),
            )


def _build_query(
    connection: psycopg.Connection[Any], reached: Reached, rule: PrivacyTableSettings
) -> sql.Composed:
    columns = load_columns(connection, reached.table)
    if unknown := set(rule.omit) - set(columns):
        raise BasaltError(
            "privacy_rule_invalid", 400, f"{reached.table} has no column {', '.join(sorted(unknown))}."
        )
    return sql.SQL("select to_jsonb(t) from (select {} from {} where {}) as t").format(
        sql.SQL(", ").join(sql.Identifier(name) for name in columns if name not in rule.omit),
        reached.identifier,
        reached.condition(),
    )


def _write_table(
    connection: psycopg.Connection[Any],
    name: str,
    query: sql.SQL | sql.Composed,
    user_id: UUID,
    target: Target,
) -> int:
    """An array, a row a line; no file where there is no row."""
    rows = _stream(connection, query, user_id)
    first = next(rows, None)
    if first is None:
        return 0
    count = 1
    with target.open(f"tables/{name}.json") as file:
        file.write(b"[\n" + orjson.dumps(first[0]))
        for row in rows:
            file.write(b",\n" + orjson.dumps(row[0]))
            count += 1
        file.write(b"\n]\n")
    return count


def _stream(
    connection: psycopg.Connection[Any], query: sql.SQL | sql.Composed, user_id: UUID
) -> Iterator[Any]:
    with connection.cursor(name="basalt_export") as cursor:
        cursor.itersize = ROWS_AT_ONCE
        cursor.execute(query, {"id": user_id})
        yield from cursor


async def _write_files(settings: Settings, objects: list[Any], target: Target) -> list[dict[str, Any]]:
    """The bytes of objects, and what is known of each. Names are users' own: the file's is made safe, and the right one
    stands beside it."""
    if not objects:
        return []
    written = []
    async with open_store(settings) as store:
        for (
            object_id,
            bucket,
            name,
            version,
            metadata,
            user_metadata,
            created_at,
            updated_at,
            accessed_at,
        ) in objects:
            facts: dict[str, Any] = {
                "bucket": bucket,
                "name": name,
                "metadata": metadata,
                "user_metadata": user_metadata,
                "created_at": created_at,
                "updated_at": updated_at,
                "last_accessed_at": accessed_at,
            }
            path = f"files/{_safe(bucket)}/{object_id}-{_safe(name.rpartition('/')[2])}"
            digest, size = hashlib.sha256(), 0
            chunks = read_content(store, version, int((metadata or {}).get("size") or 0))
            try:
                chunk = await anext(chunks, b"")
            except ContentMissingError:
                written.append(facts)
                continue
            with target.open(path) as file:
                while chunk:
                    file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
                    chunk = await anext(chunks, b"")
            facts |= {"file": path, "bytes": size, "sha256": digest.hexdigest()}
            written.append(facts)
    return written


def _safe(name: str) -> str:
    """
    >>> _safe("../../etc/passwd"), _safe("Größe 1.png"), _safe("")
    ('.._.._etc_passwd', 'Größe_1.png', '_')
    """
    return re.sub(r"[^\w.-]", "_", name)[-100:] or "_"
