"""A request on its way to a service, with its body still on the wire until somebody asks for it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from basalt.errors import BasaltError
from basalt.http.headers import Headers

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class ClientDisconnectedError(Exception):
    """The client went away before its request was complete; there is nobody left to answer."""


@dataclass(frozen=True, slots=True)
class KeyedWrite:
    """The claim on an idempotency key that a service which writes in transactions records with the write
    (`basalt.start_keyed_write`), so that both are committed or none."""

    key_hash: bytes
    holder: str


class Request:
    """`path` is decoded and `raw_path` still percent-encoded; both are without the service's `prefix`, which
    is `/rest/v1` or alike.
    `base_url` is the configured public address of the API and never comes from `Host`
    (GHSA-3529-5m8x-rpv3). `keyed` is the claim of a request with an idempotency key. `route` is the template of the
    path that a service answers it by, for its figures: `/object/{bucket}/{name*}`."""

    __slots__ = (
        "_body",
        "_receive",
        "base_url",
        "body_limit_bytes",
        "client_ip",
        "headers",
        "keyed",
        "method",
        "path",
        "prefix",
        "query_string",
        "raw_path",
        "request_id",
        "route",
    )

    def __init__(
        self,
        *,
        method: str,
        path: str,
        receive: Receive,
        raw_path: str | None = None,
        prefix: str = "",
        query_string: bytes = b"",
        headers: Headers | None = None,
        client_ip: str = "127.0.0.1",
        request_id: str = "",
        base_url: str = "",
        body_limit_bytes: int = 10 * 1024 * 1024,
    ) -> None:
        self.method = method
        self.path = path
        self.raw_path = path if raw_path is None else raw_path
        self.prefix = prefix
        self.query_string = query_string
        self.headers = headers or Headers()
        self.client_ip = client_ip
        self.request_id = request_id
        self.base_url = base_url
        self.body_limit_bytes = body_limit_bytes
        self._receive = receive
        self._body: bytes | None = None
        self.keyed: KeyedWrite | None = None
        self.route = ""

    async def detach(self) -> "Request":
        """The same request with its body read, for work that goes on when the client leaves."""
        detached = Request(
            method=self.method,
            path=self.path,
            raw_path=self.raw_path,
            prefix=self.prefix,
            query_string=self.query_string,
            headers=self.headers,
            client_ip=self.client_ip,
            request_id=self.request_id,
            base_url=self.base_url,
            body_limit_bytes=self.body_limit_bytes,
            receive=_receive_nothing_more,
        )
        detached._body = await self.body()
        return detached

    async def body(self, limit_bytes: int | None = None) -> bytes:
        """The whole body, read once and kept. Raises BasaltError payload_too_large (413) before the excess is
        stored."""
        if self._body is None:
            self._check_announced_length(limit_bytes)
            chunk, is_last = await self._next_chunk(0, limit_bytes)
            if is_last:  # as most are
                self._body = chunk
            else:
                rest = [chunk async for chunk in self._stream(limit_bytes, received=len(chunk))]
                self._body = b"".join([chunk, *rest])
        return self._body

    async def stream(self, limit_bytes: int | None = None) -> AsyncIterator[bytes]:
        """The body in chunks as they arrive. Raises like `body`, and ClientDisconnectedError when the client
        stops sending."""
        if self._body is not None:
            yield self._body
            return
        async for chunk in self._stream(limit_bytes, received=0):
            yield chunk

    async def _stream(self, limit_bytes: int | None, *, received: int) -> AsyncIterator[bytes]:
        is_last = False
        while not is_last:
            chunk, is_last = await self._next_chunk(received, limit_bytes)
            received += len(chunk)
            if chunk:
                yield chunk

    async def _next_chunk(self, received: int, limit_bytes: int | None) -> tuple[bytes, bool]:
        """What comes next, and whether it is the last."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError
        chunk: bytes = message.get("body", b"")
        limit = self.body_limit_bytes if limit_bytes is None else limit_bytes
        if received + len(chunk) > limit:
            raise self._too_large(limit)
        return chunk, not message.get("more_body", False)

    async def wait_disconnect(self) -> None:
        """Return when the client has gone. Only meaningful after the body was read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def query(self) -> list[tuple[str, str]]:
        """The query string as pairs, `+` and percent-escapes decoded, blank values kept. Raises
        BasaltError invalid_query (400) when it is not UTF-8."""
        try:
            return parse_qsl(
                self.query_string.decode("ascii"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=1000,
            )
        except ValueError as exc:
            raise BasaltError(
                "invalid_query", 400, "The query string is not valid UTF-8 or has over 1000 fields"
            ) from exc

    def _check_announced_length(self, limit_bytes: int | None) -> None:
        announced = self.headers.get("content-length")
        limit = self.body_limit_bytes if limit_bytes is None else limit_bytes
        if announced is not None and announced.isdigit() and int(announced) > limit:
            raise self._too_large(limit)

    def _too_large(self, limit_bytes: int) -> BasaltError:
        raises = ", or raise basalt.max_body_bytes in supabase/config.toml"
        return BasaltError(
            "payload_too_large",
            413,
            f"The request body is larger than the limit of {limit_bytes} bytes",
            hint="Send less at once" + (raises if limit_bytes == self.body_limit_bytes else ""),
        )


async def _receive_nothing_more() -> MutableMapping[str, Any]:
    return await asyncio.Future()
