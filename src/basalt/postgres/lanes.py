"""The pool of lanes: which lane a request goes to, and what happens when none will take it.

A request goes to the lane with the fewest in flight. Requests on a lane are answered in order, so a slow
statement would hold up those behind it; against that,
- a lane whose head runs longer than `SLOW_S` gets no new work, and a spare lane is opened in its place;
- statements known to be slow, large parameters and `own_lane` get a lane with nobody on it;
- requests that only read and already are behind a slow head are sent once more on another lane, and the first
  answer counts.

A request whose caller has gone is dropped when its answer arrives; once it has been at the head of its lane
for `CANCEL_AFTER_S` it is cancelled in PostgreSQL (`lane` tells how its neighbours stay unharmed).
"""

import asyncio
import inspect
from collections.abc import Callable, Sequence

from psycopg.conninfo import make_conninfo
from psycopg.pq.abc import PGconn

from basalt.observe import event, is_tracing, span
from basalt.postgres.lane import Lane
from basalt.postgres.lane_choice import GROW_AT, LaneChoice
from basalt.postgres.lane_costs import SLOW_S, StatementCosts
from basalt.postgres.lane_figures import LOST, OPENED, REFUSALS, WAITS, count_pool, forget_pool
from basalt.postgres.lane_job import Job, Query, Result, check_queries
from basalt.postgres.lane_supply import LaneSupply
from basalt.postgres.lane_waiting import WaitingRoom
from basalt.postgres.postgres_error import LanesUnavailable, PostgresError

__all__ = ["LanePool", "LanesUnavailable", "PostgresError", "Query", "Result"]

WATCH_S = 0.01
CANCEL_AFTER_S = 0.025  # most statements have ended before a cancel request would arrive
LARGE_PARAMS_BYTES = 256 * 1024
IDLE_S = 60.0
CLOSE_GRACE_S = 5.0
MAX_SPAN_SQL_CHARS = 2000


