"""A user's objects and uploads: their rows within the erasure, their bytes after it."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any, Final
from uuid import UUID

import psycopg

from basalt import observe
from basalt.config import Settings
from basalt.storage import Store, open_store

OBJECTS: Final = "storage.objects"
BYTES_AT_ONCE: Final = 1000

ALLOW_DELETE: Final = "select set_config('storage.allow_delete_query', 'true', true)"
# What is to go from the back end after the commit. Here and not in memory: it may be millions.
MAKE_LIST: Final = """
create temporary table erased_bytes (version text, upload_id text)
"""
DELETE_OBJECTS: Final = """
with gone as (
    delete from storage.objects where owner_id = %(id)s::text or owner = %(id)s
    returning version, coalesce((metadata ->> 'size')::bigint, 0) as size
), listed as (
    insert into pg_temp.erased_bytes (version) select version from gone where version is not null
)
select count(*), coalesce(sum(size), 0)::bigint from gone
"""
DELETE_UPLOADS: Final = """
with parts as (
    delete from storage.s3_multipart_uploads where owner_id = %(id)s::text returning id
), resumable as (
    delete from basalt.resumable_uploads where owner_id = %(id)s::text returning id
)
insert into pg_temp.erased_bytes (upload_id) select id from parts union all select id::text from resumable
"""
LIST_BYTES: Final = "select version, upload_id from pg_temp.erased_bytes"


def delete_objects(
    connection: psycopg.Connection[Any], user_id: UUID, *, keeps_files: bool
) -> tuple[int, int]:
    """How many objects, and how many bytes they are. Uploads that are under way go in any case."""
    connection.execute(MAKE_LIST)
    connection.execute(DELETE_UPLOADS, {"id": user_id})
    if keeps_files:
        return 0, 0
    connection.execute(ALLOW_DELETE)
    row = connection.execute(DELETE_OBJECTS, {"id": user_id}).fetchone()
    assert row is not None
    return row[0], row[1]


def delete_bytes(settings: Settings, connection: psycopg.Connection[Any]) -> None:
    """The rows are gone, and with them every way to the bytes: a failure here is made good by the collector."""
    try:
        with connection.cursor(name="erased_bytes") as cursor:
            cursor.itersize = BYTES_AT_ONCE
            asyncio.run(_delete_listed(settings, cursor.execute(LIST_BYTES)))
    except Exception as error:
        observe.event("erased_bytes_left", level="warning", error=error)


async def _delete_listed(settings: Settings, listed: "psycopg.ServerCursor[Any]") -> None:
    store: Store | None = None
    async with AsyncExitStack() as stack:
        while found := listed.fetchmany(BYTES_AT_ONCE):
            if store is None:
                store = await stack.enter_async_context(open_store(settings))
            await store.delete([version for version, _ in found if version is not None])
            for _, upload_id in found:
                if upload_id is not None:
                    await store.discard_upload(upload_id)
