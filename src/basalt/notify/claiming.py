"""Claiming: rows of the queue that are due become this dispatcher's, many in one round trip.

A claim is a lease. What a dispatcher that died had in hand is due again when it has run out.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson
from msgspec import Struct

from basalt.jobs import BY_INDEX, JobsDatabase, array
from basalt.postgres import Query, Result
from basalt.senders import Delivery

URGENT_UP_TO = 2  # priorities that providers are told to deliver at once

# What a row says of its lease is in no index (`010_engine.sql`): a claim passes over the few rows that somebody has in
# hand. A lease that has run out is that of a worker that died; its attempt counts, so that a row that kills workers
# comes to an end, and is written down as one without an answer.
#
# The rows are locked, so they are found again by their places. By `id` the planner took an index of people's rows, and
# read it to its end for each of them, as long as the table was last analysed when small: 412 ms for 500 of 10,000 rows.
CLAIM_ROWS = """
with due as materialized (
    select d.*
    from generate_series(0, 9) as line(priority)
    cross join unnest($1::text[]) as p(provider)
    cross join lateral (
        select q.ctid as place, q.id, q.attempts, q.provider, q.locked_by from public.notification_queue as q
        where q.status in ('pending', 'held') and q.provider = p.provider and q.priority = line.priority
            and q.scheduled_for <= now() and (q.locked_until is null or q.locked_until <= now())
        order by q.scheduled_for, q.id
        limit $2::bigint
        for update skip locked) as d
    limit $2::bigint),
lost as (
    insert into public.notification_deliveries (queue_id, attempt, provider, status, error_code)
    select d.id, d.attempts, d.provider, 'unknown', 'worker_lost' from due as d where d.locked_by is not null)
update public.notification_queue as q
set attempts = q.attempts + 1, last_attempt_at = clock_timestamp(), locked_by = $3::uuid,
    locked_until = clock_timestamp() + make_interval(secs => $4::double precision)
where q.ctid = any (array(select d.place from due as d))
returning q.id, q.event_id, q.user_id, q.channel, q.channel_id, q.provider, q.address, q.payload, q.attempts,
    q.priority, extract(epoch from q.expires_at - clock_timestamp()),
    extract(epoch from clock_timestamp() - q.scheduled_for),
    case when q.status = 'held' or q.created_at < clock_timestamp() - interval '1 minute' then (
        select e.event_type from public.notification_events as e where e.id = q.event_id) end
"""

# After a claim whose answer was lost: what is ours and not in hand.
ADOPT_ROWS = """
update public.notification_queue as q
set locked_until = clock_timestamp() + make_interval(secs => $4::double precision)
where q.status in ('pending', 'held') and q.provider = any ($1::text[]) and q.scheduled_for <= now()
    and q.locked_by = $3::uuid and q.id <> all ($2::bigint[])
returning q.id, q.event_id, q.user_id, q.channel, q.channel_id, q.provider, q.address, q.payload, q.attempts,
    q.priority, extract(epoch from q.expires_at - clock_timestamp()),
    extract(epoch from clock_timestamp() - q.scheduled_for),
    case when q.status = 'held' or q.created_at < clock_timestamp() - interval '1 minute' then (
        select e.event_type from public.notification_events as e where e.id = q.event_id) end
"""


class Claimed(Struct, frozen=True, gc=False):
    """A row of `notification_queue` that is ours. `payload` is JSON yet to be read; `ttl_s` is None where it does not
    expire; `lag_s` is how long it has been due. `waiting_type` is the event's type where the row was held, or is over a
    minute old."""

    id: int
    event_id: str
    user_id: str
    channel: str
    channel_id: str | None
    provider: str
    address: str
    payload: bytes
    attempt: int
    priority: int
    ttl_s: float | None
    lag_s: float
    waiting_type: str | None = None


class Claimer:
    """`worker_id` is new for each run of a dispatcher."""

    def __init__(self, database: JobsDatabase, worker_id: UUID, lease_s: float) -> None:
        self.worker_id = worker_id
        self.lease_s = lease_s
        self._database = database

    async def claim(self, providers: Sequence[str], limit: int) -> list[Claimed]:
        """Up to `limit` rows, lower priorities first, then those that have waited longest."""
        params = (_name_array(providers), b"%d" % limit, *self._render_lease())
        _, answer = await self._database.execute([BY_INDEX, Query(CLAIM_ROWS, params)])
        return parse_claimed(answer)

    async def adopt(self, providers: Sequence[str], in_hand: Iterable[int]) -> list[Claimed]:
        """Rows that a claim gave us without our hearing of it. Only while no claim for these providers is under way."""
        params = (_name_array(providers), array(in_hand), *self._render_lease())
        _, answer = await self._database.execute([BY_INDEX, Query(ADOPT_ROWS, params)])
        return parse_claimed(answer)

    def _render_lease(self) -> tuple[bytes, bytes]:
        return str(self.worker_id).encode(), str(self.lease_s).encode()


def _name_array(names: Sequence[str]) -> bytes:
    return f"{{{','.join(names)}}}".encode()


def parse_claimed(answer: Result) -> list[Claimed]:
    return [
        Claimed(
            int(row[0]),  # type: ignore[arg-type]  # these columns are not null
            row[1].decode(),  # type: ignore[union-attr]
            row[2].decode(),  # type: ignore[union-attr]
            row[3].decode(),  # type: ignore[union-attr]
            row[4].decode() if row[4] is not None else None,
            row[5].decode(),  # type: ignore[union-attr]
            (row[6] or b"").decode(),
            row[7] or b"{}",
            int(row[8]),  # type: ignore[arg-type]
            int(row[9]),  # type: ignore[arg-type]
            float(row[10]) if row[10] is not None else None,
            float(row[11] or 0),
            row[12].decode() if row[12] is not None else None,
        )
        for row in answer.rows
    ]


def build_delivery(row: Claimed) -> Delivery:
    """What the provider is given. The key is the row's, so that it is the same for each attempt. Raises ValueError for
    a payload that is none.

    >>> row = Claimed(7, "e", "u", "push", None, "fcm", "token", b'{"body":"Hi","data":{"a":1}}', 2, 5, None, 0.0)
    >>> delivery = build_delivery(row)
    >>> delivery.key, delivery.body, delivery.data, delivery.is_urgent
    ('e.7', 'Hi', {'a': 1}, False)
    """
    payload = _read_payload(row.payload)
    return Delivery(
        key=f"{row.event_id}.{row.id}",
        address=row.address,
        subject=payload.get("subject") or "",
        body=payload.get("body") or "",
        html=payload.get("html") or "",
        data=payload.get("data") or {},
        ttl_s=row.ttl_s,
        is_urgent=row.priority <= URGENT_UP_TO,
        collapse_key=payload.get("collapse_key") or "",
        badge=payload.get("badge"),
        request_id=payload.get("request_id") or "",
        channel=row.channel,
    )


@lru_cache(maxsize=256)
def _read_payload(payload: bytes) -> Mapping[str, Any]:
    """Of a fan-out most are the same."""
    value = orjson.loads(payload)
    if not isinstance(value, dict):
        raise ValueError("the payload is no object")
    return value
