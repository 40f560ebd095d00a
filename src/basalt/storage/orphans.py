"""What is in the store and in no table, because a process died between the two.

Bytes without a row are noted as garbage and not taken away at once: so there is one place that does so, a row that
turns up in the meantime keeps them, and a restored dump finds them for as long as those of deleted objects. Looking
through the whole store is one process's work at a time, and an hour's distance apart.
"""

from dataclasses import dataclass
from typing import Final

import orjson

from basalt import observe
from basalt.postgres import Query
from basalt.storage.database import StorageDatabase
from basalt.storage.stores import Store

EVERY_S: Final = 3600.0

CLAIM: Final = """
insert into basalt.storage_sweeps as s (kind, active_at) values ('orphans', now())
on conflict (kind) do update set active_at = excluded.active_at
where s.active_at < now() - make_interval(secs => $1::float8)
returning kind
"""
GO_ON: Final = "update basalt.storage_sweeps set active_at = now() where kind = 'orphans'"
HAS_OBJECTS: Final = "select exists (select from storage.objects where version is not null)"

FIND_ORPHANS: Final = """
select v.version from jsonb_array_elements_text($1::jsonb) as v (version)
where not exists (select from storage.objects as o where o.version = v.version)
    and not exists (select from basalt.storage_garbage as g where g.version = v.version)
    and not exists (select from storage.s3_multipart_uploads as u where u.version = v.version)
"""
NOTE_ORPHANS: Final = """
insert into basalt.storage_garbage (version) select jsonb_array_elements_text($1::jsonb)
on conflict (version) do nothing
"""
FIND_ABANDONED: Final = """
select v.id from jsonb_array_elements_text($1::jsonb) as v (id)
where not exists (select from storage.s3_multipart_uploads as u where u.id = v.id)
    and not exists (select from basalt.resumable_uploads as r where r.id::text = v.id)
"""


@dataclass(frozen=True, slots=True)
class Swept:
    """How many versions were noted, and how many uploads discarded."""

    orphans: int = 0
    abandoned_uploads: int = 0


async def sweep_in_turn(db: StorageDatabase, store: Store, age_s: float) -> Swept:
    """`sweep`, if it is time and nobody else is at it."""
    [claimed] = await db.run(None, Query(CLAIM, (b"%f" % EVERY_S,)))
    if not claimed.rows:
        return Swept()
    [found] = await db.run(None, Query(HAS_OBJECTS), read_only=True)
    if found.rows[0][0] != b"t":  # more likely another database than a project that has lost all its rows
        observe.event("storage_sweep_left_out", reason="storage.objects is empty")
        return Swept()
    return await sweep(db, store, age_s)


async def sweep(db: StorageDatabase, store: Store, age_s: float, *, is_dry: bool = False) -> Swept:
    """Through the whole store. When `is_dry`, nothing is noted or discarded."""
    if not is_dry:
        await store.discard_unfinished(age_s)
    orphans = abandoned = 0
    async for page in store.list_older(age_s):
        versions = await find_missing(db, FIND_ORPHANS, [stored.version for stored in page])
        orphans += len(versions)
        if not is_dry:
            await db.run(None, Query(NOTE_ORPHANS, (orjson.dumps(versions),)), Query(GO_ON))
    async for uploads in store.list_uploads(age_s):
        upload_ids = await find_missing(db, FIND_ABANDONED, uploads)
        abandoned += len(upload_ids)
        if not is_dry:
            for upload_id in upload_ids:
                await store.discard_upload(upload_id)
    return Swept(orphans, abandoned)


async def find_missing(db: StorageDatabase, statement: str, names: list[str]) -> list[str]:
    """Those of the names that `statement` finds in no table."""
    if not names:
        return []
    [found] = await db.run(None, Query(statement, (orjson.dumps(names),)), read_only=True)
    return [(row[0] or b"").decode() for row in found.rows]
