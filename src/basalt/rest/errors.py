"""The catalogue of REST errors: PostgREST's codes with their statuses, messages, details and hints, how they
are written as JSON, and how PostgreSQL's own errors map to HTTP.

Texts with `{names}` are filled from the keyword arguments of `RestError`. PostgREST's `Error.hs` is the
source; `docs/reference/errors.md` lists the same table."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import orjson

from basalt.access import AccessError
from basalt.errors import BasaltError
from basalt.http import Response


class Entry(NamedTuple):
    status: int
    message: str
    details: str | None = None
    hint: str | None = None


# Groups: 0 connection, 1 request, 2 schema cache, 3 token, X internal. Codes 104, 109, 110, 113 and 119 are
# retired in PostgREST and stay unused.
ERRORS: Mapping[str, Entry] = {
    "PGRST000": Entry(503, "Database connection error. Retrying the connection."),
    "PGRST001": Entry(503, "Database client error. Retrying the connection."),
    "PGRST002": Entry(503, "Could not query the database for the schema cache. Retrying."),
    "PGRST003": Entry(504, "Timed out acquiring connection from connection pool."),
    "PGRST100": Entry(400, "{problem}"),
    "PGRST101": Entry(405, "Cannot use the {method} method on RPC"),
    "PGRST102": Entry(400, "{problem}"),
    "PGRST103": Entry(416, "Requested range not satisfiable"),
    "PGRST105": Entry(405, "Filters must include all and only primary key columns with 'eq' operators"),
    "PGRST106": Entry(
        406, "Invalid schema: {schema}", None, "Only the following schemas are exposed: {schemas}"
    ),
    "PGRST107": Entry(406, "None of these media types are available: {media_types}"),
    "PGRST108": Entry(
        400,
        "'{resource}' is not an embedded resource in this request",
        None,
        "Verify that '{resource}' is included in the 'select' query parameter.",
    ),
    "PGRST111": Entry(
        500,
        "response.headers guc must be a JSON array composed of objects with a single key and a string value",
    ),
    "PGRST112": Entry(500, "response.status guc must be a valid status code"),
    "PGRST114": Entry(400, "limit/offset querystring parameters are not allowed for PUT"),
    "PGRST115": Entry(400, "Payload values do not match URL in primary key column(s)"),
    "PGRST116": Entry(
        406, "Cannot coerce the result to a single JSON object", "The result contains {rows} rows"
    ),
    "PGRST117": Entry(405, "Unsupported HTTP method: {method}"),
    "PGRST118": Entry(
        400,
        "A related order on '{target}' is not possible",
        "'{origin}' and '{target}' do not form a many-to-one or one-to-one relationship",
    ),
    "PGRST120": Entry(
        400,
        "Bad operator on the '{target}' embedded resource",
        "Only is null or not is null filters are allowed on embedded resources",
    ),
    "PGRST121": Entry(500, "Could not parse JSON in the \"RAISE SQLSTATE 'PGRST'\" error"),
    "PGRST122": Entry(
        400, "Invalid preferences given with handling=strict", "Invalid preferences: {preferences}"
    ),
    "PGRST123": Entry(400, "Use of aggregate functions is not allowed"),
    "PGRST124": Entry(
        400, "Query result exceeds max-affected preference constraint", "The query affects {rows} rows"
    ),
    "PGRST125": Entry(404, "Invalid path specified in request URL"),
    "PGRST126": Entry(404, "Root endpoint metadata is disabled"),
    "PGRST127": Entry(400, "Feature not implemented", "{feature}"),
    "PGRST128": Entry(
        400,
        "Function must return SETOF or TABLE when max-affected preference is used with handling=strict",
    ),
    "PGRST200": Entry(
        400, "Could not find a relationship between '{parent}' and '{child}' in the schema cache"
    ),
    "PGRST201": Entry(
        300, "Could not embed because more than one relationship was found for '{parent}' and '{child}'"
    ),
    "PGRST202": Entry(404, "Could not find the function {routine} in the schema cache"),
    "PGRST203": Entry(
        300,
        "Could not choose the best candidate function between: {routines}",
        None,
        "Try renaming the parameters or the function itself in the database so function overloading can be"
        " resolved",
    ),
    "PGRST204": Entry(400, "Could not find the '{column}' column of '{table}' in the schema cache"),
    "PGRST205": Entry(404, "Could not find the table '{schema}.{table}' in the schema cache"),
    "PGRST300": Entry(500, "Server lacks JWT secret"),
    "PGRST301": Entry(401, "{problem}"),
    "PGRST302": Entry(401, "Anonymous access is disabled"),
    "PGRST303": Entry(401, "{problem}"),
    "PGRSTX00": Entry(500, "Internal error"),
}


class RestError(BasaltError):
    """An error in PostgREST's shape. `code` is a key of `ERRORS`; `values` fill its texts.

    >>> error = RestError("PGRST116", rows=2)
    >>> (error.status, error.details)
    (406, 'The result contains 2 rows')
    """

    def __init__(
        self,
        code: str,
        *,
        details: object = None,
        hint: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        **values: object,
    ) -> None:
        entry = ERRORS[code]
        if details is None and entry.details is not None:
            details = entry.details.format_map(values)
        if hint is None and entry.hint is not None:
            hint = entry.hint.format_map(values)
        message = entry.message.format_map(values) if values else entry.message
        super().__init__(code, entry.status, message, details=details, hint=hint, headers=headers)


class UnknownNameError(RestError):
    """Something that the schema cache does not know. It may have come into being a moment ago, and what the hint may
    name depends on who asks: `hints.find_hint` decides later."""


class UnknownTableError(UnknownNameError):
    def __init__(self, schema: str, name: str) -> None:
        super().__init__("PGRST205", schema=schema, table=name)
        self.table = (schema, name)


class UnknownRelationshipError(UnknownNameError):
    """`via` is the hint of the embed (`clients!via`)."""

    def __init__(self, parent: tuple[str, str], child: str, via: str | None) -> None:
        using = f"' using the hint '{via}" if via is not None else ""
        details = (
            f"Searched for a foreign key relationship between '{parent[1]}' and '{child}{using}' in the schema "
            f"'{parent[0]}', but no matches were found."
        )
        super().__init__("PGRST200", details=details, parent=parent[1], child=child)
        self.parent = parent
        self.child = child


class UnknownRoutineError(UnknownNameError):
    """`body` is the kind of body that a POST brought, None for other methods."""

    def __init__(self, name: tuple[str, str], given: tuple[str, ...], *, body: str | None) -> None:
        full_name = f"{name[0]}.{name[1]}"
        listed = ", ".join(given)
        shown = f"({listed})" if given else " without parameters"
        searched = (
            f" with parameter{'s' if len(given) > 1 else ''} {listed}" if given else " without parameters"
        )
        self.takes_raw_body = body in _RAW_BODIES
        if self.takes_raw_body:
            assert body is not None
            shown, searched = "", f" with a single unnamed {_RAW_BODIES[body]} parameter"
        elif body == "json":
            searched += " or with a single unnamed json/jsonb parameter"
        details = (
            f"Searched for the function {full_name}{searched}, but no matches were found in the schema cache."
        )
        super().__init__("PGRST202", details=details, routine=full_name + shown)
        self.routine = name
        self.given = given


_RAW_BODIES: Mapping[str, str] = {"text": "text", "xml": "xml", "binary": "bytea"}


class DatabaseError(Protocol):
    """What is needed of PostgreSQL's error; `basalt.postgres.PostgresError` has it."""

    sqlstate: str
    message: str
    detail: str | None
    hint: str | None


