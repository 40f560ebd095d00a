"""Which waiting requests are sent now, and the claim to them.

Claims of several workers pass each other by (`skip locked`). A request of `net.http_…` leaves its queue for good when
it is claimed, before it is sent: it is never sent twice. A webhook stays and is due again when the worker's lease ends.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString
from uuid import UUID

import psycopg

from basalt.jobs.outgoing.places import Places
from basalt.postgres import Pool

# Rows looked at for a claim: past the ones whose receiver has no place left.
LOOK_AHEAD = 256

# `timeout_milliseconds` may be anything; the lease has to end.
LONGEST_EXCHANGE_S = 3600

# What of the waiting rows is due, no more of a host than it has places.
FAIR: LiteralString = """
    placed as (
        select id, host, row_number() over (partition by host order by id) as place
        from waiting
    ),
    fair as (
        select p.id
        from placed as p
        left join unnest(%(hosts)s::text[], %(rooms)s::int[]) as h (host, room) using (host)
        where p.place <= coalesce(h.room, %(room)s)
        order by p.id limit %(free)s
    ),
"""

CLAIM_REQUESTS: Final[LiteralString] = f"""
with waiting as materialized (
        select id, basalt.url_host(url) as host from net.http_request_queue
        where not basalt.url_host(url) = any (%(full)s::text[])
        order by id limit %(look_ahead)s
    ),
    {FAIR}
    due as materialized (
        select q.id from net.http_request_queue as q where q.id in (select id from fair) for update skip locked
    ),
    taken as (
        delete from net.http_request_queue as q using due where q.id = due.id returning q.*
    ),
    noted as (
        insert into basalt.requests_in_flight (id, worker_id, lease_until)
        select id, %(worker_id)s,
            now() + make_interval(secs => %(lease)s + least(greatest(timeout_milliseconds, 0) / 1000.0, %(longest)s))
        from taken
    ),
    told as (
        update basalt.outgoing_state as s set claimed_id = t.id
        from (select max(id) as id from taken) as t
        where s.kind = 'request' and abs(t.id - s.claimed_id) > least(100, s.max_waiting / 10)
    )
select id, method::text, url, basalt.url_host(url) as host, headers, body, timeout_milliseconds from taken order by id
"""  # noqa: S608  put together from constants

CLAIM_WEBHOOKS: Final[LiteralString] = f"""
with waiting as materialized (
        select id, host from basalt.webhook_requests
        where run_at <= now() and not host = any (%(full)s::text[])
        order by run_at, id limit %(look_ahead)s
    ),
    {FAIR}
    due as materialized (
        select w.* from basalt.webhook_requests as w
        where w.id in (select id from fair) and w.run_at <= now()
        for update skip locked
    ),
    -- Whoever had it is gone, and with it the answer.
    lost as (
        insert into basalt.webhook_attempts (webhook_id, request_id, hook_name, table_name, attempt, error_msg)
        select webhook_id, request_id, hook_name, table_name, attempt, 'The worker ended before the answer'
        from due where worker_id is not null
    ),
    told as (
        update basalt.outgoing_state as s set claimed_id = t.id
        from (select max(id) as id from due where attempt = 0) as t
        where s.kind = 'webhook' and abs(t.id - s.claimed_id) > least(100, s.max_waiting / 10)
    )
update basalt.webhook_requests as w
set attempt = w.attempt + 1, worker_id = %(worker_id)s,
    run_at = now() + make_interval(
        secs => %(lease)s + least(greatest(w.timeout_milliseconds, 0) / 1000.0, %(longest)s))
from due where w.id = due.id
returning w.id, w.method, w.url, w.host, w.headers, w.body, w.timeout_milliseconds, w.webhook_id, w.request_id,
    w.hook_name, w.table_name, w.attempt, w.max_attempts
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Webhook:
    """What a claimed request has besides when it is a webhook. `attempt` counts from 1 and includes this one."""

    webhook_id: UUID
    request_id: int | None
    hook_name: str
    table_name: str
    attempt: int
    max_attempts: int | None


