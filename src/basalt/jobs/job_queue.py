"""Enqueueing from Python.

Calls that come while one is on its way to the database go together in the next statement: a commit costs the same for
one job and for a hundred.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import psycopg
import psycopg_pool
from psycopg import AsyncConnection
from psycopg.rows import DictRow

from basalt import observe
from basalt.jobs.errors import JobError, QueueFullError
from basalt.postgres import Pool

BATCH = 1000

ENQUEUE_MANY = "select basalt.enqueue_many(%s::jsonb) as ids"
# By its row, for the name of a routine is not even looked up in a schema that one may not use.
MAY_ENQUEUE = """
select has_schema_privilege('basalt', 'usage') and bool_and(has_function_privilege(p.oid, 'execute')) as may
from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
where n.nspname = 'basalt' and p.proname = 'enqueue_many'
"""
BECOME_SERVICE_ROLE = "set local role service_role"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """See `basalt.enqueue` in SQL: of two jobs with the same `name` and `key` the second is not made. `priority` is
    from 0, which is first, to 9. `request_id` is that of the present request where none is given."""

    name: str
    payload: Any = field(default_factory=dict)
    queue: str | None = None
    priority: int = 5
    delay_s: float = 0
    run_at: datetime | None = None
    key: str | None = None
    max_attempts: int | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    rows: list[bytes]
    ids: "asyncio.Future[list[int]]"


class JobQueue:
    """`pool` logs in as a role that may enqueue: `postgres`, or whoever may become `service_role`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._calls: deque[_Call] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._may_enqueue: bool | None = None

    async def enqueue(self, jobs: Sequence[NewJob]) -> list[int]:
        """Make all of them or none; their ids in the same order, that of the earlier job where a key is taken. Raises
        QueueFullError, JobError."""
        if not jobs:
            return []
        call = _Call([_render(job) for job in jobs], asyncio.get_running_loop().create_future())
        self._calls.append(call)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())
        return await call.ids

    async def _send(self) -> None:
        try:
            while self._calls:
                calls = [self._calls.popleft()]
                count = len(calls[0].rows)
                while self._calls and count + len(self._calls[0].rows) <= BATCH:
                    count += len(self._calls[0].rows)
                    calls.append(self._calls.popleft())
                await self._send_together([call for call in calls if not call.ids.done()])
        finally:
            self._sending = None

    async def _send_together(self, calls: list[_Call]) -> None:
        """One statement; where it fails each call for itself, for its fault is not the others'."""
        try:
            ids = await self._insert([row for call in calls for row in call.rows])
        except JobError as error:
            if len(calls) > 1 and error.status != 503:
                for call in calls:
                    await self._send_together([call])
                return
            for call in calls:
                if not call.ids.done():
                    call.ids.set_exception(error)
        except BaseException as error:
            for call in calls:
                call.ids.cancel()
            if not isinstance(error, asyncio.CancelledError):
                observe.event("jobs_not_enqueued", level="error", error=error)
            raise
        else:
            start = 0
            for call in calls:
                if not call.ids.done():
                    call.ids.set_result(ids[start : start + len(call.rows)])
                start += len(call.rows)

    async def _insert(self, rows: Sequence[bytes]) -> list[int]:
        if not rows:
            return []
        payload = b"[%s]" % b",".join(rows)
        try:
            async with self._pool.connection() as connection:
                if self._may_enqueue is None:
                    async with connection.transaction():
                        cursor = await connection.execute(MAY_ENQUEUE)
                        self._may_enqueue = bool((await cursor.fetchone() or {})["may"])
                if self._may_enqueue:
                    return await _enqueue_at_once(connection, payload)
                await connection.execute(BECOME_SERVICE_ROLE)
                return await _execute(connection, payload)
        except (psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests, psycopg_pool.PoolClosed) as error:
            raise _unavailable() from error
        except psycopg.Error as error:
            raise translate_error(error) from error


async def _enqueue_at_once(connection: AsyncConnection[DictRow], payload: bytes) -> list[int]:
    """Without `begin` and `commit`: one round trip."""
    await connection.set_autocommit(True)
    try:
        return await _execute(connection, payload)
    finally:
        if not connection.closed:
            await connection.set_autocommit(False)


async def _execute(connection: AsyncConnection[DictRow], payload: bytes) -> list[int]:
    cursor = await connection.execute(ENQUEUE_MANY, [payload.decode()])
    ids: list[int] = (await cursor.fetchone() or {})["ids"]
    return ids


def translate_error(error: psycopg.Error) -> JobError:
    """What `basalt.enqueue` and its like raised, as an error for the caller."""
    if error.sqlstate == "PT429":
        details = orjson.loads(error.diag.message_detail or "{}")
        return QueueFullError(details.get("queue", ""), details.get("retry_after", 1))
    if error.sqlstate is None or error.sqlstate.startswith(("08", "53", "57")):
        return _unavailable()
    if error.sqlstate == "42501":
        return JobError("JOB_FORBIDDEN", 403, "This role may not enqueue jobs")
    return JobError("JOB_INVALID", 400, error.diag.message_primary or "The job cannot be enqueued")


def _unavailable() -> JobError:
    return JobError(
        "SERVICE_UNAVAILABLE",
        503,
        "The database cannot be reached to enqueue a job",
        hint="Retry after a moment",
        headers=[("Retry-After", "1")],
    )


def _render(job: NewJob) -> bytes:
    row = {
        "name": job.name,
        "payload": job.payload,
        "queue": job.queue,
        "priority": job.priority,
        "delay_s": job.delay_s,
        "run_at": job.run_at,
        "key": job.key,
        "max_attempts": job.max_attempts,
        "request_id": job.request_id or observe.request_id.get() or None,
        "traceparent": observe.traceparent() or None,
    }
    try:
        return orjson.dumps(row)
    except TypeError as error:
        raise JobError("JOB_INVALID", 400, f"The payload of {job.name} is no JSON") from error
