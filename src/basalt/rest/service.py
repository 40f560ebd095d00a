"""The REST service: leads a request through the steps.

A request whose shape was seen before goes from its bytes to the database at once: `shape` takes the literals out,
the plan and the statement are those of the first request of that shape. Everything that was prepared is
forgotten when the schema cache changes.
"""

import time
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import NamedTuple, Protocol, TypeVar

import psycopg

from basalt.access import AccessError, Caller
from basalt.config import RestSettings, override_rest_settings
from basalt.errors import BasaltError
from basalt.http import Headers, Request, Response, json_response
from basalt.postgres import LanePool, LanesUnavailable, PostgresError, Query, SchemaCache, open_pool
from basalt.rest.batch import BatchError, BatchRunner, parse_batch
from basalt.rest.database_settings import load_database_settings
from basalt.rest.disconnects import Disconnects
from basalt.rest.errors import RestError, UnknownNameError, render_error, rest_error_from_access
from basalt.rest.hints import find_hint
from basalt.rest.literals import Values
from basalt.rest.openapi import ServerAddress, render_openapi
from basalt.rest.plan.call import find_routine
from basalt.rest.plan.read import find_table
from basalt.rest.query import ApiRequest, BatchTarget, RootTarget, RoutineTarget, RowsTarget, TableTarget
from basalt.rest.request import parse_request, render_settings
from basalt.rest.response import (
    render_allowed,
    render_options,
    render_response,
    render_timing,
    render_warning,
)
from basalt.rest.run import Prepared, build_prelude, prepare, render_search_path, run_prepared, translate
from basalt.rest.schema_watch import SchemaWatch
from basalt.rest.shape import Letter, Shaped, is_trusted, letter_of, shape_of, values_of
from basalt.rest.sql.text import array_literal
from basalt.rest.visibility import DESCRIPTION, VISIBLE, parse_visible

WRITING_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
READING_METHODS = frozenset({"GET", "HEAD"})
MAX_KEPT = 4096
MAX_ROLES = 256
BATCH_CONNECTIONS = 4
OPENAPI = b"application/openapi+json; charset=utf-8"
OPENAPI_ACCEPTED = frozenset({"*/*", "application/json", "application/openapi+json"})


K = TypeVar("K")
V = TypeVar("V")


class RestAuthoriser(Protocol):
    def authorise(self, headers: Headers, query_string: bytes = b"") -> Caller:
        """Who asks. Raises AccessError."""

    def configure(self, settings: RestSettings) -> None:
        """Go by these settings from now on. Raises ConfigError."""


class Observed:
    """How long the steps of one request took, in seconds, for `Server-Timing`."""

    __slots__ = ("_last", "took_s")

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.took_s: dict[str, float] = {}

    def mark(self, step: str) -> None:
        now = time.perf_counter()
        self.took_s[step] = now - self._last
        self._last = now


class Ready(NamedTuple):
    """What is kept of a request that may come again to the letter."""

    prepared: Prepared
    values: Values


