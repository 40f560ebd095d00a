"""A user's rows as JSON, a file per table, and their objects: into a folder or a ZIP file, row by row, so that a
large account needs no more memory than a small one."""

import asyncio
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final, LiteralString
from uuid import UUID

import orjson
import psycopg
from psycopg import sql

from basalt.config import PrivacyTableSettings, Settings
from basalt.errors import BasaltError
from basalt.postgres import DatabaseAccess
from basalt.project.privacy.finding import SEE_EVERYTHING, find_user, note
from basalt.project.privacy.references import USERS, Reached, find_tables, load_columns, quote
from basalt.project.privacy.targets import FolderTarget, Target, ZipTarget
from basalt.storage import ContentMissingError, Store, open_store, read_content

ROWS_AT_ONCE: Final = 100  # one may have megabytes

# Auth's tables by what of them is the user's to know: no hashes, tokens, keys or codes.
AUTH_TABLES: Final[Mapping[str, tuple[LiteralString, LiteralString]]] = {
    "auth.users": (
        "id = %(id)s",
        "id, aud, role, email, phone, email_confirmed_at, phone_confirmed_at, invited_at, last_sign_in_at, "
        "raw_app_meta_data, raw_user_meta_data, is_anonymous, is_sso_user, banned_until, created_at, updated_at",
    ),
    "auth.identities": (
        "user_id = %(id)s",
        "id, provider, provider_id, identity_data, email, last_sign_in_at, created_at, updated_at",
    ),
    "auth.sessions": (
        "user_id = %(id)s",
        "id, user_agent, ip, aal, created_at, updated_at, refreshed_at, not_after",
    ),
    "auth.mfa_factors": (
        "user_id = %(id)s",
        "id, friendly_name, factor_type, status, phone, created_at, updated_at",
    ),
    "auth.webauthn_credentials": (
        "user_id = %(id)s",
        "id, friendly_name, transports, created_at, last_used_at",
    ),
    "auth.oauth_consents": ("user_id = %(id)s", "client_id, scopes, granted_at, revoked_at"),
    "auth.audit_log_entries": (
        "payload ->> 'actor_id' = %(id)s::text",
        "id, payload, ip_address, created_at",
    ),
}
LIST_OBJECTS: Final = sql.SQL("""
select id, bucket_id as bucket, name, version, metadata, user_metadata, created_at, updated_at, last_accessed_at
from storage.objects where owner_id = %(id)s::text or owner = %(id)s order by bucket_id, name
""")
INNER_FACTS: Final = ("id", "version")  # of no use to the user


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
    nothing is left there. Rows are read in one transaction; bytes, which never change, are copied after it."""
    try:
        return _export(settings, access, who, to, as_zip=as_zip)
    except psycopg.Error as error:
        raise BasaltError(
            "export_failed",
            500,
            f"Nothing was exported: {error.diag.message_primary or error}",
            hint=error.diag.message_hint,
        ) from error


def _export(settings: Settings, access: DatabaseAccess, who: str, to: Path, *, as_zip: bool) -> Export:
    with (
        ZipTarget(to) if as_zip else FolderTarget(to) as target,
        TemporaryFile(dir=to.parent) as objects,
        TemporaryFile(dir=to.parent) as files,
    ):
        exported_at = datetime.now(UTC)
        user_id, tables = _read_rows(settings, access, who, target, objects)
        objects.seek(0)
        written = asyncio.run(_write_files(settings, objects, target, files))
        export = Export(
            user_id=user_id,
            place=str(to),
            tables=tables,
            file_count=written.count,
            file_bytes=written.bytes,
            missing=written.missing,
        )
        if written.count or written.missing:
            files.seek(0)
            with target.open("files.json") as file:
                _write_array(file, (line.rstrip() for line in files))
        with target.open("manifest.json") as file:
            facts = {"project": settings.project_id, "exported_at": exported_at, **asdict(export)}
            del facts["place"]
            file.write(orjson.dumps(facts, option=orjson.OPT_INDENT_2))
        with _connect(access) as connection:
            counts = {"tables": tables, "files": export.file_count, "bytes": export.file_bytes}
            note(connection, "export", user_id, counts)
        target.finish()
    return export


def _connect(access: DatabaseAccess) -> psycopg.Connection[Any]:
    return psycopg.connect(access.conninfo("supabase_admin"), application_name="basalt/privacy")


def _read_rows(
    settings: Settings, access: DatabaseAccess, who: str, target: Target, objects: IO[bytes]
) -> tuple[UUID, dict[str, int]]:
    """All rows into the target, those of objects into `objects`, a line each. Whose they are, and how many by table."""
    with _connect(access) as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        connection.execute(SEE_EVERYTHING)
        user_id = find_user(connection, who)
        written = _write_tables(connection, settings, user_id, target)
        tables = {name: count for name, count in written if count}
        for row in _stream(connection, LIST_OBJECTS, user_id):
            objects.write(row + b"\n")
    return user_id, tables


def _write_tables(
    connection: psycopg.Connection[Any], settings: Settings, user_id: UUID, target: Target
) -> Iterator[tuple[str, int]]:
    for name, (condition, columns) in AUTH_TABLES.items():
        query = sql.SQL("select {} from {} where {}").format(
            sql.SQL(columns), sql.Identifier(*name.split(".")), sql.SQL(condition)
        )
        yield name, _write_table(connection, name, query, user_id, target)
    rules = settings.basalt.privacy.tables
    for reached in find_tables(connection, rules):
        rule = rules.get(reached.table, PrivacyTableSettings())
        if reached.table != USERS and rule.export:
            query = _build_query(connection, reached, rule)
            yield reached.table, _write_table(connection, reached.table, query, user_id, target)


def _build_query(
    connection: psycopg.Connection[Any], reached: Reached, rule: PrivacyTableSettings
) -> sql.Composed:
    columns = load_columns(connection, reached.table)
    if unknown := set(rule.omit) - set(columns):
        raise BasaltError(
            "privacy_rule_invalid", 400, f"{reached.table} has no column {', '.join(sorted(unknown))}."
        )
    return sql.SQL("select {} from {} where {}").format(
        sql.SQL(", ").join(quote(name) for name in columns if name not in rule.omit),
        reached.identifier,
        reached.condition(),
    )


def _write_table(
    connection: psycopg.Connection[Any], name: str, query: sql.Composed, user_id: UUID, target: Target
) -> int:
    """An array; no file where there is no row."""
    rows = _stream(connection, query, user_id)
    first = next(rows, None)
    if first is None:
        return 0
    with target.open(f"tables/{name.replace('/', '_')}.json") as file:
        return _write_array(file, chain([first], rows))


def _write_array(file: IO[bytes], items: Iterable[bytes]) -> int:
    """An item a line; how many."""
    count = 0
    for item in items:
        file.write((b",\n" if count else b"[\n") + item)
        count += 1
    file.write(b"\n]\n")
    return count


def _stream(
    connection: psycopg.Connection[Any], query: sql.SQL | sql.Composed, user_id: UUID
) -> Iterator[bytes]:
    """Rows as PostgreSQL writes them: its numbers are longer and more exact than ours."""
    with connection.cursor(name="basalt_export") as cursor:
        cursor.itersize = ROWS_AT_ONCE
        cursor.execute(sql.SQL("select to_jsonb(t)::text from ({}) as t").format(query), {"id": user_id})
        for (text,) in cursor:
            yield text.encode()


@dataclass(slots=True)
class Written:
    count: int = 0
    bytes: int = 0
    missing: int = 0


async def _write_files(settings: Settings, objects: IO[bytes], target: Target, files: IO[bytes]) -> Written:
    """The bytes of objects, which come as a row of JSON each, and into `files` what is known of each. Names are users'
    own: the file's is made safe, and the right one stands beside it."""
    written = Written()
    async with AsyncExitStack() as stack:
        store: Store | None = None
        for line in objects:
            if store is None:
                store = await stack.enter_async_context(open_store(settings))
            row = orjson.loads(line)
            facts = {name: value for name, value in row.items() if name not in INNER_FACTS}
            path = f"files/{_safe(row['bucket'])}/{row['id']}-{_safe(row['name'].rpartition('/')[2])}"
            size = int((row["metadata"] or {}).get("size") or 0)
            try:
                facts |= await _write_file(store, row["version"], size, target, path)
            except ContentMissingError:
                written.missing += 1
            else:
                written.count += 1
                written.bytes += facts["bytes"]
            files.write(orjson.dumps(facts) + b"\n")
    return written


async def _write_file(store: Store, version: str, size: int, target: Target, path: str) -> dict[str, Any]:
    """Raises ContentMissingError."""
    digest, count = hashlib.sha256(), 0
    chunks = read_content(store, version, size)
    chunk = await anext(chunks, b"")
    with target.open(path) as file:
        while chunk:
            file.write(chunk)
            digest.update(chunk)
            count += len(chunk)
            chunk = await anext(chunks, b"")
    return {"file": path, "bytes": count, "sha256": digest.hexdigest()}


def _safe(name: str) -> str:
    """
    >>> _safe("../../etc/passwd"), _safe("Größe 1.png"), _safe("")
    ('.._.._etc_passwd', 'Größe_1.png', '_')
    """
    return re.sub(r"[^\w.-]", "_", name)[-100:] or "_"