def render_error(error: BasaltError, *, verbose: bool = True, index: int | None = None) -> Response:
    """The error as PostgREST answers it, with `Proxy-Status` naming the code (RFC 9209). Statuses that
    carry no content send none. Without `verbose` details and hint are left out. `index` is that of the request of a
    batch that is to blame."""
    shown: dict[str, object] = {"code": error.code, "message": error.message}
    if verbose:
        shown |= {"details": error.details, "hint": error.hint}
    if index is not None:
        shown["index"] = index
    body = orjson.dumps(shown, default=str)
    headers = [
        (b"content-type", b"application/json; charset=utf-8"),
        (b"proxy-status", b"PostgREST; error=" + header_bytes(error.code)),
    ]
    headers.extend((header_bytes(name.lower()), header_bytes(value)) for name, value in error.headers)
    return Response(error.status, headers, b"" if error.status in (204, 304) else body)


def rest_error_from_access(error: AccessError) -> RestError:
    """A refused key or token in PostgREST's codes: 300 nothing to verify with, 301 could not be decoded, 302 missing,
    303 bad claims. Challenges are those of RFC 6750 §3."""
    code = _ACCESS_CODES.get(error.reason, "PGRST301")
    if code == "PGRST300":
        return RestError(code)
    if code == "PGRST302":
        return RestError(code, headers=[("WWW-Authenticate", "Bearer")])
    challenge = f'Bearer error="invalid_token", error_description="{error.message}"'
    return RestError(
        code,
        problem=error.message,
        details=error.details,
        hint=error.hint,
        headers=[("WWW-Authenticate", challenge)],
    )