class RestService:
    """`settings` are those of file and environment; what the database adds is read with the schema cache. `server` is
    where the OpenAPI document says the API is."""

    def __init__(
        self,
        settings: RestSettings,
        authoriser: RestAuthoriser,
        lanes: LanePool,
        conninfo: str,
        *,
        server: ServerAddress | None = None,
    ) -> None:
        self._own_settings = settings
        self._settings = settings
        self._authoriser = authoriser
        self._lanes = lanes
        self._server = server or ServerAddress("127.0.0.1", 3000)
        self._pool = open_pool(conninfo, max_size=BATCH_CONNECTIONS, name="batch")
        self._cache: SchemaCache | None = None
        self._letters: dict[Letter, Ready] = {}
        self._shapes: dict[Hashable, Prepared] = {}
        self._visible: dict[str, frozenset[int]] = {}
        self._disconnects = Disconnects()
        self._watch = SchemaWatch(conninfo, load_settings=self._load_settings, on_change=self._renew)

    async def open(self) -> None:
        await self._lanes.open()
        await self._pool.open()
        settings = self._own_settings
        await self._watch.open(channel=settings.db_channel if settings.db_channel_enabled else None)
        self._lanes.set_on_reconnect(self._watch.want_reload)

    async def close(self) -> None:
        await self._watch.close()
        await self._pool.close()
        await self._lanes.close()

    @property
    def settings(self) -> RestSettings:
        """Those in force: the database may have changed them."""
        return self._settings

    async def respond(self, request: Request) -> Response:
        try:
            return await self._respond(request)
        except LanesUnavailable as error:
            code = "PGRST003" if error.reason == "busy" else "PGRST001"
            return self._render_error(RestError(code, headers=error.headers, hint=error.hint))
        except AccessError as error:
            return self._render_error(rest_error_from_access(error))
        except BatchError as error:
            return self._render_error(error.error, error.index)
        except BasaltError as error:
            return self._render_error(error)

    def _render_error(self, error: BasaltError, index: int | None = None) -> Response:
        is_verbose = self._settings.client_error_verbosity == "verbose"
        return render_error(error, verbose=is_verbose, index=index)

    # A request

    async def _respond(self, request: Request) -> Response:
        settings = self._settings
        observed = Observed() if settings.server_timing_enabled else None
        caller = self._authoriser.authorise(request.headers, request.query_string)
        if observed is not None:
            observed.mark("jwt")
        body = await request.body() if request.method in WRITING_METHODS else None
        letter = letter_of(request)
        ready = self._letters.get(letter) if letter is not None else None
        shaped = None
        if ready is None and letter is not None:
            shaped = shape_of(letter, body)
            ready = self._find_shape(letter, shaped)
        if ready is not None:
            prepared, values = ready
            if observed is not None:
                observed.mark("parse")
        else:
            api = parse_request(
                request,
                body,
                schemas=settings.db_schemas,
                allow_transaction=settings.db_tx_end.endswith("-allow-override"),
            )
            if observed is not None:
                observed.mark("parse")
            if (
                isinstance(api.target, RootTarget)
                and settings.db_root_spec is not None
                and api.action == "describe"
            ):
                api = replace(
                    api, target=RoutineTarget(settings.db_root_spec.rpartition(".")[2]), action="call"
                )
            if api.action in ("inspect", "describe"):
                if observed is not None:
                    observed.mark("plan")
                response = await self._answer_without_plan(api, caller, request)
                if observed is not None:
                    observed.mark("transaction")
                return self._with_timing(response, observed)
            if isinstance(api.target, BatchTarget):
                return await self._run_batch(body or b"", caller, request)
            prepared, values = await self._prepare(api, caller), values_of(api)
            self._remember(letter, shaped, prepared, values)
        if observed is not None:
            observed.mark("plan")
        outcome = await run_prepared(
            prepared,
            values,
            caller,
            request,
            cache=self._known(),
            lanes=self._lanes,
            settings=settings,
            disconnects=self._disconnects,
        )
        if observed is not None:
            observed.mark("transaction")
        response = render_response(
            prepared.api,
            outcome,
            offset=values.offset,
            query_string=request.query_string,
            is_singular=prepared.answer.is_singular,
        )
        if prepared.legacy_targets:
            response.headers.append(render_warning(prepared.legacy_targets))
        return self._with_timing(response, observed)

    def _with_timing(self, response: Response, observed: Observed | None) -> Response:
        if observed is not None:
            observed.mark("response")
            response.headers.append(render_timing(observed.took_s))
        return response

    async def _prepare(self, api: ApiRequest, caller: Caller) -> Prepared:
        try:
            return prepare(api, self._known(), self._settings)
        except RestError as error:
            if not _may_be_new(error) or not await self._recheck():
                raise await self._with_hint(error, caller) from None
        try:
            return prepare(api, self._known(), self._settings)
        except RestError as error:
            raise await self._with_hint(error, caller) from None

    def _find_shape(self, letter: Letter, shaped: Shaped | None) -> Ready | None:
        """What was prepared for another request of this shape, with this one's values."""
        known = self._shapes.get(shaped.key) if shaped is not None else None
        if known is None:
            return None
        assert shaped is not None
        assert shaped.values is not None
        ready = Ready(known, shaped.values)
        if letter.method in READING_METHODS:
            keep(self._letters, letter, ready)
        return ready

    def _remember(
        self, letter: Letter | None, shaped: Shaped | None, prepared: Prepared, values: Values
    ) -> None:
        if shaped is not None and shaped.values is not None and is_trusted(shaped, prepared.api):
            keep(self._shapes, shaped.key, prepared)
        if letter is not None and letter.method in READING_METHODS:
            keep(self._letters, letter, Ready(prepared, values))

    async def _run_batch(self, body: bytes, caller: Caller, request: Request) -> Response:
        runner = BatchRunner(self._pool, self._known(), self._settings, self._prepare)
        return json_response(await runner.run(parse_batch(body), caller, request))

    # Without a plan

    async def _answer_without_plan(self, api: ApiRequest, caller: Caller, request: Request) -> Response:
        if api.action == "describe":
            return await self._describe(api, caller, request)
        match api.target:
            case TableTarget(name) | RowsTarget(name):
                return render_options(render_allowed(find_table(self._known(), api.schema, name)))
            case RoutineTarget(name):
                given = frozenset(key for key, _ in api.query.parameters)
                return render_options(render_allowed(find_routine(self._known(), api, name, given)))
            case _:
                return render_options(render_allowed(None))

    async def _describe(self, api: ApiRequest, caller: Caller, request: Request) -> Response:
        settings, cache = self._settings, self._known()
        if settings.openapi_mode == "disabled":
            raise RestError("PGRST126")
        if not any(one.name in OPENAPI_ACCEPTED for one in api.accept):
            raise RestError("PGRST107", media_types=", ".join(one.name for one in api.accept))
        rows = await self._ask_as(
            caller,
            request,
            api.schema,
            [Query(VISIBLE, (_array(api.schema),)), Query(DESCRIPTION, (api.schema.encode(),))],
        )
        visible, description = parse_visible(rows[0]), rows[1]
        shows_all = settings.openapi_mode == "ignore-privileges"
        body = render_openapi(
            tables=[
                one
                for name, one in cache.tables.items()
                if name[0] == api.schema and (shows_all or one.oid in visible)
            ],
            routines=[
                one
                for name, overloads in cache.routines.items()
                if name[0] == api.schema
                for one in overloads
                if shows_all or one.oid in visible
            ],
            relationships=cache.relationships,
            description=description.decode() if description else None,
            settings=settings,
            server=self._server,
        )
        headers = [(b"content-type", OPENAPI)]
        if api.profile_sent:
            headers.append((b"content-profile", api.schema.encode()))
        return Response(200, headers, b"" if api.headers_only else body)

    async def _with_hint(self, error: RestError, caller: Caller) -> RestError:
        if isinstance(error, UnknownNameError):
            error.hint = find_hint(error, self._known(), await self._visible_to(caller))
        return error

    async def _visible_to(self, caller: Caller) -> frozenset[int]:
        """Kept until the schema cache changes; a grant tells of itself by an event trigger."""
        known = self._visible.get(caller.role)
        if known is None:
            try:
                rows = await self._ask_as(
                    caller, None, "", [Query(VISIBLE, (_array(*self._settings.db_schemas),))]
                )
            except BasaltError:
                return frozenset()  # a role that cannot even ask sees nothing
            known = parse_visible(rows[0])
            if len(self._visible) >= MAX_ROLES:
                self._visible.clear()
            self._visible[caller.role] = known
        return known

    async def _ask_as(
        self, caller: Caller, request: Request | None, schema: str, queries: list[Query]
    ) -> list[bytes | None]:
        """The first value of each query's answer, as the caller."""
        settings = render_settings(request) if request is not None else _NO_REQUEST
        search_path = render_search_path((schema,) if schema else ())
        prelude = build_prelude(search_path, caller, settings, read_only=True)
        scoped = [Query(one.sql, one.params, one.prepare, caller.role) for one in queries]
        try:
            results = await self._lanes.execute([prelude, *scoped], read_only=True)
        except PostgresError as error:
            raise translate(error, caller, self._settings) from error
        return [result.rows[0][0] if result.rows else None for result in results[1:]]

    # The schema cache

    def _known(self) -> SchemaCache:
        assert self._cache is not None
        return self._cache

    async def _recheck(self) -> bool:
        try:
            return await self._watch.recheck()
        except (psycopg.Error, OSError):
            return False

    def _load_settings(self, connection: "psycopg.Connection[tuple[object, ...]]") -> RestSettings:
        if not self._own_settings.db_config:
            return self._own_settings
        return override_rest_settings(
            self._own_settings, load_database_settings(connection, self._own_settings)
        )

    def _renew(self, cache: SchemaCache, settings: RestSettings) -> None:
        self._authoriser.configure(settings)
        self._cache = cache
        self._settings = settings
        self._letters.clear()
        self._shapes.clear()
        self._visible.clear()
        self._lanes.forget_statements()


_NO_REQUEST: Mapping[str, bytes] = {
    "request.method": b"",
    "request.path": b"",
    "request.headers": b"{}",
    "request.cookies": b"{}",
}


def keep(kept: dict[K, V], key: K, value: V) -> None:
    """Bounded: the oldest quarter gives way at once, which is cheaper than one each time."""
    if len(kept) >= MAX_KEPT:
        for old in list(kept)[: MAX_KEPT // 4]:
            del kept[old]
    kept[key] = value


def _may_be_new(error: RestError) -> bool:
    return isinstance(error, UnknownNameError) or error.code == "PGRST204"


def _array(*names: str) -> bytes:
    return array_literal(names).encode()