@dataclass(frozen=True, slots=True)
class ClaimedRequest:
    """`host` is the key of its places, not a checked name."""

    id: int
    method: str
    url: str
    host: str
    headers: Mapping[str, Any]
    body: bytes | None
    timeout_ms: int
    webhook: Webhook | None = None

    @property
    def timeout_s(self) -> float:
        """The whole exchange's limit; pg_net's 0 is none, which nobody gets here."""
        if self.timeout_ms <= 0:
            return LONGEST_EXCHANGE_S
        return min(self.timeout_ms / 1000, LONGEST_EXCHANGE_S)


class Claims:
    """Claims in the name of one worker."""

    def __init__(self, pool: Pool, worker_id: UUID, lease_s: float) -> None:
        self._pool = pool
        self._worker_id = worker_id
        self._lease_s = lease_s
        self._has_extension = False
        self._webhooks_first = False

    async def claim(self, places: Places) -> list[ClaimedRequest]:
        """As many as have a place, webhooks and requests first in turn. Raises psycopg.Error."""
        self._webhooks_first = not self._webhooks_first
        claimed: list[ClaimedRequest] = []
        for take in (self._take_webhooks, self._take_requests)[:: 1 if self._webhooks_first else -1]:
            found = await take(self._parameters(places, claimed))
            claimed.extend(found)
        return claimed

    def _parameters(self, places: Places, claimed: Sequence[ClaimedRequest]) -> dict[str, Any]:
        room = places.room_for([request.host for request in claimed])
        return {
            "full": room.full,
            "hosts": list(room.by_host),
            "rooms": list(room.by_host.values()),
            "room": room.others,
            "free": room.free,
            "look_ahead": LOOK_AHEAD,
            "worker_id": self._worker_id,
            "lease": self._lease_s,
            "longest": LONGEST_EXCHANGE_S,
        }

    async def _take_webhooks(self, parameters: dict[str, Any]) -> list[ClaimedRequest]:
        if not parameters["free"]:
            return []
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(CLAIM_WEBHOOKS, parameters)).fetchall()
        return [_webhook(row) for row in rows]

    async def _take_requests(self, parameters: dict[str, Any]) -> list[ClaimedRequest]:
        if not parameters["free"] or not await self.has_extension():
            return []
        try:
            async with self._pool.connection() as connection:
                rows = await (await connection.execute(CLAIM_REQUESTS, parameters)).fetchall()
        except psycopg.errors.UndefinedTable:
            self._has_extension = False  # dropped a moment ago
            return []
        return [_request(row) for row in rows]

    async def has_extension(self) -> bool:
        """Whether the project has pg_net; webhooks go without."""
        if not self._has_extension:
            async with self._pool.connection() as connection:
                cursor = await connection.execute(
                    "select to_regclass('net.http_request_queue') is not null as found"
                )
                row = await cursor.fetchone()
            self._has_extension = row is not None and row["found"]
        return self._has_extension


def _request(row: Mapping[str, Any]) -> ClaimedRequest:
    body = row["body"]
    return ClaimedRequest(
        id=row["id"],
        method=row["method"].upper(),
        url=row["url"],
        host=row["host"],
        headers=_as_mapping(row["headers"]),
        body=body.encode() if isinstance(body, str) else body,
        timeout_ms=row["timeout_milliseconds"],
    )


def _webhook(row: Mapping[str, Any]) -> ClaimedRequest:
    request = _request(row)
    names = ("webhook_id", "request_id", "hook_name", "table_name", "attempt", "max_attempts")
    webhook = Webhook(**{name: row[name] for name in names})
    return ClaimedRequest(
        request.id,
        request.method,
        request.url,
        request.host,
        request.headers,
        request.body,
        request.timeout_ms,
        webhook,
    )


def _as_mapping(headers: object) -> Mapping[str, Any]:
    return headers if isinstance(headers, dict) else {}
