"""The Test Anything Protocol, as pgTAP and `node --test` write it: lines to results."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Outcome = Literal["ok", "not ok", "skip", "todo"]

RESULT: Final = re.compile(
    r"(?P<not>not )?ok\b[ \t]*(?P<number>\d+)?[ \t]*(?:-[ \t]*)?(?P<name>(?:\\.|[^#\\])*?)[ \t]*"
    r"(?:#[ \t]*(?P<word>todo|skip)\S*[ \t]*(?P<why>.*))?$",
    re.IGNORECASE,
)
PLAN: Final = re.compile(r"1\.\.(\d+)\s*(?:#\s*skip\S*\s*(?P<why>.*))?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Case:
    """One assertion. A test that is expected to fail (`todo`) counts as good either way; `why` is the reason of a
    todo or skip; `diagnostics` are the lines that explain a failure."""

    name: str
    outcome: Outcome
    why: str = ""
    diagnostics: tuple[str, ...] = ()
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Tap:
    """`problems` are what is wrong beyond single assertions: a plan that was not kept, none at all, a bail-out."""

    cases: tuple[Case, ...]
    problems: tuple[str, ...]


def parse_tap(lines: Iterable[str]) -> Tap:
    """Lines that are no TAP, and those of subtests, are passed over.

    >>> tap = parse_tap(["1..3", "ok 1 - a", "not ok 2 - b", "# have: 1", "ok 3 - c # SKIP no server"])
    >>> [(case.name, case.outcome, case.diagnostics) for case in tap.cases]
    [('a', 'ok', ()), ('b', 'not ok', ('have: 1',)), ('c', 'skip', ())]
    >>> parse_tap(["1..2", "ok 1"]).problems
    ('planned 2 tests, ran 1',)
    """
    found: list[tuple[Case, list[str]]] = []
    planned: int | None = None
    problems: list[str] = []
    for line in lines:
        if line.startswith("#"):
            if found:
                found[-1][1].append(line[1:].removeprefix(" ").rstrip())
        elif line.startswith("Bail out!"):
            problems.append(line.strip())
        elif plan := PLAN.match(line):
            planned = int(plan[1])
        elif result := RESULT.match(line):
            found.append((_read_result(result), []))
    cases = tuple(_explain(case, comments) for case, comments in found)
    return Tap(cases, (*problems, *_hold_to_plan(len(cases), planned)))


def _read_result(result: re.Match[str]) -> Case:
    outcome: Outcome = "not ok" if result["not"] else "ok"
    if result["word"]:
        outcome = "todo" if result["word"].lower() == "todo" else "skip"
    name = re.sub(r"\\(.)", r"\1", result["name"].strip())
    return Case(name or f"test {result['number'] or ''}".strip(), outcome, (result["why"] or "").strip())


def _explain(case: Case, comments: list[str]) -> Case:
    if case.outcome != "not ok":
        return case
    own = [line for line in comments if not line.startswith(("Failed test", "Looks like you "))]
    return Case(case.name, case.outcome, case.why, tuple(own))


def _hold_to_plan(ran: int, planned: int | None) -> list[str]:
    if planned is None:
        return [
            "it ran no test; one begins with `select plan(N);`" if not ran else "no plan: it ended too early"
        ]
    if planned != ran:
        return [f"planned {planned} test{'' if planned == 1 else 's'}, ran {ran}"]
    return []
