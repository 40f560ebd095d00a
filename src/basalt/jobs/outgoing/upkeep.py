"""What is looked after beside sending: requests whose worker is gone, answers that are old, the bound of the queues."""

from typing import Any, Final, LiteralString

import psycopg

from basalt import observe
from basalt.config import WebhookSettings
from basalt.postgres import Pool

PURGE_BATCH = 2000
DEAD_WEBHOOKS_KEPT_S = 14 * 86400

LOST: Final = "The worker ended before the answer; the request may have arrived and is not sent again"

END_LOST_REQUESTS: Final = """
with lost as (
    select id from basalt.requests_in_flight where lease_until < now() limit 1000 for update skip locked
)
delete from basalt.requests_in_flight as f using lost where f.id = lost.id returning f.id
"""
KEEP_LOST: Final = """
insert into net._http_response (id, timed_out, error_msg) select id, false, %s from unnest(%s::bigint[]) as id
"""

PURGE_ANSWERS: Final = """
delete from net._http_response where ctid = any (array(
    select ctid from net._http_response where created < now() - make_interval(secs => %s)
    order by created limit %s for update skip locked))
"""
PURGE_ATTEMPTS: Final = """
delete from basalt.webhook_attempts where id = any (array(
    select id from basalt.webhook_attempts where created_at < now() - make_interval(secs => %s)
    order by created_at limit %s for update skip locked))
"""
PURGE_DEAD: Final = """
delete from basalt.dead_webhooks where id = any (array(
    select id from basalt.dead_webhooks where died_at < now() - make_interval(secs => %s)
    order by died_at limit %s for update skip locked))
"""

# Numbers of transactions that were rolled back wait for nobody: where nothing waits, the count begins anew.
CATCH_UP_WEBHOOKS: Final = """
with numbers as materialized (select last_value from basalt.webhook_requests_id_seq)
update basalt.outgoing_state as s set claimed_id = n.last_value, max_waiting = %(max_waiting)s
from (select last_value from numbers) as n
where s.kind = 'webhook' and (
    s.max_waiting <> %(max_waiting)s
    or s.claimed_id + 1000 < n.last_value and not exists (select from basalt.webhook_requests))
"""
CATCH_UP_REQUESTS: Final = """
with numbers as materialized (select last_value from net.http_request_queue_id_seq)
update basalt.outgoing_state as s set claimed_id = n.last_value, max_waiting = %(max_waiting)s
from (select last_value from numbers) as n
where s.kind = 'request' and (
    s.max_waiting <> %(max_waiting)s
    or s.claimed_id + 1000 < n.last_value and not exists (select from net.http_request_queue))
"""

LEFT_OUT: Final = (
    "select case when is_called then last_value else 0 end as count from basalt.webhooks_left_out_seq"
)


class Upkeep:
    """Any number of workers do it side by side."""

    def __init__(self, pool: Pool, settings: WebhookSettings) -> None:
        self._pool = pool
        self._settings = settings
        self._left_out: int | None = None

    async def end_lost_requests(self, *, has_extension: bool) -> None:
        """A request whose worker was killed was perhaps sent: it gets an answer that says so."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(END_LOST_REQUESTS)).fetchall()
            if rows and has_extension:
                await _keep_lost(connection, [row["id"] for row in rows])
        if rows:
            observe.event("requests_lost", level="warning", count=len(rows))

    async def purge(self, *, has_extension: bool) -> None:
        keep_s = self._settings.keep_responses_s
        if has_extension:
            await self._purge(PURGE_ANSWERS, keep_s)
        await self._purge(PURGE_ATTEMPTS, keep_s)
        await self._purge(PURGE_DEAD, DEAD_WEBHOOKS_KEPT_S)

    async def watch_bounds(self, *, has_extension: bool) -> None:
        parameters = {"max_waiting": self._settings.max_waiting}
        # A transaction each: whoever wants to be woken locks both rows the other way round.
        for statement in (CATCH_UP_WEBHOOKS, *([CATCH_UP_REQUESTS] if has_extension else [])):
            async with self._pool.connection() as connection:
                await connection.execute(statement, parameters)
        async with self._pool.connection() as connection:
            row = await (await connection.execute(LEFT_OUT)).fetchone()
        left_out = row["count"] if row is not None else 0
        if self._left_out is not None and left_out > self._left_out:
            observe.event("webhooks_left_out", level="error", count=left_out - self._left_out)
        self._left_out = left_out

    async def _purge(self, statement: LiteralString, keep_s: float) -> None:
        while True:
            async with self._pool.connection() as connection:
                if (await connection.execute(statement, [keep_s, PURGE_BATCH])).rowcount < PURGE_BATCH:
                    return


async def _keep_lost(connection: psycopg.AsyncConnection[dict[str, Any]], ids: list[int]) -> None:
    try:
        async with connection.transaction():
            await connection.execute(KEEP_LOST, [LOST, ids])
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:  # a trigger that the project has put on the answers
        observe.event("request_answer_not_kept", level="error", count=len(ids), error=error)
