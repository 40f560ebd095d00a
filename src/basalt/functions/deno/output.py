"""What a function's process writes: lines for the log, and between them marks of `bootstrap.js` that tell whether it is
loaded and whose the next lines are."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from basalt import observe

MARK = "\x1e"
KEPT_LINES = 12
MAX_LINES_PER_S = 2000


@dataclass(frozen=True)
class Boot:
    """`rests` tells that the module left work behind when it had been loaded."""

    problem: str | None
    rests: bool = False


class Output:
    """Reads until the process has ended. `boot` is how it went; `log` gets request id and line, as does the server's
    log. A flood is cut, so that it drowns nobody."""

    def __init__(
        self, function: str, reader: asyncio.StreamReader, log: Callable[[str, str], None] | None
    ) -> None:
        self.boot: asyncio.Future[Boot] = asyncio.get_running_loop().create_future()
        self._function = function
        self._reader = reader
        self._log = log
        self._request_id = ""
        self._last: deque[str] = deque(maxlen=KEPT_LINES)
        self._since = asyncio.get_running_loop().time()
        self._count = 0
        self._task = asyncio.create_task(self._read())

    async def close(self) -> None:
        """What is still in the pipe is read, unless somebody else holds its other end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.shield(self._task)
        self._task.cancel()

    async def _read(self) -> None:
        while line := await _read_line(self._reader):
            self._take(line.decode("utf-8", "replace").rstrip("\n"))
        if not self.boot.done():
            self.boot.set_result(Boot("\n".join(self._last) or "its process ended while it was loaded"))

    def _take(self, line: str) -> None:
        text, is_marked, mark = line.partition(MARK)
        if text or not is_marked:
            self._write(text)
        kind, _, value = mark.partition(" ")
        match kind:
            case "request":
                self._request_id = value
            case "boot" if not self.boot.done():
                self.boot.set_result(Boot(**orjson.loads(value)))

    def _write(self, line: str) -> None:
        self._last.append(line)
        now = asyncio.get_running_loop().time()
        if now - self._since >= 1:
            if (cut := self._count - MAX_LINES_PER_S) > 0:
                observe.event("function_log_cut", level="warning", function=self._function, lines=cut)
            self._since, self._count = now, 0
        self._count += 1
        if self._count > MAX_LINES_PER_S:
            return
        tag: dict[str, Any] = {"request_id": self._request_id} if self._request_id else {}
        observe.event("function_log", function=self._function, line=line, **tag)
        if self._log is not None:
            self._log(self._request_id, line)


async def _read_line(reader: asyncio.StreamReader) -> bytes:
    """A line, or as much of a very long one as the buffer holds."""
    try:
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as end:
        return end.partial
    except asyncio.LimitOverrunError as overrun:
        return await reader.readexactly(max(1, overrun.consumed))
