"""`GET /metrics`: the figures of all processes of this node and of the database, for Prometheus."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

from basalt import observe
from basalt.config import Settings
from basalt.errors import BasaltError
from basalt.gateway.metrics_port import MetricsPort
from basalt.gateway.operators import Operators
from basalt.http import Request, Response
from basalt.jobs import JOB_READINGS
from basalt.postgres import POSTGRES_READINGS, DatabaseAccess, FigureReader

DATABASE_PAUSE_S = 5.0

SECONDS = observe.Gauge("basalt_scrape_seconds", "How long the parts of the last scrape took.", ["part"])


class MetricsPage:
    """The text, whoever asks for it."""

    def __init__(self, settings: Settings, access: DatabaseAccess) -> None:
        self._state_dir: Path = settings.state_dir
        self._reader = FigureReader(
            access.conninfo("supabase_admin"), (*POSTGRES_READINGS, *JOB_READINGS), pause_s=DATABASE_PAUSE_S
        )
        self._has_database = settings.basalt.telemetry.metrics.database

    async def render(self) -> bytes:
        started = time.perf_counter()
        database = await self._reader.read() if self._has_database else []
        read = time.perf_counter()
        processes = await observe.gather(self._state_dir)
        SECONDS.set(read - started, "database")
        SECONDS.set(time.perf_counter() - read, "processes")
        return observe.render_families({**processes, "": database})


class MetricsService:
    """The page on the gateway's port, for operators. With a port of the metrics' own it is served there, and not
    here."""

    def __init__(self, settings: Settings, access: DatabaseAccess, operators: Operators) -> None:
        self._state_dir = settings.state_dir
        self._page = MetricsPage(settings, access)
        self._operators = operators
        self._port = (
            MetricsPort(settings, self._page, operators) if settings.basalt.telemetry.metrics.port else None
        )
        self._stack = AsyncExitStack()
        self._stopping = asyncio.Event()

    async def open(self) -> None:
        await self._stack.enter_async_context(observe.offering(self._state_dir))
        if self._port is not None:
            self._listening = asyncio.create_task(self._port.run(self._stopping))

    async def close(self) -> None:
        self._stopping.set()
        if self._port is not None:
            await self._listening
        await self._stack.aclose()

    async def respond(self, request: Request) -> Response:
        if request.path != "/" or self._port is not None:
            raise BasaltError("not_found", 404, "Metrics are at /metrics")
        if not self._operators.include(request):
            raise _refusal(self._operators)
        if request.method not in ("GET", "HEAD"):
            raise BasaltError(
                "method_not_allowed",
                405,
                f"{request.method} is not allowed here; use GET",
                headers=[("Allow", "GET, HEAD")],
            )
        body = await self._page.render()
        headers = [(b"content-type", observe.TEXT_FORMAT.encode()), (b"cache-control", b"no-store")]
        return Response(200, headers, body)


async def serve_metrics(settings: Settings, access: DatabaseAccess, stopping: asyncio.Event) -> None:
    """On their own port, in a process that is no gateway, which does not load one for that."""
    await MetricsPort(settings, MetricsPage(settings, access), Operators(settings)).run(stopping)


def _refusal(operators: Operators) -> BasaltError:
    if operators.ask_for_token:
        return BasaltError(
            "metrics_unauthorized",
            401,
            "Metrics need their token",
            hint="Send basalt.telemetry.metrics.token as a bearer token",
            headers=[("WWW-Authenticate", "Bearer")],
        )
    return BasaltError(
        "metrics_forbidden",
        403,
        "Metrics are told to this machine only",
        hint="Set basalt.telemetry.metrics.token, or a port of their own",
    )