class LanePool:
    """`size` lanes of at most `depth` requests each, opened as they are needed, and up to `spare` more in
    place of those that a slow statement occupies. Beyond that `max_waiting` requests wait for at most
    `wait_s`."""

    def __init__(
        self,
        conninfo: str,
        *,
        size: int = 8,
        depth: int = 32,
        name: str = "rest",
        spare: int | None = None,
        max_waiting: int = 1024,
        wait_s: float = 5.0,
        statements: int = 256,
    ) -> None:
        self.name = name
        self.answered = 0  # since the figures were told last
        self._choice = LaneChoice(size=size, spare=size if spare is None else spare, depth=depth)
        self._statements = statements
        self._waiting = WaitingRoom(
            limit=max_waiting, wait_s=wait_s, on_refusal=lambda reason: REFUSALS.add(1, name, reason)
        )
        self._supply = LaneSupply(
            make_conninfo(conninfo, application_name=f"basalt/{name}", client_encoding="UTF8"),
            on_open=self._add_lane,
            on_failure=self._note_failure,
        )
        self._costs = StatementCosts()
        self._is_open = False
        self._is_down = False
        self._had_outage = False
        self._on_reconnect: Callable[[], object] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._reaper: asyncio.TimerHandle | None = None
        self._callbacks: set[asyncio.Future[object]] = set()

    # Life

    async def open(self) -> None:
        """Open the first lane; raises LanesUnavailable when PostgreSQL cannot be reached."""
        self._loop = asyncio.get_running_loop()
        try:
            await self._supply.open_first()
        except Exception as exc:
            raise LanesUnavailable("disconnected") from exc
        self._is_open = True
        count_pool(self)
        self._reaper = self._loop.call_later(IDLE_S, self._reap)

    async def close(self) -> None:
        """Refuse new requests, give those in flight a moment, cancel the rest."""
        self._is_open = False
        await self._supply.close()
        self._waiting.fail_all(1.0)
        if in_flight := [job.future for lane in self._choice.lanes for job in lane.jobs]:
            await asyncio.wait(in_flight, timeout=CLOSE_GRACE_S)
        for lane in list(self._choice.lanes):
            await lane.cancel_all()
            self._drop_lane(lane)
        for handle in (self._watch, self._reaper):
            if handle is not None:
                handle.cancel()
        for callback in self._callbacks:
            callback.cancel()
        forget_pool(self)

    def set_on_reconnect(self, callback: Callable[[], object]) -> None:
        """Called, and awaited when it returns an awaitable, each time PostgreSQL is back after an outage."""
        self._on_reconnect = callback

    def forget_statements(self) -> None:
        """Parse everything anew from now on: call it after the schema changed. A prepared statement keeps the
        parameter types it was parsed with, even when the column has another type now."""
        for lane in self._choice.lanes:
            lane.forget_statements()

    @property
    def is_available(self) -> bool:
        return self._is_open and not self._is_down

    @property
    def lane_count(self) -> int:
        return len(self._choice.lanes)

    @property
    def in_flight(self) -> int:
        return sum(len(lane.jobs) for lane in self._choice.lanes)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    # A request

    async def execute(
        self,
        queries: Sequence[Query],
        *,
        own_lane: bool = False,
        rollback: bool = False,
        read_only: bool = False,
        isolation: str | None = None,
    ) -> list[Result]:
        """Run the queries in one flush and one transaction; the answer has one Result for each.

        `own_lane`: nobody queues behind it. `rollback`: everything is undone at the end although it succeeded
        (deferred constraints are then not checked; end with `set constraints all immediate` if they should
        be). `read_only`: it has no effect (`transaction_read_only` is on), so that it may be sent twice to
        get past a slow statement. `isolation`: another level than the server's default, by name.

        Raises PostgresError when a query fails: the whole transaction is undone. Raises LanesUnavailable
        (503) when the connection is lost or no lane is free in time. Cancelling the awaiting task cancels the
        statement in PostgreSQL, or drops its result when it is not its turn yet."""
        if not queries:
            return []
        size_bytes = check_queries(queries)
        job = Job(
            queries,
            self._loop.create_future(),
            rollback=rollback,
            read_only=read_only,
            isolation=isolation,
        )
        if (
            own_lane
            or size_bytes > LARGE_PARAMS_BYTES
            or (self._costs and self._costs.is_slow(queries[-1].sql))
        ):
            job.exclusive = True
            job.is_own = own_lane or size_bytes > LARGE_PARAMS_BYTES
        if is_tracing():
            return await self._run_traced(job)
        return await self._run(job)

    async def _run(self, job: Job) -> list[Result]:
        self._place(job)
        try:
            return await job.future
        except asyncio.CancelledError:
            self._waiting.discard(job)
            raise

    async def _run_traced(self, job: Job) -> list[Result]:
        attributes = {
            "db.system.name": "postgresql",
            "db.query.text": job.queries[-1].sql[:MAX_SPAN_SQL_CHARS],
            "basalt.lanes": self.name,
        }
        with span("postgresql", kind="client", attributes=attributes) as one:
            try:
                return await self._run(job)
            except PostgresError as error:
                one.note(db__response__status_code=error.sqlstate)
                raise

    def _place(self, job: Job) -> None:
        if not self._is_open or self._is_down:
            REFUSALS.add(1, self.name, "disconnected")
            raise LanesUnavailable("disconnected")
        if self._watch is None:
            self._watch = self._loop.call_later(WATCH_S, self._watch_lanes)
        lane = self._choose(job)
        if lane is None:
            WAITS.add(1, self.name)
            self._waiting.add(job, self._loop.time())
            self._make_room(job)
        else:
            if len(lane.jobs) >= GROW_AT:
                self._grow()
            lane.submit(job)

    def _choose(self, job: Job) -> Lane | None:
        if job.exclusive:
            return self._choice.choose_own()
        return None if self._waiting.shared else self._choice.choose()  # no overtaking

    # Making room

    def _make_room(self, job: Job) -> None:
        if not job.exclusive:
            self._grow()
        elif not (self._choice.wants_own_lane and self._supply.request()):
            self._choice.reserve(len(self._waiting.exclusive))

    def _grow(self) -> None:
        if self._choice.wants_shared_lane:
            self._supply.request()

    def _add_lane(self, conn: PGconn) -> None:
        self._choice.lanes.append(Lane(conn, self, statements=self._statements))
        OPENED.add(1, self.name)
        self._is_down = False
        if self._had_outage:
            self._had_outage = False
            event("postgres_back", lanes=self.name)
            self._tell_reconnected()
        self._serve_waiting()

    def _note_failure(self, cause: Exception, pause_s: float) -> bool:
        if self._choice.lanes:
            event("lane_refused", level="warning", lanes=self.name, reason=str(cause))
            return False
        if not self._is_down:
            event("postgres_unreachable", level="error", lanes=self.name, reason=str(cause))
        self._is_down = True
        self._waiting.fail_all(pause_s)
        return True

    def _tell_reconnected(self) -> None:
        if self._on_reconnect is not None:
            answer = self._on_reconnect()
            if inspect.isawaitable(answer):
                task = asyncio.ensure_future(answer)
                self._callbacks.add(task)
                task.add_done_callback(self._callbacks.discard)

    # What a lane reports

    def settle(self, job: Job, ran_s: float) -> None:
        self.answered += 1
        if job.is_slow or self._costs:
            self._costs.note(job.queries[-1].sql, ran_s if job.is_slow else min(ran_s, SLOW_S / 5))
        future = job.future
        if future.done():
            return
        error = job.error
        if error is None:
            future.set_result(job.results)
        elif error.is_stale_statement and not job.plain:
            self._place_again(job.again(plain=True))
        elif job.exposed and error.sqlstate == "57014":
            self._place_again(job.again(plain=job.plain))
        else:
            future.set_exception(error)

    def _place_again(self, job: Job) -> None:
        try:
            self._place(job)
        except LanesUnavailable as exc:
            job.fail(exc)

    def lane_progressed(self, lane: Lane) -> None:
        if not lane.is_shared:
            self._choice.release(lane)
            if lane.is_retired and not lane.jobs:
                self._drop_lane(lane)
        if self._waiting.shared or self._waiting.exclusive:
            self._serve_waiting()

    def _serve_waiting(self) -> None:
        shared, exclusive = self._waiting.shared, self._waiting.exclusive
        while exclusive:
            job = exclusive[0]
            if job.future.done():
                exclusive.popleft()
            elif not job.is_own and not self._costs.is_slow(job.queries[-1].sql):
                job.exclusive = False
                shared.append(exclusive.popleft())
            elif lane := self._choice.choose_own():
                lane.submit(exclusive.popleft())
            else:
                self._make_room(job)
                break
        while shared:
            if shared[0].future.done():
                shared.popleft()
            elif lane := self._choice.choose():
                lane.submit(shared.popleft())
            else:
                self._grow()
                break

    def lane_lost(self, lane: Lane, cause: Exception) -> None:
        LOST.add(1, self.name)
        event(
            "lane_lost",
            level="warning",
            lanes=self.name,
            in_flight=len(lane.jobs),
            reason=str(cause).strip(),
        )
        self._drop_lane(lane)
        if not self._choice.lanes and self._is_open:
            self._had_outage = True
            self._supply.request(at_once=True)

    def _drop_lane(self, lane: Lane) -> None:
        if lane in self._choice.lanes:
            self._choice.lanes.remove(lane)
        lane.close()
        while lane.jobs:
            lane.jobs.popleft().fail(LanesUnavailable("disconnected"))

    # Watching

    def _watch_lanes(self) -> None:
        """Every few milliseconds while there is work: what is slow, who has gone, who has waited too long."""
        self._watch = None
        for lane in list(self._choice.lanes):
            if lane.jobs and self._loop.time() - lane.jobs[0].started_at > CANCEL_AFTER_S:
                lane.take_results()  # a busy event loop is not a slow statement
                self._watch_head(lane)
        self._waiting.expire(self._loop.time())
        self._serve_waiting()
        if self._waiting or self._choice.is_busy:
            self._watch = self._watch or self._loop.call_later(WATCH_S, self._watch_lanes)

    def _watch_head(self, lane: Lane) -> None:
        if not lane.jobs or lane.is_lost:
            return
        head = lane.jobs[0]
        ran_s = self._loop.time() - head.started_at
        if ran_s > SLOW_S:
            head.is_slow = True
            self._rescue(lane)
        if head.future.cancelled() and ran_s > CANCEL_AFTER_S and not lane.is_cancelling:
            lane.is_shared = False
            lane.cancel_head()

    def _rescue(self, lane: Lane) -> None:
        for job in list(lane.jobs)[1:]:
            if job.read_only and not job.rescued and not job.future.done():
                other = self._choice.choose()
                if other is None or len(other.jobs) >= GROW_AT:
                    self._grow()  # and try again at the next look
                    return
                job.rescued = True
                copy = job.again(plain=job.plain)
                copy.rescued = True
                other.submit(copy)

    def _reap(self) -> None:
        """Close lanes that nobody needed for a while; the last one stays."""
        now = self._loop.time()
        for lane in list(self._choice.lanes):
            if (
                len(self._choice.lanes) > 1
                and lane.is_shared
                and not lane.jobs
                and now - lane.idle_since > IDLE_S
            ):
                self._drop_lane(lane)
        self._reaper = self._loop.call_later(IDLE_S / 4, self._reap)
