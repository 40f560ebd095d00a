"""`basalt test`: a throw-away database, and on it the project's SQL tests, then the project running there and its
Python and client tests."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from basalt.config import Settings
from basalt.project.testing.assertions import DATABASE, copy_for_tests
from basalt.project.testing.finding import TestFile
from basalt.project.testing.programs import find_node, has_pytest, run_client, run_python
from basalt.project.testing.results import FileResult, TestReport
from basalt.project.testing.server import running_project
from basalt.project.testing.sql_file import run_sql_file
from basalt.project.throwaway import Throwaway, throwaway_project

Tell = Callable[[str], None]

PYTEST_START_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TestOptions:
    """`limit_s` is for each file; pytest, which runs them all, has the sum. With `keeps_database` it stays when the
    run is over."""

    __test__ = False

    with_seeds: bool = True
    fails_fast: bool = False
    keeps_database: bool = False
    limit_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who is told of a run: what is done now, and what came of each file."""

    on_step: Tell
    on_file: Callable[[FileResult], None]


def run_tests(
    settings: Settings, tests: Sequence[TestFile], options: TestOptions, watch: Watch
) -> TestReport:
    """Raises MigrationError, ClusterError and BasaltError where there is no database to test on."""
    started = time.monotonic()
    watch.on_step("Making a throw-away database")
    with throwaway_project(
        settings, fill="seeds" if options.with_seeds else "migrations", on_progress=watch.on_step
    ) as made:
        run = _Run(made, options, watch)
        made.is_kept = options.keeps_database
        run.all_of(tests)
        return TestReport(
            files=run.files,
            left_out=run.left_out,
            duration_s=time.monotonic() - started,
            kept=_describe_kept(made, any(test.kind == "sql" for test in tests)) if made.is_kept else (),
        )


class _Run:
    def __init__(self, made: Throwaway, options: TestOptions, watch: Watch) -> None:
        self.files: list[FileResult] = []
        self.left_out: list[str] = []
        self._made = made
        self._options = options
        self._watch = watch

    def all_of(self, tests: Sequence[TestFile]) -> None:
        of_sql = [test for test in tests if test.kind == "sql"]
        if of_sql:
            self._run_sql(of_sql)
        programs = self._only_possible([test for test in tests if test.kind != "sql"])
        if programs and not self._is_over():
            self._watch.on_step("Starting the project on it")
            with running_project(self._made) as environ:
                self._run_programs(programs, environ)
        if self._made.is_kept:
            self._made.cluster.ensure()

    def _run_sql(self, tests: Sequence[TestFile]) -> None:
        with copy_for_tests(self._made.access) as access:
            for test in tests:
                self._watch.on_step(f"Running {test.shown}")
                self._add(run_sql_file(access, test, limit_s=self._options.limit_s))
                if self._is_over():
                    return

    def _only_possible(self, tests: Sequence[TestFile]) -> list[TestFile]:
        """Without those that this machine cannot run, which are told of."""
        missing = {
            "python": None if has_pytest() else "pytest is not installed beside Basalt",
            "client": None if find_node() else "node is not installed",
        }
        for kind, word in (("python", "Python"), ("client", "client")):
            count = sum(test.kind == kind for test in tests)
            if count and missing[kind]:
                self.left_out.append(f"{count} {word} test file{'' if count == 1 else 's'}: {missing[kind]}.")
        return [test for test in tests if not missing[test.kind]]

    def _run_programs(self, tests: Sequence[TestFile], environ: Mapping[str, str]) -> None:
        project_dir, limit_s = self._made.settings.project_dir, self._options.limit_s
        of_python = [test for test in tests if test.kind == "python"]
        if of_python:
            self._watch.on_step(f"Running pytest on {len(of_python)} files")
            whole_limit_s = PYTEST_START_S + limit_s * len(of_python)
            for result in run_python(project_dir, of_python, environ, limit_s=whole_limit_s):
                self._add(result)
        node = find_node()
        for test in tests:
            if test.kind == "client" and node is not None and not self._is_over():
                self._watch.on_step(f"Running {test.shown}")
                self._add(run_client(node, project_dir, test, environ, limit_s=limit_s))

    def _add(self, result: FileResult) -> None:
        self.files.append(result)
        self._watch.on_file(result)

    def _is_over(self) -> bool:
        return self._options.fails_fast and any(not file.has_passed for file in self.files)


def _describe_kept(made: Throwaway, has_copy: bool) -> list[str]:
    access = made.access
    urls = [access.url("postgres")]
    urls += [access.url("postgres", DATABASE)] if has_copy else []
    home = made.cluster.home
    folders = str(made.folder) if home.is_relative_to(made.folder.resolve()) else f"{made.folder} {home}"
    return [*urls, f"kill -INT $(head -1 {made.cluster.data_dir}/postmaster.pid) && rm -r {folders}"]
