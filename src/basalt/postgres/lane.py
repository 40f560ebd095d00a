"""One lane: a libpq connection in pipeline mode that carries many requests in order.

A request is written in one flush and ends with a sync; without `begin` everything up to that sync is one
implicit transaction. So `set_config(…, true)` lives as long as the request, and an error undoes and skips the
rest of this request and nothing else (PostgreSQL, "Pipeline Mode"). Results come back in the order of
sending: the job at the head of `jobs` is the one that PostgreSQL is working on.

Cancelling. PostgreSQL cancels whatever the connection happens to be running when the signal arrives, and by
then the abandoned statement may have ended and its neighbour begun. So a lane takes no new work while a
cancel request is out, every job behind the target is marked as exposed, and an exposed job that comes back as
cancelled is run again by the pool: its transaction was undone. When the outcome of a cancel request is
unknown, the lane retires.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Protocol

from psycopg import Error as LibpqError
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

from basalt.postgres import libpq_wait
from basalt.postgres.lane_job import COLLECT, DISCARD, Job, Query, Result, Step, encode_sql
from basalt.postgres.lane_statements import LaneStatements, Prepared
from basalt.postgres.postgres_error import build_postgres_error

BEGIN = {
    None: b"begin",
    "read committed": b"begin isolation level read committed",
    "repeatable read": b"begin isolation level repeatable read",
    "serializable": b"begin isolation level serializable",
}
TUPLES_OK = int(ExecStatus.TUPLES_OK)
COMMAND_OK = int(ExecStatus.COMMAND_OK)
EMPTY_QUERY = int(ExecStatus.EMPTY_QUERY)
PIPELINE_SYNC = int(ExecStatus.PIPELINE_SYNC)
PIPELINE_ABORTED = int(ExecStatus.PIPELINE_ABORTED)
FATAL_ERROR = int(ExecStatus.FATAL_ERROR)
IN_TRANSACTION = (TransactionStatus.INTRANS, TransactionStatus.INERROR)

CANCEL_TIMEOUT_S = 5.0
CANCEL_AGAIN_S = 0.25  # a signal that lands between two messages of a request is ignored by PostgreSQL


class LaneOwner(Protocol):
    def settle(self, job: Job, ran_s: float) -> None:
        """The job's last sync has arrived, `ran_s` after it had become the head."""

    def lane_progressed(self, lane: "Lane") -> None:
        """There may be room again."""

    def lane_lost(self, lane: "Lane", cause: Exception) -> None:
        """The connection is gone, and `lane.jobs` with it."""


