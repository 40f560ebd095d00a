"""The worker's loop over schedules: plan what changed, claim what came due, start what may run, sleep until then."""

import asyncio
import contextlib
import random
from collections.abc import Iterator

import psycopg

from basalt import observe
from basalt.config import Settings
from basalt.jobs.cron.board import (
    Board,
    Run,
    claim_ticks,
    end_lost_runs,
    end_run,
    find_removed,
    find_schedules,
    load_board,
    note_start,
    plan,
    purge_history,
    show_running,
    start_runs,
)
from basalt.jobs.cron.command import perform
from basalt.jobs.cron.configured import ensure_configured_schedules
from basalt.jobs.cron.logins import drop_idle_logins
from basalt.jobs.cron.session import Session, open_session
from basalt.postgres import DatabaseAccess
from basalt.waiting import wait_within

POLL_S = 1.0  # how long a change may stay unseen whose notification was lost
AHEAD_S = 1.5
MARGIN_S = 0.002  # past the tick, by an estimate of the database's clock
AGAIN_S = 0.02  # until another worker has committed its claim
BACK_OFF_S = 1.0
CLEAN_UP_INTERVAL_S = 60.0
END_LIMIT_S = 5.0

LOST = (psycopg.OperationalError, psycopg.InterfaceError, OSError)


class CronScheduler:
    """A `Part`: each tick of a schedule makes one run, over any number of these."""

    name = "cron"

    def __init__(self, settings: Settings, access: DatabaseAccess) -> None:
        self._settings = settings
        self._access = access

    async def run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                await ensure_configured_schedules(self._settings, self._access)
                async with open_session(self._access) as session:
                    await _Shift(self._settings, self._access, session, stopping).work()
            except* LOST as group:
                reason = str(next(_leaves(group))).strip()
                observe.event("cron_waits_for_database", level="warning", reason=reason)
                await wait_within(stopping, BACK_OFF_S)
            except* (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
                observe.event("cron_schedules_gone")  # drop extension pg_cron
                await wait_within(stopping, BACK_OFF_S)


RUNS = observe.Counter("basalt_cron_runs_total", "Runs of schedules.", ["outcome"])


class _Shift:
    """One session's work."""

    def __init__(
        self, settings: Settings, access: DatabaseAccess, session: Session, stopping: asyncio.Event
    ) -> None:
        self._cron = settings.basalt.cron
        self._access = access
        self._session = session
        self._stopping = stopping
        self._woken = asyncio.Event()
        self._runs: dict[int, tuple[Run, asyncio.Task[None]]] = {}
        self._removed: set[int] = set()
        self._clean_up_at = 0.0

    async def work(self) -> None:
        """Until told to stop, and what runs has ended. Raises an ExceptionGroup."""
        async with asyncio.TaskGroup() as group:
            watchers = [
                group.create_task(self._session.listen(self._woken)),
                group.create_task(self._wake_at_stop()),
            ]
            if await self._find_schedules():
                await note_start(self._session.connection)
                while not self._stopping.is_set():
                    self._woken.clear()
                    pause_s = await self._turn(group)
                    await wait_within(self._woken, pause_s)
            while self._runs:
                self._woken.clear()
                await self._cancel_removed()
                await wait_within(self._woken, POLL_S)
            for watcher in watchers:
                watcher.cancel()

    async def _wake_at_stop(self) -> None:
        await self._stopping.wait()
        self._woken.set()

    async def _find_schedules(self) -> bool:
        """Wait until there are schedules of ours; False at a stop."""
        is_told = False
        while not self._stopping.is_set():
            self._woken.clear()
            is_ours, exists = await find_schedules(self._session.connection)
            if is_ours:
                return True
            if exists and not is_told:
                is_told = True
                observe.event("cron_left_to_server", level="warning", reason="the server has pg_cron itself")
            await wait_within(self._woken, POLL_S)
        return False

    async def _turn(self, group: asyncio.TaskGroup) -> float:
        """Do what is to be done now; how many seconds there is nothing more to do."""
        connection, loop = self._session.connection, asyncio.get_running_loop()
        sent = loop.time()
        board = await load_board(connection, worker=self._session.worker, ahead_s=AHEAD_S)
        read_at = (sent + loop.time()) / 2
        if unplanned := [job for job in board.due if job.next_tick is None]:
            await plan(connection, unplanned)
            return 0
        passed = [job for job in board.due if job.next_tick is not None and job.next_tick <= board.now]
        claimed = await claim_ticks(connection, passed, board.now) if passed else 0
        if claimed or board.has_waiting:
            await self._start_runs(group)
        if self._runs:
            await self._cancel_removed()
        if board.has_others:
            for runid in await end_lost_runs(connection):
                observe.event("cron_run_lost", level="warning", runid=runid)
        await self._clean_up()
        if passed:
            return 0 if claimed else AGAIN_S
        return max(0.0, _seconds_to_next(board) - (loop.time() - read_at))

    async def _start_runs(self, group: asyncio.TaskGroup) -> None:
        places = self._cron.max_running - len(self._runs)
        if places <= 0:
            return
        for run in await start_runs(self._session.connection, worker=self._session.worker, places=places):
            self._runs[run.runid] = (run, group.create_task(self._perform(run)))

    async def _perform(self, run: Run) -> None:
        connection = self._session.connection
        try:
            outcome = await perform(self._access, run, lambda pid: show_running(connection, run.runid, pid))
            await end_run(connection, run.runid, is_success=outcome.is_success, message=outcome.message)
            RUNS.add(1, "succeeded" if outcome.is_success else "failed")
            observe.event(
                "cron_run_ended",
                level="debug" if outcome.is_success else "warning",
                job=run.jobname or run.jobid,
                runid=run.runid,
                succeeded=outcome.is_success,
            )
        except asyncio.CancelledError:
            reason = "job canceled" if run.runid in self._removed else "the worker was stopped"
            with contextlib.suppress(TimeoutError, psycopg.Error, OSError):
                async with asyncio.timeout(END_LIMIT_S):
                    await end_run(connection, run.runid, is_success=False, message=reason)
            raise
        finally:
            self._runs.pop(run.runid, None)
            self._removed.discard(run.runid)
            self._woken.set()  # there is a free place

    async def _cancel_removed(self) -> None:
        """Who removes or pauses a schedule ends its runs, as with pg_cron."""
        removed = await find_removed(self._session.connection, [run.jobid for run, _ in self._runs.values()])
        for runid, (run, task) in list(self._runs.items()):
            if run.jobid in removed and runid not in self._removed:
                self._removed.add(runid)
                task.cancel()

    async def _clean_up(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._clean_up_at:
            return
        self._clean_up_at = now + CLEAN_UP_INTERVAL_S * random.uniform(0.8, 1.2)  # noqa: S311  not all at once
        if self._cron.keep_runs_s:
            await purge_history(self._session.connection, keep_s=self._cron.keep_runs_s)
        await drop_idle_logins(self._session.connection)


def _seconds_to_next(board: Board) -> float:
    ticks = [job.next_tick for job in board.due if job.next_tick is not None]
    if not ticks:
        return POLL_S
    return min((min(ticks) - board.now).total_seconds() + MARGIN_S, POLL_S)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
