"""A gateway process: uvicorn with uvloop and httptools around the application."""

import os
import sys
import threading
from pathlib import Path

import uvicorn

from basalt import observe
from basalt.config import Settings, load_settings
from basalt.gateway.services import build_gateway
from basalt.postgres import access_from_url, load_access


def serve(project_dir: Path, *, exit_with_stdin: bool = False) -> None:
    """Serve the project until SIGTERM or SIGINT. With `exit_with_stdin` also until standard input ends,
    which is how a supervised gateway notices that its supervisor was killed."""
    settings = load_settings(project_dir, os.environ)
    observe.configure(
        process="gateway", level=settings.basalt.log_level, log_format=settings.basalt.log_format
    )
    server = uvicorn.Server(_uvicorn_config(settings))
    if exit_with_stdin:
        threading.Thread(target=_stop_at_end_of_stdin, args=[server], daemon=True).start()
    server.run()
    if not server.started:
        sys.exit(1)


def _uvicorn_config(settings: Settings) -> uvicorn.Config:
    access = (
        access_from_url(settings.db.url, settings.state_dir)
        if settings.db.url
        else load_access(settings.state_dir)
    )
    return uvicorn.Config(
        build_gateway(settings, access),
        host=settings.api.host,
        port=settings.api.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=2048,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, round(settings.basalt.drain_timeout_s)),
    )


def _stop_at_end_of_stdin(server: uvicorn.Server) -> None:
    while os.read(0, 1024):
        pass
    server.should_exit = True
