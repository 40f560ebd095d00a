"""The gateway's end of the zygote: asks it for processes."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping

import msgspec

from basalt.functions.errors import FunctionError
from basalt.functions.frames import SWEEP, ZYGOTE_REPLY_BYTES, Progress
from basalt.functions.process import Process
from basalt.functions.runtime import WorkerConfig

STOP_LIMIT_S = 5.0
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "VIRTUAL_ENV", "SSL_CERT_FILE")


class Zygote:
    """Started at the first call of any function. `on_progress` is told how far jobs are."""

    def __init__(
        self, environ: Mapping[str, str], on_progress: Callable[[Progress], None] | None = None
    ) -> None:
        self._environ = {name: environ[name] for name in PASSED_ON if name in environ}
        self._on_progress = on_progress
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._busy = asyncio.Lock()

    async def fork(self, config: WorkerConfig, log: Callable[[str, str], None]) -> Process:
        """A new process for one function, loaded and ready. `log` gets its output, request id and line. Raises
        FunctionError BOOT_ERROR (503)."""
        ours, theirs = socket.socketpair()
        out_read, out_write = os.pipe()
        try:
            async with self._busy:
                number, handle = await asyncio.to_thread(
                    self._fork, msgspec.json.encode(config), theirs.fileno(), out_write
                )
        except BaseException:
            ours.close()
            os.close(out_read)
            raise
        finally:
            theirs.close()
            os.close(out_write)
        process = Process(number, handle, config, on_progress=self._on_progress, log=log)
        await process.connect(ours, out_read)
        return process

    def sweep(self) -> None:
        """Have it end what dead functions left behind."""
        if self._control is not None and not self._busy.locked():
            with contextlib.suppress(OSError):
                self._control.send(SWEEP, socket.MSG_DONTWAIT)

    def _fork(self, message: bytes, connection: int, output: int) -> tuple[int, int | None]:
        """Its number and a handle that means this process and no later one of the same number."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        assert self._control is not None
        try:
            socket.send_fds(self._control, [message], [connection, output])
            reply, handles, _, _ = socket.recv_fds(self._control, ZYGOTE_REPLY_BYTES, 1)
        except OSError as exc:
            raise _not_started() from exc
        if len(reply) != ZYGOTE_REPLY_BYTES:
            raise _not_started()
        return int.from_bytes(reply, "big"), handles[0] if handles else None

    def _start(self) -> None:
        if self._control is not None:
            self._control.close()
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
                await asyncio.to_thread(self._process.wait, STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                await asyncio.to_thread(self._process.wait)


def _not_started() -> FunctionError:
    return FunctionError("BOOT_ERROR", "The process of the function could not be started", status=503)
