"""From what the database gave back to the HTTP answer: status, headers, body. Pure.

The last step of a REST request. The rules are those of PostgREST's `Response.hs`; the body is the bytes that
PostgreSQL built and is not looked into.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import orjson

from basalt.http import Response
from basalt.postgres import Routine, Table
from basalt.rest.errors import RestError, header_bytes, is_safe_header
from basalt.rest.media import render_content_type
from basalt.rest.parameters import render_canonical
from basalt.rest.preferences import NO_PREFERENCES, render_meaningful
from basalt.rest.query import ApiRequest, RoutineTarget, RowsTarget, TableTarget

RawHeaders = list[tuple[bytes, bytes]]

PLAN_PREFIX = "application/vnd.pgrst.plan"
VARY = (b"vary", b"Accept, Prefer, Range")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What running the statement of one request gave.

    `page_count` is the number of rows read or changed, `total_count` that of all rows the filters match, None
    unless it was asked for. `inserted_count` is the number of rows that a PUT or a merging upsert really
    inserted, None where it was not counted. `location` are the primary key columns and values of a single
    inserted row, for `Location`. `has_conflict_target` is whether an insert had a primary key or
    `on_conflict` to resolve duplicates by. `response_status` and `response_headers` are the settings
    `response.status` and `response.headers` as PostgreSQL returned them, None or empty when unset."""

    body: bytes = b""
    media_type: str = "application/json"
    page_count: int = 0
    total_count: int | None = None
    inserted_count: int | None = None
    location: tuple[tuple[str, str | None], ...] = ()
    has_conflict_target: bool = False
    returns_void: bool = False
    response_status: bytes | None = None
    response_headers: bytes | None = None


def render_response(
    request: ApiRequest, outcome: Outcome, *, offset: int, query_string: bytes, is_singular: bool
) -> Response:
    """`offset` is the first row asked for. Raises RestError PGRST103, PGRST111, PGRST112, PGRST116."""
    if outcome.media_type.startswith(PLAN_PREFIX):
        return Response(200, [*_content_headers(request, outcome), VARY], outcome.body)
    match request.action:
        case "read" | "call":
            if is_singular and outcome.page_count != 1:
                raise RestError("PGRST116", rows=outcome.page_count)
            status, headers, has_body = _render_read(request, outcome, offset)
            if request.action == "read":
                headers.append((b"content-location", _render_content_location(request, query_string)))
        case "insert":
            status, headers, has_body = _render_insert(request, outcome)
        case "upsert_one":
            status, headers, has_body = _render_upsert_one(request, outcome)
        case _:
            status, headers, has_body = _render_change(request, outcome)
    if has_body:
        headers += _content_headers(request, outcome)
    if request.preferences is not NO_PREFERENCES:
        applied = render_meaningful(
            request.preferences, request.action, has_conflict_target=outcome.has_conflict_target
        )
        if applied is not None:
            headers.append((b"preference-applied", header_bytes(applied)))
    headers.append(VARY)
    if outcome.response_headers:
        headers = _with_own_headers(headers, outcome.response_headers)
    if outcome.response_status:
        status = _parse_own_status(outcome.response_status)
    body = outcome.body if has_body and not request.headers_only else b""
    return Response(status, headers, b"" if status in (204, 304) else body)


def render_options(allowed: str) -> Response:
    """The answer to OPTIONS: what may be done with a table, a routine or the root."""
    return Response(200, [(b"allow", allowed.encode()), (b"access-control-allow-origin", b"*")])


def render_allowed(target: Table | Routine | None) -> str:
    """The methods of `Allow`; None is the root. What a view cannot do is left out, privileges are not considered."""
    match target:
        case Table():
            can_upsert = target.insertable and target.updatable and target.primary_key
            methods = [
                "OPTIONS,GET,HEAD",
                "POST" if target.insertable else "",
                "PUT" if can_upsert else "",
                "PATCH" if target.updatable else "",
                "DELETE" if target.deletable else "",
            ]
            return ",".join(filter(None, methods))
        case Routine(volatility="volatile"):
            return "OPTIONS,POST"
        case Routine():
            return "OPTIONS,GET,HEAD,POST"
        case None:
            return "OPTIONS,GET,HEAD"


def render_timing(took_s: Mapping[str, float]) -> tuple[bytes, bytes]:
    """`Server-Timing` in milliseconds, one entry a step.

    >>> render_timing({"jwt": 0.0004, "parse": 0.0012})
    (b'server-timing', b'jwt;dur=0.4, parse;dur=1.2')
    """
    steps = ("jwt", "parse", "plan", "transaction", "response")
    entries = (f"{step};dur={took_s[step] * 1000:.1f}" for step in steps if step in took_s)
    return b"server-timing", ", ".join(entries).encode()


def render_warning(legacy_targets: Sequence[tuple[str, str]]) -> tuple[bytes, bytes]:
    """`Warning` for filters that name an embed by its table although it has an alias."""
    changes = ", ".join(f"`{relation}` to `{label}`" for relation, label in legacy_targets)
    text = (
        "Embedded resource was referenced by relation name even though it has an alias. This is deprecated and will "
        f"stop working in a future release. Update {changes} in query string filters, orders or limits."
    )
    return b"warning", header_bytes(f'299 Basalt "{text}"')


