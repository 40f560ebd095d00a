"""From HTTP to `ApiRequest`: what is asked of which thing in which schema, in which form. Pure.

First step of a REST request, after PostgREST's `ApiRequest.hs`. Whatever can be refused without the schema
cache is refused here, in PostgREST's order: path, profile, method, query string, ranges, body.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal
from urllib.parse import unquote_to_bytes

import orjson

from basalt.http import Headers, Request
from basalt.observe import is_tracing, traceparent
from basalt.rest.errors import RestError
from basalt.rest.literals import number_literals
from basalt.rest.media import parse_accept
from basalt.rest.parameters import MAX_BIGINT, Span, parse_parameters
from basalt.rest.payload import Payload, parse_payload, payload_type_of
from basalt.rest.preferences import parse_preferences
from basalt.rest.query import (
    Action,
    ApiRequest,
    BatchTarget,
    RootTarget,
    RoutineTarget,
    RowRange,
    RowsTarget,
    TableTarget,
    Target,
)

Kind = Literal["table", "rows", "routine", "batch", "root"]
ACTIONS: Mapping[Kind, Mapping[str, Action]] = {
    "table": {
        "GET": "read", "HEAD": "read", "POST": "insert", "PUT": "upsert_one", "PATCH": "update",
        "DELETE": "delete", "OPTIONS": "inspect",
    },
    "rows": {"POST": "update", "OPTIONS": "inspect"},
    "routine": {"GET": "call", "HEAD": "call", "POST": "call", "OPTIONS": "inspect"},
    "batch": {"POST": "call", "OPTIONS": "inspect"},
    "root": {"GET": "describe", "HEAD": "describe", "OPTIONS": "inspect"},
}  # fmt: skip
WRITING_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
EMPTY_PAYLOAD = Payload(b"", frozenset())

_RANGE = re.compile(r"([0-9]+)-([0-9]*)\Z")


def parse_request(
    request: Request, body: bytes | None, *, schemas: Sequence[str], allow_transaction: bool = False
) -> ApiRequest:
    """`schemas` are the exposed ones, the default first; `allow_transaction` lets `Prefer: tx=…` decide.
    Raises RestError PGRST100, 101, 102, 103, 106, 114, 117, 122, 125."""
    headers = request.headers
    method = request.method
    target, kind = _parse_target(request.raw_path)
    schema, was_sent = _choose_schema(headers, method, schemas)
    action = _choose_action(method, kind)
    is_reading_call = kind == "routine" and method in ("GET", "HEAD")
    query, span = parse_parameters(request.query_string, takes_arguments=is_reading_call)
    top_range = _choose_range(headers, method, span)
    content_type = headers.get("content-type")
    payload = None
    if action in ("insert", "upsert_one", "update") or (kind == "routine" and method == "POST"):
        columns = None if action == "upsert_one" else query.columns
        payload = parse_payload(body or b"", content_type, columns=columns, is_call=kind == "routine")
    query, literals = number_literals(query)
    form_pairs = payload.form_pairs if payload else ()
    return ApiRequest(
        method=method,
        action=action,
        target=target,
        schema=schema,
        query=query,
        preferences=parse_preferences(headers.get_all("prefer"), allow_transaction=allow_transaction),
        accept=parse_accept(headers.get("accept")),
        headers_only=method == "HEAD",
        top_range=top_range,
        payload=payload.raw if payload else None,
        payload_type=payload_type_of(content_type) or "json",
        payload_keys=payload.keys if payload else None,
        payload_is_array=payload.is_array if payload else False,
        form_pairs=form_pairs,
        literals=(*literals, *(value for _, value in form_pairs)),
        argument_slot=len(literals) - len(query.parameters),
        profile_sent=was_sent or len(schemas) != 1,
    )


def _parse_target(raw_path: str) -> tuple[Target, Kind]:
    """Split before decoding: `/a%2Fb` is one name.

    >>> _parse_target("/rpc/add")
    (RoutineTarget(name='add'), 'routine')
    >>> _parse_target("/rpc/basalt_bulk_update/films")
    (RowsTarget(name='films'), 'rows')
    """
    segments = raw_path.removeprefix("/").split("/")
    match segments:
        case [""]:
            return RootTarget(), "root"
        case ["rpc", "basalt_batch"]:
            return BatchTarget(), "batch"
        case ["rpc", "basalt_bulk_update", name] if name:
            return RowsTarget(_decode_segment(name)), "rows"
        case ["rpc", name] if name:
            return RoutineTarget(_decode_segment(name)), "routine"
        case [name]:
            return TableTarget(_decode_segment(name)), "table"
    raise RestError("PGRST125")


def _decode_segment(raw: str) -> str:
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError as exc:
        raise RestError("PGRST125") from exc


def _choose_action(method: str, kind: Kind) -> Action:
    action = ACTIONS[kind].get(method)
    if action is None:
        raise RestError("PGRST117" if kind in ("table", "root") else "PGRST101", method=method)
    return action


def _choose_schema(headers: Headers, method: str, schemas: Sequence[str]) -> tuple[str, bool]:
    asked = headers.get("content-profile" if method in WRITING_METHODS else "accept-profile")
    if asked is None:
        return schemas[0], False
    asked = _as_utf8(asked)
    if asked not in schemas:
        raise RestError("PGRST106", schema=asked, schemas=", ".join(schemas))
    return asked, True


# Ranges


def _choose_range(headers: Headers, method: str, asked: Span) -> RowRange:
    """`Range` (GET only, RFC 9110 §14.2) within `limit` and `offset`. `limit=0` is a question for nothing and
    stands above all; every other empty range cannot be satisfied."""
    header = _parse_range(headers.get("range")) if method == "GET" else Span()
    if asked.upper == -1:
        return RowRange(0, 0)
    span = header.within(asked)
    if span.is_empty:
        details = (
            "The lower boundary must be lower than or equal to the upper boundary in the Range header."
            if header.is_empty
            else "Limit should be greater than or equal to zero."
        )
        raise RestError("PGRST103", details=details)
    if method == "PUT" and span != Span():
        raise RestError("PGRST114")
    return span.as_range()


def _parse_range(header: str | None) -> Span:
    """`0-9` or `5-`; anything else, with its unit or several ranges, is as if it were not there.

    >>> _parse_range("0-9"), _parse_range("bytes=0-9")
    (Span(lower=0, upper=9), Span(lower=0, upper=None))
    """
    found = _RANGE.match(header) if header is not None else None
    if found is None:
        return Span()
    return Span(_bounded(found[1]), _bounded(found[2]) if found[2] else None)


def _bounded(digits: str) -> int:
    return MAX_BIGINT if len(digits) > 19 else min(int(digits), MAX_BIGINT)


# What the statement may read


def render_settings(request: Request) -> dict[str, bytes]:
    """`request.*` as PostgREST sets it: the path without prefix, header names in lower case, cookies apart."""
    headers = {
        name.decode("latin-1"): value.decode("utf-8", "replace") for name, value in request.headers.raw
    }
    cookies = headers.pop("cookie", None)
    if request.request_id:  # also when the gateway made it up: statements and logs can be laid side by side
        headers["x-request-id"] = request.request_id
    if is_tracing():  # jobs and webhooks of this request are its children
        headers["traceparent"] = traceparent()
    return {
        "request.method": request.method.encode(),
        "request.path": request.raw_path.encode(),
        "request.headers": orjson.dumps(headers),
        "request.cookies": orjson.dumps(_parse_cookies(cookies)) if cookies else b"{}",
    }


def _parse_cookies(header: str) -> dict[str, str]:
    """
    >>> _parse_cookies("a=1; b=x=y")
    {'a': '1', 'b': 'x=y'}
    """
    pairs = (part.lstrip(" ").partition("=") for part in header.split(";"))
    return {name: value for name, _, value in pairs if name}


def _as_utf8(value: str) -> str:
    return value.encode("latin-1").decode("utf-8", "replace")
