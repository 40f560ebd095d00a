"""The REST service: leads a request through the steps.

A request whose shape was seen before goes from its bytes to the database at once: `shape` takes the literals out,
the plan and the statement are those of the first request of that shape. Everything that was prepared is
forgotten when the schema cache changes.
"""

import asyncio
import time
from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeVar

import psycopg

from basalt import observe
from basalt.access import AccessError, AnyAuthoriser, Caller
from basalt.bounded_dict import BoundedDict
from basalt.config import ConfigError, RestSettings, ServerAddress, override_rest_settings
from basalt.errors import BasaltError
from basalt.http import Request, Response, json_response
from basalt.postgres import LanePool, LanesUnavailable, SchemaCache, open_pool
from basalt.rest.batch import BatchError, BatchRunner, parse_batch
from basalt.rest.database_settings import load_database_settings
from basalt.rest.disconnects import Disconnects
from basalt.rest.errors import RestError, UnknownNameError, render_error, rest_error_from_access
from basalt.rest.hints import find_hint
from basalt.rest.literals import Values
from basalt.rest.plan.call import find_routine
from basalt.rest.plan.read import find_table
from basalt.rest.query import ApiRequest, BatchTarget, RoutineTarget, RowsTarget, TableTarget
from basalt.rest.request import parse_request
from basalt.rest.response import (
    render_allowed,
    render_options,
    render_response,
    render_timing,
    render_warning,
)
from basalt.rest.root import RootDocuments
from basalt.rest.run import Prepared, allows_transaction, prepare, run_prepared
from basalt.rest.schema_watch import SchemaWatch
from basalt.rest.shape import Letter, Shaped, is_trusted, letter_of, shape_of, values_of
from basalt.rest.visibility import Visibility

WRITING_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
READING_METHODS = frozenset({"GET", "HEAD"})
PLANLESS_ACTIONS = frozenset({"inspect", "describe"})
MAX_KEPT = 4096
LARGE_BODY_BYTES = 256 * 1024
BATCH_CONNECTIONS = 4

ERRORS = observe.Counter(
    "basalt_rest_errors_total", "Errors by PostgREST's code or PostgreSQL's SQLSTATE.", ["code"]
)
SCHEMA_LOADS = observe.Counter("basalt_rest_schema_loads_total", "Loads of the schema cache.")