_ACCESS_CODES: Mapping[str, str] = {
    "no_secret": "PGRST300",
    "missing": "PGRST302",
    **dict.fromkeys(
        ("claims", "expired", "not_yet_valid", "issued_in_future", "audience"),
        "PGRST303",
    ),
}


def rest_error_from_database(error: DatabaseError, *, is_anonymous: bool) -> BasaltError:
    """PostgreSQL's error with its own code, detail and hint, and the status that PostgREST gives it.

    `is_anonymous`: the statement ran as the anonymous role, for which a missing privilege is 401 (sign in)
    instead of 403 (not even then)."""
    if error.sqlstate == "PGRST":
        return _raised_response(error)
    status = status_of_sqlstate(error.sqlstate, error.message, is_anonymous=is_anonymous)
    headers = [("WWW-Authenticate", "Bearer")] if status == 401 else []
    if status == 429 and isinstance(wait_s := _json_object(error.detail or "").get("retry_after"), int):
        headers.append(("Retry-After", str(wait_s)))  # a full queue, `basalt.enqueue`
    return BasaltError(
        error.sqlstate, status, error.message, details=error.detail, hint=error.hint, headers=headers
    )


_SQLSTATES: Mapping[str, int] = {
    "23503": 409,  # foreign_key_violation
    "23505": 409,  # unique_violation
    "25006": 405,  # read_only_sql_transaction: a GET that wants to write
    "42883": 404,  # undefined_function
    "42P01": 404,  # undefined_table
    "42P17": 500,  # infinite recursion in policies
    "53400": 500,  # configuration_limit_exceeded
    "57P01": 503,  # admin_shutdown
    "P0001": 400,  # raise_exception
}
_SQLSTATE_CLASSES: Mapping[str, int] = {
    "08": 503,  # connection
    "09": 500,  # triggered action
    "0L": 403,  # invalid grantor
    "0P": 403,  # invalid role specification
    "25": 500,  # transaction state
    "28": 403,  # authorisation
    "2D": 500,  # transaction termination
    "38": 500,  # external routine
    "39": 500,  # external routine invocation
    "3B": 500,  # savepoint
    "40": 500,  # rollback
    "53": 503,  # resources
    "54": 500,  # limits of PostgreSQL
    "55": 500,  # object state
    "57": 500,  # operator intervention; 57014 is a statement timeout
    "58": 500,  # system
    "F0": 500,  # configuration file
    "HV": 500,  # foreign data wrapper
    "P0": 500,  # PL/pgSQL
    "XX": 500,  # internal
}


