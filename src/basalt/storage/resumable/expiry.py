"""Takes away uploads that nobody went on with, and the rows of finished ones."""

from typing import Final

from basalt.postgres import Query
from basalt.storage.database import StorageDatabase
from basalt.storage.stores import Store

BATCH: Final = 100
IS_EXPIRED: Final = "expires_at < now() and (locked_until is null or locked_until < now())"

COUNT: Final = f"select count(*) from basalt.resumable_uploads where {IS_EXPIRED}"  # noqa: S608
EXPIRE: Final = f"""
delete from basalt.resumable_uploads where id in (
    select id from basalt.resumable_uploads
    where {IS_EXPIRED}
    order by expires_at limit {BATCH} for update skip locked
) returning id
"""  # noqa: S608 - put together from constants


async def expire_uploads(db: StorageDatabase, store: Store) -> int:
    """How many there were. Safe to run in several processes at once."""
    count = 0
    while True:
        [result] = await db.run_or_refuse(None, Query(EXPIRE))
        for (upload_id,) in result.rows:
            await store.discard_upload((upload_id or b"").decode())
        count += len(result.rows)
        if len(result.rows) < BATCH:
            return count


async def count_expired_uploads(db: StorageDatabase) -> int:
    """How many `expire_uploads` would take away."""
    [result] = await db.run_or_refuse(None, Query(COUNT), read_only=True)
    return int(result.rows[0][0] or 0)
