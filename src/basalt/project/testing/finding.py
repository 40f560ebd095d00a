"""Which files are tests: by where they are and how they are called."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from basalt.errors import BasaltError
from basalt.project.testing.results import Kind

PATTERNS: Final[dict[Kind, tuple[str, ...]]] = {
    "sql": ("supabase/tests/**/*.sql", "supabase/**/*_test.sql", "tests/**/*_test.sql"),
    "python": ("tests/**/test_*.py", "tests/**/*_test.py", "supabase/tests/**/test_*.py"),
    "client": ("tests/**/*.mjs", "supabase/tests/**/*.mjs"),
}
NEVER: Final = frozenset({"node_modules", "__pycache__", ".basalt", "migrations", "rollbacks"})


@dataclass(frozen=True, slots=True)
class TestFile:
    """`shown` is the path below the project."""

    __test__ = False

    kind: Kind
    path: Path
    shown: str


def find_tests(project_dir: Path, paths: Sequence[Path] = (), text: str = "") -> list[TestFile]:
    """Those below `paths` (files or folders, from here or from the project; none is all) whose path holds `text`:
    SQL first, then Python, then clients, each by name. What begins with `_` is no test but something that tests use.
    Raises BasaltError for a path that is not there or has no tests."""
    root = project_dir.resolve()
    tests = [test for kind in PATTERNS for test in _find_kind(root, kind)]
    if paths:
        wanted = [(path, _resolve(root, path)) for path in paths]
        for path, place in wanted:
            if not any(test.path.is_relative_to(place) for test in tests):
                raise BasaltError("no_tests_there", 400, f"There are no tests in {path}.")
        tests = [test for test in tests if any(test.path.is_relative_to(place) for _, place in wanted)]
    return [test for test in tests if text in test.shown]


def _find_kind(root: Path, kind: Kind) -> Iterator[TestFile]:
    found = {path for pattern in PATTERNS[kind] for path in root.glob(pattern) if path.is_file()}
    for path in sorted(found):
        shown = path.relative_to(root)
        if NEVER.isdisjoint(shown.parts) and not any(part.startswith("_") for part in shown.parts):
            yield TestFile(kind, path, shown.as_posix())


def _resolve(root: Path, path: Path) -> Path:
    for place in (path.resolve(), (root / path).resolve()):
        if place.exists() and place.is_relative_to(root):
            return place
    raise BasaltError("no_such_path", 400, f"{path} is not in this project.")
