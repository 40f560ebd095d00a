"""The seeds of a project: the files of `[db.seed] sql_paths`, each run once after the migrations.

As in the Supabase CLI (`pkg/migration/seed.go`), `supabase_migrations.seed_files` keeps each file's path and
SHA-256. A file that changed after it was applied is not run again, since its rows are there; a reset runs it.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from basalt.config import Settings
from basalt.postgres.access import DatabaseAccess
from basalt.postgres.extension_statements import ExtensionStatements
from basalt.postgres.migrations import (
    connect_for_scripts,
    ensure_history,
    hash_file,
    load_seed_files,
    lock_migrations,
    record_seed_file,
)
from basalt.postgres.scripts import Connection, OnProgress, Progress, run_script

DEFAULT_PATTERN = "./seed.sql"


@dataclass(frozen=True, slots=True)
class SeedFile:
    """`shown` is the path below the project, as the table keeps it."""

    path: Path
    shown: str


def apply_seeds(
    access: DatabaseAccess, settings: Settings, *, on_progress: OnProgress | None = None
) -> list[str]:
    """Runs the seed files that this database has not seen, and returns their paths below the project. Raises
    MigrationError at the first that fails; nothing of that file stays."""
    tell = on_progress or (lambda _: None)
    if not settings.db.seed.enabled:
        return []
    files = list(find_seeds(settings, tell))
    if not files:
        return []
    with lock_migrations(access), connect_for_scripts(access) as connection:
        return _apply(connection, files, tell)


def find_seeds(settings: Settings, tell: OnProgress) -> Iterator[SeedFile]:
    """The files that the patterns name, each once, in the order of the patterns and then of the names."""
    seen: set[Path] = set()
    for pattern in settings.db.seed.sql_paths:
        found = _glob(settings.supabase_dir, pattern)
        if not found and pattern != DEFAULT_PATTERN:
            tell(Progress("warning", "", f"[db.seed] sql_paths: no file matches {pattern}"))
        for path in found:
            if path not in seen:
                seen.add(path)
                yield SeedFile(path, _shown(path, settings.project_dir))


def _glob(folder: Path, pattern: str) -> list[Path]:
    """Patterns are relative to `supabase/` and may lead out of it; an absolute one is taken as it is."""
    start, rest = (Path("/"), pattern.lstrip("/")) if pattern.startswith("/") else (folder, pattern)
    return sorted(path for path in start.glob(rest) if path.is_file())


def _shown(path: Path, project_dir: Path) -> str:
    normal = path.resolve()
    root = project_dir.resolve()
    return normal.relative_to(root).as_posix() if normal.is_relative_to(root) else normal.as_posix()


def _apply(connection: Connection, files: list[SeedFile], tell: OnProgress) -> list[str]:
    ensure_history(connection)
    known = load_seed_files(connection)
    extensions = ExtensionStatements(connection)
    applied = []
    for file in files:
        digest = hash_file(file.path)
        if file.shown not in known:
            _run(connection, extensions, file, digest, tell)
            applied.append(file.shown)
        elif known[file.shown] != digest:
            record_seed_file(connection, file.shown, digest)
            changed = f"{file.shown} has changed since it was applied; a reset of the database runs it again"
            tell(Progress("warning", "", changed))
    return applied


def _run(
    connection: Connection, extensions: ExtensionStatements, file: SeedFile, digest: str, tell: OnProgress
) -> None:
    def record(_: list[str]) -> None:
        record_seed_file(connection, file.shown, digest)

    tell(Progress("seeding", file.shown))
    started = time.monotonic()
    run_script(
        connection,
        file.path,
        shown=file.shown,
        extensions=extensions,
        warn=lambda text: tell(Progress("warning", "", text)),
        record=record,
        keep_sources=False,
    )
    tell(Progress("seeded", file.shown, duration_s=time.monotonic() - started))
