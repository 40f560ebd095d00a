"""What goes around the answers of a service on their way out: cross-origin rules, the request's id, a trace header."""

from collections.abc import Callable
from typing import Protocol

from basalt.config import RestSettings
from basalt.gateway.cors import Cors, ProjectCors, RestCors
from basalt.http import Headers, Response

REQUEST_ID_HEADER = b"x-request-id"


class Edge(Protocol):
    """The rim of one service."""

    def answer_early(self, method: str, headers: Headers) -> Response | None:
        """An answer that needs no service, if there is one."""

    def finish(self, response: Response, method: str, headers: Headers, request_id: str) -> None:
        """Add to the response what the service does not know of."""


class ProjectEdge:
    """The rim of every service of a project."""

    def __init__(self) -> None:
        self._cors = ProjectCors()

    def answer_early(self, method: str, headers: Headers) -> Response | None:
        return self._cors.answer_preflight(method, headers)

    def finish(self, response: Response, method: str, headers: Headers, request_id: str) -> None:
        self._cors.mark(response, method, headers)
        response.headers.append((REQUEST_ID_HEADER, request_id.encode()))


class RestEdge:
    """REST's own: `server_cors_allowed_origins` and `server_trace_header` of the settings in force, which may change
    while it serves. `open_cors` are the rules as long as no origins are listed."""

    def __init__(self, settings: Callable[[], RestSettings], *, open_cors: Cors, exposed: bytes) -> None:
        self._current = settings
        self._open_cors = open_cors
        self._exposed = exposed
        self._settings = settings()
        self._apply(self._settings)

    def answer_early(self, method: str, headers: Headers) -> Response | None:
        if (settings := self._current()) is not self._settings:
            self._apply(settings)
        return self._cors.answer_preflight(method, headers)

    def finish(self, response: Response, method: str, headers: Headers, request_id: str) -> None:
        self._cors.mark(response, method, headers)
        traced = self._trace_header
        if traced is not None:
            given = next((value for name, value in headers.raw if name == traced), b"")
            if traced == REQUEST_ID_HEADER:
                response.headers.append((REQUEST_ID_HEADER, given or request_id.encode()))
                return
            response.headers.append((traced, given))
        response.headers.append((REQUEST_ID_HEADER, request_id.encode()))

    def _apply(self, settings: RestSettings) -> None:
        origins = settings.server_cors_allowed_origins
        self._cors = RestCors(origins, exposed=self._exposed) if origins else self._open_cors
        traced = settings.server_trace_header
        self._trace_header = traced.lower().encode() if traced is not None else None
        self._settings = settings
