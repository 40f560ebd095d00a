"""Events as lines: JSON for machines, text for a terminal, to standard error and to whatever sink was added.

In an event loop a line is written at the end of the loop's present turn, together with the others of that turn: a
system call for each request would cost it more than everything else in here. Warnings and errors are written at once.
"""

import asyncio
import atexit
import logging
import sys
import time
import traceback
from collections import deque
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal, Protocol

import orjson

from basalt.observe.metrics import Counter

Level = Literal["debug", "info", "warning", "error"]
SEVERITY = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
URGENT = frozenset({"warning", "error"})

request_id: ContextVar[str] = ContextVar("request_id", default="")

EVENTS = Counter(
    "basalt_log_events_total", "Warnings and errors in the log, by the name of the event.", ["event", "level"]
)


class Sink(Protocol):
    """Where events go besides standard error."""

    def put(self, line: bytes) -> None:
        """One event as JSON, without a line break. Comes from any thread, and must neither wait nor raise."""


class _Log:
    """How events are written. One per process; `configure` sets it up before the first request."""

    severity = logging.INFO
    as_json = True
    process = "basalt"
    sinks: tuple[Sink, ...] = ()
    lines: ClassVar[deque[bytes]] = deque()
    flushes_in: asyncio.AbstractEventLoop | None = None  # whose turn the lines wait for the end of


def configure(
    *, process: str, level: Level = "info", log_format: Literal["auto", "json", "text"] = "auto"
) -> None:
    """Name this process and choose severity and form of its log. Python's own `logging` is led into the same
    stream."""
    _Log.process = process
    _Log.severity = SEVERITY[level]
    _Log.as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    root = logging.getLogger()
    root.handlers = [_LibraryHandler()]
    root.setLevel(max(_Log.severity, logging.WARNING))
    atexit.register(flush)


def process_name() -> str:
    """What `configure` was told."""
    return _Log.process


def add_sink(sink: Sink) -> None:
    _Log.sinks = (*_Log.sinks, sink)


def remove_sink(sink: Sink) -> None:
    _Log.sinks = tuple(one for one in _Log.sinks if one is not sink)


def is_enabled(level: Level) -> bool:
    """Whether an event of this level would be written; for callers with costly fields."""
    return SEVERITY[level] >= _Log.severity


def event(name: str, *, level: Level = "info", error: BaseException | None = None, **fields: Any) -> None:
    """Write one event. `error` adds type, message and traceback. Never raises on odd field values."""
    if SEVERITY[level] < _Log.severity:
        return
    record: dict[str, Any] = {
        "time": _Clock.tell(),
        "level": level,
        "event": name,
        "process": _Log.process,
    }
    if current := request_id.get():
        record["request_id"] = current
    record.update(fields)
    if error is not None:
        record["error"] = f"{type(error).__name__}: {error}"
        record["traceback"] = _render_traceback(error)
    if level in URGENT:
        EVENTS.add(1, name, level)
    if _Log.as_json or _Log.sinks:
        line = orjson.dumps(record, default=str, option=orjson.OPT_NON_STR_KEYS)
        for sink in _Log.sinks:
            sink.put(line)
    _write(line if _Log.as_json else _render_text(record).encode(), is_urgent=level in URGENT)


def flush() -> None:
    """Write what waits for the end of the loop's turn."""
    _Log.flushes_in = None
    lines = []
    while _Log.lines:
        lines.append(_Log.lines.popleft())
    if lines:
        sys.stderr.flush()
        sys.stderr.buffer.write(b"\n".join([*lines, b""]))
        sys.stderr.buffer.flush()


class _Clock:
    """The time as it is written. Only the milliseconds are new in most lines."""

    second = 0
    shown = ""

    @classmethod
    def tell(cls) -> str:
        now = time.time()
        second = int(now)
        if second != cls.second:
            cls.shown = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            cls.second = second
        return f"{cls.shown}.{int((now - second) * 1000):03d}+00:00"


def _write(line: bytes, *, is_urgent: bool) -> None:
    _Log.lines.append(line)
    try:
        loop = None if is_urgent else asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    if loop is None:
        flush()
    elif loop is not _Log.flushes_in:
        _Log.flushes_in = loop
        loop.call_soon(flush)


def _render_text(record: dict[str, Any]) -> str:
    trace = record.pop("traceback", None)
    head = (
        f"{record.pop('time')[11:23]} {record.pop('level'):7} {record.pop('process')}: {record.pop('event')}"
    )
    line = " ".join([head, *(f"{name}={value}" for name, value in record.items())])
    return f"{line}\n{trace.rstrip()}" if trace else line


def _render_traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


class _LibraryHandler(logging.Handler):
    """Warnings of libraries, as events."""

    def emit(self, record: logging.LogRecord) -> None:
        level: Level = "error" if record.levelno >= logging.ERROR else "warning"
        error = record.exc_info[1] if record.exc_info else None
        event("library", level=level, logger=record.name, message=record.getMessage(), error=error)
