"""What goes wrong in a function, and how PostgreSQL's errors become one.

A routine raises `CODE: text` with errcode `PTnnn` (PostgREST's custom status) and its details as JSON in DETAIL; the
function's answer then has that code, status and details, whether it was called through REST or from Python.
"""

import re
from collections.abc import Mapping, Sequence

import orjson
import psycopg

from basalt.errors import BasaltError

RAISED_CODE = re.compile(r"([A-Z][A-Z0-9_]{2,63}): (.+)", re.DOTALL)

# SQLSTATE (or its class) → status and code for errors that are the caller's, not the author's.
CALLER_ERRORS: Mapping[str, tuple[int, str]] = {
    "23505": (409, "CONFLICT"),
    "23503": (409, "CONFLICT"),
    "23514": (400, "INVALID_VALUE"),
    "23502": (400, "INVALID_VALUE"),
    "22": (400, "INVALID_VALUE"),
    "42501": (403, "FORBIDDEN"),
    "40001": (409, "CONFLICT"),
    "40P01": (409, "CONFLICT"),
    "57014": (504, "DATABASE_TIMEOUT"),
}


class FunctionError(BasaltError):
    """Raised by authors: `FunctionError("INVALID_LOCATION", "You are 340 m away", status=400, details={…})`."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int = 400,
        details: object = None,
        hint: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(code, status, message, details=details, hint=hint, headers=headers)


class StorageError(FunctionError):
    """Storage's own refusal: its code, status and message."""


def function_error_from_database(error: psycopg.Error) -> FunctionError | None:
    """The error a caller may see, or None when it is nobody's business but the author's."""
    sqlstate, diagnostic = error.sqlstate or "", error.diag
    message = diagnostic.message_primary or ""
    raised = RAISED_CODE.fullmatch(message)
    status = int(sqlstate[2:]) if re.fullmatch(r"PT[2-5]\d\d", sqlstate) else None
    if raised is not None and (status is not None or sqlstate == "P0001"):
        details = _details(diagnostic.message_detail)
        return FunctionError(
            raised[1],
            raised[2],
            status=status or 400,
            details=details,
            hint=diagnostic.message_hint,
            headers=_retry_after(details),
        )
    if status is not None or sqlstate == "P0001":
        return FunctionError(
            "REQUEST_REFUSED", message, status=status or 400, details=_details(diagnostic.message_detail)
        )
    known = CALLER_ERRORS.get(sqlstate) or CALLER_ERRORS.get(sqlstate[:2])
    return FunctionError(known[1], message, status=known[0]) if known else None


def _retry_after(details: object) -> list[tuple[str, str]]:
    """As a full queue says it: `{"retry_after": seconds}`."""
    seconds = details.get("retry_after") if isinstance(details, dict) else None
    return [("retry-after", str(seconds))] if isinstance(seconds, int) else []


def _details(text: str | None) -> object:
    if text is None:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
