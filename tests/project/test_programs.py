"""Tests of a project that are programs: what is wrong with one is told plainly, and stops no other."""

import time
from pathlib import Path

import pytest

from basalt.project.testing.finding import find_tests
from basalt.project.testing.programs import find_node, run_client, run_python

pytestmark = [pytest.mark.req("P27")]

# Plugins of this suite take seconds to load.
ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

LEFT_BEHIND = """
import subprocess, time
child = subprocess.Popen(["sleep", "600"])
with open("child.pid", "w") as file:
    file.write(str(child.pid))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "supabase").mkdir()
    (tmp_path / "tests").mkdir()
    return tmp_path


def test_a_python_file_that_cannot_be_read_stops_no_other_and_is_told_without_colours(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    (project / "tests/test_broken.py").write_text("def test_broken(:\n")
    (project / "tests/test_sums.py").write_text(
        "def test_right():\n    pass\n\n\ndef test_wrong():\n    assert 1 == 2, 'never'\n"
    )

    broken, sums = run_python(project, find_tests(project), ALONE, limit_s=60)

    assert broken.file == "tests/test_broken.py"
    assert "E   SyntaxError: invalid syntax" in broken.cases[0].diagnostics
    assert [(case.name, case.outcome) for case in sums.cases] == [
        ("test_right", "ok"),
        ("test_wrong", "not ok"),
    ]
    assert sums.cases[1].diagnostics[0] == "tests/test_sums.py:6: in test_wrong"


def test_a_python_test_without_an_end_is_named_and_ends_with_what_it_started(project: Path) -> None:
    (project / "tests/test_slow.py").write_text(
        f"def test_quick():\n    pass\n\n\ndef test_endless():\n{_indented(LEFT_BEHIND)}    time.sleep(600)\n"
    )

    [slow] = run_python(project, find_tests(project), ALONE, limit_s=5)

    assert slow.problems == (
        "pytest did not end within 5 seconds; it was at tests/test_slow.py::test_endless",
    )
    assert _ends(int((project / "child.pid").read_text()))


def test_a_client_that_throws_is_told_without_colours(project: Path) -> None:
    (project / "tests/journey.mjs").write_text("throw new Error('no gigs')\n")
    node = find_node()
    assert node is not None

    [test] = find_tests(project)
    result = run_client(node, project, test, {}, limit_s=60)

    assert result.problems == ("ended with 1",)
    assert "Error: no gigs" in result.output
    assert "\x1b" not in result.output


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.strip().splitlines())


def _ends(pid: int) -> bool:
    """Within five seconds; a process that nobody has waited for has ended too."""
    late = time.monotonic() + 5
    while time.monotonic() < late:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False
