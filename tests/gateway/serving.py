"""A gateway on a port of this machine, without the rest of a project."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn

from basalt.config import load_settings
from basalt.gateway import Gateway
from basalt.gateway.serve import uvicorn_config


@asynccontextmanager
async def serving(gateway: Gateway) -> AsyncIterator[str]:
    """Its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn_config(gateway, load_settings(Path("/nowhere"), {})))
    running = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
        listener.close()
