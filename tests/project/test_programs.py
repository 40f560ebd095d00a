"""Tests of a project that are programs: one that never ends is ended, with what it has started, and what is wrong with
one is told plainly and stops no other."""

import os
from pathlib import Path

import pytest

from basalt.project.testing.finding import TestFile
from basalt.project.testing.programs import find_node, run_client, run_python

pytestmark = [pytest.mark.req("P27")]

HANGS_IN_PYTHON = """
import os, subprocess, time
import pytest

@pytest.fixture
def server():
    child = subprocess.Popen(["sleep", "600"])
    open("pids", "w").write(f"{os.getpid()} {child.pid}")
    yield
    child.kill()
    child.wait()
    open("torn_down", "w").close()

def test_it_hangs(server):
    time.sleep(600)
"""
HANGS_IN_NODE = """
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
process.on("SIGINT", () => {});
const child = spawn("sleep", ["600"]);
writeFileSync("pids", `${process.pid} ${child.pid}`);
setInterval(() => {}, 1000);
"""


def are_gone(project: Path) -> bool:
    """Whether the processes in `pids` have ended; a zombie nobody waits for has."""
    for pid in (project / "pids").read_text().split():
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            continue
        if state != "Z":
            return False
    return True


@pytest.mark.long
def test_pytest_is_interrupted_and_tears_down(tmp_path: Path) -> None:
    path = tmp_path / "test_one.py"
    path.write_text(HANGS_IN_PYTHON)
    (result,) = run_python(tmp_path, [TestFile("python", path, "test_one.py")], {}, limit_s=8)
    assert result.problems == ("pytest did not end within 8 seconds; it was at test_one.py::test_it_hangs",)
    assert (tmp_path / "torn_down").exists()
    assert are_gone(tmp_path)


@pytest.mark.long
def test_a_client_that_takes_no_interrupt_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("basalt.project.testing.programs.INTERRUPT_LIMIT_S", 0.3)
    node = find_node()
    assert node is not None
    path = tmp_path / "one.mjs"
    path.write_text(HANGS_IN_NODE)
    result = run_client(node, tmp_path, TestFile("client", path, "one.mjs"), dict(os.environ), limit_s=3)
    assert result.problems == ("did not end within 3 seconds",)
    assert are_gone(tmp_path)


def test_a_python_file_that_cannot_be_read_stops_no_other_and_is_told_without_colours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    tests = [
        TestFile("python", tmp_path / f"test_{name}.py", f"test_{name}.py") for name in ("broken", "sums")
    ]
    tests[0].path.write_text("def test_broken(:\n")
    tests[1].path.write_text(
        "def test_right():\n    pass\n\n\ndef test_wrong():\n    assert 1 == 2, 'never'\n"
    )
    alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # plugins of this suite take seconds to load

    broken, sums = run_python(tmp_path, tests, alone, limit_s=60)

    assert broken.file == "test_broken.py"
    assert "E   SyntaxError: invalid syntax" in broken.cases[0].diagnostics
    assert [(case.name, case.outcome) for case in sums.cases] == [
        ("test_right", "ok"),
        ("test_wrong", "not ok"),
    ]
    assert sums.cases[1].diagnostics[0] == "test_sums.py:6: in test_wrong"


def test_a_client_that_throws_is_told_without_colours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    path = tmp_path / "journey.mjs"
    path.write_text("throw new Error('no gigs')\n")
    node = find_node()
    assert node is not None

    result = run_client(node, tmp_path, TestFile("client", path, "journey.mjs"), {}, limit_s=60)

    assert result.problems == ("ended with 1",)
    assert "Error: no gigs" in result.output
    assert "\x1b" not in result.output
