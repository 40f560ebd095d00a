"""Notices changed files: in development a saved file counts from the next request."""

import os
import time
from collections.abc import Callable
from pathlib import Path

RESCAN_S = 0.5
PASSED_OVER = (".", "__pycache__", "node_modules")
WATCHED = (
    ".py",
    ".ts",
    ".tsx",
    ".mts",
    ".js",
    ".jsx",
    ".mjs",
    ".json",
    ".jsonc",
    "deno.lock",
    ".env",
)


class FileWatch:
    """`signature` is a number that changes with any file below the folder. It is looked at `rescan_s` apart, and when
    a look takes long, less often: no more than a fiftieth of the time goes into looking."""

    def __init__(
        self, folder: Path, *, rescan_s: float = RESCAN_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._rescan_s = rescan_s
        self._clock = clock
        self._again_at = -1.0
        self._signature = 0

    def signature(self) -> int:
        now = self._clock()
        if now >= self._again_at:
            self._signature = hash(tuple(_file_times(os.fspath(self._folder))))
            took_s = self._clock() - now
            self._again_at = now + max(self._rescan_s, took_s * 50)
        return self._signature


def _file_times(folder: str) -> list[tuple[str, int]]:
    """Path and time of every file that may matter; 250 files take a millisecond."""
    found: list[tuple[str, int]] = []
    folders = [folder]
    while folders:
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError:
            continue
        for entry in entries:
            if entry.name.endswith(WATCHED) and not entry.is_dir():
                found.append((entry.path, entry.stat().st_mtime_ns))
            elif not entry.name.startswith(PASSED_OVER) and entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
    found.sort()
    return found
