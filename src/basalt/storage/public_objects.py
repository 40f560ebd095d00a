"""Objects of public buckets, whose rows are remembered for whoever asks next.

No policy has a say in them, so that a row can serve everybody until it changes. The database tells what changes
(`routines/notifications.sql`), whoever changed it; what this process changes itself it forgets before it answers. While
nobody listens nothing is remembered.
"""

import asyncio
import contextlib
from typing import Final

import orjson
import psycopg

from basalt import observe
from basalt.bounded_dict import BoundedDict
from basalt.storage.database import StorageDatabase
from basalt.storage.objects import StoredObject, find_public

REMEMBERED: Final = 20_000
LISTEN: Final = "listen basalt_storage"
BACK_OFF_S: Final = 1.0
CONNECT_LIMIT_S: Final = 10


class PublicObjects:
    """One per process. `conninfo` must lead to PostgreSQL itself, not through a transaction pooler."""

    def __init__(self, db: StorageDatabase, conninfo: str) -> None:
        self._db = db
        self._conninfo = conninfo
        self._found: BoundedDict[tuple[str, str], StoredObject] = BoundedDict(REMEMBERED)
        self._changes = 0  # what was read before one of them is not remembered after it
        self._is_listening = False

    async def open(self) -> None:
        """Begin to listen; in the background, for without it everything works."""
        self._listener = asyncio.create_task(self._listen())

    async def close(self) -> None:
        self._listener.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._listener

    def known(self, bucket_id: str, name: str) -> StoredObject | None:
        """The object, if it is remembered."""
        return self._found.get((bucket_id, name))

    async def find(self, bucket_id: str, name: str) -> StoredObject:
        """Raises StorageError NoSuchBucket, NoSuchKey."""
        known = self.known(bucket_id, name)
        if known is not None:
            return known
        changes = self._changes
        found = await find_public(self._db, bucket_id, name)
        if self._is_listening and changes == self._changes:
            self._found[bucket_id, name] = found
        return found

    def forget(self, bucket_id: str, name: str) -> None:
        """This process has changed the object."""
        self._changes += 1
        self._found.pop((bucket_id, name), None)

    def forget_all(self) -> None:
        """Anything may have changed."""
        self._changes += 1
        self._found.clear()

    async def _listen(self) -> None:
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._conninfo,
                    autocommit=True,
                    application_name="basalt/storage-listener",
                    connect_timeout=CONNECT_LIMIT_S,
                ) as connection:
                    await connection.execute(LISTEN)
                    self._is_listening = True
                    async for told in connection.notifies():
                        self._take(told.payload)
            except (psycopg.Error, OSError) as error:
                observe.event("storage_listener_lost", level="warning", reason=str(error).strip())
            finally:
                self._is_listening = False
                self.forget_all()
            await asyncio.sleep(BACK_OFF_S)

    def _take(self, payload: str) -> None:
        if not payload:
            self.forget_all()
            return
        for bucket_id, name in orjson.loads(payload):
            self.forget(bucket_id, name)
