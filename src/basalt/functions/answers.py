"""What a handler returned or raised, as frames. Nothing of an author's exception but what was meant for the caller
leaves the process; all of it goes to the log."""

import re
import traceback
from collections.abc import AsyncIterator, Iterable, Mapping
from importlib import import_module
from typing import Any

import msgspec
import psycopg

from basalt.errors import BasaltError
from basalt.functions.author import Response
from basalt.functions.errors import FunctionError, function_error_from_database
from basalt.functions.frames import Failure

HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
FORBIDDEN_IN_VALUE = re.compile(r"[\r\n\0]")
FRAMING = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "trailer"})
JSON_HEADERS = [("content-type", "application/json")]
OUT_OF_MEMORY = "FUNCTION_OUT_OF_MEMORY"
RETRY_JOB = "RETRY_JOB"
DISCARD_JOB = "DISCARD_JOB"
CANCELLED = "CANCELLED"

Headers = list[tuple[str, str]]
Content = bytes | AsyncIterator[bytes | str]

_json = msgspec.json.Encoder(decimal_format="number", enc_hook=lambda value: _plain(value))


def render_answer(value: object) -> tuple[int, Headers, Content]:
    """Status, headers and content of what a handler returned. Raises TypeError or ValueError for what is no answer."""
    if not isinstance(value, Response):
        return 200, JSON_HEADERS, _json.encode(value)
    status = value.status
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise ValueError(f"an answer cannot have the status {status!r}; it is a number from 200 to 599")
    kind, content = _render_body(value.body)
    headers = check_headers(value.headers)
    if kind and not any(name == "content-type" for name, _ in headers):
        headers.append(("content-type", kind))
    if isinstance(content, bytes):
        headers = [pair for pair in headers if pair[0] != "content-length"]
    return status, headers, content


def check_headers(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> Headers:
    """Names in lower case; those that are the connection's own business are left out. Raises ValueError for what would
    break an answer in two."""
    checked = []
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        if not HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a header")
        text = str(value)
        if FORBIDDEN_IN_VALUE.search(text):
            raise ValueError(f"the header {name} holds a line break")
        if name.lower() not in FRAMING:
            checked.append((name.lower(), text))
    return checked


def render_error(number: int, error: BaseException) -> Failure:
    """An error of a handler, with its trace where it was not meant for the caller."""
    try:
        return _render_known(number, error) or render_crash(number, error)
    except Exception as odd:  # an error whose parts cannot be sent
        return render_crash(number, odd)


def render_job_error(number: int, error: BaseException) -> Failure:
    """The same for a job, which can also be put off or given up."""
    jobs = import_module("basalt.jobs")  # loaded by those who perform jobs
    if isinstance(error, jobs.RetryJob):
        return Failure(number, RETRY_JOB, 503, _text_of(error), error.delay_s, None, None)
    if isinstance(error, jobs.DiscardJob):
        return Failure(number, DISCARD_JOB, 422, _text_of(error), None, None, None)
    return render_error(number, error)


def render_crash(number: int, error: BaseException) -> Failure:
    trace = "".join(traceback.format_exception(error))
    return Failure(
        number, "SERVER_ERROR", 500, "The function failed; its log has the details", None, None, trace
    )


def _render_known(number: int, error: BaseException) -> Failure | None:
    known: BasaltError | None
    if isinstance(error, MemoryError):
        known = FunctionError("FUNCTION_OUT_OF_MEMORY", "The function has no memory left", status=503)
    elif isinstance(error, psycopg.Error):
        known = function_error_from_database(error)
    else:
        known = error if isinstance(error, BasaltError) else None
    if known is None:
        return None
    if not isinstance(known.status, int) or not 400 <= known.status <= 599:
        raise ValueError(f"{known.code}: an error cannot have the status {known.status!r}")
    details = None if known.details is None else msgspec.json.decode(_json.encode(known.details))
    headers = check_headers(known.headers)
    return Failure(
        number, str(known.code), known.status, str(known.message), details, known.hint, None, headers=headers
    )


def _render_body(body: object) -> tuple[str, Content]:
    if body is None:
        return "", b""
    if isinstance(body, bytes | bytearray | memoryview):
        return "application/octet-stream", bytes(body)
    if isinstance(body, str):
        return "text/plain; charset=utf-8", body.encode()
    if isinstance(body, AsyncIterator):
        return "application/octet-stream", body
    return "application/json", _json.encode(body)


def _plain(value: object) -> object:
    if (dump := getattr(value, "model_dump", None)) is not None:  # pydantic's, which is not imported for that
        return dump(by_alias=True)
    if isinstance(value, memoryview):
        return bytes(value)
    raise TypeError(f"a function cannot answer with a value of type {type(value).__name__}")


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return type(error).__name__


def too_large(limit_bytes: int) -> FunctionError:
    return FunctionError(
        "ANSWER_TOO_LARGE",
        f"The function's answer is larger than {limit_bytes} bytes",
        status=500,
        hint="Answer with less, or raise max_answer of the function in supabase/config.toml",
    )


def check_size(content: bytes, limit_bytes: int) -> None:
    """Raises FunctionError ANSWER_TOO_LARGE (500)."""
    if len(content) > limit_bytes:
        raise too_large(limit_bytes)


def describe(error: Any) -> str:
    """Type and text, whatever the error's own `str` does."""
    return f"{type(error).__name__}: {_text_of(error)}"
