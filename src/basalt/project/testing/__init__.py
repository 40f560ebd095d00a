"""The tests of a project on a throw-away database: finds them (`finding`), makes the database and its assertions
(`assertions`, `sql/`), runs files of SQL (`sql_file`), pytest and Node.js (`programs`) against the running project
(`server`), reads their TAP (`tap`) and renders what came of it (`report`)."""

from basalt.project.testing.assertions import install_assertions
from basalt.project.testing.finding import TestFile, find_tests
from basalt.project.testing.report import render_json, render_junit, render_tap
from basalt.project.testing.results import FileResult, TestReport
from basalt.project.testing.run import TestOptions, Watch, run_tests
from basalt.project.testing.sql_file import run_sql_file
from basalt.project.testing.tap import Case, Outcome, Tap, parse_tap

__all__ = [
    "Case",
    "FileResult",
    "Outcome",
    "Tap",
    "TestFile",
    "TestOptions",
    "TestReport",
    "Watch",
    "find_tests",
    "install_assertions",
    "parse_tap",
    "render_json",
    "render_junit",
    "render_tap",
    "run_sql_file",
    "run_tests",
]
