"""Writing down what came of requests: many at once, each once, and one that the database refuses disturbs no other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from basalt import observe
from basalt.jobs.outgoing.claiming import ClaimedRequest, Webhook
from basalt.jobs.outgoing.outcome import Outcome
from basalt.jobs.outgoing.verdict import GivenUp, Retry, Verdict, name_of
from basalt.postgres import Pool

# The answers of one statement are together in memory, here and in the server.
BATCH = 50

# Whose lease has ended has been answered for: the first of the two counts.
END_REQUESTS: Final = """
delete from basalt.requests_in_flight where id = any (%(ids)s) and worker_id = %(worker_id)s returning id
"""

KEEP_ANSWERS: Final = """
insert into net._http_response (id, status_code, content_type, headers, content, timed_out, error_msg)
select * from unnest(%(ids)s::bigint[], %(statuses)s::int[], %(types)s::text[], %(headers)s::jsonb[],
    %(contents)s::text[], %(timeouts)s::bool[], %(errors)s::text[])
"""

FORGET_EARLIER_ANSWERS: Final = "delete from net._http_response where id = any (%s)"
HAS_ANSWERS: Final = "select to_regclass('net._http_response') is not null as found"

END_ATTEMPTS: Final[LiteralString] = """
with ended as materialized (
        select w.*, o.verdict, o.delay, o.status, o.error, o.duration
        from unnest(%(ids)s::bigint[], %(attempts)s::int[], %(verdicts)s::text[], %(delays)s::float8[],
            %(statuses)s::int[], %(errors)s::text[], %(durations)s::int[])
            as o (id, attempt, verdict, delay, status, error, duration)
        join basalt.webhook_requests as w on w.id = o.id and w.attempt = o.attempt
        where w.worker_id = %(worker_id)s
    ),
    logged as (
        insert into basalt.webhook_attempts (
            webhook_id, request_id, hook_name, table_name, attempt, status_code, error_msg, duration_ms)
        select webhook_id, request_id, hook_name, table_name, attempt, status, error, duration from ended
    ),
    buried as (
        insert into basalt.dead_webhooks (
            id, webhook_id, request_id, hook_name, table_name, method, url, headers, body, timeout_milliseconds,
            max_attempts, attempt, created_at, reason)
        select id, webhook_id, request_id, hook_name, table_name, method, url, headers, body, timeout_milliseconds,
            max_attempts, attempt, created_at, error
        from ended where verdict = 'given_up'
    ),
    gone as (
        delete from basalt.webhook_requests as w using ended as e
        where w.id = e.id and w.attempt = e.attempt and e.verdict <> 'retry'
    )
update basalt.webhook_requests as w set run_at = now() + make_interval(secs => e.delay), worker_id = null
from ended as e where w.id = e.id and w.attempt = e.attempt and e.verdict = 'retry'
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """`verdict` is for webhooks."""

    request: ClaimedRequest
    outcome: Outcome
    verdict: Verdict | None = None


class Settlement:
    """Settles in the name of one worker."""

    def __init__(self, pool: Pool, worker_id: UUID) -> None:
        self._pool = pool
        self._worker_id = worker_id

    async def settle(self, ended: Sequence[Ended]) -> None:
        """Raises psycopg.OperationalError while the database is away; then nothing of the batch is settled."""
        try:
            await self._settle(ended)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            # A trigger that the project has put on the answers, or a value that is none for PostgreSQL.
            if len(ended) > 1:
                for one in ended:
                    await self.settle([one])
                return
            observe.event(
                "request_answer_not_kept", level="error", outgoing_id=ended[0].request.id, error=error
            )
            await self._settle(ended, keeps_answers=False)

    async def _settle(self, ended: Sequence[Ended], *, keeps_answers: bool = True) -> None:
        requests = {one.request.id: one.outcome for one in ended if one.request.webhook is None}
        webhooks = [(one.request.webhook, one) for one in ended if one.request.webhook is not None]
        async with self._pool.connection() as connection:
            answers: dict[int, Outcome] = {}
            if requests:
                parameters = {"ids": list(requests), "worker_id": self._worker_id}
                ours = await (await connection.execute(END_REQUESTS, parameters)).fetchall()
                answers |= {row["id"]: requests[row["id"]] for row in ours}
            if webhooks:
                await connection.execute(END_ATTEMPTS, _attempts(webhooks, self._worker_id))
                numbered = {
                    webhook.request_id: one.outcome
                    for webhook, one in webhooks
                    if webhook.request_id is not None
                }
                answers |= numbered
            if answers and keeps_answers:
                again = [webhook.request_id for webhook, _ in webhooks if webhook.attempt > 1]
                await _keep(connection, answers, again)


async def _keep(
    connection: psycopg.AsyncConnection[dict[str, Any]],
    answers: dict[int, Outcome],
    again: list[int | None],
) -> None:
    """The last attempt's answer is the webhook's; `basalt.webhook_attempts` has them all."""
    row = await (await connection.execute(HAS_ANSWERS)).fetchone()
    if row is None or not row["found"]:
        return
    if again:
        await connection.execute(FORGET_EARLIER_ANSWERS, [again])
    outcomes = list(answers.values())
    await connection.execute(
        KEEP_ANSWERS,
        {
            "ids": list(answers),
            "statuses": [outcome.status for outcome in outcomes],
            "types": [outcome.content_type for outcome in outcomes],
            "headers": [_as_json(outcome.headers) for outcome in outcomes],
            "contents": [outcome.content for outcome in outcomes],
            "timeouts": [outcome.is_timed_out for outcome in outcomes],
            "errors": [outcome.error_msg for outcome in outcomes],
        },
    )


def _as_json(headers: object) -> Jsonb | None:
    return None if headers is None else Jsonb(headers)


def _attempts(webhooks: Sequence[tuple[Webhook, Ended]], worker_id: UUID) -> dict[str, Any]:
    ended = [one for _, one in webhooks]
    return {
        "worker_id": worker_id,
        "ids": [one.request.id for one in ended],
        "attempts": [webhook.attempt for webhook, _ in webhooks],
        "verdicts": [name_of(one.verdict) for one in ended if one.verdict is not None],
        "delays": [one.verdict.delay_s if isinstance(one.verdict, Retry) else 0.0 for one in ended],
        "statuses": [one.outcome.status for one in ended],
        "errors": [
            one.verdict.reason if isinstance(one.verdict, GivenUp) else one.outcome.error_msg for one in ended
        ],
        "durations": [one.outcome.duration_ms for one in ended],
    }
