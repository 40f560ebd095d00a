"""One request as it is given, and the answer as it came from the wire: raw header names, bytes that nobody has decoded.

For requests that users ask for and whose answers are recorded (`jobs/outgoing`). HTTP/1.1 with connections that are
kept, through a guard of addresses; redirects are the caller's affair. Nothing is unpacked, so that a small answer
cannot become a large one.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import httpcore2
import httpx2

from basalt.http.addresses import (
    AddressGuard,
    ForbiddenAddressError,
    GuardedBackend,
    Resolve,
    SystemResolver,
    UnknownHostError,
    resolved_at,
)
from basalt.http.tls import trusted_authorities

# Node closes an idle connection after five seconds: one that is older may close under our request.
KEPT_S = 4.0
KEPT_CONNECTIONS = 100
DEFAULT_PORTS = {"http": 80, "https": 443}

Failure = Literal[
    "timeout",
    "unknown_host",
    "unreachable",
    "forbidden_address",
    "tls",
    "no_answer",
    "not_http",
    "cut_off",
    "invalid",
]


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: `host` in ASCII and without brackets, `path` with the query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        suffix = "" if DEFAULT_PORTS[self.scheme] == self.port else f":{self.port}"
        return f"{self.scheme}://{host}{suffix}"

    @property
    def host_header(self) -> str:
        return self.origin.partition("://")[2]


@dataclass(frozen=True, slots=True)
class WireRequest:
    """`headers` come without those of the connection and the body's length."""

    method: str
    target: Target
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class WireAnswer:
    """`is_cut`: the answer was larger than it might be, `body` is its beginning."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    is_cut: bool = False


@dataclass(slots=True)
class Timing:
    """When an exchange came how far, in seconds of the monotonic clock."""

    started_at: float = field(default_factory=time.monotonic)
    resolved_at: float | None = None
    sent_at: float | None = None
    ended_at: float = 0.0


class WireError(Exception):
    """There is no answer."""

    def __init__(self, failure: Failure, message: str, timing: Timing | None = None) -> None:
        super().__init__(message)
        self.failure = failure
        self.timing = timing


def parse_target(url: str) -> Target:
    """Raises WireError invalid for what is no URL of HTTP, and for user names in it: they are there to mislead.

    >>> parse_target("https://Example.org/a b?x=1#part")
    Target(scheme='https', host='example.org', port=443, path='/a%20b?x=1')
    >>> parse_target("http://[::1]:54321").host_header
    '[::1]:54321'
    """
    if any(character < " " or character == "\x7f" for character in url):
        raise WireError("invalid", "The URL has control characters")
    try:
        parsed = httpx2.URL(url)
        host = parsed.raw_host.decode("ascii").lower()
    except (httpx2.InvalidURL, UnicodeError, ValueError) as exc:
        raise WireError("invalid", "URL using bad/illegal format or missing URL") from exc
    if parsed.scheme not in DEFAULT_PORTS:
        raise WireError("invalid", "Unsupported protocol")
    port = parsed.port if parsed.port is not None else DEFAULT_PORTS[parsed.scheme]
    authority = url.partition("://")[2]
    if not host or "%" in host or "\\" in authority.partition("/")[0] or not 0 < port < 65536:
        raise WireError("invalid", "URL using bad/illegal format or missing URL")
    if parsed.userinfo:
        raise WireError("invalid", "The URL has a user name; send an Authorization header instead")
    return Target(parsed.scheme, host, port, parsed.raw_path.decode("ascii"))


class WireClient:
    """A pool of connections; close it. Of two requests to one origin the second uses the first one's connection."""

    def __init__(
        self,
        guard: AddressGuard,
        *,
        resolve: Resolve | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._resolver = SystemResolver()
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context or trusted_authorities(),
            max_connections=None,
            max_keepalive_connections=KEPT_CONNECTIONS,
            keepalive_expiry=KEPT_S,
            network_backend=GuardedBackend(guard, resolve or self._resolver),
        )

    async def exchange(self, request: WireRequest, *, timeout_s: float, max_bytes: int) -> WireAnswer:
        """The whole exchange takes `timeout_s` at most, and no more than `max_bytes` of an answer are read. Raises
        WireError."""
        timing = Timing()
        resolved_at.set(None)
        with _translated(timing):
            async with asyncio.timeout(timeout_s):
                async with self._pool.stream(
                    request.method,
                    httpcore2.URL(request.target.origin + request.target.path),
                    headers=_complete_headers(request),
                    content=request.body,
                    extensions={"trace": _note_sending(timing)},
                ) as response:
                    if response.status == 101:
                        raise WireError("not_http", "Weird server reply", timing)
                    body, is_cut = await _read(response.aiter_stream(), max_bytes)
                    return WireAnswer(response.status, tuple(response.headers), body, is_cut)

    async def close(self) -> None:
        await self._pool.aclose()
        self._resolver.close()


def _complete_headers(request: WireRequest) -> list[tuple[bytes, bytes]]:
    headers = [(b"Host", request.target.host_header.encode()), *request.headers]
    if request.body is not None or request.method == "POST":
        headers.append((b"Content-Length", str(len(request.body or b"")).encode()))
    return headers


def _note_sending(timing: Timing) -> Callable[[str, dict[str, Any]], Any]:
    async def trace(event: str, _: dict[str, Any]) -> None:
        if event == "http11.send_request_headers.started":
            timing.sent_at = time.monotonic()

    return trace


async def _read(chunks: AsyncIterator[bytes], max_bytes: int) -> tuple[bytes, bool]:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > max_bytes:
            return bytes(body[:max_bytes]), True
    return bytes(body), False


@contextmanager
def _translated(timing: Timing) -> Any:
    """libcurl's words for what went wrong, as pg_net records them."""
    try:
        yield
    except ForbiddenAddressError as exc:
        raise WireError("forbidden_address", str(exc), timing) from exc
    except (TimeoutError, httpcore2.TimeoutException) as exc:
        timing.resolved_at, timing.ended_at = resolved_at.get(), time.monotonic()
        raise WireError("timeout", "Timeout was reached", timing) from exc
    except UnknownHostError as exc:
        raise WireError("unknown_host", "Could not resolve hostname", timing) from exc
    except httpcore2.ConnectError as exc:
        raise _translate_connect_error(exc, timing) from exc
    except (httpcore2.ReadError, httpcore2.WriteError) as exc:
        raise WireError("cut_off", "Failure when receiving data from the peer", timing) from exc
    except httpcore2.RemoteProtocolError as exc:
        raise _translate_protocol_error(str(exc), timing) from exc
    except httpcore2.LocalProtocolError as exc:
        raise WireError("invalid", "The request has a header that HTTP does not allow", timing) from exc


def _translate_connect_error(error: httpcore2.ConnectError, timing: Timing) -> WireError:
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        message = f"SSL peer certificate or SSH remote key was not OK ({cause.verify_message})"
        return WireError("tls", message, timing)
    if isinstance(cause, ssl.SSLError):
        return WireError("tls", "SSL connect error", timing)
    return WireError("unreachable", "Could not connect to server", timing)


def _translate_protocol_error(message: str, timing: Timing) -> WireError:
    if "without sending a response" in message:
        return WireError("no_answer", "Server returned nothing (no headers, no data)", timing)
    if "closed connection without sending complete" in message or "incomplete chunked read" in message:
        return WireError("cut_off", "Transferred a partial file", timing)
    return WireError("not_http", "Weird server reply", timing)
