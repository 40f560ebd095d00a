"""The door of the room: which protocol a request speaks, who calls, and what went wrong in that protocol's own
shape."""

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING

from basalt.access import Authoriser
from basalt.errors import BasaltError
from basalt.http import OutgoingClient, Request, Response, Route
from basalt.postgres import LanePool
from basalt.storage.api import ROUTES
from basalt.storage.api.answers import unknown_route
from basalt.storage.call import Call, anyone, authorise
from basalt.storage.collector import keep_tidy
from basalt.storage.context import StorageContext
from basalt.storage.errors import render_error
from basalt.storage.failures import answer_or_refuse
from basalt.storage.images import Renderer
from basalt.storage.resumable import ResumableApi

if TYPE_CHECKING:
    from basalt.storage.s3 import S3Api

RESUMABLE = "/upload/resumable"
S3 = "/s3"


class StorageService:
    """`/storage/v1`. Names are taken from the path as it was sent: see `names`."""

    takes_raw_path = True

    def __init__(
        self,
        ctx: StorageContext,
        authoriser: Authoriser,
        lanes: LanePool,
        http: OutgoingClient,
        renderer: Renderer,
    ) -> None:
        self._ctx = ctx
        self._authoriser = authoriser
        self._lanes = lanes
        self._http = http
        self._renderer = renderer
        self._resumable = ResumableApi(ctx, authoriser)
        self._s3: S3Api | None = None

    async def open(self) -> None:
        await self._ctx.store.open()
        await self._lanes.open()
        await self._ctx.public.open()
        await self._renderer.open()
        self._tidying = asyncio.create_task(keep_tidy(self._ctx))

    async def close(self) -> None:
        self._tidying.cancel()
        await self._renderer.close()
        await self._ctx.public.close()
        await self._lanes.close()
        await self._ctx.store.close()
        await self._http.close()

    async def respond(self, request: Request) -> Response:
        path = request.raw_path
        if path.startswith(RESUMABLE):
            return await self._resumable.respond(request)
        if (path == S3 or path.startswith(f"{S3}/")) and self._ctx.service.s3_protocol.enabled:
            return await (await self._s3_api()).respond(request)
        return await answer_or_refuse(request, self._answer(request), render_error)

    async def _s3_api(self) -> "S3Api":
        """Made with the first request of its protocol, which many projects never speak: its checksums and XML are
        libraries of their own."""
        if self._s3 is None:
            s3 = await asyncio.to_thread(import_module, "basalt.storage.s3")
            self._s3 = s3.S3Api(self._ctx, self._authoriser)
        assert self._s3 is not None
        return self._s3

    async def _answer(self, request: Request) -> Response:
        route, segments = _find_route(request)
        if route is None:
            return unknown_route(request)
        identify = anyone if route.access == "public" else authorise
        caller = identify(self._authoriser, request)
        return await route.handler(Call(self._ctx, request, caller), **segments)


def _find_route(request: Request) -> tuple[Route | None, dict[str, str]]:
    try:
        return ROUTES.find(request) or (None, {})
    except BasaltError:  # the path is known and the method is not: to clients that is the same
        return None, {}
