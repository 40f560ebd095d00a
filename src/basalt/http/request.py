"""A request on its way to a service, with its body still on the wire until somebody asks for it."""

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

from basalt.errors import BasaltError
from basalt.http.headers import Headers

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class ClientDisconnectedError(Exception):
    """The client went away before its request was complete; there is nobody left to answer."""


class Request:
    """`path` is decoded and `raw_path` still percent-encoded; both are without the service's `prefix`, which
    is `/rest/v1` or alike.
    `base_url` is the configured public address of the API and never comes from `Host`
    (GHSA-3529-5m8x-rpv3)."""

    __slots__ = (
        "_body",
        "_receive",
        "base_url",
        "body_limit_bytes",
        "client_ip",
        "headers",
        "method",
        "path",
        "prefix",
        "query_string",
        "raw_path",
        "request_id",
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
            raise _too_large(limit)
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
            raise _too_large(limit)


def _too_large(limit_bytes: int) -> BasaltError:
    return BasaltError(
        "payload_too_large",
        413,
        f"The request body is larger than the limit of {limit_bytes} bytes",
        hint="Send less at once, or raise basalt.max_body_bytes in supabase/config.toml",
    )
