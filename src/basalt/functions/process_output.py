"""What a function prints, line by line, into the log; a flood is cut, so that it drowns nobody."""

import asyncio
import os
from collections.abc import Callable
from typing import Any

from basalt import observe
from basalt.functions.output import read_tagged

MAX_LINE_BYTES = 16 * 1024
MAX_LINES_PER_S = 2000


async def follow_output(descriptor: int, function: str, log: Callable[[str, str], None]) -> None:
    """Until the pipe ends. `log` gets request id and line, as does the server's log."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    pipe = os.fdopen(descriptor, "rb", buffering=0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    since, count = loop.time(), 0
    try:
        while line := await _read_line(reader):
            if loop.time() - since >= 1:
                if count > MAX_LINES_PER_S:
                    observe.event(
                        "function_log_cut", level="warning", function=function, lines=count - MAX_LINES_PER_S
                    )
                since, count = loop.time(), 0
            count += 1
            if count <= MAX_LINES_PER_S:
                request_id, text = read_tagged(line.decode("utf-8", "replace").rstrip("\r\n"))
                tag: dict[str, Any] = {} if request_id is None else {"request_id": request_id}
                observe.event("function_log", function=function, line=text, **tag)
                log(request_id or "", text)
    finally:
        transport.close()  # and with it the pipe; closed by us first, its number would be given out again too early


async def _read_line(reader: asyncio.StreamReader) -> bytes:
    """A line, or as much of a very long one as the buffer holds."""
    try:
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as end:
        return end.partial
    except asyncio.LimitOverrunError as overrun:
        return await reader.readexactly(max(1, overrun.consumed))
