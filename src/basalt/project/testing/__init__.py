"""The tests of a project on a throw-away database: finds them (`finding`), makes the database and its assertions
(`assertions`, `sql/`), runs files of SQL (`sql_file`), pytest and Node.js (`programs`) against the running project
(`server`), reads their TAP (`tap`) and renders what came of it (`report`)."""

from basalt.project.testing.finding import TestFile, find_tests
from basalt.project.testing.report import render_json, render_junit, render_tap
from basalt.project.testing.results import FileResult, TestReport
from basalt.project.testing.run import TestOptions, Watch, run_tests
from basalt.project.testing.tap import Outcome

__all__ = [
    "FileResult",
    "Outcome",
    "TestFile",
    "TestOptions",
    "TestReport",
    "Watch",
    "find_tests",
    "render_json",
    "render_junit",
    "render_tap",
    "run_tests",
]
