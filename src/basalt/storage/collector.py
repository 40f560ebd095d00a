"""Takes away bytes that no row names any more.

Triggers note the versions that rows stop naming (`storage_garbage`); after a while their bytes go. What was stored and
never came to a row is found and noted by `orphans`. Any number of gateways do so at once: every step may be repeated,
and a row that names a version keeps its bytes, whoever noted what.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Final

import orjson

from basalt import observe
from basalt.config import StorageSettings
from basalt.postgres import Query
from basalt.storage.context import StorageContext
from basalt.storage.database import StorageDatabase
from basalt.storage.orphans import Swept, sweep, sweep_in_turn
from basalt.storage.resumable.expiry import count_expired_uploads, expire_uploads
from basalt.storage.stores import ContentMissingError, Store

EVERY_S: Final = 60.0
BATCH: Final = 1000
LEAST_ORPHAN_AGE_S: Final = 60.0

# Passing over what is locked: another gateway is at it, or a transaction that stops naming the version just now.
FORGET_KEPT: Final = """
delete from basalt.storage_garbage where version in (
    select g.version from basalt.storage_garbage as g join storage.objects as o on o.version = g.version
    for update of g skip locked)
"""
FIND_GARBAGE: Final = """
select g.version from basalt.storage_garbage as g
where g.since <= now() - make_interval(secs => $1::float8)
    and not exists (select from storage.objects as o where o.version = g.version)
order by g.since
limit $2::bigint
"""
FORGET_GARBAGE: Final = """
delete from basalt.storage_garbage where version in (
    select version from basalt.storage_garbage
    where version in (select jsonb_array_elements_text($1::jsonb))
    for update skip locked)
"""
FIND_EXPIRED: Final = """
select id from storage.s3_multipart_uploads
where created_at <= now() - make_interval(secs => $1::float8)
order by created_at
limit $2::bigint
"""
FORGET_EXPIRED: Final = """
delete from storage.s3_multipart_uploads where id in (select jsonb_array_elements_text($1::jsonb))
"""


@dataclass(frozen=True, slots=True)
class Ages:
    """How old something must be to go, in seconds."""

    deleted_s: float
    multipart_s: float
    orphan_s: float


@dataclass(frozen=True, slots=True)
class Collected:
    """How many went: bytes of deleted and replaced objects, and uploads that took too long. From the sweep:
    bytes without a row, which are only noted and go like those of deleted objects, and uploads that nobody knows."""

    deleted: int
    expired_uploads: int
    orphans: int
    abandoned_uploads: int


async def keep_tidy(ctx: StorageContext) -> None:
    """Until cancelled. A failure is logged and tried again."""
    ages = configured_ages(ctx.settings)
    while True:
        await asyncio.sleep(EVERY_S * random.uniform(0.5, 1.5))  # noqa: S311
        try:
            swept = await sweep_in_turn(ctx.db, ctx.store, ages.orphan_s)
            collected = await _collect_noted(ctx.db, ctx.store, ages, swept, is_dry=False)
            if any(asdict(collected).values()):
                observe.event("storage_collected", **asdict(collected))
        except Exception as error:  # whatever it is, the next round comes
            observe.event("storage_collection_failed", level="warning", error=error)


async def collect(db: StorageDatabase, store: Store, ages: Ages, *, is_dry: bool = False) -> Collected:
    """All of it now. When `is_dry`, nothing goes and the answer is what would."""
    swept = await sweep(db, store, ages.orphan_s, is_dry=is_dry)
    return await _collect_noted(db, store, ages, swept, is_dry=is_dry)


def configured_ages(settings: StorageSettings) -> Ages:
    """Bytes wait for their row for as long as the upload hook thinks about it."""
    hook_s = settings.upload_hook.timeout_s + LEAST_ORPHAN_AGE_S
    return Ages(
        deleted_s=settings.deleted_retention_s,
        multipart_s=settings.multipart_expiry_s,
        orphan_s=max(settings.orphan_age_s, hook_s),
    )


async def _collect_noted(
    db: StorageDatabase, store: Store, ages: Ages, swept: Swept, *, is_dry: bool
) -> Collected:
    return Collected(
        deleted=await _collect_deleted(db, store, ages.deleted_s, is_dry=is_dry),
        expired_uploads=await _expire_multipart_uploads(db, store, ages.multipart_s, is_dry=is_dry)
        + (await count_expired_uploads(db) if is_dry else await expire_uploads(db, store)),
        orphans=swept.orphans,
        abandoned_uploads=swept.abandoned_uploads,
    )


async def _collect_deleted(db: StorageDatabase, store: Store, age_s: float, *, is_dry: bool) -> int:
    if not is_dry:
        await db.run(None, Query(FORGET_KEPT))
    count = 0
    async for versions in _batches(db, FIND_GARBAGE, age_s, is_dry=is_dry):
        count += len(versions)
        if not is_dry:
            await store.delete(versions)
            await db.run(None, Query(FORGET_GARBAGE, (orjson.dumps(versions),)))
    return count


async def _expire_multipart_uploads(db: StorageDatabase, store: Store, age_s: float, *, is_dry: bool) -> int:
    """The row goes first: whoever still works on the upload is told so, and parts that stay are swept later."""
    count = 0
    async for upload_ids in _batches(db, FIND_EXPIRED, age_s, is_dry=is_dry):
        count += len(upload_ids)
        if not is_dry:
            await db.run(None, Query(FORGET_EXPIRED, (orjson.dumps(upload_ids),)))
            for upload_id in upload_ids:
                with suppress(ContentMissingError):  # an id of somebody's own making
                    await store.discard_upload(upload_id)
    return count


async def _batches(
    db: StorageDatabase, statement: str, age_s: float, *, is_dry: bool
) -> AsyncIterator[list[str]]:
    """What `statement` finds, until there is no more; the caller takes each batch away. When `is_dry`, all at once."""
    limit = None if is_dry else b"%d" % BATCH
    while True:
        [found] = await db.run(None, Query(statement, (b"%f" % age_s, limit)), read_only=True)
        names = [(row[0] or b"").decode() for row in found.rows]
        if names:
            yield names
        if is_dry or len(names) < BATCH:
            return
