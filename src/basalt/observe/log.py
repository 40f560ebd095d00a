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

from basalt.observe.masking import mask_secrets
from basalt.observe.metrics import Counter

Level = Literal["debug", "info", "warning", "error"]
SEVERITY = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
URGENT = frozenset({"warning", "error"})
MAX_LINE_BYTES = 64 * 1024
MAX_TEXT = 4096  # characters of a field in a line that would be longer
# What would move a terminal's cursor, or begin a line of its own.
CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    0x0A: "\\n",
    0x09: "\\t",
}
CONTROLS_BUT_LINES = {code: text for code, text in CONTROLS.items() if chr(code) not in "\n\t"}

request_id: ContextVar[str] = ContextVar("request_id", default="")

EVENTS = Counter(
    "basalt_log_events_total", "Warnings and errors in the log, by the name of the event.", ["event", "level"]
)
DROPPED = Counter(
    "basalt_log_events_dropped_total", "Log events that a sink did not get.", ["sink", "reason"]
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
    """Write one event. `error` adds type, message and traceback. Never raises, whatever the fields and wherever
    standard error leads; of warnings and errors the texts are masked (`masking`), for they may be a library's."""
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
        record["error"] = f"{type(error).__name__}: {_as_text(error)}"
        record["traceback"] = "".join(traceback.format_exception(error))
    if level in URGENT:
        EVENTS.add(1, name, level)
        record = {
            key: mask_secrets(_shorten(value)) if type(value) is str else value
            for key, value in record.items()
        }
    if _Log.as_json or _Log.sinks:
        line = _render_json(record)
        for sink in _Log.sinks:
            sink.put(line)
    _write(line if _Log.as_json else _render_text(record), is_urgent=level in URGENT)


def flush() -> None:
    """Write what waits for the end of the loop's turn."""
    _Log.flushes_in = None
    lines = []
    while _Log.lines:
        lines.append(_Log.lines.popleft())
    if not lines:
        return
    try:
        sys.stderr.flush()
        sys.stderr.buffer.write(b"\n".join([*lines, b""]))
        sys.stderr.buffer.flush()
    except (OSError, ValueError):  # the other end of a pipe is gone, the disk is full; work goes on
        DROPPED.add(len(lines), "stderr", "unwritable")


class _Clock:
    """The time as it is written. Only the milliseconds are new in most lines."""

    shown = (0, "")  # one value, for threads

    @classmethod
    def tell(cls) -> str:
        now = time.time()
        second, text = cls.shown
        if second != int(now):
            second = int(now)
            text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            cls.shown = (second, text)
        return f"{text}.{int((now - second) * 1000):03d}+00:00"


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


def _render_json(record: dict[str, Any]) -> bytes:
    try:
        line = orjson.dumps(record, default=_as_text, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # half a surrogate pair, a number of more than 64 bits, a circle
        line = orjson.dumps({name: _as_text(value) for name, value in record.items()})
    if len(line) <= MAX_LINE_BYTES:
        return line
    return orjson.dumps({name: _shorten(_as_text(value), MAX_TEXT) for name, value in record.items()})


def _render_text(record: dict[str, Any]) -> bytes:
    texts = {name: _shorten(_as_text(value)) for name, value in record.items()}
    trace = texts.pop("traceback", "").rstrip()
    head = f"{texts.pop('time')[11:23]} {texts.pop('level'):7} {texts.pop('process')}: {texts.pop('event')}"
    line = " ".join([head, *(f"{name}={value.translate(CONTROLS)}" for name, value in texts.items())])
    return (f"{line}\n{trace.translate(CONTROLS_BUT_LINES)}" if trace else line).encode()


def _as_text(value: object) -> str:
    try:
        text = str(value)
    except Exception as error:
        text = f"{type(value).__name__} without a text: {type(error).__name__}"
    return text.encode("utf-8", "backslashreplace").decode()


def _shorten(text: str, limit: int = MAX_LINE_BYTES) -> str:
    """
    >>> _shorten("a" * 12, 10)
    'aaaaa … 2 characters … aaaaa'
    """
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]} … {len(text) - 2 * half} characters … {text[-half:]}"


class _LibraryHandler(logging.Handler):
    """Warnings of libraries, as events."""

    def emit(self, record: logging.LogRecord) -> None:
        level: Level = "error" if record.levelno >= logging.ERROR else "warning"
        error = record.exc_info[1] if record.exc_info else None
        try:
            message = record.getMessage()
        except Exception:  # its arguments do not fit
            message = str(record.msg)
        event("library", level=level, logger=record.name, message=message, error=error)
