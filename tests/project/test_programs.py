"""Tests of a project that are programs: one that never ends is ended, with what it has started."""

import os
from pathlib import Path

import pytest

from basalt.project.testing.finding import TestFile
from basalt.project.testing.programs import find_node, run_client, run_python

pytestmark = [pytest.mark.req("P27"), pytest.mark.long]

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


def test_pytest_is_interrupted_and_tears_down(tmp_path: Path) -> None:
    path = tmp_path / "test_one.py"
    path.write_text(HANGS_IN_PYTHON)
    (result,) = run_python(tmp_path, [TestFile("python", path, "test_one.py")], {}, limit_s=8)
    assert result.problems == ("pytest did not end within 8 seconds",)
    assert (tmp_path / "torn_down").exists()
    assert are_gone(tmp_path)


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
