"""What the server library can do at best: `python -m bench.realtime_fanout PORT FRAME_BYTES`.

An application that does nothing but this: when a message comes from one connection, it writes a frame that was built
beforehand to all others, through the same uvicorn and the same protocol class as Basalt's."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from basalt.gateway.websocket import FrameProtocol
from basalt.http import TEXT, build_frame
from bench.server import free_port


@contextmanager
def serving_bare_fanout(frame_bytes: int) -> Iterator[int]:
    """The port."""
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "bench.realtime_fanout", str(port), str(frame_bytes)], stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield port
        finally:
            process.terminate()


class BareFanout:
    def __init__(self, frame_bytes: int) -> None:
        start = b"[null,null,"
        head_bytes = len(build_frame(TEXT, bytes(frame_bytes))) - frame_bytes
        self._frame = build_frame(TEXT, start + b" " * (frame_bytes - head_bytes - len(start)))
        self._connections: dict[FrameProtocol, None] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            print("ready", flush=True)
            await receive()
            return
        connection: FrameProtocol = scope["extensions"]["basalt.connection"]
        connection.bind(send)
        self._connections[connection] = None
        connection.on_message = lambda _message: self._tell_others(connection)
        await connection.accept()
        await connection.wait_closed()
        del self._connections[connection]

    def _tell_others(self, sender: FrameProtocol) -> None:
        frame = self._frame
        for connection in self._connections:
            if connection is not sender:
                connection.write(frame)


def main() -> None:
    port, frame_bytes = map(int, sys.argv[1:])
    uvicorn.run(
        BareFanout(frame_bytes),
        port=port,
        loop="uvloop",
        http="httptools",
        ws=FrameProtocol,
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        backlog=2048,
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
