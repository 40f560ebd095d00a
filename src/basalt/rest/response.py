"""From what the database gave back to the HTTP answer: status, headers, body. Pure.

The last step of a REST request. The rules are those of PostgREST's `Response.hs`; the body is the bytes that
PostgreSQL built and is not looked into.
"""

from dataclasses import dataclass
from urllib.parse import quote

import orjson

from basalt.http import Response
from basalt.rest.errors import RestError, is_safe_header
from basalt.rest.preferences import applied_preferences, render_applied
from basalt.rest.query import ApiRequest, TableTarget


@dataclass(frozen=True, slots=True)
class Outcome:
    """What running the statement of one request gave.

    `page_count` is the number of rows read or changed, `total_count` that of all rows the filters match (None
    unless it was asked for). `inserted_count` is the number of rows a PUT or a merging upsert really
    inserted,
    None where it was not counted. `location` are the primary key columns and values of a single inserted row,
    for `Location`; the values are rendered as `eq.VALUE` here. `has_conflict_target` is whether an insert had
    a
    primary key or `on_conflict` to resolve duplicates by. `response_status` and `response_headers` are the
    settings `response.status` and `response.headers` as PostgreSQL returned them, None or empty when
    unset."""

    body: bytes = b""
    media_type: str = "application/json"
    page_count: int = 0
    total_count: int | None = None
    inserted_count: int | None = None
    location: tuple[tuple[str, str], ...] = ()
    has_conflict_target: bool = False
    returns_void: bool = False
    response_status: bytes | None = None
    response_headers: bytes | None = None


def render_response(request: ApiRequest, outcome: Outcome) -> Response:
    """Raises RestError PGRST103, PGRST111, PGRST112, PGRST116."""
    is_read = request.action == "read" or request.action == "call"
    if is_read and request.singular and outcome.page_count != 1:
        raise RestError("PGRST116", rows=outcome.page_count)
    headers: list[tuple[bytes, bytes]] = []
    body = outcome.body
    if request.action == "call" and outcome.returns_void:
        status, body = 204, b""
    elif is_read:
        status = _read_status(request, outcome)
        headers.append((b"content-range", _content_range(request, outcome)))
    else:
        status, body = _write_status(request, outcome, headers)
    if status != 204 and (is_read or request.preferences.representation == "full"):
        headers.append((b"content-type", _content_type(outcome.media_type)))
    applied = render_applied(applied_preferences(request, has_conflict_target=outcome.has_conflict_target))
    if applied:
        headers.append((b"preference-applied", applied.encode()))
    if request.profile_sent:
        headers.append((b"content-profile", request.schema.encode()))
    headers += _own_headers(outcome)
    return Response(_own_status(outcome) or status, headers, b"" if request.headers_only else body)


def _read_status(request: ApiRequest, outcome: Outcome) -> int:
    total = outcome.total_count
    if total is None:
        return 200
    offset = request.top_range.offset
    if offset > total or (offset == total and total > 0 and outcome.page_count == 0):
        raise RestError(
            "PGRST103", details=f"An offset of {offset} was requested, but there are only {total} rows."
        )
    return 206 if outcome.page_count < total else 200


def _content_range(request: ApiRequest, outcome: Outcome) -> bytes:
    total = "*" if outcome.total_count is None else str(outcome.total_count)
    if not outcome.page_count:
        return f"*/{total}".encode()
    first = request.top_range.offset
    return f"{first}-{first + outcome.page_count - 1}/{total}".encode()


def _write_status(
    request: ApiRequest, outcome: Outcome, headers: list[tuple[bytes, bytes]]
) -> tuple[int, bytes]:
    total = str(outcome.page_count) if request.preferences.count else "*"
    wants_rows = request.preferences.representation == "full"
    rows = f"0-{outcome.page_count - 1}" if outcome.page_count else "*"
    match request.action:
        case "insert":
            headers.append((b"content-range", f"*/{total}".encode()))
            if outcome.location:
                query = "&".join(f"{quote(name)}=eq.{quote(value)}" for name, value in outcome.location)
                assert isinstance(request.target, TableTarget)
                headers.append((b"location", f"/{quote(request.target.name)}?{query}".encode()))
            created = outcome.inserted_count is None or outcome.inserted_count > 0 or outcome.page_count == 0
            return (201 if created else 200), outcome.body
        case "upsert_one":
            created = bool(outcome.inserted_count)
            return (201 if created else 200 if wants_rows else 204), outcome.body if wants_rows else b""
        case "update":
            headers.append((b"content-range", f"{rows}/{total}".encode()))
        case "delete":
            headers.append((b"content-range", f"*/{total}".encode()))
    return (200, outcome.body) if wants_rows else (204, b"")


def _content_type(media_type: str) -> bytes:
    return (
        f"{media_type}; charset=utf-8".encode() if media_type != "*/*" else b"application/json; charset=utf-8"
    )


def _own_status(outcome: Outcome) -> int | None:
    if outcome.response_status is None:
        return None
    try:
        status = int(outcome.response_status)
    except ValueError:
        raise RestError("PGRST112") from None
    if not 200 <= status <= 599:
        raise RestError("PGRST112")
    return status


def _own_headers(outcome: Outcome) -> list[tuple[bytes, bytes]]:
    if not outcome.response_headers:
        return []
    try:
        found = [pair for entry in orjson.loads(outcome.response_headers) for pair in entry.items()]
        if not all(is_safe_header(name, value) for name, value in found):
            raise RestError("PGRST111")
    except (orjson.JSONDecodeError, AttributeError, TypeError) as exc:
        raise RestError("PGRST111") from exc
    return [(name.lower().encode(), value.encode()) for name, value in found]
