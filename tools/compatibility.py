"""Applies the migrations and seeds of checked-out Supabase projects and reports what does not apply.

    python tools/compatibility.py [NAME=]DIR …

Each DIR holds a `supabase/` folder. Every project gets a fresh database of one private cluster in a temporary
folder; nothing is written into the projects. A file that fails is set aside and the next ones are tried, so
that one reason does not hide another; what then fails only because of it is counted apart. The answer is a
Markdown table: `docs/reference/compatibility.md` keeps one.
"""

import argparse
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from basalt.config import ConfigError, Settings, load_settings
from basalt.errors import BasaltError
from basalt.postgres import (
    DatabaseAccess,
    MigrationError,
    PrivateCluster,
    Progress,
    apply_migrations,
    apply_seeds,
)
from basalt.postgres.migration_folder import read_folder
from basalt.postgres.seeds import find_seeds
from basalt.project import recreate

# Errors that say no more than that something of an earlier file is not there.
FOLLOWING = ("42P01", "42703", "42883", "42704", "3F000")


@dataclass
class Outcome:
    """What became of one project. A reason is a file, a line and a message."""

    name: str
    commit: str
    files: int = 0
    applied: int = 0
    seeds: int = 0
    seeded: int = 0
    reasons: list[str] = field(default_factory=list)
    following: int = 0
    warnings: list[str] = field(default_factory=list)

    def row(self) -> str:
        notes = self.reasons + ([f"{self.following} more for want of these"] if self.following else [])
        seeds = f"{self.seeded}/{self.seeds}" if self.seeds else "none"
        cells = [
            self.name,
            self.commit,
            f"{self.applied}/{self.files}",
            seeds,
            "; ".join(notes) or "everything applies",
        ]
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("projects", nargs="+", metavar="[NAME=]DIR")
    parser.add_argument("--verbose", action="store_true", help="whole messages on standard error")
    arguments = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="basalt-compatibility-"))
    home.chmod(0o711)  # the server's own user must get through when this runs as root
    cluster = PrivateCluster(home / ".basalt", port=free_port(), fsync=False)
    outcomes = []
    try:
        access = cluster.ensure().with_dbname("project")
        for argument in arguments.projects:
            name, _, folder = argument.rpartition("=")
            path = Path(folder)
            print(f"{name or path.name} …", file=sys.stderr)
            outcome = try_project(name or path.name, path, access, home / "copy", verbose=arguments.verbose)
            outcomes.append(outcome)
    finally:
        cluster.stop()
        shutil.rmtree(home, ignore_errors=True)
    print("| project | commit | migrations | seeds | what does not apply |\n|---|---|--:|--:|---|")
    for outcome in outcomes:
        print(outcome.row())
    return 0 if all(outcome.applied == outcome.files for outcome in outcomes) else 1


def try_project(name: str, folder: Path, access: DatabaseAccess, copy: Path, *, verbose: bool) -> Outcome:
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(
        folder / "supabase", copy / "supabase", ignore=shutil.ignore_patterns("functions", ".temp")
    )
    outcome = Outcome(name, read_commit(folder))
    outcome.files = len(read_folder(copy).files)

    def tell(progress: Progress) -> None:
        if progress.kind in ("warning", "skipped"):
            outcome.warnings.append(progress.detail)
            if verbose:
                print(f"  {progress.kind}: {progress.file} {progress.detail}", file=sys.stderr)

    recreate(access)
    while True:
        try:
            apply_migrations(access, copy, on_progress=tell)
            break
        except MigrationError as error:
            note(outcome, error, verbose=verbose)
            (copy / error.file).unlink()
    outcome.applied = len(read_folder(copy).files)
    try_seeds(outcome, access, read_settings(outcome, copy), tell, verbose=verbose)
    return outcome


def try_seeds(outcome: Outcome, access: DatabaseAccess, settings: Settings, tell, *, verbose: bool) -> None:
    outcome.seeds = len(list(find_seeds(settings, lambda _: None))) if settings.db.seed.enabled else 0
    while True:
        try:
            outcome.seeded += len(apply_seeds(access, settings, on_progress=tell))
            return
        except MigrationError as error:
            note(outcome, error, verbose=verbose)
            outcome.seeded += count_seeded(error, settings)
            (settings.project_dir / error.file).unlink()


def count_seeded(error: MigrationError, settings: Settings) -> int:
    """The seed files before the wrong one, which were applied by the same call."""
    shown = [seed.shown for seed in find_seeds(settings, lambda _: None)]
    return shown.index(error.file)


def note(outcome: Outcome, error: MigrationError, *, verbose: bool) -> None:
    if verbose:
        print("  " + error.message.replace("\n", "\n  "), file=sys.stderr)
    if outcome.reasons and error.sqlstate in FOLLOWING:
        outcome.following += 1
        return
    version = re.sub(r"^supabase/(migrations/)?", "", error.file)
    outcome.reasons.append(f"`{version}` line {error.line}: {error.reason}")


def read_settings(outcome: Outcome, copy: Path) -> Settings:
    try:
        return load_settings(copy, {})
    except ConfigError as error:
        outcome.reasons.append(f"`config.toml`: {error.message.splitlines()[-1].strip()}")
        (copy / "supabase" / "config.toml").unlink()
        return load_settings(copy, {})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def read_commit(folder: Path) -> str:
    try:
        answer = subprocess.run(
            ["git", "-C", folder, "rev-parse", "--short=10", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return answer.stdout.strip()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BasaltError as error:
        sys.exit(error.message)
