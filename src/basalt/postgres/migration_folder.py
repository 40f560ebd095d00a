"""The files of `supabase/migrations/`, held against what a database has of them, and the extensions that they
ask for. Names are understood as the Supabase CLI does (`pkg/migration/list.go`).
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from basalt.postgres.extension_statements import created_extension
from basalt.postgres.extensions import extension_policy
from basalt.postgres.statements import split_statements

SCAN_LIMIT_BYTES = 4_000_000

FILE_NAME = re.compile(r"([0-9]+)_(.*)\.sql")
# The CLI's `init` of before December 2021 wrote a file that is not a migration.
OLD_INIT = re.compile(r"[0-9]{14}_init\.sql")
OLD_INIT_BEFORE = "20211209000000"

_CREATE_EXTENSION = re.compile(r"\bcreate\s+extension\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MigrationFile:
    version: str
    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class MigrationFolder:
    """The files in the order in which they are applied, and what else is there, with the reason."""

    files: tuple[MigrationFile, ...]
    passed_over: tuple[tuple[Path, str], ...]


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """`missing`: the database has it, the folder has not. `path` is None then."""

    version: str
    name: str
    state: Literal["applied", "pending", "missing"]
    path: Path | None


def read_folder(project_dir: Path) -> MigrationFolder:
    """The names of `supabase/migrations/` as the CLI understands them; nothing when there is no such
    folder."""
    folder = project_dir / "supabase" / "migrations"
    paths = sorted((path for path in folder.glob("*") if path.is_file()), key=lambda path: path.name)
    files, passed_over = [], []
    for index, path in enumerate(paths):
        match = FILE_NAME.fullmatch(path.name)
        if match is None:
            if path.suffix == ".sql":
                passed_over.append((path, "its name is not <version>_<name>.sql"))
        elif index == 0 and OLD_INIT.fullmatch(path.name) and match[1] < OLD_INIT_BEFORE:
            passed_over.append((path, "it is the empty start of an old Supabase CLI"))
        else:
            files.append(MigrationFile(match[1], match[2], path))
    return MigrationFolder(tuple(files), tuple(passed_over))


def compare(files: Sequence[MigrationFile], history: Mapping[str, str]) -> list[MigrationStatus]:
    """What is applied, pending and missing. `history` maps applied versions to their recorded names."""
    twice = {version for version, count in Counter(file.version for file in files).items() if count > 1}

    def is_applied(file: MigrationFile) -> bool:
        recorded = history.get(file.version)
        return recorded is not None and (file.version not in twice or file.name in recorded.split(", "))

    here = [
        MigrationStatus(file.version, file.name, "applied" if is_applied(file) else "pending", file.path)
        for file in files
    ]
    missing = [
        MigrationStatus(version, name, "missing", None)
        for version, name in history.items()
        if version not in {file.version for file in files}
    ]
    return sorted([*here, *missing], key=lambda status: (status.version, status.name))


def list_wanted_extensions(supabase_dir: Path) -> frozenset[str]:
    """The extensions that the project's migrations and seeds create and that a server must offer: neither
    brought by Basalt nor dispensable. Files that cannot be read are left for the run to complain about."""
    paths = [
        *supabase_dir.glob("migrations/*.sql"),
        *supabase_dir.glob("seed*.sql"),
        *supabase_dir.glob("seed*/*.sql"),
    ]
    names = {name for path in paths for name, _ in find_created_extensions(path)}
    return frozenset(name for name in names if extension_policy(name, ()) == "missing")


def find_table_makers(project_dir: Path, tables: Collection[str]) -> list[MigrationFile]:
    """The migrations that create one of these tables of `public`."""
    names = "|".join(map(re.escape, sorted(tables)))
    pattern = re.compile(
        rf'^\s*create\s+table\s+(?:if\s+not\s+exists\s+)?(?:"?public"?\s*\.\s*)?"?(?:{names})"?\s*\(',
        re.IGNORECASE | re.MULTILINE,
    )
    return [file for file in read_folder(project_dir).files if pattern.search(_read_for_search(file.path))]


def _read_for_search(path: Path) -> str:
    """The text of a file; nothing for a huge one, which is data."""
    try:
        return "" if path.stat().st_size > SCAN_LIMIT_BYTES else path.read_text("utf-8-sig", "replace")
    except OSError:
        return ""


def find_created_extensions(path: Path) -> Iterator[tuple[str, int]]:
    """The names in `create extension` statements of a file, with their lines. A huge file is data and is not
    looked through; what it creates is decided when it runs."""
    text = _read_for_search(path)
    if _CREATE_EXTENSION.search(text):
        for statement in split_statements(text):
            if statement.kind == "extension" and (name := created_extension(statement.text)):
                yield name, statement.line