class Lane:
    def __init__(self, conn: PGconn, owner: LaneOwner, *, statements: int) -> None:
        self._conn = conn
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._statements = LaneStatements(statements)
        self._socket = conn.socket
        self._is_writing = False
        self._cancel_task: asyncio.Task[None] | None = None
        self._cancel_again_at = 0.0
        self.jobs: deque[Job] = deque()
        self.is_shared = True  # takes requests of anybody; the pool clears it for own lanes
        self.is_reserved = False  # for the next request that wants a lane of its own
        self.is_retired = False
        self.is_lost = False
        self.idle_since = self._loop.time()
        conn.enter_pipeline_mode()
        self._loop.add_reader(self._socket, self.take_results)

    @property
    def backend_pid(self) -> int:
        return self._conn.backend_pid

    @property
    def statement_count(self) -> int:
        return len(self._statements)

    @property
    def is_cancelling(self) -> bool:
        return self._cancel_task is not None

    # Sending

    def submit(self, job: Job) -> None:
        """Write the whole request and its sync. Any failure ends the lane: half a request must not stay in
        it."""
        conn = self._conn
        jobs = self.jobs
        if not jobs:
            job.started_at = self._loop.time()
        try:
            if self._statements.has_closing:
                self._close_statements(job.steps)
            has_block = job.rollback or job.isolation is not None
            if has_block:
                conn.send_query_params(BEGIN[job.isolation], None)
                job.steps.append(DISCARD)
            for query in job.queries:
                self._send(query, job)
            if has_block and not job.rollback:
                conn.send_query_params(b"commit", None)
                job.steps.append(DISCARD)
            conn.pipeline_sync()
            if has_block:
                # after the sync: what follows an error is skipped up to there, and this must not be skipped
                # (after a commit it is nothing but a warning)
                conn.send_query_params(b"rollback", None)
                job.steps.append(DISCARD)
                conn.pipeline_sync()
            if conn.flush() and not self._is_writing:
                self._is_writing = True
                self._loop.add_writer(self._socket, self._on_writable)
            jobs.append(job)
        except Exception as exc:
            if isinstance(exc, LibpqError):
                jobs.append(job)
            else:  # a parameter that is not bytes: the caller's mistake is the caller's to see
                job.fail(exc)
            self.lose(exc)

    def _send(self, query: Query, job: Job) -> None:
        sql, params = query.sql, query.params
        conn = self._conn
        if query.prepare and not job.plain:
            key = (query.scope, sql)
            prepared = self._statements.find(key)
            if prepared is None:
                command = encode_sql(sql)
                prepared = self._statements.add(key)
                conn.send_prepare(prepared.name, command)
                job.steps.append(prepared)
                conn.send_query_prepared(prepared.name, params)
            elif prepared.is_confirmed:
                conn.send_query_prepared(prepared.name, params)
            else:
                conn.send_query_params(encode_sql(sql), params)
        else:
            conn.send_query_params(encode_sql(sql), params)
        job.steps.append(COLLECT)

    def _close_statements(self, steps: list[Step]) -> None:
        for name in self._statements.take_closing():
            self._conn.send_close_prepared(name)
            steps.append(DISCARD)

    def forget_statements(self) -> None:
        """The tables have changed: parse everything anew, with types inferred anew."""
        self._statements.drop_all()

    def _on_writable(self) -> None:
        try:
            if self._conn.flush() == 0:
                self._is_writing = False
                self._loop.remove_writer(self._socket)
        except LibpqError as exc:
            self.lose(exc)

    # Receiving

    def take_results(self) -> None:
        """Take what has arrived, if anything has."""
        conn = self._conn
        jobs = self.jobs
        try:
            conn.consume_input()
            while jobs and not conn.is_busy():
                raw = conn.get_result()
                job = jobs[0]
                if raw is None:
                    job.position += 1
                    if job.position > len(job.steps) + 1:  # one more than sent: an error at the sync
                        raise LibpqError("results without a statement")
                elif (status := raw.status) == TUPLES_OK or status == COMMAND_OK:
                    step = job.steps[job.position]
                    if step is COLLECT:
                        job.results.append(_read_result(raw))
                    elif step is not DISCARD:
                        step.is_confirmed = True  # type: ignore[union-attr]  # the hot path spares isinstance()
                elif status == PIPELINE_SYNC:
                    job.syncs -= 1
                    if not job.syncs:
                        self._finish_head()
                else:
                    self._take_failure(job, status, raw)
            while conn.notifies():  # a routine may `listen`; nobody reads it, libpq would keep it
                pass
        except LibpqError as exc:
            self.lose(exc)
            return
        self._owner.lane_progressed(self)

    def _take_failure(self, job: Job, status: int, raw: PGresult) -> None:
        # A deferred constraint fails at the sync, after the last step.
        step = job.steps[job.position] if job.position < len(job.steps) else DISCARD
        if isinstance(step, Prepared):
            self._statements.drop(step)
        if status == PIPELINE_ABORTED:
            return
        if status == EMPTY_QUERY:
            job.results.append(Result([], ""))
        elif status != FATAL_ERROR:
            raise LibpqError(f"unexpected result in a pipeline: {ExecStatus(status).name}")  # copy
        elif job.error is None:
            job.error = build_postgres_error(raw)
            if job.error.is_fatal:
                raise LibpqError(job.error.message)
            if job.error.is_stale_statement and not job.plain:
                self._statements.drop_all()

    def _finish_head(self) -> None:
        jobs = self.jobs
        job = jobs.popleft()
        now = self._loop.time()
        if jobs:
            jobs[0].started_at = now
        else:
            self.idle_since = now
            if self._conn.transaction_status in IN_TRANSACTION:
                # Somebody sent `begin` through: whatever comes next must not run inside of it.
                self.is_shared = False
                self._owner.settle(job, now - job.started_at)
                raise LibpqError("a request left its transaction open")
        self._owner.settle(job, now - job.started_at)

    # Cancelling and ending

    def cancel_head(self) -> None:
        """Cancel what is running, for the sake of the job at the head, which nobody waits for any more."""
        if self._cancel_task is None and self._loop.time() >= self._cancel_again_at:
            for neighbour in list(self.jobs)[1:]:
                neighbour.exposed = True
            self._cancel_task = self._loop.create_task(self._cancel_running())

    async def cancel_all(self) -> None:
        """Before the connection is closed: PostgreSQL would go on with a statement that nobody can hear
        of."""
        if self.jobs and not self.is_lost:
            with suppress(LibpqError, TimeoutError):
                await libpq_wait.cancel(self._conn, timeout_s=CANCEL_TIMEOUT_S)

    async def _cancel_running(self) -> None:
        try:
            await libpq_wait.cancel(self._conn, timeout_s=CANCEL_TIMEOUT_S)
        except (LibpqError, TimeoutError):
            self.is_retired = True  # it may still arrive: nothing new may run here
        finally:
            self._cancel_task = None
        self._cancel_again_at = self._loop.time() + CANCEL_AGAIN_S
        if not self.is_lost:
            self._owner.lane_progressed(self)

    def lose(self, cause: Exception) -> None:
        """The connection broke or is of no use: close it and let the owner answer for the jobs."""
        if not self.is_lost:
            self.close()
            self._owner.lane_lost(self, cause)

    def close(self) -> None:
        if self.is_lost:
            return
        self.is_lost = True
        self.is_shared = False
        if self._cancel_task is not None:
            self._cancel_task.cancel()
        self._loop.remove_reader(self._socket)
        if self._is_writing:
            self._loop.remove_writer(self._socket)
        self._conn.finish()


def _read_result(raw: PGresult) -> Result:
    get_value = raw.get_value
    columns = range(raw.nfields)
    return Result(
        [tuple([get_value(row, column) for column in columns]) for row in range(raw.ntuples)],
        (raw.command_status or b"").decode(),
    )
