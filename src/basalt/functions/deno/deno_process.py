"""One `deno` process of one function, as the pool sees it: calls, their answers, what goes on behind them, its end."""

import asyncio
import contextlib
import itertools
import os
import shutil
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path

from basalt import observe
from basalt.functions.deno.exchange import Connections, Exchange
from basalt.functions.deno.launch import Launch
from basalt.functions.deno.messages import (
    control_request,
    is_short,
    read_failure,
    render_call,
    select_headers,
    work_goes_on,
)
from basalt.functions.deno.output import Output
from basalt.functions.deno.streamed_body import StreamedBody
from basalt.functions.errors import FunctionError
from basalt.functions.frames import Call, Failure
from basalt.functions.function_process import FunctionAnswer

BOOT_LIMIT_S = 60.0  # the first start may have packages to fetch
ALIVE_WITHIN_S = 1.0
END_LIMIT_S = 1.0
EXIT_NOTICED_S = 0.5
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
OUTSIDE_OF_CALLS = 0


class DenoProcess:
    """Follows `FunctionProcess`. A handler cannot be cancelled from outside as Python's can: its request's signal is
    aborted, and if it goes on it is left alone as long as other calls are in the process."""

    def __init__(
        self,
        launch: Launch,
        child: asyncio.subprocess.Process,
        log: Callable[[str, str], None] | None,
    ) -> None:
        assert child.stdout is not None
        self._function = launch.function
        self._child = child
        self._folder = launch.folder
        self._connections = Connections(launch.socket)
        self._output = Output(launch.function.name, child.stdout, log)
        self._numbers = itertools.count(OUTSIDE_OF_CALLS + 1)
        self._busy = 0
        self._stuck = 0
        self._is_lost = False
        self._tasks = {asyncio.create_task(self._watch())}
        self.idle_since = asyncio.get_running_loop().time()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def is_lost(self) -> bool:
        return self._is_lost

    @property
    def in_flight(self) -> int:
        return self._busy + self._stuck

    @property
    def rss_mb(self) -> float:
        """Resident memory; 0 where /proc does not tell."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE_BYTES / 1024 / 1024
        except (OSError, IndexError):
            return 0.0

    async def boot(self) -> None:
        """Wait until it is loaded. Raises FunctionError BOOT_ERROR (503)."""
        try:
            async with asyncio.timeout(BOOT_LIMIT_S):
                boot = await self._output.boot
        except TimeoutError:
            problem: str | None = f"{self._function.name} did not load within {BOOT_LIMIT_S:.0f} seconds"
        else:
            problem = boot.problem
            if boot.rests:
                self._spawn(self._rest(OUTSIDE_OF_CALLS))
        if problem is not None:
            problem = problem.replace(f"{self._function.functions_dir.as_uri()}/", "")
            observe.event(
                "function_boot_failed", level="error", function=self._function.name, problem=problem
            )
            raise boot_error(self._function.name, problem)

    # Calls

    async def call(self, call: Call, *, timeout_s: float) -> FunctionAnswer | Failure:
        number = next(self._numbers)
        self._busy += 1
        is_open = False
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._exchange(call, number)
            is_open = isinstance(answer, FunctionAnswer) and not isinstance(answer.body, bytes)
            return answer
        except TimeoutError:
            self._abandon(number, ALIVE_WITHIN_S)
            text = f"{self._function.name} did not answer within {timeout_s:g} seconds"
            raise FunctionError("FUNCTION_TIMEOUT", text, status=504) from None
        except asyncio.CancelledError:
            self._abandon(number, timeout_s)
            raise
        except OSError as exc:
            is_over = await self._ends_soon()
            name = self._function.name
            text = (
                f"The process of {name} ended before it answered"
                if is_over
                else f"{name} broke off its answer"
            )
            raise FunctionError("FUNCTION_CRASHED", text, status=502) from exc
        finally:
            if not is_open:
                self._settle()

    async def _exchange(self, call: Call, number: int) -> FunctionAnswer | Failure:
        deadline = asyncio.get_running_loop().time() + self._function.total_timeout_s
        connection = await self._connections.take()
        is_open = False
        try:
            await connection.head(render_call(call, number), is_head=call.method == "HEAD")
            headers = connection.headers
            if work_goes_on(headers):
                self._spawn(self._rest(number))
            is_open = not is_short(connection)
            body = b"" if is_open else await connection.read_all()
            if (failure := read_failure(call, headers, body)) is not None:
                return failure
            chosen = select_headers(headers, keep_length=is_open or call.method == "HEAD")
            if not is_open:
                return FunctionAnswer(connection.status, chosen, body)
            on_end = partial(self._end_stream, connection, number)
            streamed = StreamedBody(self._function.name, connection, deadline, on_end)
            return FunctionAnswer(connection.status, chosen, streamed)
        finally:
            if not is_open:
                self._connections.give_back(connection)

    def _end_stream(self, connection: Exchange, number: int) -> None:
        """A body has come to its end, or nobody wants the rest."""
        if connection.is_complete:
            self._spawn(self._rest(number))
        else:
            self._abandon(number, ALIVE_WITHIN_S)
        self._connections.give_back(connection)
        self._settle()

    def _settle(self) -> None:
        """One thing less is going on. Handlers that nobody can stop end with the process, when they are alone in it."""
        self._busy -= 1
        self.idle_since = asyncio.get_running_loop().time()
        self._end_the_stuck()

    def _end_the_stuck(self) -> None:
        if self._stuck and not self._busy and not self._is_lost:
            observe.event("function_killed", level="warning", function=self._function.name, pid=self.pid)
            self.kill()

    # What goes on without a caller

    def _abandon(self, number: int, patience_s: float) -> None:
        if not self._is_lost:
            self._spawn(self._cancel(number, patience_s))

    async def _rest(self, number: int) -> None:
        """What a call left behind, until it has ended."""
        try:
            async with asyncio.timeout(self._function.total_timeout_s):
                await self._control(f"/rest/{number}")
        except TimeoutError:
            self._stuck += 1
        except OSError:
            pass  # it is gone with the process
        finally:
            self._settle()

    async def _cancel(self, number: int, patience_s: float) -> None:
        """Abort a call's signal. A process that does not take note within a second is in an endless loop and is killed;
        a handler that is still at it after `patience_s` is stuck."""
        connection: Exchange | None = None
        is_stuck = False
        try:
            async with asyncio.timeout(ALIVE_WITHIN_S):
                connection = await self._connections.take()
                await connection.head(control_request(f"/cancel/{number}"), is_head=False)
        except TimeoutError:
            observe.event("function_killed", level="warning", function=self._function.name, pid=self.pid)
            self.kill()
        except OSError:
            pass
        else:
            is_stuck = not await _ends_within(connection, patience_s)
        finally:
            self._stuck += is_stuck
            self._settle()
        if connection is not None:
            if is_stuck:
                await _ends_within(connection, self._function.total_timeout_s)
                self._stuck -= 1
            self._connections.give_back(connection)

    async def _control(self, path: str) -> None:
        connection = await self._connections.take()
        try:
            await connection.head(control_request(path), is_head=False)
            await connection.read_all()
        finally:
            self._connections.give_back(connection)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        """It is in flight from now on, and settles itself."""
        self._busy += 1
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Its end

    async def _watch(self) -> None:
        await self._child.wait()
        self._is_lost = True
        self._connections.close()
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _ends_soon(self) -> bool:
        """A connection that is cut means the end of the process, or of one answer only."""
        try:
            async with asyncio.timeout(EXIT_NOTICED_S):
                await self._child.wait()
        except TimeoutError:
            return False
        self._is_lost = True
        return True

    def kill(self) -> None:
        """At once; calls in flight end as crashed."""
        self._is_lost = True
        if self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()

    async def close(self) -> None:
        """The end of its standard input is the end of the process."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        try:
            async with asyncio.timeout(END_LIMIT_S):
                await self._child.wait()
        except TimeoutError:
            self.kill()
            await self._child.wait()
        await self._output.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._connections.close()
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)


async def _ends_within(connection: Exchange, limit_s: float) -> bool:
    try:
        async with asyncio.timeout(limit_s):
            await connection.read_all()
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def boot_error(name: str, problem: str) -> FunctionError:
    return FunctionError("BOOT_ERROR", f"{name} cannot be loaded: {problem}", status=503)
