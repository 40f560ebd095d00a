"""One request at a time works on an upload, whichever gateway process it came to.

A request takes a lease in the upload's row, renews it every second, and gives it back at its end; that of a process
that died runs out. Whoever wants a held lease says so, to a holder in the same process at once, to another one by
`is_wanted` in the row, which it sees when it renews; a holder that reads then stops, for it mostly serves a connection
that the client gave up long ago (tus-js-client comes back right after a drop).

A holder that did not give its lease back may have left a part half stored, and that part may turn up even later, when
somebody else has gone on. So whoever takes a lease that ran out writes the number of that part off (`lost_parts`).
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final
from uuid import uuid4

from basalt import observe
from basalt.postgres import Query
from basalt.storage.database import StorageDatabase
from basalt.storage.errors import StorageError
from basalt.storage.resumable.inflow import Inflow
from basalt.storage.resumable.parts import counted, next_number
from basalt.storage.resumable.rows import COLUMNS, ResumableUpload, upload_of_row
from basalt.storage.stores import Part, Store

# Short, for after a crash clients wait for it to run out; one that runs out too early costs a request and no byte.
LEASE_S: Final = 6
RENEW_S: Final = 1.0
TRUST_S: Final = 4.0  # so long a holder goes on that cannot renew; nobody can have taken its lease by then
WAIT_S: Final = 5.0
LOOK_S: Final = 0.25

# Takes the lease where it is free, else says that it is wanted.
TAKE: Final = f"""
with seen as (
    select id, locked_by is null or locked_until < now() as is_free, locked_by is not null as was_held
    from basalt.resumable_uploads where id = $1 for update
)
update basalt.resumable_uploads as u
set locked_by = case when seen.is_free then $2 else u.locked_by end,
    locked_until = case when seen.is_free then now() + {LEASE_S} * interval '1 second' else u.locked_until end,
    is_wanted = not seen.is_free
from seen where u.id = seen.id
returning seen.is_free, seen.was_held, {COLUMNS}
"""  # noqa: S608 - put together from constants

WRITE_OFF: Final = f"""
update basalt.resumable_uploads as u set lost_parts = u.lost_parts || $3::integer
where u.id = $1 and u.locked_by = $2 returning {COLUMNS}
"""  # noqa: S608

RENEW: Final = f"""
update basalt.resumable_uploads
set locked_until = now() + {LEASE_S} * interval '1 second',
    expires_at = coalesce(now() + $3::float8 * interval '1 second', expires_at)
