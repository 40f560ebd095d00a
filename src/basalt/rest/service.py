"""The REST service: leads a request through the steps, and keeps the schema cache fresh.

The cache is loaded at start, after a `notify pgrst` (the event trigger of the bootstrap sends one for any
tool's DDL), after an outage, and
once before an unknown table or routine is refused. While it loads, the old one serves.
"""

import asyncio
import contextlib
import time

import psycopg

from basalt import observe
from basalt.access import AccessError, Authoriser
from basalt.config import Settings
from basalt.errors import BasaltError
from basalt.http import Request, Response, json_response
from basalt.postgres import DatabaseAccess, LanePool, LanesUnavailable, SchemaCache, load_schema_cache
from basalt.rest.errors import RestError, render_error, rest_error_from_access
from basalt.rest.query import ApiRequest, RootTarget
from basalt.rest.request import WRITING_METHODS, parse_request
from basalt.rest.response import render_response
from basalt.rest.run import Prepared, prepare, run_prepared

LISTEN_CHANNEL = "pgrst"
RECHECK_INTERVAL_S = 1.0
LISTEN_BACK_OFF_S = 1.0
UNKNOWN_CODES = frozenset({"PGRST200", "PGRST202", "PGRST204", "PGRST205"})
MAX_PREPARED = 2048
MAX_SHAPE_BYTES = 4096
SHAPING_HEADERS = frozenset({b"accept", b"accept-profile", b"prefer", b"range"})

Shape = tuple[object, ...]


class RestService:
    def __init__(
        self, settings: Settings, authoriser: Authoriser, lanes: LanePool, access: DatabaseAccess
    ) -> None:
        self._settings = settings
        self._authoriser = authoriser
        self._lanes = lanes
        self._conninfo = access.conninfo("authenticator")
        self._cache: SchemaCache | None = None
        self._prepared: dict[Shape, Prepared] = {}
        self._loading = asyncio.Lock()
        self._loaded_at = 0.0
        self._listener: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self._lanes.open()
        await self.reload()
        self._lanes.set_on_reconnect(self.reload)
        self._listener = asyncio.create_task(self._listen())

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listener
        await self._lanes.close()

    async def respond(self, request: Request) -> Response:
        try:
            return await self._respond(request)
        except LanesUnavailable as error:
            code = "PGRST003" if error.reason == "busy" else "PGRST001"
            return render_error(RestError(code, headers=error.headers, hint=error.hint))
        except AccessError as error:
            return render_error(rest_error_from_access(error))
        except BasaltError as error:
            return render_error(error)

    async def reload(self) -> None:
        """Load the schema cache; concurrent calls load once after the other."""
        async with self._loading:
            self._cache = await asyncio.to_thread(self._load)
            self._prepared.clear()
            self._loaded_at = time.monotonic()
            self._lanes.forget_statements()

    def _load(self) -> SchemaCache:
        with psycopg.connect(
            self._conninfo, application_name="basalt/schema-cache", connect_timeout=5
        ) as connection:
            return load_schema_cache(connection, self._settings.api.schemas)

    async def _respond(self, request: Request) -> Response:
        caller = self._authoriser.authorise(request.headers, request.query_string)
        shape = _shape_of(request)
        prepared = self._prepared.get(shape) if shape else None
        if prepared is None:
            body = await request.body() if request.method in WRITING_METHODS else None
            api = parse_request(request, body, schemas=self._settings.api.schemas)
            if isinstance(api.target, RootTarget):
                return self._describe()
            if api.action == "inspect":
                return Response(200, [(b"allow", b"OPTIONS,GET,HEAD,POST,PUT,PATCH,DELETE")])
            prepared = await self._prepare(api)
            self._remember(shape, prepared)
        outcome = await run_prepared(
            prepared,
            caller,
            request,
            self._known(),
            self._lanes,
            search_path=self._settings.api.extra_search_path,
        )
        return render_response(prepared.api, outcome)

    async def _prepare(self, api: ApiRequest) -> Prepared:
        max_rows = self._settings.api.max_rows
        try:
            return prepare(api, self._known(), max_rows=max_rows)
        except RestError as error:
            if error.code not in UNKNOWN_CODES or not await self._recheck():
                raise
        return prepare(api, self._known(), max_rows=max_rows)

    def _remember(self, shape: Shape | None, prepared: Prepared) -> None:
        """Reads that come again to the letter need not be parsed, planned and written again."""
        if shape is None:
            return
        if len(self._prepared) >= MAX_PREPARED:
            self._prepared.clear()
        self._prepared[shape] = prepared

    def _known(self) -> SchemaCache:
        assert self._cache is not None
        return self._cache

    async def _recheck(self) -> bool:
        """Something unknown may have come into being by a tool that told nobody. At most once a second."""
        if time.monotonic() - self._loaded_at < RECHECK_INTERVAL_S:
            return False
        await self.reload()
        return True

    def _describe(self) -> Response:
        schemas = self._settings.api.schemas
        tables = sorted(
            name for schema, name in (self._cache.tables if self._cache else ()) if schema == schemas[0]
        )
        info = {"title": "standard public schema", "description": "", "version": "14"}
        paths: dict[str, dict[str, str]] = {f"/{name}": {} for name in tables}
        return json_response({"swagger": "2.0", "info": info, "paths": paths})

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except (psycopg.Error, OSError) as error:
                observe.event("schema_listener_lost", level="warning", reason=str(error).strip())
                await asyncio.sleep(LISTEN_BACK_OFF_S)
                with contextlib.suppress(psycopg.Error, OSError):
                    await self.reload()

    async def _listen_once(self) -> None:
        async with await psycopg.AsyncConnection.connect(
            self._conninfo, autocommit=True, application_name="basalt/schema-listener", connect_timeout=5
        ) as connection:
            await connection.execute(f"listen {LISTEN_CHANNEL}")
            async for _ in connection.notifies():
                await asyncio.sleep(0.05)  # a migration sends many
                await self.reload()


def _shape_of(request: Request) -> Shape | None:
    """What a read's plan and statement depend on, besides the schema cache. None for writes and very long requests."""
    if (
        request.method not in ("GET", "HEAD")
        or len(request.query_string) + len(request.raw_path) > MAX_SHAPE_BYTES
    ):
        return None
    headers = [pair for pair in request.headers.raw if pair[0] in SHAPING_HEADERS]
    if sum(len(value) for _, value in headers) > MAX_SHAPE_BYTES:
        return None
    return (request.method, request.raw_path, request.query_string, *headers)
