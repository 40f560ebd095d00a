"""What lies in the folders of the disk back end, and for how long. Everything here runs in threads."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from basalt.storage.stores.keys import is_key
from basalt.storage.stores.store import Stored


def list_folders(folder: Path) -> list[Path]:
    return [folder / name for name in sorted(os.listdir(folder))]


def list_names(folder: Path) -> list[str]:
    return [entry.name for entry in _entries(folder)]


def list_stored(folder: Path, before: float) -> list[Stored]:
    """By the time of the last change of names or content: a link to old bytes is new."""
    found = []
    for entry in _entries(folder):
        status = _status(entry)
        if is_key(entry.name) and status is not None and status.st_ctime < before:
            found.append(Stored(entry.name, status.st_size))
    return sorted(found, key=lambda one: one.version)


def list_idle_uploads(folder: Path, before: float) -> list[str]:
    return [entry.name for entry in _entries(folder) if is_key(entry.name) and _is_idle(entry, before)]


def _is_idle(upload: "os.DirEntry[str]", before: float) -> bool:
    parts = map(_status, _entries(Path(upload.path)))
    changed_at = max((part.st_ctime for part in parts if part is not None), default=0.0)
    return max(changed_at, upload.stat(follow_symlinks=False).st_ctime) < before


def remove_older(folder: Path, before: float) -> None:
    for entry in _entries(folder):
        status = _status(entry)
        if status is not None and status.st_ctime < before:
            Path(entry.path).unlink(missing_ok=True)


def remove_files(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _entries(folder: Path) -> Iterator["os.DirEntry[str]"]:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        yield from entries


def _status(entry: "os.DirEntry[str]") -> os.stat_result | None:
    """Of a file; None for anything else, or when it has gone since."""
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None
