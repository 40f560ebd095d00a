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

MAX_ANSWER_BYTES = 1024 * 1024

Reason = Literal["timeout", "unreachable", "forbidden_address", "too_large", "invalid_url"]


class OutgoingError(Exception):
    """The other side could not be asked. `reason` is what a caller can act on; the message holds no secret."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class OutgoingAnswer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises ValueError."""
        return orjson.loads(self.body)


class OutgoingClient:
    """A pool of connections; close it. `is_guarded` is for addresses that come from anybody but the operator."""

    def __init__(self, *, is_guarded: bool = False) -> None:
        transport = httpx2.AsyncHTTPTransport(trust_env=not is_guarded)
        if is_guarded:
            transport._pool = httpcore2.AsyncConnectionPool(
                ssl_context=httpx2.create_ssl_context(),
                network_backend=GuardedBackend(AddressGuard(), SystemResolver()),
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
        """One request, whose whole exchange takes `timeout_s` at most. Raises OutgoingError."""
        all_headers = dict(headers or {})
        if json is not None:
            content = orjson.dumps(json)
            all_headers.setdefault("content-type", "application/json")
        try:
            async with asyncio.timeout(timeout_s):
                async with self._client.stream(
                    method, url, headers=all_headers, data=form, content=content, timeout=timeout_s
                ) as response:
                    body = await _read(response, max_bytes)
                    return OutgoingAnswer(response.status_code, dict(response.headers), body)
        except ForbiddenAddressError as exc:
            raise OutgoingError("forbidden_address", str(exc)) from exc
        except (TimeoutError, httpx2.TimeoutException) as exc:
            raise OutgoingError("timeout", f"No answer within {timeout_s:g} seconds") from exc
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as exc:
            raise OutgoingError("invalid_url", "The address is not a valid URL") from exc
        except httpx2.HTTPError as exc:
            raise OutgoingError(
                "unreachable", f"The address cannot be reached: {type(exc).__name__}"
            ) from exc

    async def close(self) -> None:
        await self._client.aclose()


async def _read(response: httpx2.Response, max_bytes: int) -> bytes:
    chunks, size = [], 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size > max_bytes:
            raise OutgoingError("too_large", f"The answer is larger than {max_bytes} bytes")
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
