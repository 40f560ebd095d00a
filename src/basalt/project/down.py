"""`basalt db down`, and `basalt db check`: that going down and up again makes the same schema."""

import difflib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from basalt.config import Settings
from basalt.postgres import (
    DatabaseAccess,
    Progress,
    Rollback,
    apply_rollback,
    list_migrations,
    plan_rollbacks,
)
from basalt.project.dump import DumpRequest, dump_database
from basalt.project.migration import Tell, migrate, render_progress
from basalt.project.throwaway import throwaway_project

# pg_dump writes a new word into them each time.
NEVER_THE_SAME: Final = ("\\restrict ", "\\unrestrict ")


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationCheck:
    """`difference` is between the schema and that after down and up again; `left_over` is what of the empty database
    was another after going down: what rollbacks leave on purpose, an extension for one, stands there too. Lines of
    `diff`."""

    count: int
    difference: Sequence[str]
    left_over: Sequence[str]


def undo(
    access: DatabaseAccess,
    settings: Settings,
    planned: Sequence[Rollback],
    *,
    on_progress: Tell | None = None,
) -> None:
    """Raises MigrationError at the first that fails: it and those after it are still applied."""

    def tell(progress: Progress) -> None:
        if on_progress and (line := render_progress(progress)):
            on_progress(line)

    for rollback in planned:
        apply_rollback(access, settings.project_dir, rollback, on_progress=tell)


def check_migrations(settings: Settings, *, on_progress: Tell | None = None) -> MigrationCheck:
    """On a throw-away database. Raises MigrationError, RollbackError, DumpError."""
    tell = on_progress or (lambda _: None)
    tell("Making a throw-away database")
    with throwaway_project(settings, fill="nothing") as made:
        access = made.access
        empty = _dump(access)
        tell("Going up")
        migrate(access, made.settings)
        first = _dump(access)
        tell("Going down")
        undo(access, made.settings, plan_rollbacks(access, settings.project_dir, to_version="0"))
        below = _dump(access)
        tell("Going up again")
        migrate(access, made.settings)
        second = _dump(access)
        count = len(list_migrations(access, settings.project_dir))
    return MigrationCheck(count=count, difference=_compare(first, second), left_over=_compare(empty, below))


def _dump(access: DatabaseAccess) -> list[str]:
    out = io.BytesIO()
    dump_database(access, DumpRequest(what="schema"), out)
    return [line for line in out.getvalue().decode().splitlines() if not line.startswith(NEVER_THE_SAME)]


def _compare(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """
    >>> _compare(["create table a ();"], ["create table a ();", "", "create table b ();"])
    ['+create table b ();']
    """
    lines = list(difflib.unified_diff(before, after, lineterm="", n=0))[2:]
    return [line for line in lines if line.strip("+-").strip() and not line.startswith(("@@", "+--", "---"))]
