"""What happened, told once: code reports events, this room decides what is logged and how.

`event("lane_closed", reason="…")` writes one line to standard error: JSON for machines, text for a terminal.
The request id travels in a context variable and is added by itself. Fields are named by the caller, so that
nothing secret slips in with a whole object.
"""

import logging
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

Level = Literal["debug", "info", "warning", "error"]
SEVERITY = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

request_id: ContextVar[str] = ContextVar("request_id", default="")


class _Sink:
    """Where events go. One per process; `configure` sets it up before the first request."""

    severity = logging.INFO
    as_json = True
    process = "basalt"


def configure(
    *, process: str, level: Level = "info", log_format: Literal["auto", "json", "text"] = "auto"
) -> None:
    """Name this process and choose severity and form of its log. Python's own `logging` is led into the same
    stream."""
    _Sink.process = process
    _Sink.severity = SEVERITY[level]
    _Sink.as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    root = logging.getLogger()
    root.handlers = [_LibraryHandler()]
    root.setLevel(max(_Sink.severity, logging.WARNING))


def is_enabled(level: Level) -> bool:
    """Whether an event of this level would be written; for callers with costly fields."""
    return SEVERITY[level] >= _Sink.severity


def event(name: str, *, level: Level = "info", error: BaseException | None = None, **fields: Any) -> None:
    """Write one event. `error` adds type, message and traceback. Never raises on odd field values."""
    if SEVERITY[level] < _Sink.severity:
        return
    record: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "level": level,
        "event": name,
        "process": _Sink.process,
    }
    if current := request_id.get():
        record["request_id"] = current
    record.update(fields)
    if error is not None:
        record["error"] = f"{type(error).__name__}: {error}"
        record["traceback"] = _render_traceback(error)
    sys.stderr.write(_render(record))
    sys.stderr.flush()


def _render(record: dict[str, Any]) -> str:
    if _Sink.as_json:
        return orjson.dumps(record, default=str, option=orjson.OPT_NON_STR_KEYS).decode() + "\n"
    trace = record.pop("traceback", None)
    head = (
        f"{record.pop('time')[11:23]} {record.pop('level'):7} {record.pop('process')}: {record.pop('event')}"
    )
    line = " ".join([head, *(f"{name}={value}" for name, value in record.items())])
    return f"{line}\n{trace}" if trace else f"{line}\n"


def _render_traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


class _LibraryHandler(logging.Handler):
    """Warnings of libraries, as events."""

    def emit(self, record: logging.LogRecord) -> None:
        level: Level = "error" if record.levelno >= logging.ERROR else "warning"
        error = record.exc_info[1] if record.exc_info else None
        event("library", level=level, logger=record.name, message=record.getMessage(), error=error)
