"""The gateway's end of function processes: the zygote that makes them, and a `Process` for each."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from basalt import observe
from basalt.functions.errors import FunctionError
from basalt.functions.frames import (
    Answer,
    Call,
    Cancel,
    Failure,
    Ready,
    encode,
    read_for_gateway,
)
from basalt.functions.worker import WorkerConfig, read_tagged
from basalt.functions.zygote import REPLY_BYTES

BOOT_LIMIT_S = 20.0
CANCEL_GRACE_S = 1.0
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "VIRTUAL_ENV", "SSL_CERT_FILE")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Zygote:
    """Started at the first call of any function."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = {name: environ[name] for name in PASSED_ON if name in environ}
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._busy = asyncio.Lock()

    async def fork(self, config: WorkerConfig) -> "Process":
        """A new process for one function, loaded and ready. Raises FunctionError BOOT_ERROR (503)."""
        ours, theirs = socket.socketpair()
        out_read, out_write = os.pipe()
        try:
            async with self._busy:
                pid = await asyncio.to_thread(
                    self._fork, msgspec.json.encode(config), theirs.fileno(), out_write
                )
        finally:
            theirs.close()
            os.close(out_write)
        process = Process(pid, config)
        await process.connect(ours, out_read)
        return process

    def _fork(self, message: bytes, connection: int, output: int) -> int:
        if self._process is None or self._process.poll() is not None:
            self._start()
        assert self._control is not None
        socket.send_fds(self._control, [message], [connection, output])
        reply = self._control.recv(REPLY_BYTES, socket.MSG_WAITALL)
        if len(reply) != REPLY_BYTES:
            raise FunctionError("BOOT_ERROR", "The process of the function could not be started", status=503)
        return int.from_bytes(reply, "big")

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "basalt.functions.zygote", str(theirs.fileno())]
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=self._environ,
                start_new_session=True,
            )
        self._control = ours

    async def close(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            try:
                await asyncio.to_thread(self._process.wait, 5)
            except subprocess.TimeoutExpired:
                self._process.kill()


class Process:
    """One process of one function. `lost` is set when it is gone, however it went."""

    def __init__(self, pid: int, config: WorkerConfig) -> None:
        self.pid = pid
        self.config = config
        self.is_lost = False
        self._calls: dict[int, asyncio.Future[Answer | Failure]] = {}
        self._last_id = 0
        self._tasks: list[asyncio.Task[None]] = []
        self.idle_since = asyncio.get_running_loop().time()

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
        self._reader, self._writer = await asyncio.open_connection(sock=connection)
        self._tasks.append(asyncio.create_task(self._log_output(output)))
        try:
            async with asyncio.timeout(BOOT_LIMIT_S):
                first = await read_for_gateway(self._reader)
        except TimeoutError:
            self.kill()
            self._writer.close()
            raise FunctionError(
                "BOOT_ERROR", f"{self.config.name} did not load within {BOOT_LIMIT_S:.0f} seconds", status=503
            ) from None
        if not isinstance(first, Ready) or first.problem is not None:
            problem = (
                first.problem if isinstance(first, Ready) else f"{self.config.name} ended while it was loaded"
            )
            observe.event("function_boot_failed", level="error", function=self.config.name, problem=problem)
            self.kill()
            self._writer.close()
            raise FunctionError("BOOT_ERROR", f"The function cannot be loaded: {problem}", status=503)
        self._tasks.append(asyncio.create_task(self._receive()))

    async def call(self, call: Call, *, timeout_s: float) -> Answer | Failure:
        """Raises FunctionError FUNCTION_TIMEOUT (504) and FUNCTION_CRASHED (502)."""
        self._last_id += 1
        call.id = self._last_id
        future: asyncio.Future[Answer | Failure] = asyncio.get_running_loop().create_future()
        self._calls[call.id] = future
        try:
            self._writer.write(encode(call))
            async with asyncio.timeout(timeout_s):
                await self._writer.drain()
                return await future
        except TimeoutError:
            self._give_up(call.id)
            raise FunctionError(
                "FUNCTION_TIMEOUT",
                f"{self.config.name} did not answer within {timeout_s:g} seconds",
                status=504,
            ) from None
        except ConnectionError as exc:
            raise _crashed(self.config.name) from exc
        except asyncio.CancelledError:
            self._give_up(call.id)
            raise
        finally:
            self._calls.pop(call.id, None)
            self.idle_since = asyncio.get_running_loop().time()

    def _give_up(self, number: int) -> None:
        """Cancel the handler; a process that does not even listen to that is killed."""
        if self.is_lost:
            return
        ended: asyncio.Future[Answer | Failure] = asyncio.get_running_loop().create_future()
        self._calls[-number] = ended
        self._writer.write(encode(Cancel(number)))
        self._tasks.append(asyncio.create_task(self._enforce(number, ended)))

    async def _enforce(self, number: int, ended: "asyncio.Future[Answer | Failure]") -> None:
        try:
            async with asyncio.timeout(CANCEL_GRACE_S):
                await ended
        except TimeoutError:
            observe.event("function_killed", level="warning", function=self.config.name, pid=self.pid)
            self.kill()
        except FunctionError:
            pass
        finally:
            self._calls.pop(-number, None)

    async def _receive(self) -> None:
        while (frame := await read_for_gateway(self._reader)) is not None:
            if isinstance(frame, Ready):
                continue
            future = self._calls.get(frame.id) or self._calls.get(-frame.id)
            if future is not None and not future.done():
                future.set_result(frame)
        self.is_lost = True
        for future in self._calls.values():
            if not future.done():
                future.set_exception(_crashed(self.config.name))
                future.exception()  # the one who waits gets it; nobody waiting is no mistake
        self._writer.close()

    async def _log_output(self, output: int) -> None:
        reader = asyncio.StreamReader()
        pipe = os.fdopen(output, "rb", buffering=0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            while line := await _read_line(reader):
                text = read_tagged(line.decode("utf-8", "replace").rstrip("\n"))
                observe.event("function_log", function=self.config.name, **text)
        finally:
            transport.close()  # and with it the pipe; closed by us first, its number would be given out again too early

    def kill(self) -> None:
        """At once; calls in flight end as crashed. Only while it is ours: its number may be somebody else's later."""
        if self.is_lost:
            return
        self.is_lost = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    async def close(self) -> None:
        """The process ends when its socket does."""
        self._writer.close()
        await asyncio.sleep(0)
        if self.in_flight:
            self.kill()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _read_line(reader: asyncio.StreamReader) -> bytes:
    """A line, or as much of a very long one as the buffer holds."""
    try:
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as end:
        return end.partial
    except asyncio.LimitOverrunError as overrun:
        return await reader.readexactly(overrun.consumed)


def _crashed(name: str) -> FunctionError:
    return FunctionError("FUNCTION_CRASHED", f"The process of {name} ended before it answered", status=502)
