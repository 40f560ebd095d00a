"""`basalt backup verify`: everything that a backup needs is there and is what it was, without restoring it.

All files of the backup, the objects that its rows name, and the archived log behind it are read and compared with the
SHA-256 in their names; what is sealed is opened, which age refuses for a single changed byte.
"""

from dataclasses import dataclass, field

from basalt.project.backup.errors import BackupError
from basalt.project.backup.files import Shelf
from basalt.project.backup.history import gap_error, plan_log
from basalt.project.backup.manifest import Manifest, read_contents
from basalt.project.backup.objects import list_object_files
from basalt.project.backup.progress import Progress, Tell


@dataclass
class Verified:
    """`problems` are sentences; `files` and `bytes` were read at the target."""

    manifest: Manifest
    files: int = 0
    bytes: int = 0
    objects: int = 0
    problems: list[str] = field(default_factory=list)


def verify_backup(shelf: Shelf, manifest: Manifest, tell: Tell) -> Verified:
    """Raises BackupError only where nothing can be read at all: the target is away, or nothing opens the backup."""
    if manifest.sealed and not shelf.envelope.is_opening:
        raise BackupError("backup_sealed", place=shelf.place)
    report = Verified(manifest)
    progress = Progress(tell, "Read")
    for entries in manifest.files.values():
        for entry in entries:
            _read(shelf, entry.name, report, progress)
    _verify_objects(shelf, manifest, report, progress)
    if manifest.log is not None:
        _verify_log(shelf, manifest, report, progress)
    progress.end()
    return report


def _verify_objects(shelf: Shelf, manifest: Manifest, report: Verified, progress: Progress) -> None:
    try:
        wanted = read_contents(shelf, manifest).objects
    except BackupError:
        return  # told already
    there = list_object_files(shelf)
    absent = 0
    for version, _ in wanted:
        found = there.get(version)
        if found is None or found.missing:
            absent += 1
            continue
        report.objects += 1
        for name in found.chunks.values():
            _read(shelf, name, report, progress)
    if absent > manifest.missing_objects:
        report.problems.append(f"{absent} objects are missing or incomplete")


def _verify_log(shelf: Shelf, manifest: Manifest, report: Verified, progress: Progress) -> None:
    try:
        plan = plan_log(shelf, manifest)
    except BackupError as error:
        report.problems.append(error.message)
        return
    if plan.gap is not None:
        report.problems.append(gap_error(plan.gap).message)
    own = {entry.name for entry in manifest.files["wal"]}
    for stored, _ in plan.parts:
        if stored.file.name not in own:
            _read(shelf, stored.file.name, report, progress)


def _read(shelf: Shelf, name: str, report: Verified, progress: Progress) -> None:
    try:
        size = len(shelf.read(name))
    except BackupError as error:
        report.problems.append(error.message)
    else:
        report.files += 1
        report.bytes += size
        progress.add(size)
