"""From HTTP to `ApiRequest`: what is asked of which thing in which schema, in which form. Pure but for the
body, which the caller has read.

First step of a REST request, after PostgREST's `ApiRequest.hs`. Everything that can be refused without the
schema cache is refused here.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

import orjson

from basalt.http import Request
from basalt.rest.errors import RestError
from basalt.rest.grammar import (
    has_operator,
    parse_filter,
    parse_logic,
    parse_names,
    parse_order,
    parse_path,
    parse_select,
)
from basalt.rest.preferences import parse_preferences
from basalt.rest.query import (
    ALL_ROWS,
    Action,
    ApiRequest,
    EmbedPath,
    Filter,
    LogicTree,
    MediaRange,
    OrderTerm,
    ParsedQuery,
    PayloadType,
    RootTarget,
    RoutineTarget,
    RowRange,
    TableTarget,
    Target,
)

ACTIONS: Mapping[str, Action] = {
    "GET": "read", "HEAD": "read", "POST": "insert", "PUT": "upsert_one", "PATCH": "update", "DELETE": "delete",
    "OPTIONS": "inspect",
}  # fmt: skip
PAYLOAD_TYPES: Mapping[str, PayloadType] = {
    "application/json": "json",
    "application/vnd.pgrst.object+json": "json",
    "application/vnd.pgrst.array+json": "json",
    "application/geo+json": "json",
    "text/csv": "csv",
    "application/x-www-form-urlencoded": "form",
    "text/plain": "text",
    "text/xml": "xml",
    "application/xml": "xml",
    "application/octet-stream": "binary",
}
LOGIC_NAMES = {"and": ("and", False), "or": ("or", False), "not.and": ("and", True), "not.or": ("or", True)}
MAX_BIGINT = 2**63 - 1


class Payload(NamedTuple):
    """What PostgreSQL will read, and what the planner needs to know of it."""

    raw: bytes
    keys: frozenset[str] | None
    is_array: bool
    form_pairs: tuple[tuple[str, str], ...] = ()


def parse_request(request: Request, body: bytes | None, *, schemas: Sequence[str]) -> ApiRequest:
    """Raises RestError PGRST100, 101, 102, 103, 106, 117, 122, 125."""
    target = _parse_target(request.path)
    action = _choose_action(request.method, target)
    schema, was_sent = _choose_schema(request, action, schemas)
    preferences = parse_preferences(request.headers.get_all("prefer"))
    if preferences.handling == "strict" and preferences.invalid:
        raise RestError("PGRST122", preferences=", ".join(preferences.invalid))
    accept = _parse_accept(request.headers.get_all("accept"))
    is_call = isinstance(target, RoutineTarget)
    takes_parameters = is_call and request.method in ("GET", "HEAD")
    query, top_range = _parse_query(request, takes_parameters=takes_parameters)
    top_range = _with_range_header(request, action, top_range)
    payload_type = _payload_type(request)
    payload = None
    if action in ("insert", "upsert_one", "update") or (action == "call" and request.method == "POST"):
        payload = _read_payload(body or b"", payload_type, query, is_call=is_call)
    first = accept[0].name
    return ApiRequest(
        method=request.method,
        action=action,
        target=target,
        schema=schema,
        query=query,
        preferences=preferences,
        media_types=tuple(one.name for one in accept),
        accept=accept,
        singular=first.startswith("application/vnd.pgrst.object"),
        nulls_stripped=first.endswith(";nulls=stripped"),
        headers_only=request.method == "HEAD",
        top_range=top_range,
        payload=payload.raw if payload else None,
        payload_type=payload_type,
        payload_keys=payload.keys if payload else None,
        payload_is_array=payload.is_array if payload else False,
        form_pairs=payload.form_pairs if payload else (),
        profile_sent=was_sent or len(schemas) > 1,
        request_settings=_settings(request),
    )


# Target, action, schema


def _parse_target(path: str) -> Target:
    segments = path.strip("/").split("/") if path.strip("/") else []
    match segments:
        case []:
            return RootTarget()
        case ["rpc", name] if name:
            return RoutineTarget(name)
        case [name] if name != "rpc":
            return TableTarget(name)
    raise RestError("PGRST125")


def _choose_action(method: str, target: Target) -> Action:
    if method not in ACTIONS:
        raise RestError("PGRST117", method=method)
    if isinstance(target, RoutineTarget):
        if method == "OPTIONS":
            return "inspect"
        if method not in ("GET", "HEAD", "POST"):
            raise RestError("PGRST101", method=method)
        return "call"
    if isinstance(target, RootTarget):
        if method == "OPTIONS":
            return "inspect"
        if method not in ("GET", "HEAD"):
            raise RestError("PGRST117", method=method)
        return "describe"
    return ACTIONS[method]


def _choose_schema(request: Request, action: Action, schemas: Sequence[str]) -> tuple[str, bool]:
    header = "accept-profile" if request.method in ("GET", "HEAD") else "content-profile"
    asked = request.headers.get(header)
    if asked is None:
        return schemas[0], False
    asked = asked.encode("latin-1").decode("utf-8", "replace")
    if asked not in schemas:
        raise RestError("PGRST106", schema=asked, schemas=", ".join(schemas))
    return asked, True


# Media types and settings


def _parse_accept(headers: Sequence[str]) -> tuple[MediaRange, ...]:
    """The media ranges, most wanted first; equal ones keep their order (RFC 9110 §12.5.1)."""
    found = []
    for number, part in enumerate(",".join(headers).split(",")):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        quality = 1.0
        kept = []
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 1.0
            elif parameter == "nulls=stripped":
                kept.append(parameter)
        if name:
            found.append((-quality, number, MediaRange(";".join([_canonical(name.lower()), *kept]))))
    found.sort(key=lambda entry: entry[:2])
    return tuple(entry[2] for entry in found) or (MediaRange("*/*"),)


def _canonical(name: str) -> str:
    return {
        "application/vnd.pgrst.object": "application/vnd.pgrst.object+json",
        "application/vnd.pgrst.array": "application/vnd.pgrst.array+json",
    }.get(name, name)


def _settings(request: Request) -> dict[str, str]:
    headers = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in request.headers.raw
        if name != b"cookie"
    }
    cookies = dict(
        pair.strip().split("=", 1)
        for header in request.headers.get_all("cookie")
        for pair in header.split(";")
        if "=" in pair
    )
    return {
        "request.method": request.method,
        "request.path": request.path,
        "request.headers": orjson.dumps(headers).decode(),
        "request.cookies": orjson.dumps(cookies).decode(),
    }


# The query string


def _parse_query(request: Request, *, takes_parameters: bool) -> tuple[ParsedQuery, RowRange]:
    select = None
    where: list[tuple[EmbedPath, LogicTree]] = []
    order: dict[EmbedPath, tuple[OrderTerm, ...]] = {}
    limits: dict[EmbedPath, int] = {}
    offsets: dict[EmbedPath, int] = {}
    columns = on_conflict = None
    parameters = []
    pairs = _pairs(request)
    for name, value in pairs:
        prefix, _, last = name.rpartition(".")
        if name == "select":
            select = parse_select(value)
        elif name == "columns":
            columns = parse_names(value, "columns parameter") if value else None
        elif name == "on_conflict":
            on_conflict = parse_names(value, "on_conflict parameter") if value else None
        elif name == "apikey":
            continue
        elif last == "order":
            order[_embed_path(prefix)] = parse_order(value)
        elif last == "limit":
            limits[_embed_path(prefix)] = _whole_number(value)
        elif last == "offset":
            offsets[_embed_path(prefix)] = _whole_number(value)
        elif last in ("and", "or"):
            where.append(_logic(name, value))
        elif takes_parameters and not ("." in name or has_operator(value)):
            parameters.append((name, value))
        else:
            path, one = parse_path(name)
            operation, negated = parse_filter(value)
            where.append((path, Filter(one, operation, negated)))
    ranges = {path: RowRange(offsets.get(path, 0), limits.get(path)) for path in {*limits, *offsets}}
    top = ranges.pop((), ALL_ROWS)
    if top.offset < 0 or (top.limit is not None and top.limit < 0):
        raise RestError("PGRST103", details="Limit and offset should be greater than or equal to zero.")
    query = ParsedQuery(
        where=tuple(where),
        order=tuple(order.items()),
        ranges=tuple(ranges.items()),
        columns=columns,
        on_conflict=on_conflict,
        parameters=tuple(parameters),
        has_select=select is not None,
        canonical=urlencode(sorted(pairs)),
        **({"select": select} if select is not None else {}),
    )
    return query, top


def _pairs(request: Request) -> list[tuple[str, str]]:
    pairs = request.query()
    if any("\0" in name or "\0" in value for name, value in pairs):
        raise RestError("PGRST100", problem="The query string holds a NUL character")
    return pairs


def _embed_path(prefix: str) -> EmbedPath:
    if not prefix:
        return ()
    path, last = parse_path(prefix)
    return (*path, last.name)


def _logic(name: str, value: str) -> tuple[EmbedPath, LogicTree]:
    prefix, _, last = name.rpartition(".")
    negated = prefix == "not" or prefix.endswith(".not")
    if negated:
        prefix = prefix[: -len("not")].rstrip(".")
    return _embed_path(prefix), parse_logic(value, last, negated=negated)


def _whole_number(value: str) -> int:
    unsigned = value.removeprefix("-")
    if not (unsigned.isascii() and unsigned.isdigit()):
        raise RestError("PGRST100", problem=f'"{value[:100]}" is not a whole number')
    number = int(value) if len(unsigned) < 20 else MAX_BIGINT + 1
    if abs(number) > MAX_BIGINT:
        raise RestError("PGRST100", problem=f'"{value[:100]}" is out of range')
    return number


def _with_range_header(request: Request, action: Action, top: RowRange) -> RowRange:
    """`Range: 0-9`, for reads only; what the query string says is taken within it."""
    header = request.headers.get("range")
    if header is None or request.method != "GET":
        return top
    first, dash, last = header.rpartition("=")[2].partition("-")
    if not dash or not first.isdigit() or (last and not last.isdigit()) or len(first) > 18 or len(last) > 18:
        return top
    offset = int(first)
    if last and int(last) < offset:
        raise RestError(
            "PGRST103",
            details="The lower boundary must be lower than or equal to the upper boundary in the Range header.",
        )
    limit = int(last) - offset + 1 if last else None
    if top.limit is not None:
        limit = top.limit if limit is None else min(limit, top.limit)
    return RowRange(max(offset, top.offset), limit)


# The body


def _payload_type(request: Request) -> PayloadType:
    header = request.headers.get("content-type")
    if header is None:
        return "json"
    name = header.partition(";")[0].strip().lower()
    found = PAYLOAD_TYPES.get(name)
    if found is None and request.method in ("POST", "PUT", "PATCH"):
        raise RestError("PGRST102", problem=f"Content-Type not acceptable: {name}")
    return found or "json"


def _read_payload(body: bytes, kind: PayloadType, query: ParsedQuery, *, is_call: bool) -> Payload:
    match kind:
        case "json":
            return _read_json(body, query, is_call=is_call)
        case "csv" if not is_call:
            return _read_csv(body)
        case "form":
            pairs = _read_form(body)
            return Payload(
                orjson.dumps(dict(pairs)), frozenset(name for name, _ in pairs), False, tuple(pairs)
            )
        case _ if is_call:
            return Payload(body, frozenset(), False)
    raise RestError("PGRST102", problem="Content-Type not acceptable")


def _read_json(body: bytes, query: ParsedQuery, *, is_call: bool) -> Payload:
    if not body:
        if is_call:
            return Payload(b"{}", frozenset(), False)
        raise RestError("PGRST102", problem="Empty or invalid json")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise RestError("PGRST102", problem="Empty or invalid json") from exc
    if query.columns is not None and not is_call:
        return Payload(body, frozenset(query.columns), isinstance(value, list))
    if isinstance(value, dict):
        return Payload(body, frozenset(value), False)
    if isinstance(value, list) and not is_call:
        return Payload(body, _shared_keys(value), True)
    if is_call:
        return Payload(body, frozenset(), isinstance(value, list))
    raise RestError("PGRST102", problem="Empty or invalid json")


def _shared_keys(rows: list[Any]) -> frozenset[str]:
    if not all(isinstance(row, dict) for row in rows):
        raise RestError("PGRST102", problem="All object keys must match")
    if not rows:
        return frozenset()
    keys = rows[0].keys()
    if any(row.keys() != keys for row in rows):
        raise RestError("PGRST102", problem="All object keys must match")
    return frozenset(keys)


def _read_csv(body: bytes) -> Payload:
    """Rows of text; the word NULL is null, as in PostgREST."""
    try:
        rows = list(csv.reader(io.StringIO(body.decode("utf-8")), strict=True))
    except (UnicodeDecodeError, csv.Error) as exc:
        raise RestError("PGRST102", problem=f"The CSV cannot be read: {exc}") from exc
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise RestError("PGRST102", problem="All lines must have same number of fields")
    objects = [
        {name: None if value == "NULL" else value for name, value in zip(rows[0], row, strict=True)}
        for row in rows[1:]
    ]
    return Payload(orjson.dumps(objects), frozenset(rows[0]), True)


def _read_form(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=1000)
    except ValueError as exc:
        raise RestError("PGRST102", problem="The form is not valid UTF-8") from exc