def status_of_sqlstate(sqlstate: str, message: str, *, is_anonymous: bool) -> int:
    """PostgREST's mapping, `Error.hs: mapSQLtoHTTP`.

    >>> status_of_sqlstate("23505", "", is_anonymous=False)
    409
    >>> status_of_sqlstate("PT402", "Payment Required", is_anonymous=False)
    402
    """
    match sqlstate:
        case "42501":
            return 401 if is_anonymous else 403
        case (
            "21000"
        ):  # pg-safeupdate's refusal is the caller's mistake, other cardinality errors are the view's
            return 400 if message.endswith("requires a WHERE clause") else 500
        case "22023":  # the role of the token does not exist
            return 401 if message.startswith("role") and message.endswith("does not exist") else 400
        case "42883" if message.startswith("function xmlagg("):
            return 406
    if sqlstate.startswith("PT"):
        return _valid_status(sqlstate[2:]) or 500
    return _SQLSTATES.get(sqlstate) or _SQLSTATE_CLASSES.get(sqlstate[:2], 400)


def _valid_status(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and 200 <= int(text) <= 599 else None


def _raised_response(error: DatabaseError) -> BasaltError:
    """`raise sqlstate 'PGRST' using message = '{"code":…,"message":…}', detail = '{"status":…,"headers":…}'`:
    the routine decides the whole answer."""
    message = _json_object(error.message)
    code, text = message.get("code"), message.get("message")
    if not (isinstance(code, str) and isinstance(text, str)) or not _all_text(message, "details", "hint"):
        return _unparsed_raise("MESSAGE", error.message)
    if error.detail is None:
        return RestError(
            "PGRST121", details="DETAIL is missing in the RAISE statement", hint=_RAISE_HINTS["DETAIL"]
        )
    detail = _json_object(error.detail)
    status, headers = detail.get("status"), detail.get("headers")
    if not isinstance(status, int) or not isinstance(headers, dict) or not _all_text(headers, *headers):
        return _unparsed_raise("DETAIL", error.detail)
    if not 200 <= status <= 599:  # HTTP could not send it
        return _unparsed_raise("DETAIL", error.detail)
    return BasaltError(
        code,
        status,
        text,
        details=message.get("details"),
        hint=str(message["hint"]) if message.get("hint") is not None else None,
        headers=[(name, value) for name, value in headers.items() if is_safe_header(name, value)],
    )


_RAISE_HINTS = {
    "MESSAGE": "MESSAGE must be a JSON object with obligatory keys: 'code', 'message' and optional keys:"
    " 'details', 'hint'.",
    "DETAIL": "DETAIL must be a JSON object with obligatory keys: 'status', 'headers' and optional key:"
    " 'status_text'.",
}


def _unparsed_raise(part: str, text: str) -> RestError:
    return RestError("PGRST121", details=f"Invalid JSON value for {part}: '{text}'", hint=_RAISE_HINTS[part])


def _json_object(text: str) -> dict[str, object]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _all_text(values: Mapping[str, object], *keys: str) -> bool:
    return all(values.get(key) is None or isinstance(values[key], str) for key in keys)


def is_safe_header(name: str, value: str) -> bool:
    """Whether a header that a routine made can be sent: a token as its name, no line breaks in its value
    (RFC 9110 §5.5)."""
    return (
        bool(name)
        and name.isascii()
        and all(char.isalnum() or char in "!#$%&'*+-.^_`|~" for char in name)
        and not any(char in value for char in "\r\n\0")
    )


def header_bytes(text: str) -> bytes:
    """UTF-8 as PostgREST sends it, without what would break the header."""
    return text.replace("\r", " ").replace("\n", " ").replace("\0", " ").encode("utf-8", "replace")
