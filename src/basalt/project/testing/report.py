"""A run of tests for machines: TAP, JSON, and the XML that CI systems know from JUnit."""

import re
from collections.abc import Iterator
from typing import Final
from xml.sax.saxutils import escape, quoteattr

import orjson

from basalt.project.testing.results import FileResult, TestReport
from basalt.project.testing.tap import Case

# XML 1.0 has no way to write these.
NOT_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def render_tap(report: TestReport) -> str:
    """All assertions of all files in one sequence; what failed beside them is a `not ok` of its own."""
    lines = ["TAP version 13"]
    number = 0
    for file in report.files:
        lines.append(f"# {file.file}")
        for case in (*file.cases, *_problems_as_cases(file)):
            number += 1
            lines += _render_case(case, number)
    lines += [f"# left out: {sentence}" for sentence in report.left_out]
    return "\n".join([*lines, f"1..{number}", ""])


def _render_case(case: Case, number: int) -> Iterator[str]:
    word = "not ok" if case.outcome == "not ok" else "ok"
    mark = {"todo": " # TODO", "skip": " # SKIP"}.get(case.outcome, "")
    name = case.name.replace("\\", "\\\\").replace("#", "\\#").replace("\n", " ")
    yield f"{word} {number} - {name}{mark}" + (f" {case.why}" if mark and case.why else "")
    yield from (f"# {line}" for line in case.diagnostics)


def _problems_as_cases(file: FileResult) -> list[Case]:
    cases = []
    for problem in file.problems:
        first, *rest = problem.splitlines()
        cases.append(Case(f"{file.file}: {first}", "not ok", diagnostics=(*rest, *file.output.splitlines())))
    return cases


def render_json(report: TestReport) -> str:
    files = [
        {
            "file": file.file,
            "kind": file.kind,
            "ok": file.has_passed,
            "duration_s": round(file.duration_s, 3),
            "problems": file.problems,
            "output": "" if file.has_passed else file.output,
            "tests": [
                {"name": case.name, "outcome": case.outcome, "why": case.why, "diagnostics": case.diagnostics}
                for case in file.cases
            ],
        }
        for file in report.files
    ]
    whole = {
        "ok": report.has_passed,
        "duration_s": round(report.duration_s, 3),
        "files": files,
        "left_out": report.left_out,
        "kept": report.kept,
    }
    return orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def render_junit(report: TestReport) -> str:
    """One suite for each file."""
    suites = "".join(_render_suite(file) for file in report.files)
    head = '<?xml version="1.0" encoding="utf-8"?>\n'
    return f'{head}<testsuites time="{report.duration_s:.3f}">\n{suites}</testsuites>\n'


def _render_suite(file: FileResult) -> str:
    problems = _problems_as_cases(file)
    cases = "".join(_render_xml_case(file.file, case) for case in (*file.cases, *problems))
    counts = (
        f'tests="{len(file.cases) + len(problems)}" failures="{file.count("not ok") + len(problems)}" '
        f'skipped="{file.count("skip") + file.count("todo")}" errors="0"'
    )
    return (
        f'<testsuite name={_quote(file.file)} {counts} time="{file.duration_s:.3f}">\n{cases}</testsuite>\n'
    )


def _render_xml_case(file: str, case: Case) -> str:
    head = f'<testcase classname={_quote(file)} name={_quote(case.name)} time="{case.duration_s:.3f}"'
    match case.outcome:
        case "ok":
            return f"{head}/>\n"
        case "not ok":
            told = escape(NOT_XML.sub("\ufffd", "\n".join(case.diagnostics)))
            message = _quote(case.diagnostics[0] if case.diagnostics else case.name)
            return f"{head}><failure message={message}>{told}</failure></testcase>\n"
        case _:
            return f"{head}><skipped message={_quote(f'{case.outcome} {case.why}'.strip())}/></testcase>\n"


def _quote(text: str) -> str:
    """
    >>> _quote('a "b" <c>')
    '\\'a "b" &lt;c&gt;\\''
    """
    return quoteattr(NOT_XML.sub("\ufffd", text))
