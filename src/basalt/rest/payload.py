"""The body of a request → what PostgreSQL will read, and the keys that the planner needs to know.

Part of the first step of a REST request, after PostgREST's `ApiRequest/Payload.hs`. JSON passes as it came;
CSV and forms become JSON; text, XML and bytes stay for the routines that take them.
"""

import csv
import io
from collections.abc import Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import orjson

from basalt.rest.errors import RestError
from basalt.rest.media import JSON, parse_media_type
from basalt.rest.parameters import split_pairs
from basalt.rest.query import PayloadType

PAYLOAD_TYPES: Mapping[str, PayloadType] = {
    JSON: "json",
    "text/csv": "csv",
    "application/x-www-form-urlencoded": "form",
    "text/plain": "text",
    "text/xml": "xml",
    "application/octet-stream": "binary",
}
CSV_LINES = 1000
ROUTINE_ONLY = ("text", "xml", "binary")

csv.field_size_limit(64 * 1024 * 1024)  # the limit of a body is the gateway's; the default here is 128 KiB


class Payload(NamedTuple):
    raw: bytes
    keys: frozenset[str]
    is_array: bool = False
    form_pairs: tuple[tuple[str, str], ...] = ()


@lru_cache(maxsize=256)
def payload_type_of(content_type: str | None) -> PayloadType | None:
    """None for what no endpoint takes.

    >>> payload_type_of("application/json; charset=utf-8"), payload_type_of("image/png")
    ('json', None)
    """
    return "json" if content_type is None else PAYLOAD_TYPES.get(parse_media_type(content_type).name)


def parse_payload(
    body: bytes, content_type: str | None, *, columns: tuple[str, ...] | None, is_call: bool
) -> Payload:
    """`columns` is the parameter of that name where it counts: then a JSON body is not looked into. Raises
    RestError PGRST102."""
    kind = payload_type_of(content_type)
    if kind is None or (kind in ROUTINE_ONLY and not is_call):
        name = parse_media_type(content_type or "").name
        raise RestError("PGRST102", problem=f"Content-Type not acceptable: {name}")
    if kind != "binary" and b"\0" in body:
        raise RestError("PGRST102", problem="The body holds a NUL character")
    match kind:
        case "json":
            if columns is not None:
                return Payload(body, frozenset(columns), is_array=body.lstrip()[:1] == b"[")
            return _parse_json(body, is_call=is_call)
        case "csv":
            return _parse_csv(_decode(body))
        case "form":
            return _parse_form(body)
        case _:
            return Payload(body if kind == "binary" else _decode(body).encode(), frozenset())


def _decode(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as exc:
        raise RestError("PGRST102", problem="The body is not valid UTF-8") from exc


def _parse_json(body: bytes, *, is_call: bool) -> Payload:
    if is_call and not body:
        return Payload(b"{}", frozenset())
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise RestError("PGRST102", problem="Empty or invalid json") from exc
    if isinstance(value, dict):
        return Payload(body, frozenset(value))
    if isinstance(value, list):
        keys = _shared_keys(value)
        if keys is None and not is_call:
            raise RestError("PGRST102", problem="All object keys must match")
        # A routine with one unnamed parameter takes any array.
        return Payload(body, keys or frozenset(), is_array=True)
    if is_call:
        return Payload(body, frozenset())
    raise RestError("PGRST102", problem="The body must be a JSON object or an array of objects")


def _shared_keys(rows: list[Any]) -> frozenset[str] | None:
    if not rows:
        return frozenset()
    first = rows[0]
    if not isinstance(first, dict):
        return None
    keys = first.keys()
    if all(isinstance(row, dict) and row.keys() == keys for row in rows):
        return frozenset(keys)
    return None


def _parse_csv(text: str) -> Payload:
    """Lines of text under a line of names; the word NULL is null. A line with too many fields loses the last
    ones, as in PostgREST; one with too few is refused. A thousand lines at a time: ten megabytes of short ones
    are more than a gigabyte as dicts."""
    json = bytearray()
    try:
        lines = (line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line)
        names = next(lines, None)
        if names is None:
            raise RestError("PGRST102", problem="The CSV has no line of column names")
        while block := list(islice(lines, CSV_LINES)):
            json += b","
            json += _render_lines(names, block)
    except csv.Error as exc:
        raise RestError("PGRST102", problem=f"The CSV cannot be read: {exc}") from exc
    raw = b"".join((b"[", memoryview(json)[1:], b"]"))
    return Payload(raw, frozenset(names) if json else frozenset(), is_array=True)


def _render_lines(names: list[str], lines: list[list[str]]) -> bytes:
    """JSON objects with commas between."""
    if min(map(len, lines)) < len(names):
        raise RestError("PGRST102", problem="All lines must have same number of fields")
    rows: list[dict[str, str | None]] = [dict(zip(names, line, strict=False)) for line in lines]
    for row, line in zip(rows, lines, strict=True):
        if "NULL" in line:
            row.update((name, None) for name, value in row.items() if value == "NULL")
    return orjson.dumps(rows)[1:-1]


def _parse_form(body: bytes) -> Payload:
    try:
        pairs = [(name, value or "") for name, value in split_pairs(body)]
    except RestError as exc:
        raise RestError("PGRST102", problem=exc.message) from exc
    return Payload(orjson.dumps(dict(pairs)), frozenset(name for name, _ in pairs), form_pairs=tuple(pairs))
