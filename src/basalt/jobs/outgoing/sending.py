"""One life of the sender: a loop that claims, a task for each exchange, a loop that writes down what came of them, and
one that looks after the rest. A database that is away is waited for by each of them."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import psycopg
import psycopg_pool

from basalt import observe
from basalt.config import WebhookSettings
from basalt.http import WireClient
from basalt.jobs.outgoing.claiming import ClaimedRequest, Claims
from basalt.jobs.outgoing.exchange import send_request
from basalt.jobs.outgoing.outcome import Outcome
from basalt.jobs.outgoing.own_api import OwnApi
from basalt.jobs.outgoing.places import Places
from basalt.jobs.outgoing.settling import BATCH, Ended, Settlement
from basalt.jobs.outgoing.upkeep import Upkeep
from basalt.jobs.outgoing.verdict import GivenUp, judge
from basalt.jobs.outgoing.wakeup import Wakeup
from basalt.waiting import wait_within

# Claims follow each other no faster: what comes in the meantime is claimed together.
PACE_S = 0.01
FIRST_BACK_OFF_S = 0.2
LONGEST_BACK_OFF_S = 5.0
UPKEEP_INTERVAL_S = 5.0
LONGEST_PURGE_INTERVAL_S = 60.0

REQUESTS = observe.Counter(
    "basalt_outgoing_requests_total", "Attempts of `net.http_…` and webhooks.", ["kind", "outcome"]
)
SECONDS = observe.Histogram("basalt_outgoing_request_seconds", "Time of an attempt.", ["kind"])
GIVEN_UP = observe.Counter("basalt_webhooks_given_up_total", "Webhooks that became dead letters.")

OUTAGE = (psycopg.OperationalError, psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests)
T = TypeVar("T")


class Sending:
    def __init__(
        self,
        settings: WebhookSettings,
        own_api: OwnApi,
        client: WireClient,
        claims: Claims,
        settlement: Settlement,
        upkeep: Upkeep,
        wakeup: Wakeup,
    ) -> None:
        self._settings = settings
        self._own_api = own_api
        self._client = client
        self._claims = claims
        self._settlement = settlement
        self._upkeep = upkeep
        self._wakeup = wakeup
        self._places = Places(settings.concurrency)
        self._is_held_up = False
        self._ended: list[Ended] = []
        self._has_ended = asyncio.Event()
        self._in_hand = 0  # claimed and not settled
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    async def run(self, stopping: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            beside = [
                group.create_task(self._wakeup.listen()),
                group.create_task(self._settle_for_ever()),
                group.create_task(self._look_after_things()),
            ]
            await self._claim_until(stopping, group)
            await self._is_empty.wait()
            for task in beside:
                task.cancel()

    async def _claim_until(self, stopping: asyncio.Event, group: asyncio.TaskGroup) -> None:
        while not stopping.is_set():
            self._wakeup.is_told.clear()
            claimed = await _through_outages(self._claim, stopping) or []
            for request in claimed:
                group.create_task(self._send(request))
            if claimed:
                await wait_within(stopping, PACE_S)
            elif self._is_held_up or not await _through_outages(self._wakeup.want, stopping):
                await self._wakeup.wait(stopping)

    async def _claim(self) -> list[ClaimedRequest]:
        room = self._places.room_for([])
        self._is_held_up = not room.free or bool(room.full) or self._in_hand > 2 * self._settings.concurrency
        if not room.free or self._in_hand > 2 * self._settings.concurrency:
            return []
        claimed = await self._claims.claim(self._places)
        for request in claimed:
            self._places.take(request.host)
        if claimed:
            self._in_hand += len(claimed)
            self._is_empty.clear()
        await self._wakeup.note_claim(len(claimed))
        return claimed

    async def _send(self, request: ClaimedRequest) -> None:
        observe.request_id.set(str(request.headers.get("x-request-id") or ""))
        try:
            ended = await self._exchange_traced(request)
        except Exception as error:
            observe.event("request_failed", level="error", outgoing_id=request.id, error=error)
            ended = self._judge(
                request, Outcome(error_msg="Basalt could not send the request", failure="invalid")
            )
        _count(ended)
        is_answered = ended.outcome.status is not None or ended.outcome.failure == "invalid"
        self._places.leave(request.host, answered=is_answered)
        self._ended.append(ended)
        self._has_ended.set()
        if self._is_held_up:
            self._wakeup.is_told.set()

    async def _exchange_traced(self, request: ClaimedRequest) -> Ended:
        if not observe.is_tracing():
            return await self._exchange(request)
        parent = str(request.headers.get("traceparent") or "")
        attributes = {"http.request.method": request.method, "server.address": request.host}
        with observe.span(request.method, kind="client", parent=parent, attributes=attributes) as span:
            headers = {**request.headers, "traceparent": observe.traceparent()}
            ended = await self._exchange(replace(request, headers=headers))
            if ended.outcome.status is not None:
                span.note(http__response__status_code=ended.outcome.status)
            if ended.outcome.failure is not None or (ended.outcome.status or 0) >= 500:
                span.fail(ended.outcome.error_msg or f"it answered {ended.outcome.status}")
            return Ended(request, ended.outcome, ended.verdict)

    async def _exchange(self, request: ClaimedRequest) -> Ended:
        webhook = request.webhook
        if webhook is not None and webhook.attempt > (webhook.max_attempts or self._settings.max_attempts):
            reason = "The worker ended before the answer, each time"
            return Ended(request, Outcome(error_msg=reason, failure="no_answer"), GivenUp(reason))
        outcome = await send_request(
            self._client, request, own_api=self._own_api, max_bytes=self._settings.max_response_bytes
        )
        return self._judge(request, outcome)

    def _judge(self, request: ClaimedRequest, outcome: Outcome) -> Ended:
        webhook = request.webhook
        if webhook is None:
            return Ended(request, outcome)
        verdict = judge(
            outcome,
            attempt=webhook.attempt,
            max_attempts=webhook.max_attempts or self._settings.max_attempts,
            settings=self._settings,
            spread=random.random(),  # noqa: S311
        )
        if isinstance(verdict, GivenUp):
            observe.event(
                "webhook_given_up",
                level="warning",
                webhook_id=str(webhook.webhook_id),
                hook=webhook.hook_name,
                table=webhook.table_name,
                reason=verdict.reason,
            )
        return Ended(request, outcome, verdict)

    async def _settle_for_ever(self) -> None:
        while True:
            await self._has_ended.wait()
            batch, self._ended = self._ended[:BATCH], self._ended[BATCH:]
            if not self._ended:
                self._has_ended.clear()
            try:
                await _through_outages(lambda batch=batch: self._settlement.settle(batch))  # type: ignore[misc]
            except psycopg.Error as error:
                observe.event("requests_not_settled", level="error", count=len(batch), error=error)
            self._in_hand -= len(batch)
            if not self._in_hand:
                self._is_empty.set()
            if self._is_held_up:
                self._wakeup.is_told.set()

    async def _look_after_things(self) -> None:
        purge_interval_s = min(self._settings.keep_responses_s, LONGEST_PURGE_INTERVAL_S)
        loop = asyncio.get_running_loop()
        purge_at = loop.time()
        while True:
            try:
                has_extension = await self._claims.has_extension()
                await self._upkeep.end_lost_requests(has_extension=has_extension)
                await self._upkeep.watch_bounds(has_extension=has_extension)
                if loop.time() >= purge_at:
                    await self._upkeep.purge(has_extension=has_extension)
                    purge_at = loop.time() + purge_interval_s
            except (psycopg.Error, *OUTAGE) as error:
                observe.event("outgoing_upkeep_failed", level="warning", reason=str(error).strip())
            await asyncio.sleep(min(UPKEEP_INTERVAL_S, purge_interval_s))


def _count(ended: Ended) -> None:
    kind, outcome = "request" if ended.request.webhook is None else "webhook", ended.outcome
    came = f"{outcome.status // 100}xx" if outcome.status is not None else outcome.failure or "failed"
    REQUESTS.add(1, kind, came)
    SECONDS.note(outcome.duration_ms / 1000, kind)
    if isinstance(ended.verdict, GivenUp):
        GIVEN_UP.add()


async def _through_outages(
    act: Callable[[], Awaitable[T]], stopping: asyncio.Event | None = None
) -> T | None:
    """What `act` returns, once the database answers; None when told to stop before."""
    back_off_s = FIRST_BACK_OFF_S
    while stopping is None or not stopping.is_set():
        try:
            return await act()
        except OUTAGE as error:
            observe.event(
                "outgoing_database_away", level="warning", reason=str(error).strip(), again_in_s=back_off_s
            )
        await wait_within(stopping or asyncio.Event(), back_off_s)
        back_off_s = min(back_off_s * 2, LONGEST_BACK_OFF_S)
    return None
