"""What Storage is set against: a bare ASGI application on uvicorn that serves and takes files,
`python -m bench.storage_reference FOLDER PORT`.

It does as little as can be done: no rights, no database, no checksum, nothing synced. uvicorn runs as Basalt's
gateway runs it (uvloop, httptools, no access log).
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import uvicorn

Message = MutableMapping[str, Any]
BLOCK_BYTES = 256 * 1024


def build_app(
    folder: Path,
) -> Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]:
    async def app(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            return
        path = folder / scope["path"].rpartition("/")[2]
        if scope["method"] == "GET":
            await _serve(path, send)
        else:
            await _take(path, receive)
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})

    return app


async def _serve(path: Path, send: Callable[[Message], Awaitable[None]]) -> None:
    with path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size
        head = [(b"content-length", b"%d" % left), (b"content-type", b"application/octet-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        if left <= BLOCK_BYTES:
            await send({"type": "http.response.body", "body": file.read()})
            return
        while left:
            block = await asyncio.to_thread(file.read, BLOCK_BYTES)
            left -= len(block)
            await send({"type": "http.response.body", "body": block, "more_body": left > 0})


async def _take(path: Path, receive: Callable[[], Awaitable[Message]]) -> None:
    with path.open("wb") as file:
        waiting: list[bytes] = []
        more = True
        while more:
            message = await receive()
            waiting.append(message.get("body", b""))
            more = message.get("more_body", False)
            if not more or sum(map(len, waiting)) >= BLOCK_BYTES:
                await asyncio.to_thread(file.write, b"".join(waiting))
                waiting.clear()


if __name__ == "__main__":
    uvicorn.run(
        build_app(Path(sys.argv[1])),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
