"""A state folder beside the project's own, in which a restore or a rehearsal makes a database.

Whoever makes one holds a lock on it. A process that was killed leaves the folder behind, perhaps with a server that
still runs on it: the next one takes both away.
"""

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from basalt.config import Settings
from basalt.postgres import PrivateCluster

Purpose = Literal["restoring", "rehearsal"]
PURPOSES: Final[tuple[Purpose, ...]] = ("restoring", "rehearsal")
YOUNG_S: Final = 60.0  # its maker may not have come to lock it


@contextmanager
def building_beside(settings: Settings, purpose: Purpose) -> Iterator[Settings]:
    """The same project with a new state folder. It is removed at the end, unless it has taken another's place."""
    own = settings.state_dir
    _sweep(own)
    name = f"{own.name}.{purpose}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    folder = own.with_name(name)
    folder.mkdir(mode=0o700, parents=True)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield replace(settings, state_dir=folder)
    finally:
        _remove(folder)
        os.close(lock)


def _sweep(own: Path) -> None:
    for purpose in PURPOSES:
        for folder in own.parent.glob(f"{own.name}.{purpose}-*"):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if folder.stat().st_mtime < time.time() - YOUNG_S:
                    _remove(folder)
            except (BlockingIOError, FileNotFoundError):
                continue
            finally:
                os.close(lock)


def _remove(folder: Path) -> None:
    """With its cluster, which may lie elsewhere."""
    if folder.exists():
        cluster = PrivateCluster(folder, port=0)
        cluster.stop()
        shutil.rmtree(cluster.home, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
