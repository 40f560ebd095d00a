"""`/health` tells that the process answers, `/ready` that it can do its work, for load balancers and the
supervisor."""

import asyncio

from basalt.errors import BasaltError
from basalt.http import Request, Response, json_response
from basalt.postgres import LanePool, LanesUnavailable, PostgresError, Query

READY_TIMEOUT_S = 2.0


class HealthProbe:
    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def respond(self, request: Request) -> Response:
        return json_response({"status": "ok"})


class ReadinessProbe:
    """Ready means: a statement comes back from PostgreSQL in time."""

    def __init__(self, lanes: LanePool) -> None:
        self._lanes = lanes

    async def open(self) -> None:
        """The lanes are opened by the REST service."""

    async def close(self) -> None:
        """And closed by it."""

    async def respond(self, request: Request) -> Response:
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self._lanes.execute([Query("select 1")])
        except (TimeoutError, LanesUnavailable, PostgresError) as exc:
            raise BasaltError(
                "not_ready", 503, "PostgreSQL does not answer", headers=[("Retry-After", "1")]
            ) from exc
        return json_response({"status": "ready"})
