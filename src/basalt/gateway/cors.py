"""Cross-origin rules (Fetch standard §3.2): who may read answers from a page of another origin, and what browsers are
told that ask first.

`ProjectCors` is what the gateway of a Supabase project answers, `RestCors` what PostgREST does (`Cors.hs`).
"""

from collections.abc import Iterable
from typing import Protocol

from basalt.http import Headers, Response

METHODS = b"GET,POST,PATCH,PUT,DELETE,OPTIONS,HEAD"
REST_METHODS = b"GET, POST, PATCH, PUT, DELETE, OPTIONS, HEAD"
REST_REQUEST_HEADERS = ("Accept", "Accept-Language", "Content-Language")
REST_EXPOSED = (
    b"Content-Encoding, Content-Location, Content-Range, Content-Type, Date, Location, Server, "
    b"Transfer-Encoding, Range-Unit"
)
TUS_EXPOSED = (
    b"Upload-Offset, Upload-Length, Upload-Defer-Length, Upload-Metadata, Upload-Expires, "
    b"Tus-Version, Tus-Resumable, Tus-Max-Size, Tus-Extension, Tus-Complete"
)
EXPOSED = (
    REST_EXPOSED
    + b", Link, X-Total-Count, X-Request-Id, X-Supabase-Api-Version, X-Sb-Error-Code, X-Relay-Error, Retry-After, "
    + b"Idempotency-Replayed, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, RateLimit-Policy, "
    + TUS_EXPOSED
)
MAX_AGE_S = b"86400"
ALLOW_ORIGIN = b"access-control-allow-origin"


class Cors(Protocol):
    """One set of cross-origin rules."""

    def answer_preflight(self, method: str, headers: Headers) -> Response | None:
        """The answer to a browser's question, None when the request is none."""

    def mark(self, response: Response, method: str, headers: Headers) -> None:
        """Make the response readable by the origin that asked; what a service set itself stays."""


class ProjectCors:
    """Any origin, any header, no credentials."""

    def answer_preflight(self, method: str, headers: Headers) -> Response | None:
        if not _is_preflight(method, headers):
            return None
        asked = (
            headers.get("access-control-request-headers")
            or "authorization, apikey, content-type, x-client-info"
        )
        return Response(
            200,
            [
                (ALLOW_ORIGIN, b"*"),
                (b"access-control-allow-methods", METHODS),
                (b"access-control-allow-headers", asked.encode("latin-1")),
                (b"access-control-max-age", MAX_AGE_S),
                (b"vary", b"Access-Control-Request-Headers"),
            ],
        )

    def mark(self, response: Response, method: str, headers: Headers) -> None:
        if "origin" in headers and not _is_marked(response):
            response.headers.append((ALLOW_ORIGIN, b"*"))
            response.headers.append((b"access-control-expose-headers", EXPOSED))


class RestCors:
    """Any origin, or with `origins` those alone, and then with credentials. A question that cannot be answered with
    yes goes to the service like any OPTIONS request."""

    def __init__(self, origins: Iterable[str] = (), *, exposed: bytes = REST_EXPOSED) -> None:
        self._origins = frozenset(origins)
        self._exposed = exposed

    def answer_preflight(self, method: str, headers: Headers) -> Response | None:
        if not _is_preflight(method, headers):
            return None
        allowed = self._allowed_origin(headers)
        if not allowed:
            return None
        if headers.get("access-control-request-method") not in REST_METHODS.decode().split(", "):
            return None
        answer = [*allowed, (b"access-control-allow-methods", REST_METHODS)]
        asked = headers.get("access-control-request-headers")
        if asked is not None:
            answer.append((b"access-control-allow-headers", _allowed_headers(asked)))
        return Response(200, [*answer, (b"access-control-max-age", MAX_AGE_S)])

    def mark(self, response: Response, method: str, headers: Headers) -> None:
        allowed = self._allowed_origin(headers)
        if allowed and method != "OPTIONS" and not _is_marked(response):
            response.headers.extend([*allowed, (b"access-control-expose-headers", self._exposed)])

    def _allowed_origin(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """The headers that let the asking origin in; none for other ones, or when nobody asks."""
        origin = headers.get("origin")
        if origin is None or (self._origins and origin not in self._origins):
            return []
        if not self._origins:
            return [(ALLOW_ORIGIN, b"*")]
        # A cache in between must not give one origin's answer to another.
        return [
            (ALLOW_ORIGIN, origin.encode("latin-1")),
            (b"access-control-allow-credentials", b"true"),
            (b"vary", b"Origin"),
        ]


def _allowed_headers(asked: str) -> bytes:
    """What was asked for, between what is always allowed; each once.

    >>> _allowed_headers("Foo, accept")
    b'Authorization, Foo, accept, Accept-Language, Content-Language'
    """
    names = {"authorization": "Authorization"}
    for name in (*(part.strip() for part in asked.split(",")), *REST_REQUEST_HEADERS):
        if name:
            names.setdefault(name.lower(), name)
    return ", ".join(names.values()).encode("latin-1")


def _is_preflight(method: str, headers: Headers) -> bool:
    """A question by a browser (Fetch standard §4.8), not an OPTIONS request meant for the service."""
    return method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def _is_marked(response: Response) -> bool:
    return any(name == ALLOW_ORIGIN for name, _ in response.headers)
