"""Changed files are noticed, and looking for them costs little."""

import os
import time
from pathlib import Path

import pytest

from basalt.functions.file_watch import FileWatch

pytestmark = pytest.mark.req("P9")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_change_is_seen_at_the_next_look(tmp_path: Path) -> None:
    clock = Clock()
    watch = FileWatch(tmp_path, rescan_s=0.5, clock=clock)
    (tmp_path / "one").mkdir()
    file = tmp_path / "one" / "index.py"
    file.write_text("1")
    first = watch.signature()
    os.utime(file, ns=(1, 1))
    assert watch.signature() == first
    clock.now = 0.6
    second = watch.signature()
    assert second != first
    (tmp_path / "one" / "__pycache__").mkdir()
    (tmp_path / "one" / "__pycache__" / "index.py").write_text("1")
    (tmp_path / "one" / "notes.txt").write_text("1")
    clock.now = 1.2
    assert watch.signature() == second
    (tmp_path / ".env").write_text("A=1")
    clock.now = 1.8
    assert watch.signature() != second


def test_hundreds_of_files_cost_a_small_part_of_the_time(tmp_path: Path) -> None:
    for folder in range(40):
        (tmp_path / f"f{folder}").mkdir()
        for number in range(20):
            (tmp_path / f"f{folder}" / f"m{number}.py").touch()
    watch = FileWatch(tmp_path, rescan_s=0)
    watch.signature()
    busy_s, started = 0.0, time.perf_counter()
    while time.perf_counter() - started < 1:
        before = time.process_time()
        watch.signature()
        busy_s += time.process_time() - before
        time.sleep(0.002)
    assert busy_s < 0.2
