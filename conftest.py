"""Tests keep their files in memory where there is room: databases that live for a second cost more to write to a disk
than all the rest of their test."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")  # noqa: S108
NAME = "basalt-tests-"
NEEDED_BYTES = 12 * 1024**3


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Tests that fail leave their files until the next run."""
    if hasattr(config, "workerinput") or "TMPDIR" in os.environ or not _has_room():
        return
    _remove_what_others_left()
    folder = MEMORY / f"{NAME}{os.getpid()}"
    folder.mkdir()
    folder.chmod(0o1777)  # as the folder that it stands for: tests run programs as other users
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == pytest.ExitCode.OK and not hasattr(session.config, "workerinput"):
        shutil.rmtree(MEMORY / f"{NAME}{os.getpid()}", ignore_errors=True)


def _has_room() -> bool:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free_bytes = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
        return min(free_bytes, shutil.disk_usage(MEMORY).free) >= NEEDED_BYTES and os.access(MEMORY, os.W_OK)
    except (OSError, StopIteration):
        return False


def _remove_what_others_left() -> None:
    for folder in MEMORY.glob(f"{NAME}*"):
        if not Path(f"/proc/{folder.name.removeprefix(NAME)}").exists():
            shutil.rmtree(folder, ignore_errors=True)
