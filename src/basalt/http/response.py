"""What a service answers with: a status, raw headers, and bytes that are passed through untouched."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

import orjson


@dataclass(slots=True)
class Response:
    """Header names are lower case. A body of bytes gets its `content-length` from the gateway; an iterator is
    sent in chunks."""

    status: int
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes | AsyncIterator[bytes] = b""


def json_response(value: object, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """`value` as compact JSON with `content-type: application/json`."""
    raw = [(b"content-type", b"application/json")]
    raw.extend((name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in headers)
    return Response(status, raw, orjson.dumps(value))
