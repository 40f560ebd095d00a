"""The machine below: free space where the project writes, and whether two clocks agree."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psycopg

from basalt.config import Settings
from basalt.postgres import Severity
from basalt.project.doctor.setting_check import SettingCheck, Smell

LEAST_FREE_BYTES: Final = 1024**3
SKEW_WARNING_S: Final = 2.0
SKEW_ERROR_S: Final = 30.0


def _disk(settings: Settings) -> Iterator[Smell]:
    seen: set[int] = set()
    for path in places(settings):
        try:
            system, device = os.statvfs(path), path.stat().st_dev
        except OSError:
            continue
        if device in seen:
            continue
        seen.add(device)
        free, total = system.f_bavail * system.f_frsize, system.f_blocks * system.f_frsize
        if severity := judge_space(free, total):
            what = f"has {free / 1024**3:.1f} GiB free of {total / 1024**3:.1f} GiB"
            yield (
                severity,
                str(path),
                what,
                "`basalt doctor --only replication`, `basalt storage collect`, a larger disk",
            )
        if system.f_files and system.f_favail < 0.05 * system.f_files:
            yield "warning", str(path), f"has {system.f_favail} inodes left", "remove small files"


def places(settings: Settings) -> list[Path]:
    """Where the project writes, as far as it is there."""
    storage = settings.basalt.storage
    wanted = [
        settings.state_dir,
        settings.state_dir / "postgres",
        settings.project_dir / storage.path if storage.path else settings.state_dir / "storage",
        settings.project_dir,
    ]
    return [path.resolve() for path in wanted if path.exists()]


def judge_space(free_bytes: int, total_bytes: int) -> Severity | None:
    """
    >>> gib = 1024**3
    >>> judge_space(50 * gib, 100 * gib), judge_space(8 * gib, 100 * gib), judge_space(gib // 2, 100 * gib)
    (None, 'warning', 'error')
    """
    if free_bytes < LEAST_FREE_BYTES or free_bytes < 0.03 * total_bytes:
        return "error"
    return "warning" if free_bytes < 0.1 * total_bytes else None


def judge_clock(skew_s: float) -> Severity | None:
    """
    >>> judge_clock(0.1), judge_clock(-5), judge_clock(3600)
    (None, 'warning', 'error')
    """
    if abs(skew_s) >= SKEW_ERROR_S:
        return "error"
    return "warning" if abs(skew_s) >= SKEW_WARNING_S else None


def measure_skew_s(connection: psycopg.Connection[Any]) -> float:
    """How far the database's clock is before ours, less half of the way."""
    asked = datetime.now(UTC)
    row = connection.execute("select clock_timestamp()").fetchone()
    answered = datetime.now(UTC)
    assert row is not None
    told: datetime = row[0]
    return (told - (asked + (answered - asked) / 2)).total_seconds()


DISK_CHECK: Final = SettingCheck(
    name="disk_space",
    group="disk",
    title="Free space",
    why="PostgreSQL stops when it cannot write, and uploads fail.",
    look=_disk,
)
