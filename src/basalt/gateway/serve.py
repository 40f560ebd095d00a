"""A gateway process: uvicorn with uvloop and httptools around the application."""

import asyncio
import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from basalt import observe
from basalt.config import Settings, load_settings
from basalt.errors import BasaltError
from basalt.gateway.app import Gateway
from basalt.gateway.http_protocol import HttpProtocol
from basalt.gateway.services import (
    build_functions_gateway,
    build_gateway,
    build_rest_gateway,
)
from basalt.gateway.websocket import MAX_MESSAGE_BYTES, FrameProtocol
from basalt.postgres import DatabaseAccess, access_from_url, load_access

BACKLOG = 2048


def serve(project_dir: Path, *, exit_with_stdin: bool = False) -> None:
    """Serve the project until SIGTERM or SIGINT. With `exit_with_stdin` from the first byte of standard input, by which
    the supervisor says that the database is ready, until its end, by which a gateway notices that its supervisor was
    killed."""
    if exit_with_stdin and not os.read(0, 1):
        return
    settings = load_settings(project_dir, os.environ)
    observe.configure(
        process="gateway", level=settings.basalt.log_level, log_format=settings.basalt.log_format
    )
    access = (
        access_from_url(settings.db.url, settings.state_dir)
        if settings.db.url
        else load_access(settings.state_dir)
    )
    try:
        gateway = build_gateway(settings, access)
    except BasaltError as error:  # settings that cannot be, a package that is missing
        observe.event("gateway_not_started", level="error", reason=error.message, hint=error.hint)
        sys.exit(1)
    server = uvicorn.Server(uvicorn_config(gateway, settings))
    if exit_with_stdin:
        threading.Thread(target=_stop_at_end_of_stdin, args=[server], daemon=True).start()
    with observe.Telemetry(settings):
        server.run()
    if not server.started:
        sys.exit(1)


def serve_rest(settings: Settings) -> None:
    """Serve REST alone at the root, until SIGTERM or SIGINT. Raises BasaltError when the address is taken or the
    database URL cannot be read; what else prevents the start is in the log."""
    observe.configure(process="rest", level=settings.basalt.log_level, log_format=settings.basalt.log_format)
    try:
        conninfo_to_dict(settings.db.url or "")
    except ProgrammingError as exc:
        reason = observe.mask_secrets(str(exc).strip())
        raise BasaltError("database_url_invalid", 500, f"The database URL cannot be read: {reason}") from exc
    server = uvicorn.Server(uvicorn_config(build_rest_gateway(settings), settings))
    with _listen(settings.api.host, settings.api.port) as listener:
        port: int = listener.getsockname()[1]
        observe.event("rest_listening", host=settings.api.host, port=port)
        # uvicorn's own code for a failed start, 3, has another meaning here
        with observe.Telemetry(settings), contextlib.suppress(SystemExit):
            server.run(sockets=[listener])
    if not server.started:
        sys.exit(1)


async def serve_project(settings: Settings, access: DatabaseAccess, stopping: asyncio.Event) -> None:
    """The whole gateway in a loop that is somebody else's too, until `stopping` is set and open requests have ended.
    Raises BasaltError when the address is taken, or a service cannot be opened."""
    await _serve_beside(
        build_gateway(settings, access), settings, stopping, host=settings.api.host, port=settings.api.port
    )


async def serve_functions(settings: Settings, access: DatabaseAccess, stopping: asyncio.Event) -> None:
    """The functions alone, on the worker's own port: `/functions/v1/NAME` and `/NAME`. Otherwise like
    `serve_project`."""
    worker = settings.basalt.worker
    gateway = build_functions_gateway(settings, access)
    await _serve_beside(gateway, settings, stopping, host=worker.host, port=worker.port)


async def _serve_beside(
    gateway: Gateway, settings: Settings, stopping: asyncio.Event, *, host: str, port: int
) -> None:
    server = _ServerBeside(uvicorn_config(gateway, settings))
    with _listen(host, port) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        waiting = asyncio.create_task(stopping.wait())
        await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        server.should_exit = True
        await serving
    if not server.started and not stopping.is_set():
        raise BasaltError("start_failed", 500, "It did not start; the log says why")


class _ServerBeside(uvicorn.Server):
    """Leaves signals, and its end, to the process that it is a part of."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:
            self.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as exc:
        reason = str(exc.strerror or exc).partition(" (")[0]
        raise BasaltError(
            "address_unavailable", 500, f"The server cannot listen on {host}:{port}: {reason}"
        ) from exc


def uvicorn_config(gateway: Gateway, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        gateway,
        host=settings.api.host,
        port=settings.api.port,
        loop="uvloop",
        http=HttpProtocol,
        ws=FrameProtocol,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        reset_contextvars=True,  # or a pipelined request would begin with the id and the trace of the one before
        backlog=BACKLOG,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, round(settings.basalt.drain_timeout_s)),
    )


def _stop_at_end_of_stdin(server: uvicorn.Server) -> None:
    while os.read(0, 1024):
        pass
    server.should_exit = True