K = TypeVar("K")
T = TypeVar("T")
V = TypeVar("V")


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
        authoriser: AnyAuthoriser,
        lanes: LanePool,
        conninfo: str,
        *,
        server: ServerAddress | None = None,
    ) -> None:
        self._own_settings = settings
        self._settings = settings
        self._authoriser = authoriser
        self._lanes = lanes
        self._visibility = Visibility(lanes)
        self._root = RootDocuments(self._visibility, server or ServerAddress("127.0.0.1", 3000))
        self._pool = open_pool(conninfo, max_size=BATCH_CONNECTIONS, name="batch")
        self._cache: SchemaCache | None = None
        self._letters: BoundedDict[Letter, Ready] = BoundedDict(MAX_KEPT)
        self._shapes: BoundedDict[Hashable, Prepared] = BoundedDict(MAX_KEPT)
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
        observed = Observed()
        request.route = _route_of(request.path)
        try:
            response = await self._respond(request, observed)
        except LanesUnavailable as error:
            code = "PGRST003" if error.reason == "busy" else "PGRST001"
            return self._render_error(RestError(code, headers=error.headers, hint=error.hint))
        except AccessError as error:
            return self._render_error(rest_error_from_access(error))
        except BatchError as error:
            return self._render_error(error.error, error.index)
        except BasaltError as error:
            return self._render_error(error)
        observed.mark("response")
        if self._settings.server_timing_enabled:
            response.headers.append(render_timing(observed.took_s))
        return response

    def refuse(self, error: BasaltError) -> Response:
        """The answer to a request that was refused before it came here."""
        return self._render_error(error)

    def _render_error(self, error: BasaltError, index: int | None = None) -> Response:
        ERRORS.add(1, error.code)
        is_verbose = self._settings.client_error_verbosity == "verbose"
        return render_error(error, verbose=is_verbose, index=index)

    # A request

    async def _respond(self, request: Request, observed: Observed) -> Response:
        caller = self._authoriser.authorise(request.headers, request.query_string)
        observed.mark("jwt")
        body = await request.body() if request.method in WRITING_METHODS else None
        letter = letter_of(request)
        ready, shaped = await self._recognise(letter, body)
        if ready is not None:
            observed.mark("parse")
        else:
            api = await self._parse(request, body)
            observed.mark("parse")
            if api.action in PLANLESS_ACTIONS or isinstance(api.target, BatchTarget):
                observed.mark("plan")
                response = await self._answer_without_plan(api, body, caller, request)
                observed.mark("transaction")
                return response
            ready = Ready(await self._prepare(api, caller), values_of(api))
            self._remember(letter, shaped, ready)
        observed.mark("plan")
        return await self._run(ready, caller, request, observed)

    async def _recognise(
        self, letter: Letter | None, body: bytes | None
    ) -> tuple[Ready | None, Shaped | None]:
        """What was prepared for this request or, with this one's values, for another of its shape; and that shape."""
        if letter is None:
            return None, None
        ready = self._letters.get(letter)
        if ready is not None:
            return ready, None
        shaped = await _read(letter, body, shape_of)
        if shaped is None or shaped.values is None or shaped.key not in self._shapes:
            return None, shaped
        ready = Ready(self._shapes[shaped.key], shaped.values)
        self._remember_letter(letter, ready)
        return ready, shaped

    def _remember(self, letter: Letter | None, shaped: Shaped | None, ready: Ready) -> None:
        if letter is None or not ready.prepared.is_kept:
            return
        if shaped is not None and shaped.values is not None and is_trusted(shaped, ready.prepared.api):
            self._shapes[shaped.key] = ready.prepared
        self._remember_letter(letter, ready)

    def _remember_letter(self, letter: Letter, ready: Ready) -> None:
        if letter.method in READING_METHODS:
            self._letters[letter] = ready

    async def _parse(self, request: Request, body: bytes | None) -> ApiRequest:
        """Raises RestError."""
        settings = self._settings
        parse = partial(
            parse_request, schemas=settings.db_schemas, allow_transaction=allows_transaction(settings)
        )
        api = await _read(request, body, parse)
        if api.action == "describe" and settings.db_root_spec is not None:
            routine = RoutineTarget(settings.db_root_spec.rpartition(".")[2])
            return replace(api, target=routine, action="call")
        return api

    async def _prepare(self, api: ApiRequest, caller: Caller) -> Prepared:
        return await self._with_new_names(lambda: prepare(api, self._known(), self._settings), caller)

    async def _run(self, ready: Ready, caller: Caller, request: Request, observed: Observed) -> Response:
        prepared, values = ready
        outcome = await run_prepared(
            prepared,
            values,
            caller,
            request,
            cache=self._known(),
            lanes=self._lanes,
            settings=self._settings,
            disconnects=self._disconnects,
        )
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
        return response

    # Without a plan

    async def _answer_without_plan(
        self, api: ApiRequest, body: bytes | None, caller: Caller, request: Request
    ) -> Response:
        if api.action == "describe":
            return await self._root.answer(api, caller, request, self._known(), self._settings)
        if api.action == "inspect":
            return render_options(await self._with_new_names(lambda: self._find_allowed(api), caller))
        runner = BatchRunner(self._pool, self._known(), self._settings, self._prepare)
        answers = runner.run(parse_batch(body or b""), caller, request)
        return json_response(await self._disconnects.wait(answers, request))

    def _find_allowed(self, api: ApiRequest) -> str:
        match api.target:
            case TableTarget(name) | RowsTarget(name):
                return render_allowed(find_table(self._known(), api.schema, name))
            case RoutineTarget(name):
                given = frozenset(key for key, _ in api.query.parameters)
                return render_allowed(find_routine(self._known(), api, name, given))
            case _:
                return render_allowed(None)

    # The schema cache

    def _known(self) -> SchemaCache:
        assert self._cache is not None
        return self._cache

    async def _with_new_names(self, look: Callable[[], T], caller: Caller) -> T:
        """What `look` finds in the schema cache, also if that is older than a name. Raises RestError, with its hint."""
        try:
            return look()
        except RestError as error:
            if not _may_be_new(error) or not await self._recheck():
                raise await self._with_hint(error, caller) from None
        try:
            return look()
        except RestError as error:
            raise await self._with_hint(error, caller) from None

    async def _with_hint(self, error: RestError, caller: Caller) -> RestError:
        if isinstance(error, UnknownNameError):
            visible = await self._visibility.find(caller, self._settings)
            error.hint = find_hint(error, self._known(), visible)
        return error

    async def _recheck(self) -> bool:
        try:
            return await self._watch.recheck()
        except (psycopg.Error, OSError):
            return False

    def _load_settings(self, connection: "psycopg.Connection[tuple[object, ...]]") -> RestSettings:
        """Those of the database over our own. What it says wrongly stops a start, and later changes nothing."""
        own = self._own_settings
        if not own.db_config:
            return own
        try:
            return override_rest_settings(own, load_database_settings(connection, own))
        except ConfigError as error:
            if self._cache is None:
                raise
            observe.event("database_settings_refused", level="error", reason=str(error))
            return self._settings

    def _renew(self, cache: SchemaCache, settings: RestSettings) -> None:
        SCHEMA_LOADS.add()
        self._authoriser.configure(settings)
        self._cache = cache
        self._settings = settings
        self._letters.clear()
        self._shapes.clear()
        self._visibility.forget()
        self._root.forget()
        self._lanes.forget_statements()


async def _read(subject: K, body: bytes | None, step: Callable[[K, bytes | None], V]) -> V:
    """A step that looks into the body: in a thread when that is large, so that others are answered meanwhile."""
    if body is None or len(body) < LARGE_BODY_BYTES:
        return step(subject, body)
    return await asyncio.to_thread(step, subject, body)


def _route_of(path: str) -> str:
    """
    >>> _route_of("/"), _route_of("/gigs"), _route_of("/rpc/search_gigs")
    ('/', '/{table}', '/rpc/{routine}')
    """
    if path == "/":
        return "/"
    return "/rpc/{routine}" if path.startswith("/rpc/") else "/{table}"


def _may_be_new(error: RestError) -> bool:
    return isinstance(error, UnknownNameError) or error.code == "PGRST204"
