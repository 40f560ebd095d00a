"""`/health` tells that the process answers, `/ready` that it can do its work, for load balancers and the
supervisor. Operators see of `/ready` what it is made of."""

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from basalt import observe
from basalt.errors import BasaltError
from basalt.gateway.operators import Operators
from basalt.http import Request, Response, json_response
from basalt.postgres import LanePool, LanesUnavailable, PostgresError, Query

READY_TIMEOUT_S = 2.0

# What a part of the process says of itself, at once and without asking anybody.
Describe = Callable[[], Mapping[str, Any]]


class HealthProbe:
    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def respond(self, request: Request) -> Response:
        return json_response({"status": "ok"})


class ReadinessProbe:
    """Ready means: a statement comes back from PostgreSQL in time. `parts` are what operators see besides."""

    def __init__(
        self, lanes: LanePool, *, operators: Operators, parts: Mapping[str, Describe], state_dir: Path
    ) -> None:
        self._lanes = lanes
        self._operators = operators
        self._parts = parts
        self._state_dir = state_dir

    async def open(self) -> None:
        """The lanes are opened by the REST service."""

    async def close(self) -> None:
        """And closed by it."""

    async def respond(self, request: Request) -> Response:
        started = time.perf_counter()
        is_operator = self._operators.include(request)
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self._lanes.execute([Query("select 1")])
        except (TimeoutError, LanesUnavailable, PostgresError) as exc:
            raise BasaltError(
                "not_ready",
                503,
                "PostgreSQL does not answer",
                details=await self._describe(None) if is_operator else None,
                headers=[("Retry-After", "1")],
            ) from exc
        if not is_operator:
            return json_response({"status": "ready"})
        took_ms = (time.perf_counter() - started) * 1000
        return json_response({"status": "ready", "parts": await self._describe(took_ms)})

    async def _describe(self, answered_ms: float | None) -> dict[str, Any]:
        database = {
            "status": "ok" if answered_ms is not None else "away",
            "ms": None if answered_ms is None else round(answered_ms, 2),
            "lanes": self._lanes.lane_count,
            "in_flight": self._lanes.in_flight,
            "waiting": self._lanes.waiting,
        }
        processes = await observe.list_processes(self._state_dir)
        return {
            "database": database,
            **{name: describe() for name, describe in self._parts.items()},
            "processes": processes,
        }
