"""What came of a run: a result for each file, and all of them together."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from basalt.project.testing.tap import Case, Outcome

Kind = Literal["sql", "python", "client"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResult:
    """`file` is its path below the project. `problems` are what failed beyond single tests, each maybe of several
    lines; `output` is what a program wrote last, told when it failed."""

    file: str
    kind: Kind
    cases: tuple[Case, ...] = ()
    problems: tuple[str, ...] = ()
    output: str = ""
    duration_s: float = 0.0

    @property
    def has_passed(self) -> bool:
        return not self.problems and all(case.outcome != "not ok" for case in self.cases)

    def count(self, outcome: Outcome) -> int:
        return sum(case.outcome == outcome for case in self.cases)


@dataclass(frozen=True, slots=True, kw_only=True)
class TestReport:
    """`left_out` are sentences: which tests did not run, and why. `kept` is how to reach the database that was kept."""

    __test__ = False

    files: Sequence[FileResult]
    left_out: Sequence[str] = ()
    duration_s: float = 0.0
    kept: Sequence[str] = field(default=())

    @property
    def has_passed(self) -> bool:
        return all(file.has_passed for file in self.files)

    @property
    def counts(self) -> Counter[str]:
        return Counter(case.outcome for file in self.files for case in file.cases)
