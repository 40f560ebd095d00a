"""An event as the worker expands it, and what went wrong with it on the way."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from basalt.notify.preferences import NotifyChannel

Connection = AsyncConnection[DictRow]
MAX_KEY_BYTES = 400  # the column's check

LOAD_EVENT: Final = """
select e.id::text as id, e.event_type, e.actor_id::text as actor_id, e.subject_id::text as subject_id, e.audience,
    e.context, e.channels, e.priority, e.dedup_key, e.expires_at, e.status, e.error, e.request_id, now() as now
from public.notification_events as e
where e.id = %s
"""
# Not the row, which is looked up for every message that refers to it: a lock on it makes that slower.
LOCK_EVENT: Final = "select pg_advisory_xact_lock(hashtextextended(%(id)s::uuid::text, 1650553715))"
FAIL_EVENT: Final = """
update public.notification_events as e
set status = 'failed', error = %(error)s, recipient_count = coalesce(x.recipient_count, e.recipient_count),
    queued_count = coalesce(x.queued_count, e.queued_count)
from (values (%(id)s::uuid)) as failed(id) left join basalt.notification_expansions as x on x.event_id = failed.id
where e.id = failed.id and e.status in ('pending', 'expanding')
"""


@dataclass(frozen=True, slots=True)
class Event:
    """A row of `notification_events`; `now` is the transaction's time. `error` is what is written there."""

    id: str
    event_type: str
    actor_id: str | None
    subject_id: str | None
    audience: Mapping[str, Any] | None
    context: Mapping[str, Any]
    channels: tuple[NotifyChannel, ...] | None
    priority: int
    dedup_key: str | None
    expires_at: datetime | None
    status: str
    error: Mapping[str, Any] | None
    request_id: str | None
    now: datetime

    @property
    def row_key(self) -> str:
        """`dedup_key` of the event's rows: by it a person hears of an event once by each way."""
        if not self.dedup_key:
            return self.id
        key = f"{self.event_type}:{self.dedup_key}"
        is_short = len(key.encode()) <= MAX_KEY_BYTES
        return key if is_short else hashlib.sha256(key.encode()).hexdigest()


class EventError(Exception):
    """Nobody can be told: `code` and the message become the event's `error`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Problems:
    """What cost some people their message, or part of it, while the rest went on: how often, and one example of each
    kind.

    >>> problems = Problems({"problems": {"user_unknown": {"count": 1, "example": "u1"}}})
    >>> problems.add("user_unknown", "u2"); problems.add("template_failed", "u3: no city")
    >>> problems.render()["problems"]["user_unknown"]
    {'count': 2, 'example': 'u1'}
    """

    def __init__(self, error: Mapping[str, Any] | None) -> None:
        known = (error or {}).get("problems", {})
        self._known: dict[str, dict[str, Any]] = {code: dict(one) for code, one in known.items()}

    def add(self, code: str, example: str) -> None:
        self._known.setdefault(code, {"count": 0, "example": example[:500]})["count"] += 1

    def render(self) -> dict[str, Any] | None:
        """For the column `error`; None where nothing went wrong."""
        return {"problems": self._known} if self._known else None


async def lock_event(connection: Connection, event_id: str) -> Event | None:
    """The event, which nobody else expands or cancels until the transaction ends."""
    await connection.execute(LOCK_EVENT, {"id": event_id})
    return await load_event(connection, event_id)


async def load_event(connection: Connection, event_id: str) -> Event | None:
    row = await (await connection.execute(LOAD_EVENT, [event_id])).fetchone()
    if row is None:
        return None
    row["channels"] = None if row["channels"] is None else tuple(row["channels"])
    return Event(**row)


async def fail_event(connection: Connection, event_id: str, error: EventError) -> None:
    """Unless it has ended in another way."""
    told = {"code": error.code, "message": str(error)[:2000]}
    await connection.execute(FAIL_EVENT, {"id": event_id, "error": Jsonb(told)})
