"""A gateway on a port of this machine, without the rest of a project."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn

from basalt.gateway import Gateway


@asynccontextmanager
async def serving(gateway: Gateway) -> AsyncIterator[str]:
    """Its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(gateway, lifespan="on", log_config=None, ws="none", proxy_headers=False)
    )
    running = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
        listener.close()