where id = $1 and locked_by = $2 returning is_wanted, extract(epoch from expires_at)::bigint
"""  # noqa: S608

DECLARE_LENGTH: Final = """
update basalt.resumable_uploads set length = $3 where id = $1 and locked_by = $2 and length is null returning id
"""

# What is not certain is left as a lease that ran out: the next one writes it off.
LET_GO: Final = """
update basalt.resumable_uploads
set locked_by = case when $3 then null else locked_by end, locked_until = now() - interval '1 second', is_wanted = false
where id = $1 and locked_by = $2
"""

DELETE: Final = "delete from basalt.resumable_uploads where id = $1 and locked_by = $2 returning id"

# In the transaction that makes the object: it fails, by the division, unless the lease is still held.
FINISH: Final = """
with finished as (
    update basalt.resumable_uploads set finished_at = now()
    where id = $1 and locked_by = $2 and finished_at is null returning id
)
select 1 / count(*) from finished
"""


class Leases:
    """Those that requests of this process hold."""

    def __init__(self, db: StorageDatabase, store: Store, *, expiry_s: float) -> None:
        self._db = db
        self._store = store
        self._expiry_s = expiry_s
        self._held: dict[str, Lease] = {}

    @asynccontextmanager
    async def hold(self, upload_id: str) -> "AsyncIterator[Lease]":
        """Waits at most `WAIT_S`. Raises StorageError NoSuchUpload, LockTimeout."""
        lease = await self._take(upload_id)
        self._held[upload_id] = lease
        renewing = asyncio.create_task(lease.renew_until_cancelled())
        try:
            yield lease
        finally:
            renewing.cancel()
            if self._held.get(upload_id) is lease:
                del self._held[upload_id]
            await lease.let_go()

    async def _take(self, upload_id: str) -> "Lease":
        holder = str(uuid4())
        give_up_at = time.monotonic() + WAIT_S
        while True:
            before = self._held.get(upload_id)
            if before is not None:
                before.stop_reading()
            query = Query(TAKE, (upload_id.encode(), holder.encode()))
            [result] = await self._db.run_or_refuse(None, query)
            if not result.rows:
                raise StorageError("NoSuchUpload")
            is_free, was_held, *row = result.rows[0]
            if is_free == b"t":
                lease = Lease(self._db, holder, upload_of_row(tuple(row)), expiry_s=self._expiry_s)
                if was_held == b"t":
                    await lease.write_off(await self._store.list_parts(upload_id))
                return lease
            if time.monotonic() > give_up_at:
                raise StorageError("LockTimeout")
            await _wait(before)


async def _wait(before: "Lease | None") -> None:
    """Until a lease of this process is free, or for a moment: another process does not call."""
    if before is None:
        await asyncio.sleep(LOOK_S)
        return
    with suppress(TimeoutError):
        await asyncio.wait_for(before.is_over.wait(), LOOK_S)


class Lease:
    """The right to work on an upload. `upload` is its row as it was when the lease began, `expires_at` in seconds since
    1970. `is_certain` is false while a part may or may not be stored."""

    def __init__(self, db: StorageDatabase, holder: str, upload: ResumableUpload, *, expiry_s: float) -> None:
        self._db = db
        self._holder = holder
        self._expiry_s = expiry_s
        self._inflow: Inflow | None = None
        self._is_wanted = False
        self._is_lost = False
        self._renewed_at = time.monotonic()
        self.upload = upload
        self.expires_at = upload.expires_at
        self.is_certain = True
        self.is_over = asyncio.Event()

    def read(self, inflow: Inflow) -> None:
        """From now on whoever wants the lease ends this."""
        self._inflow = inflow
        if self._is_wanted:
            inflow.stop()

    def stop_reading(self) -> None:
        self._is_wanted = True
        if self._inflow is not None:
            self._inflow.stop()

    async def prolong(self) -> None:
        """After progress: the upload expires later. Raises StorageError ResourceLocked when the lease is lost, and
        nothing more may be done or promised."""
        await self._renew(expiry_s=str(self._expiry_s).encode())
        if self._is_lost:
            raise StorageError("ResourceLocked")

    async def renew_until_cancelled(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                await self._renew(expiry_s=None)
            except Exception as error:  # the database is away: perhaps for a moment only
                if time.monotonic() - self._renewed_at > TRUST_S:
                    observe.event("upload_lease_lost", level="warning", error=error)
                    self._lose()

    async def _renew(self, *, expiry_s: bytes | None) -> None:
        asked_at = time.monotonic()
        [result] = await self._db.run(None, self._query(RENEW, expiry_s))
        if not result.rows:
            self._lose()
            return
        self._renewed_at = asked_at
        is_wanted, expires_at = result.rows[0]
        self.expires_at = int(expires_at or 0)
        if is_wanted == b"t":
            self.stop_reading()

    def _lose(self) -> None:
        self._is_lost = True
        self.stop_reading()

    async def declare_length(self, length: int) -> None:
        """Of an upload whose length was deferred. Raises StorageError ResourceLocked."""
        [result] = await self._db.run_or_refuse(None, self._query(DECLARE_LENGTH, str(length).encode()))
        if not result.rows:
            raise StorageError("ResourceLocked")

    async def write_off(self, parts: list[Part]) -> None:
        """The part that the holder before was at, if it was at one."""
        lost = self.upload.lost_parts
        number = next_number(counted(parts, lost), lost)
        [result] = await self._db.run_or_refuse(None, self._query(WRITE_OFF, b"%d" % number))
        if not result.rows:
            raise StorageError("ResourceLocked")
        self.upload = upload_of_row(result.rows[0])

    def finish(self) -> Query:
        """What belongs into the transaction that makes the object."""
        return self._query(FINISH)

    async def delete(self) -> None:
        """The row. Raises StorageError ResourceLocked."""
        [result] = await self._db.run_or_refuse(None, self._query(DELETE))
        if not result.rows:
            raise StorageError("ResourceLocked")

    async def let_go(self) -> None:
        try:
            await self._db.run(None, self._query(LET_GO, str(self.is_certain).encode()))
        except Exception as error:  # it runs out
            observe.event("upload_lease_kept", level="warning", error=error)
        finally:
            self.is_over.set()

    def _query(self, sql: str, *params: bytes | None) -> Query:
        return Query(sql, (self.upload.id.encode(), self._holder.encode(), *params))
