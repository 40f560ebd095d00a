"""The ASGI application: takes a request apart, hands it to its service, writes the answer out."""

import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AsyncExitStack
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable
from urllib.parse import unquote_to_bytes

from basalt import observe
from basalt.collector import spare_the_collector
from basalt.config import TelemetrySettings
from basalt.errors import BasaltError, render_error
from basalt.gateway.answers import Send, write_answer
from basalt.gateway.edges import Edge, ProjectEdge
from basalt.gateway.idempotency import Idempotency
from basalt.gateway.limits import RequestLimits
from basalt.gateway.reporting import DISCONNECTS, Answered, Reporter, in_flight
from basalt.gateway.websocket import FrameProtocol
from basalt.http import (
    ClientAddresses,
    ClientDisconnectedError,
    Headers,
    Request,
    Response,
    SocketConnection,
    json_response,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Refusal = Callable[[BasaltError, Request], Response]

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Service(Protocol):
    """What stands behind a prefix such as `/rest/v1`."""

    async def open(self) -> None:
        """Connect and load what the first request needs."""

    async def close(self) -> None:
        """Let go of it; open requests have ended."""

    async def respond(self, request: Request) -> Response:
        """Answer, errors in the contract's own shape included. A service with a true `takes_raw_path` reads
        `raw_path` alone: it has its own words for one that is not UTF-8."""


@runtime_checkable
class SocketService(Protocol):
    """A service that takes WebSockets too."""

    async def connect(self, request: Request, connection: SocketConnection) -> None:
        """Accept or reject the handshake, and return when the connection has ended."""


class Place(NamedTuple):
    """A service and where it stands. `name` is the prefix without its version, as figures have it."""

    prefix: str
    service: Service
    edge: Edge
    name: str


class Visit:
    """What is known of a request when its answer has been written. `standing` are the headers that tell how its caller
    stands with the rate limits."""

    __slots__ = ("place", "request", "standing")

    def __init__(self, place: Place | None) -> None:
        self.place = place
        self.request: Request | None = None
        self.standing: list[tuple[bytes, bytes]] = []

    @property
    def route(self) -> str:
        return self.request.route if self.request is not None else ""


class Gateway:
    """`services` maps a prefix to its service, in the order they are opened; what has the prefix `""` gets whatever
    no other one claims. `edges` are those of services that have their own; `client_addresses` knows whom to believe
    who the client is; `refusals` word a refusal by a rate limit as their service would; `idempotency` answers repeated
    writes; `reporter` counts and logs them all."""

    def __init__(
        self,
        services: Mapping[str, Service],
        limits: RequestLimits,
        *,
        base_url: str,
        max_body_bytes: int,
        client_addresses: ClientAddresses | None = None,
        edges: Mapping[str, Edge] = MappingProxyType({}),
        refusals: Mapping[str, Refusal] = MappingProxyType({}),
        idempotency: Idempotency | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        self._services = services
        self._edge = ProjectEdge()
        places = [
            Place(prefix, one, edges.get(prefix, self._edge), prefix.split("/")[1] if prefix else "root")
            for prefix, one in services.items()
        ]
        self._by_first_segment = {place.prefix.split("/")[1]: place for place in places if place.prefix}
        self._root = next((place for place in places if not place.prefix), None)
        self._limits = limits
        self._reporter = reporter or Reporter(TelemetrySettings())
        self._refusals = refusals
        self._base_url = base_url
        self._max_body_bytes = max_body_bytes
        self._client_addresses = client_addresses or ClientAddresses(None)
        self._idempotency = idempotency

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope["headers"])
            observe.request_id.set(_request_id(headers))  # ends with the request's task
            if (traceparent := headers.get("traceparent")) is not None:
                observe.accept_trace(traceparent, headers.get("tracestate"))
            await (self._serve_traced if observe.is_tracing() else self._serve)(scope, headers, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await receive()
            await self._serve_socket(scope, send)

    async def _serve(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> Answered | None:
        """What is known of the request afterwards, where somebody wants to know it."""
        started = time.perf_counter()
        request_id = observe.request_id.get()
        place = self._place_of(scope["path"])
        name = place.name if place is not None else ""
        visit = Visit(place)
        in_flight[name] += 1
        try:
            response = await self._answer(scope, headers, request_id, receive, visit)
            size = await write_answer(response, send, method=scope["method"])
        except ClientDisconnectedError:
            DISCONNECTS.add(1, name)
            observe.event("client_disconnected", level="debug", method=scope["method"], path=scope["path"])
            return None
        except Exception:  # of an answer that had begun; the server ends the connection and logs it
            self._reporter.count(name, visit.route, scope["method"], 500, 0, time.perf_counter() - started)
            raise
        finally:
            in_flight[name] -= 1
        took_s = time.perf_counter() - started
        reporter = self._reporter
        reporter.count(name, visit.route, scope["method"], response.status, size, took_s)
        wants_line = reporter.wants_line(scope["path"], response.status)
        if not wants_line and not observe.is_tracing():
            return None
        answered = Answered(
            place.prefix if place is not None else "",
            name,
            visit.route,
            scope["method"],
            scope["path"],
            scope["query_string"],
            response.status,
            size,
            took_s,
            self._client_ip(scope, headers),
            headers,
        )
        if wants_line:
            reporter.log(answered)
        return answered

    async def _serve_traced(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        method = scope["method"]
        parent = headers.get("traceparent", "")
        attributes = {"http.request.method": method, "url.path": scope["path"]}
        with observe.span(method, kind="server", parent=parent, attributes=attributes) as span:
            answered = await self._serve(scope, headers, receive, send)
            if answered is not None:
                route = f"/{answered.service}{answered.route}"
                span.rename(f"{method} {route}")
                span.note(http__route=route, http__response__status_code=answered.status)
                if answered.status >= 500:
                    span.fail(str(answered.status))

    async def _serve_socket(self, scope: Scope, send: Send) -> None:
        """Hand the connection to the service; where none takes it, the handshake is refused with 404."""
        connection: FrameProtocol = scope["extensions"]["basalt.connection"]
        connection.bind(send)
        headers = Headers(scope["headers"])
        request_id = _request_id(headers)
        observe.request_id.set(request_id)
        try:
            path = _decode_path(scope)
            place = self._place_of(path)
            if place is None or not isinstance(place.service, SocketService):
                raise BasaltError("not_found", 404, f"No WebSocket is served at {path}")
            request = self._request(scope, headers, request_id, place.prefix, path, _receive_nothing)
            await self._limits.check_handshake(request)
            await place.service.connect(request, connection)
        except BasaltError as error:
            await connection.reject(
                json_response(render_error(error, request_id), error.status, error.headers)
            )
        except ClientDisconnectedError:
            pass

    async def _answer(
        self, scope: Scope, headers: Headers, request_id: str, receive: Receive, visit: Visit
    ) -> Response:
        edge = self._edge if visit.place is None else visit.place.edge
        response = edge.answer_early(scope["method"], headers)
        if response is None:
            response = await self._respond(scope, headers, request_id, receive, visit)
            response.headers.extend(visit.standing)
        edge.finish(response, scope["method"], headers, request_id)
        return response

    async def _respond(
        self, scope: Scope, headers: Headers, request_id: str, receive: Receive, visit: Visit
    ) -> Response:
        """The service's answer, or the structured error of whatever went wrong before or in it."""
        try:
            return await self._dispatch(scope, headers, request_id, receive, visit)
        except ClientDisconnectedError:
            raise
        except BasaltError as error:
            if error.status >= 500:
                observe.event("request_failed", level="warning", code=error.code, error=error.__cause__)
            return json_response(render_error(error, request_id), error.status, error.headers)
        except Exception as error:
            observe.event(
                "request_crashed", level="error", method=scope["method"], path=scope["path"], error=error
            )
            internal = BasaltError(
                "internal_error", 500, "Something went wrong on our side; the log has the details"
            )
            return json_response(render_error(internal, request_id), 500)

    async def _dispatch(
        self, scope: Scope, headers: Headers, request_id: str, receive: Receive, visit: Visit
    ) -> Response:
        place = visit.place
        if place is not None and getattr(place.service, "takes_raw_path", False):
            path = str(scope["path"])
        else:
            path = _decode_path(scope)
            if path != scope["path"]:
                place = visit.place = self._place_of(path)
        if place is None:
            raise BasaltError(
                "not_found", 404, f"Nothing is served at {path}", hint=f"Try {', '.join(self._services)}"
            )
        request = visit.request = self._request(scope, headers, request_id, place.prefix, path, receive)
        try:
            visit.standing.extend(await self._limits.check(request))
        except BasaltError as error:
            refuse = self._refusals.get(place.prefix)
            if refuse is None:
                raise
            return refuse(error, request)
        if self._idempotency is not None and self._idempotency.concerns(request):
            return await self._idempotency.respond(request, place.service)
        return await place.service.respond(request)

    def _request(
        self, scope: Scope, headers: Headers, request_id: str, prefix: str, path: str, receive: Receive
    ) -> Request:
        return Request(
            method=scope.get("method", "GET"),
            path=path[len(prefix) :] or "/",
            raw_path=scope["raw_path"].decode("ascii")[len(prefix) :] or "/",
            prefix=prefix,
            query_string=scope["query_string"],
            headers=headers,
            client_ip=self._client_ip(scope, headers),
            request_id=request_id,
            base_url=self._base_url,
            body_limit_bytes=self._max_body_bytes,
            receive=receive,
        )

    def _place_of(self, path: str) -> Place | None:
        """Only whole segments count: `/rest/v1x` is not below `/rest/v1`."""
        place = self._by_first_segment.get(path[1:].partition("/")[0])
        if place is not None and (path + "/").startswith(place.prefix + "/"):
            return place
        return self._root

    def _client_ip(self, scope: Scope, headers: Headers) -> str:
        client = scope.get("client")
        return self._client_addresses.find(client[0] if client else "unknown", headers)

    async def _live(self, receive: Receive, send: Send) -> None:
        """ASGI lifespan: open every service before the first request, close them after the last."""
        async with AsyncExitStack() as stack:
            await receive()
            if self._idempotency is not None:
                stack.push_async_callback(self._idempotency.close)
            stack.push_async_callback(self._limits.close)
            try:
                for service in dict.fromkeys(self._services.values()):  # one may stand in two places
                    await service.open()
                    stack.push_async_callback(service.close)
            except Exception as error:
                observe.event("start_failed", level="error", error=error)
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            spare_the_collector()
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


async def _receive_nothing() -> Message:
    """A handshake has no body."""
    return {"type": "http.request", "body": b""}


def _request_id(headers: Headers) -> str:
    """The caller's own id when it is harmless in logs and headers, else a new one."""
    given = headers.get("x-request-id")
    return given if given is not None and REQUEST_ID.fullmatch(given) else os.urandom(16).hex()


def _decode_path(scope: Scope) -> str:
    """The decoded path. ASGI servers replace broken UTF-8 silently, which would turn one name into another.
    Raises BasaltError 400."""
    raw: bytes = scope["raw_path"]
    if b"%" not in raw:
        return str(scope["path"])
    try:
        path = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError as exc:
        raise BasaltError("invalid_path", 400, "The path is not valid UTF-8") from exc
    if "\0" in path:
        raise BasaltError("invalid_path", 400, "The path holds a NUL character")
    return path
