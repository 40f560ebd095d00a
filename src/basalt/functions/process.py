"""The gateway's end of a function's process: its calls, its output, its death."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from contextvars import Context
from pathlib import Path

from basalt import observe
from basalt.functions.answer_body import AnswerBody
from basalt.functions.answers import CANCELLED
from basalt.functions.errors import FunctionError
from basalt.functions.frames import (
    Answer,
    CacheReads,
    Call,
    Cancel,
    Channel,
    Chunk,
    Credit,
    End,
    Failure,
    Head,
    Progress,
    Ready,
    Settled,
    ToGateway,
    to_gateway,
)
from basalt.functions.function_process import FunctionAnswer
from basalt.functions.process_output import follow_output
from basalt.functions.runtime import WorkerConfig

BOOT_LIMIT_S = 20.0
CANCEL_GRACE_S = 1.0
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

CACHE_READS = observe.Counter("basalt_cache_reads_total", "Reads of functions and jobs.", ["result"])


class Process:
    """One process of one function. `handle` is a pidfd where the system has them. `on_progress` is told how far jobs
    are, `log` gets the output: request id and line."""

    def __init__(
        self,
        pid: int,
        handle: int | None,
        config: WorkerConfig,
        *,
        on_progress: Callable[[Progress], None] | None,
        log: Callable[[str, str], None],
    ) -> None:
        self.pid = pid
        self.is_lost = False
        self.idle_since = asyncio.get_running_loop().time()
        self._name = config.name
        self._total_timeout_s = config.total_timeout_s
        self._handle = handle
        self._on_progress = on_progress
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._calls: dict[int, _Pending] = {}
        self._last_id = 0
        self._ready: asyncio.Future[str | None] = self._loop.create_future()
        self._output: asyncio.Task[None] | None = None

    @property
    def in_flight(self) -> int:
        return len(self._calls)

    @property
    def rss_mb(self) -> float:
        """Resident memory; 0 where /proc does not tell."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE_BYTES / 1024 / 1024
        except (OSError, IndexError):
            return 0.0

    async def connect(self, connection: socket.socket, output: int) -> None:
        """Wait until the function is loaded. Raises FunctionError BOOT_ERROR (503) with file and line."""
        self._channel: Channel[ToGateway] = Channel(to_gateway, self._take, self._lose)
        connection.setblocking(False)
        # What the process says later has nothing to do with the request that happened to start it.
        nobody = Context()
        opening = self._loop.create_connection(lambda: self._channel, sock=connection)
        await self._loop.create_task(opening, context=nobody)
        self._output = self._loop.create_task(follow_output(output, self._name, self._log), context=nobody)
        try:
            async with asyncio.timeout(BOOT_LIMIT_S):
                problem = await self._ready
        except TimeoutError:
            problem = f"{self._name} did not load within {BOOT_LIMIT_S:.0f} seconds"
        except BaseException:
            await self.close()
            raise
        if problem is not None:
            observe.event("function_boot_failed", level="error", function=self._name, problem=problem)
            await self.close()
            raise FunctionError("BOOT_ERROR", f"The function cannot be loaded: {problem}", status=503)

    async def call(self, call: Call, *, timeout_s: float) -> FunctionAnswer | Failure:
        """Raises FunctionError FUNCTION_TIMEOUT (504) and FUNCTION_CRASHED (502)."""
        if self.is_lost:
            raise _crashed(self._name)
        self._last_id += 1
        number = call.id = self._last_id
        pending = _Pending(self._loop, call.request_id)
        self._calls[number] = pending
        timer = self._loop.call_later(timeout_s, self._time_out, number, timeout_s)
        try:
            self._channel.send(call)
            return await pending.answer
        except asyncio.CancelledError:
            self._give_up(number)
            raise
        finally:
            timer.cancel()

    # What the process says

    def _take(self, frame: ToGateway) -> None:
        if isinstance(frame, Ready):
            if not self._ready.done():
                self._ready.set_result(frame.problem)
            return
        if isinstance(frame, CacheReads):
            CACHE_READS.add(frame.hits, "hit")
            CACHE_READS.add(frame.misses, "miss")
            return
        if isinstance(frame, Progress):
            if self._on_progress is not None:
                self._on_progress(frame)
            return
        pending = self._calls.get(frame.id)
        if pending is None:
            return
        if isinstance(frame, Answer):
            pending.tell(FunctionAnswer(frame.status, frame.headers, frame.body))
            self._end(frame.id, pending, is_open=frame.is_open)
        elif isinstance(frame, Failure):
            if pending.body is not None:
                pending.body.fail(self._broken_off(frame, pending))
            pending.tell(frame)
            self._end(frame.id, pending, is_open=frame.is_open)
        elif isinstance(frame, Head):
            pending.body = AnswerBody(
                lambda size: self._channel.send(Credit(frame.id, size)), lambda: self._give_up(frame.id)
            )
            pending.tell(FunctionAnswer(frame.status, frame.headers, pending.body))
            self._limit(frame.id, pending)
        elif isinstance(frame, Chunk):
            if pending.body is not None:
                pending.body.feed(frame.body)
        elif isinstance(frame, End):
            if pending.body is not None:
                pending.body.finish()
            self._end(frame.id, pending, is_open=frame.is_open)
        elif isinstance(frame, Settled):
            self._end(frame.id, pending, is_open=False)

    def _end(self, number: int, pending: "_Pending", *, is_open: bool) -> None:
        """The answer is complete. Work behind it keeps the call in flight, for as long as it may."""
        if is_open:
            self._limit(number, pending)
            if pending.given_up is not None and not pending.gives_up_everything:
                pending.given_up.cancel()
                pending.given_up = None
            return
        del self._calls[number]
        pending.cancel_timers()
        self.idle_since = self._loop.time()

    def _limit(self, number: int, pending: "_Pending") -> None:
        if pending.limit is None:
            pending.limit = self._loop.call_at(
                pending.started_at + self._total_timeout_s, self._exceed_total, number
            )

    # What goes wrong

    def _time_out(self, number: int, timeout_s: float) -> None:
        pending = self._calls.get(number)
        if pending is not None and not pending.answer.done():
            pending.answer.set_exception(
                FunctionError(
                    "FUNCTION_TIMEOUT",
                    f"{self._name} did not answer within {timeout_s:g} seconds",
                    status=504,
                )
            )
            self._give_up(number)

    def _exceed_total(self, number: int) -> None:
        pending = self._calls.get(number)
        if pending is None:
            return
        limit_s = self._total_timeout_s
        observe.event("function_overran", level="warning", function=self._name, limit_s=limit_s)
        if pending.body is not None:
            pending.body.fail(
                FunctionError("FUNCTION_TIMEOUT", f"{self._name} took over {limit_s:g} seconds", status=504)
            )
        self._give_up(number, everything=True)

    def _give_up(self, number: int, *, everything: bool = False) -> None:
        """Cancel the handler; a process that does not even listen to that is killed."""
        pending = self._calls.get(number)
        if self.is_lost or pending is None or (pending.given_up is not None and not everything):
            return
        if pending.given_up is not None:
            pending.given_up.cancel()
        pending.gives_up_everything = everything
        self._channel.send(Cancel(number, everything))
        pending.given_up = self._loop.call_later(CANCEL_GRACE_S, self._enforce)

    def _enforce(self) -> None:
        observe.event("function_killed", level="warning", function=self._name, pid=self.pid)
        self._log("", "the process did not let itself be cancelled and was killed")
        self.kill()

    def _lose(self) -> None:
        """The socket is closed, by whatever: a process without it is of no use."""
        if not self._ready.done():
            self._ready.set_result(f"{self._name} ended while it was loaded")
        self.kill()

    def kill(self) -> None:
        """At once, with all that it forked and that did not leave its session; calls in flight end as crashed."""
        if self.is_lost:
            return
        self.is_lost = True
        self._signal()
        for pending in self._calls.values():
            pending.crash(self._name)
        self._calls.clear()
        self._channel.close()

    def _signal(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._handle is None:
                os.kill(self.pid, signal.SIGKILL)
            else:
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        # The group outlives its leader as long as it has members, and its number is not given out meanwhile.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _broken_off(self, failure: Failure, pending: "_Pending") -> FunctionError:
        if failure.trace is not None and failure.code != CANCELLED:
            self._log(pending.request_id, failure.trace)
            observe.event(
                "function_crashed",
                level="error",
                request_id=pending.request_id,
                function=self._name,
                traceback=failure.trace,
            )
        return FunctionError(failure.code, failure.message, status=failure.status)

    async def close(self) -> None:
        """Let it end; what still runs in it is given up."""
        if self._calls:
            self.kill()
        else:
            self.is_lost = True
            self._channel.close()
        if self._output is not None:
            await self._end_output(self._output)
        if self._handle is not None:
            self._signal()
            os.close(self._handle)
            self._handle = None

    async def _end_output(self, output: "asyncio.Task[None]") -> None:
        """Its last words; not those of a child that keeps the pipe."""
        await asyncio.wait([output], timeout=CANCEL_GRACE_S)
        output.cancel()
        await asyncio.gather(output, return_exceptions=True)


class _Pending:
    """A call whose answer, or what goes on behind it, has not ended."""

    __slots__ = ("answer", "body", "given_up", "gives_up_everything", "limit", "request_id", "started_at")

    def __init__(self, loop: asyncio.AbstractEventLoop, request_id: str) -> None:
        self.request_id = request_id
        self.started_at = loop.time()
        self.answer: asyncio.Future[FunctionAnswer | Failure] = loop.create_future()
        self.body: AnswerBody | None = None
        self.limit: asyncio.TimerHandle | None = None
        self.given_up: asyncio.TimerHandle | None = None
        self.gives_up_everything = False

    def tell(self, answer: FunctionAnswer | Failure) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def crash(self, name: str) -> None:
        self.cancel_timers()
        if self.body is not None:
            self.body.fail(_crashed(name))
        if not self.answer.done():
            self.answer.set_exception(_crashed(name))
            self.answer.exception()  # the one who waits gets it; nobody waiting is no mistake

    def cancel_timers(self) -> None:
        for timer in (self.limit, self.given_up):
            if timer is not None:
                timer.cancel()


def _crashed(name: str) -> FunctionError:
    return FunctionError("FUNCTION_CRASHED", f"The process of {name} ended before it answered", status=502)