# Reads and calls


def _render_read(request: ApiRequest, outcome: Outcome, first: int) -> tuple[int, RawHeaders, bool]:
    total = outcome.total_count
    content_range = render_content_range(first, first + outcome.page_count - 1, total)
    headers = [(b"content-range", content_range)]
    if outcome.returns_void:
        return 204, headers, False
    if total is None:
        return 200, headers, True
    if first > total:
        raise RestError(
            "PGRST103",
            details=f"An offset of {first} was requested, but there are only {total} rows.",
            headers=[("Content-Range", content_range.decode())],
        )
    return (206 if outcome.page_count < total else 200), headers, True


def render_content_range(first: int, last: int, total: int | None) -> bytes:
    """`Content-Range` (RFC 9110 §14.4) as PostgREST writes it, without a unit.

    >>> render_content_range(0, 9, 15), render_content_range(0, -1, None)
    (b'0-9/15', b'*/*')
    """
    rows = f"{first}-{last}" if total != 0 and first <= last else "*"
    return f"{rows}/{'*' if total is None else total}".encode()


def _render_content_location(request: ApiRequest, query_string: bytes) -> bytes:
    query = render_canonical(query_string)
    return header_bytes(f"/{_target_name(request)}" + (f"?{query}" if query else ""))


def _target_name(request: ApiRequest) -> str:
    match request.target:
        case TableTarget(name) | RowsTarget(name):
            return name
        case RoutineTarget(name):
            return f"rpc/{name}"
        case _:
            return ""


# Writes


def _render_insert(request: ApiRequest, outcome: Outcome) -> tuple[int, RawHeaders, bool]:
    headers = [(b"content-range", render_content_range(1, 0, _changed_total(request, outcome)))]
    if outcome.location:
        headers.append((b"location", _render_location(request, outcome.location)))
    merges = request.preferences.resolution == "merge-duplicates"
    inserted = outcome.page_count if outcome.inserted_count is None else outcome.inserted_count
    status = 200 if merges and not inserted else 201
    return status, headers, request.preferences.representation == "full"


def _render_location(request: ApiRequest, keys: tuple[tuple[str, str | None], ...]) -> bytes:
    pairs = (f"{quote(name, safe='')}={_render_key(value)}" for name, value in keys)
    return header_bytes(f"/{_target_name(request)}?{'&'.join(pairs)}")


def _render_key(value: str | None) -> str:
    return "is.null" if value is None else quote(f"eq.{value}", safe="")


def _render_upsert_one(request: ApiRequest, outcome: Outcome) -> tuple[int, RawHeaders, bool]:
    if request.preferences.representation != "full":
        return 204, [], False
    return (201 if outcome.inserted_count else 200), [], True


def _render_change(request: ApiRequest, outcome: Outcome) -> tuple[int, RawHeaders, bool]:
    total = _changed_total(request, outcome)
    last = outcome.page_count - 1 if request.action == "update" else -1
    headers = [(b"content-range", render_content_range(0, last, total))]
    if request.preferences.representation != "full":
        return 204, headers, False
    return 200, headers, True


def _changed_total(request: ApiRequest, outcome: Outcome) -> int | None:
    """Every write knows how many rows it changed; a planned count has no meaning for it."""
    return outcome.page_count if request.preferences.count in ("exact", "estimated") else None


# Headers


def _content_headers(request: ApiRequest, outcome: Outcome) -> RawHeaders:
    headers = [(b"content-type", render_content_type(outcome.media_type).encode())]
    if request.profile_sent:
        headers.append((b"content-profile", header_bytes(request.schema)))
    return headers


def _with_own_headers(headers: RawHeaders, raw: bytes) -> RawHeaders:
    """`response.headers` of the routine or the pre-request instead of ours; the same one may come several
    times (`Set-Cookie`)."""
    own = _parse_own_headers(raw)
    replaced = {name for name, _ in own}
    return [pair for pair in headers if pair[0] not in replaced] + own


def _parse_own_headers(raw: bytes) -> RawHeaders:
    try:
        entries = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise RestError("PGRST111") from exc
    if not isinstance(entries, list):
        raise RestError("PGRST111")
    return [_parse_own_header(entry) for entry in entries]


def _parse_own_header(entry: object) -> tuple[bytes, bytes]:
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise RestError("PGRST111")
    [(name, value)] = entry.items()
    if not isinstance(value, str) or not is_safe_header(name, value):
        raise RestError("PGRST111")
    return name.lower().encode(), value.encode()


def _parse_own_status(raw: bytes) -> int:
    """`response.status`: the digits it begins with."""
    found = re.match(rb"[0-9]{1,4}", raw)
    status = int(found[0]) if found else 0
    if not 200 <= status <= 599:
        raise RestError("PGRST112")
    return status
