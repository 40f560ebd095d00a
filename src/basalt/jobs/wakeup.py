"""How workers learn that something happened: notifications, wanted or not.

`basalt.wake_workers()` notifies while some session holds an advisory lock in shared mode. The lock is in memory and
goes with its session, so that a dead worker wants nothing. Where notifications do not arrive (behind a transaction
pooler), polling finds the jobs.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from psycopg import Error as LibpqError
from psycopg import OperationalError
from psycopg.conninfo import make_conninfo
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn

from basalt import observe
from basalt.jobs.database import Pauses
from basalt.postgres import connect

CONNECT_LIMIT_S = 10.0
ANSWER_LIMIT_S = 5.0
STEADY_S = 30.0

LISTEN: Final = b"listen basalt_jobs"
WANT: Final = b"select pg_advisory_lock_shared(1650553711, 1)"
WANT_NOT: Final = b"select pg_advisory_unlock_shared(1650553711, 1)"


class Wakeup:
    """`on_jobs` is called when jobs may be ready, `on_schedule` when some will be within a second, `on_cancel` with
    the id of a job that is to be cancelled, `on_gap` when something may have been missed."""

    def __init__(
        self,
        conninfo: str,
        on_jobs: Callable[[], None],
        on_schedule: Callable[[], None],
        on_cancel: Callable[[int], None],
        on_gap: Callable[[], None],
    ) -> None:
        self._conninfo = make_conninfo(conninfo, application_name="basalt/jobs-listener")
        self._on_jobs = on_jobs
        self._on_schedule = on_schedule
        self._on_cancel = on_cancel
        self._on_gap = on_gap
        self._connection: _Connection | None = None
        self._is_wanted = False

    async def run(self) -> None:
        """For ever: listen, and again when the connection ended."""
        pauses = Pauses()
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                await self._listen()
            except (LibpqError, OSError) as error:  # TimeoutError is an OSError
                observe.event("jobs_listener_lost", level="warning", reason=str(error).strip())
            if loop.time() - started > STEADY_S:
                pauses = Pauses()
            await pauses.wait()

    async def want(self, *, wanted: bool) -> bool:
        """Ask for notifications of new jobs, or for none. Whether that is news, so that a last look is due."""
        connection = self._connection
        if connection is None or wanted == self._is_wanted:
            return False
        self._is_wanted = wanted
        with contextlib.suppress(LibpqError, OSError):  # `run` sees it too
            await connection.execute(WANT if wanted else WANT_NOT)
        return wanted

    async def _listen(self) -> None:
        connection = _Connection(await connect(self._conninfo, timeout_s=CONNECT_LIMIT_S), self._hear)
        try:
            await connection.execute(LISTEN)
            self._is_wanted = False
            self._connection = connection
            self._on_gap()
            await connection.ended
        finally:
            self._connection = None
            connection.close()

    def _hear(self, payload: bytes) -> None:
        if payload.isdigit():
            self._on_cancel(int(payload))
        elif payload == b"scheduled":
            self._on_schedule()
        else:
            self._on_jobs()


class _Connection:
    """A libpq connection that is read as soon as something comes, one statement at a time."""

    def __init__(self, conn: PGconn, hear: Callable[[bytes], None]) -> None:
        self._conn = conn
        self._hear = hear
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[None] | None = None
        self._turn = asyncio.Lock()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._fileno = conn.socket
        self._loop.add_reader(self._fileno, self._read)

    async def execute(self, statement: bytes) -> None:
        """Raises psycopg.Error or TimeoutError."""
        async with self._turn:
            if self.ended.done():
                raise OperationalError("the connection has ended")
            self._answer = self._loop.create_future()
            self._conn.send_query(statement)
            self._conn.flush()  # a few bytes, which fit into the socket's buffer
            async with asyncio.timeout(ANSWER_LIMIT_S):
                await self._answer

    def close(self) -> None:
        self._loop.remove_reader(self._fileno)
        if not self.ended.done():
            self.ended.cancel()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(OperationalError("the connection has ended"))
            self._answer.exception()  # nobody may be waiting
        self._conn.finish()

    def _read(self) -> None:
        try:
            self._conn.consume_input()
            while notification := self._conn.notifies():
                self._hear(notification.extra)
            if self._answer is not None and not self._conn.is_busy():
                self._take_answer()
        except LibpqError as error:
            self._loop.remove_reader(self._fileno)
            if not self.ended.done():
                self.ended.set_exception(error)

    def _take_answer(self) -> None:
        assert self._answer is not None
        problem = ""
        while (result := self._conn.get_result()) is not None:
            if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
                problem = result.error_message.decode("utf-8", "replace")
        answer, self._answer = self._answer, None
        if answer.done():
            return
        if problem:
            answer.set_exception(OperationalError(problem))
        else:
            answer.set_result(None)
