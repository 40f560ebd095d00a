"""`/functions/v1/NAME`: finds the function, checks the caller, passes the call to its process.

Refusals are those of Supabase's edge runtime; errors of a function have the structured shape of requirement P16.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import orjson

from basalt import observe
from basalt.access import AccessError, Authoriser, Caller, ProjectKeys
from basalt.config import FunctionSettings, Settings
from basalt.errors import BasaltError, render_error
from basalt.functions.environment import internal_url
from basalt.functions.errors import FunctionError
from basalt.functions.frames import Call, Failure
from basalt.functions.function_process import FunctionAnswer
from basalt.functions.pool import FunctionPool
from basalt.http import ClientDisconnectedError, Request, Response, json_response
from basalt.postgres import DatabaseAccess

Result = TypeVar("Result")

WATCH_AFTER_S = 0.05
BODILESS = frozenset({204, 304})
NOBODY = Caller("anon", {"role": "anon"}, '{"role":"anon"}', is_key=True)
TRACE_HEADERS = frozenset({"traceparent", "tracestate"})  # handed on where they are sound
HEADER_BREAK = re.compile(rb"[\r\n\0]")
DRAIN_LIMIT_S = 4.0  # of the time that the supervisor gives a gateway to end


class FunctionsService:
    """Stands at `/functions/v1`, and in the worker's own small server also at the root. `api_url` is where functions
    reach the project's API, by default the gateway on this machine."""

    def __init__(
        self,
        settings: Settings,
        access: DatabaseAccess,
        authoriser: Authoriser,
        keys: ProjectKeys,
        *,
        api_url: str | None = None,
    ) -> None:
        self._authoriser = authoriser
        self._pool = FunctionPool(settings, access, keys, api_url=api_url or internal_url(settings))
        self._drain_s = min(DRAIN_LIMIT_S, settings.basalt.drain_timeout_s)

    async def open(self) -> None:
        """Twice is once: it may stand at several places."""
        self._pool.open()

    async def close(self) -> None:
        await self._pool.close(drain_s=self._drain_s)

    async def respond(self, request: Request) -> Response:
        try:
            return await self._respond(request)
        except AccessError as error:
            return _refusal("Missing authorization header" if error.reason == "missing" else "Invalid JWT")
        except FunctionError as error:
            return json_response(render_error(error, request.request_id), error.status, error.headers)

    async def _respond(self, request: Request) -> Response:
        function = self._pool.find(request.path[1:].partition("/")[0])
        if function is None:
            return json_response({"code": "NOT_FOUND", "message": "Requested function was not found"}, 404)
        request.route = f"/{function.name}"
        caller = self._caller(request, function.settings)
        call = build_call(request, caller, await request.body())
        answer = await _unless_client_leaves(self._pool.call(function, call), request)
        if isinstance(answer, Failure):
            return _render_failure(answer, request)
        return await _render_answer(answer, request)

    def _caller(self, request: Request, settings: FunctionSettings) -> Caller:
        """Raises AccessError where the function wants a valid token or key and there is none."""
        if not settings.verify_jwt:
            try:
                return self._authoriser.authorise(request.headers, request.query_string)
            except AccessError:
                return NOBODY
        if "authorization" not in request.headers and "apikey" not in request.headers:
            raise AccessError("missing")
        return self._authoriser.authorise(request.headers, request.query_string)


def build_call(request: Request, caller: Caller, body: bytes) -> Call:
    sent = join_headers(request.headers.raw)
    headers = {
        name: value for name, value in sent.items() if name not in TRACE_HEADERS
    } | observe.outgoing_headers()
    return Call(
        id=0,
        method=request.method,
        path=request.path,
        query_string=request.query_string.decode("latin-1"),
        headers=headers,
        body=body,
        request_id=request.request_id,
        role=caller.role,
        claims_json=caller.claims_json.encode(),
        token=caller.token,
    )


def join_headers(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """One value a name: repeated ones joined as RFC 9110 §5.3 and RFC 6265 §5.4 have it.

    >>> join_headers([(b"accept", b"a"), (b"cookie", b"x=1"), (b"accept", b"b"), (b"cookie", b"y=2")])
    {'accept': 'a, b', 'cookie': 'x=1; y=2'}
    """
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in raw}
    if len(headers) < len(raw):
        headers = {}
        for name_bytes, value_bytes in raw:
            name, value = name_bytes.decode("latin-1"), value_bytes.decode("latin-1")
            if name in headers:
                value = f"{headers[name]}{'; ' if name == 'cookie' else ', '}{value}"
            headers[name] = value
    return headers


async def _render_answer(answer: FunctionAnswer, request: Request) -> Response:
    headers = [
        (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
        for name, value in answer.headers
    ]
    body = answer.body
    if any(HEADER_BREAK.search(name) or HEADER_BREAK.search(value) for name, value in headers):
        await _let_go(body)
        raise FunctionError(
            "INVALID_ANSWER", "The function's answer has a header with a line break", status=502
        )
    if request.method == "HEAD" or answer.status in BODILESS:
        await _let_go(body)
        return Response(answer.status, headers, b"")
    return Response(
        answer.status, headers, body if isinstance(body, bytes) else _while_client_stays(body, request)
    )


def _render_failure(failure: Failure, request: Request) -> Response:
    error = BasaltError(
        failure.code, failure.status, failure.message, details=failure.details, hint=failure.hint
    )
    return json_response(render_error(error, request.request_id), failure.status, failure.headers)


async def _unless_client_leaves(work: Coroutine[Any, Any, Result], request: Request) -> Result:
    """The result of `work`, which is cancelled when the client goes away. Short calls are not watched. As
    `asyncio.timeout` does it: without a task for every call."""
    watch = _Watch(request)
    timer = asyncio.get_running_loop().call_later(WATCH_AFTER_S, watch.start)
    try:
        with watch:
            return await work
    finally:
        timer.cancel()
        watch.stop()


async def _while_client_stays(body: AsyncIterator[bytes], request: Request) -> AsyncIterator[bytes]:
    """A body, until the client goes away: the server does not tell those who write to it."""
    watch = _Watch(request)
    watch.start()
    try:
        while True:
            with watch:
                chunk = await anext(body, None)
            if chunk is None:
                return
            yield chunk
    finally:
        watch.stop()
        await _let_go(body)


async def _let_go(body: object) -> None:
    close = getattr(body, "aclose", None)
    if close is not None:
        await close()


class _Watch:
    """Cancels what is awaited in its block when the client has gone, and raises ClientDisconnectedError there."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._waiting: asyncio.Task[Any] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._has_left = False

    def start(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    def stop(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()

    async def _watch(self) -> None:
        await self._request.wait_disconnect()
        self._has_left = True
        if self._waiting is not None:
            self._waiting.cancel()

    def __enter__(self) -> None:
        if self._has_left:
            raise ClientDisconnectedError
        self._waiting = asyncio.current_task()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        waiting, self._waiting = self._waiting, None
        if (
            self._has_left
            and kind is asyncio.CancelledError
            and waiting is not None
            and not waiting.uncancel()
        ):
            raise ClientDisconnectedError


def _refusal(reason: str) -> Response:
    """As Supabase's edge runtime refuses, so that `functions.invoke` gives a FunctionsRelayError."""
    headers = [(b"content-type", b"application/json"), (b"x-relay-error", b"true")]
    return Response(401, headers, orjson.dumps({"code": 401, "message": reason, "msg": f"Error: {reason}"}))
