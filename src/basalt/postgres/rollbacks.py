"""Going back: `supabase/rollbacks/<version>_<name>.sql` undoes the migration of the same name.

What goes is decided, and everything that stands in its way is said, before the first file runs. Each file is one
transaction together with the removal of its row in the history, so that a database is always at one version or the
other.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg

from basalt.errors import BasaltError
from basalt.postgres.access import DatabaseAccess
from basalt.postgres.extension_statements import ExtensionStatements
from basalt.postgres.migration_error import shorten
from basalt.postgres.migration_folder import MigrationFile, read_folder
from basalt.postgres.migrations import connect_for_scripts, lock_migrations
from basalt.postgres.scripts import Connection, OnProgress, Progress, run_script
from basalt.postgres.statements import split_statements

LOAD_APPLIED: Final = """
select h.version, coalesce(pg_catalog.to_jsonb(h) ->> 'name', ''), coalesce(h.statements, '{}')
from supabase_migrations.schema_migrations as h order by h.version desc
"""
HAS_HISTORY: Final = """
select count(*) = 1 from pg_catalog.pg_attribute
where attrelid = pg_catalog.to_regclass('supabase_migrations.schema_migrations') and attname = 'statements'
"""
FORGET: Final = "delete from supabase_migrations.schema_migrations where version = %s"
FORGET_ONE: Final = """
update supabase_migrations.schema_migrations set name = %s, statements = '{}' where version = %s
"""
LOSES_DATA: Final = re.compile(
    r"\bdrop\s+(table|schema|materialized\s+view|extension|type|domain|owned)\b|\bdrop\s+column\b|^\s*(truncate|delete)\b"
    r"|\balter\s+table\b.*\bdrop\s+(?!constraint|not\b|default|identity|expression|trigger)\w",
    re.IGNORECASE | re.DOTALL,
)
BODY: Final = re.compile(r"\$(\w*)\$.*?\$\1\$", re.DOTALL)


class RollbackError(BasaltError):
    """Nothing was changed: some of what should go cannot."""

    def __init__(self, reasons: Sequence[str], hint: str | None = None) -> None:
        super().__init__("rollback_refused", 409, "\n".join([*reasons, "Nothing was changed."]), hint=hint)


@dataclass(frozen=True, slots=True)
class Rollback:
    """`name` is the migration's; `path` undoes it. `losses` are its statements that take rows away, shortened.
    `rest` are the names of the other files of this version that stay, `None` when the version goes with it."""

    version: str
    name: str
    path: Path
    losses: tuple[str, ...]
    rest: str | None = None


def rollback_path(project_dir: Path, version: str, name: str) -> Path:
    return project_dir / "supabase" / "rollbacks" / f"{version}_{name}.sql"


def plan_rollbacks(
    access: DatabaseAccess,
    project_dir: Path,
    *,
    count: int = 1,
    to_version: str | None = None,
    ignores_changes: bool = False,
) -> list[Rollback]:
    """The newest `count` applied versions, or all that are newer than `to_version` (`0` is all), newest first. Raises
    RollbackError with every reason: no such version, no rollback file, a migration whose file is another than the
    one that was applied."""
    with connect_for_scripts(access) as connection:
        applied = _load_applied(connection)
    if to_version is not None:
        if to_version.strip("0") and to_version not in [version for version, _, _ in applied]:
            raise RollbackError([f"Version {to_version} is not applied to this database."])
        going = [row for row in applied if row[0] > to_version]
    else:
        going = applied[:count]
    files = {(file.version, file.name): file for file in read_folder(project_dir).files}
    reasons: list[str] = []
    hints: list[str] = []
    planned: list[Rollback] = []
    for version, recorded, statements in going:
        names = recorded.split(", ") if recorded else _names_of(project_dir, version)
        for position in reversed(range(len(names))):
            name, path = names[position], rollback_path(project_dir, version, names[position])
            file = files.get((version, name))
            if not path.is_file():
                reasons.append(f"{version}_{name} cannot go: there is no supabase/rollbacks/{path.name}.")
                hints.append("A rollback file undoes the migration of the same name.")
            elif not ignores_changes and file is not None and _has_changed(file, statements, len(names)):
                reasons.append(
                    f"supabase/migrations/{path.name} has changed since it was applied; "
                    "its rollback may undo something else."
                )
                hints.append("`--force` runs the rollback all the same.")
            else:
                rest = ", ".join(names[:position]) or None
                planned.append(Rollback(version, name, path, find_losses(path), rest))
    if reasons:
        raise RollbackError(reasons, hint=" ".join(dict.fromkeys(hints)))
    return planned


def apply_rollback(
    access: DatabaseAccess, project_dir: Path, rollback: Rollback, *, on_progress: OnProgress | None = None
) -> None:
    """One of them. Raises MigrationError, after which the migration is still applied, and RollbackError where the
    history has changed since it was planned."""
    shown = rollback.path.relative_to(project_dir).as_posix()
    tell = on_progress or (lambda _: None)

    def forget(connection: Connection) -> None:
        if rollback.rest is None:
            done = connection.execute(FORGET, (rollback.version,))
        else:
            done = connection.execute(FORGET_ONE, (rollback.rest, rollback.version))
        if done.rowcount != 1:
            raise RollbackError([f"Version {rollback.version} is not applied any more."])

    with lock_migrations(access), connect_for_scripts(access) as connection:
        newest = connection.execute(LOAD_APPLIED).fetchone()
        if newest is None or newest[0] != rollback.version:
            raise RollbackError([f"{rollback.version} is not the newest applied version any more."])
        tell(Progress("applying", shown))
        run_script(
            connection,
            rollback.path,
            shown=shown,
            extensions=ExtensionStatements(connection),
            warn=lambda text: tell(Progress("warning", "", text)),
            record=lambda _: forget(connection),
            keep_sources=False,
        )


def find_losses(path: Path) -> tuple[str, ...]:
    """The statements of a rollback that take rows away."""
    with path.open(encoding="utf-8-sig", newline="") as source:
        texts = [statement.text for statement in split_statements(source) if statement.kind != "comment"]
    return tuple(shorten(text, 100) for text in texts if LOSES_DATA.search(BODY.sub("", text)))


def _load_applied(connection: psycopg.Connection[tuple[Any, ...]]) -> list[tuple[str, str, list[str]]]:
    row = connection.execute(HAS_HISTORY).fetchone()
    return connection.execute(LOAD_APPLIED).fetchall() if row and row[0] else []


def _names_of(project_dir: Path, version: str) -> list[str]:
    """What a version is called whose row in the history has no name: older tools left it out."""
    files = [file.name for file in read_folder(project_dir).files if file.version == version]
    return files or [""]


def _has_changed(file: MigrationFile, recorded: Sequence[str], files_of_version: int) -> bool:
    """Whether it says something else than what was applied; comments and white space say nothing. Where two files
    share a version, the history has their statements in one list, and each must be among them."""
    if not recorded:
        return False
    was = [text for source in recorded for text in _normalise(source)]
    now = _normalise(file.path.read_text("utf-8-sig"))
    if files_of_version > 1:
        return any(text not in was for text in now)
    return was != now


def _normalise(sql: str) -> list[str]:
    """
    >>> _normalise("-- a comment\\nselect  1;;")
    ['select 1']
    """
    texts = (
        " ".join(statement.text.split()) for statement in split_statements(sql) if statement.kind != "comment"
    )
    return [text for text in texts if text]
