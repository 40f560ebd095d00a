"""Requests that Basalt makes itself: to providers, hooks and addresses that users gave.

A guarded client refuses private, loopback and other special addresses (`addresses.py`). Redirects are never followed.
Answers are read up to a limit. What must be kept as it came from the wire goes through `wire.py` instead.
"""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpcore2
import httpx2
import orjson

from basalt.http.addresses import (
    AddressGuard,
    ForbiddenAddressError,
    GuardedBackend,
    SystemResolver,
    is_public_address,
)
from basalt.http.tls import trusted_authorities
from basalt.observe import outgoing_headers, span

MAX_ANSWER_BYTES = 1024 * 1024
# httpx keeps 20: of 32 requests at once to a provider, 12 began with a handshake every time.
LIMITS = httpx2.Limits(max_connections=100, max_keepalive_connections=100, keepalive_expiry=5.0)

Reason = Literal["timeout", "unreachable", "forbidden_address", "too_large", "invalid_url"]


class OutgoingError(Exception):
    """The other side could not be asked. `reason` is what a caller can act on; the message holds no secret.
    `was_sent`: a part of the request has left, so that it may have been served all the same."""

    def __init__(self, reason: Reason, message: str, *, was_sent: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.was_sent = was_sent


@dataclass(frozen=True, slots=True)
class OutgoingAnswer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises ValueError."""
        return orjson.loads(self.body)


class OutgoingClient:
    """A pool of connections; close it. `is_guarded` is for addresses that come from anybody but the operator;
    `allow_private` is the operator's word that those may lie in private networks."""

    def __init__(self, *, is_guarded: bool = False, allow_private: bool = False) -> None:
        transport = httpx2.AsyncHTTPTransport(
            verify=trusted_authorities(), trust_env=not is_guarded, limits=LIMITS
        )
        if is_guarded:
            transport._pool = httpcore2.AsyncConnectionPool(
                ssl_context=trusted_authorities(),
                network_backend=GuardedBackend(AddressGuard(allow_private=allow_private), SystemResolver()),
            )
        self._client = httpx2.AsyncClient(transport=transport, follow_redirects=False)

    async def send(
        self,
        method: str,
        url: str,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        json: object = None,
        content: bytes | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> OutgoingAnswer:
        """One request, whose whole exchange takes `timeout_s` at most, with the id of the present request and its
        trace. Raises OutgoingError."""
        with span(method, kind="client", attributes={"http.request.method": method}) as one:
            all_headers = {**outgoing_headers(), **(headers or {})}
            answer = await self._send(method, url, timeout_s, all_headers, form, json, content, max_bytes)
            one.note(http__response__status_code=answer.status)
            return answer

    async def _send(
        self,
        method: str,
        url: str,
        timeout_s: float,
        all_headers: dict[str, str],
        form: Mapping[str, str] | None,
        json: object,
        content: bytes | None,
        max_bytes: int,
    ) -> OutgoingAnswer:
        sending = _Sending()
        if json is not None:
            content = orjson.dumps(json)
            all_headers.setdefault("content-type", "application/json")
        try:
            async with asyncio.timeout(timeout_s):
                async with self._client.stream(
                    method,
                    url,
                    headers=all_headers,
                    data=form,
                    content=content,
                    timeout=timeout_s,
                    extensions={"trace": sending.note},
                ) as response:
                    body = await _read(response, max_bytes)
                    return OutgoingAnswer(response.status_code, dict(response.headers), body)
        except ForbiddenAddressError as exc:
            raise OutgoingError("forbidden_address", str(exc)) from exc
        except (TimeoutError, httpx2.TimeoutException) as exc:
            message = f"No answer within {timeout_s:g} seconds"
            raise OutgoingError("timeout", message, was_sent=sending.has_begun) from exc
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as exc:
            raise OutgoingError("invalid_url", "The address is not a valid URL") from exc
        except httpx2.HTTPError as exc:
            message = f"The address cannot be reached: {type(exc).__name__}"
            raise OutgoingError("unreachable", message, was_sent=sending.has_begun) from exc

    async def close(self) -> None:
        await self._client.aclose()


class _Sending:
    """Whether the request has begun to leave."""

    has_begun = False

    async def note(self, event: str, _: dict[str, Any]) -> None:
        if event.endswith("send_request_headers.started"):
            self.has_begun = True


async def _read(response: httpx2.Response, max_bytes: int) -> bytes:
    chunks, size = [], 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size > max_bytes:
            raise OutgoingError("too_large", f"The answer is larger than {max_bytes} bytes", was_sent=True)
        chunks.append(chunk)
    return b"".join(chunks)


async def resolve_public(host: str, port: int | None = None) -> list[str]:
    """The addresses behind a name. Raises OutgoingError forbidden_address unless all are public ones, OSError when
    there are none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(is_public_address(address) for address in addresses):
        raise OutgoingError("forbidden_address", "The address is not a public one")
    return addresses
