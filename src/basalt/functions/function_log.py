"""The log of each function beside the server's: a file of JSON lines in the state folder, of bounded size.

A line is `{"time", "kind", "request_id", …}`; `kind` is `call` (with method, path, status, ms), `line` (what the
function printed), `trace` (an exception that nobody caught) or `note` (what happened to its process).
"""

import asyncio
import fcntl
import os
import re
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import orjson

FLUSH_S = 0.25
MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_WAITING = 20_000
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")

Kind = Literal["call", "line", "trace", "note"]


def log_file(state_dir: Path, name: str) -> Path:
    return state_dir / "logs" / "functions" / f"{name}.jsonl"


class FunctionLog:
    """Gateways and workers write to the same files. Lines leave together, a few times a second; when they come faster
    than they can be written the oldest are lost."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._waiting: deque[tuple[str, dict[str, Any]]] = deque(maxlen=MAX_WAITING)
        self._timer: asyncio.TimerHandle | None = None

    def note(self, name: str, kind: Kind, request_id: str, **fields: object) -> None:
        time = datetime.now(UTC)
        self._waiting.append((name, {"time": time, "kind": kind, "request_id": request_id, **fields}))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self._flush)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        _write(self._state_dir, self._take())

    def _flush(self) -> None:
        self._timer = None
        asyncio.get_running_loop().run_in_executor(None, _write, self._state_dir, self._take())

    def _take(self) -> list[tuple[str, dict[str, Any]]]:
        taken = [*self._waiting]
        self._waiting.clear()
        return taken


def read_log(
    state_dir: Path, name: str, *, request_id: str | None = None, limit: int
) -> list[dict[str, Any]]:
    """The last lines, oldest first; of one request where its id is given."""
    file = log_file(state_dir, name)
    found: deque[dict[str, Any]] = deque(maxlen=limit)
    for path in (_older(file), file):
        for line in _read_lines(path):
            if request_id is None or line.get("request_id") == request_id:
                found.append(line)
    return [*found]


class LogFollower:
    """What is added to the log from now on."""

    def __init__(self, state_dir: Path, name: str) -> None:
        self._file = log_file(state_dir, name)
        self._inode, self._at = self._state()

    def read(self) -> Iterator[dict[str, Any]]:
        """What has come since the last time."""
        inode, size = self._state()
        if inode != self._inode:  # turned over: first the rest of the old file
            yield from self._read_from(_older(self._file), self._at)
            self._inode, self._at = inode, 0
        if size > self._at:
            yield from self._read_from(self._file, self._at)

    def _read_from(self, path: Path, at: int) -> Iterator[dict[str, Any]]:
        try:
            with path.open("rb") as file:
                file.seek(at)
                raw = file.read()
        except OSError:
            return
        whole = raw[: raw.rfind(b"\n") + 1]
        self._at = at + len(whole)
        yield from _parse_lines(whole)

    def _state(self) -> tuple[int, int]:
        try:
            known = self._file.stat()
        except OSError:
            return 0, 0
        return known.st_ino, known.st_size


def _write(state_dir: Path, lines: list[tuple[str, dict[str, Any]]]) -> None:
    by_name: dict[str, list[bytes]] = {}
    for name, fields in lines:
        by_name.setdefault(name, []).append(orjson.dumps(fields, default=str) + b"\n")
    for name, texts in by_name.items():
        if SAFE_NAME.fullmatch(name):
            _append(log_file(state_dir, name), b"".join(texts))


def _append(file: Path, raw: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if file.exists() and file.stat().st_size > MAX_FILE_BYTES:
            os.replace(file, _older(file))
        with file.open("ab") as log:
            log.write(raw)


def _older(file: Path) -> Path:
    return file.with_suffix(".jsonl.1")


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        yield from _parse_lines(path.read_bytes())
    except OSError:
        return


def _parse_lines(raw: bytes) -> Iterator[dict[str, Any]]:
    for line in raw.splitlines():
        try:
            yield orjson.loads(line)
        except orjson.JSONDecodeError:  # cut off when a writer was killed
            continue
