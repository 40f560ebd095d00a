"""What goes: backups beyond `basalt.backup.keep`, the log before what can be restored, objects that nothing names.

A failed or interrupted attempt leaves files without a manifest; they go when a later backup is complete.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from basalt import observe
from basalt.config import BackupSettings, Settings
from basalt.errors import BasaltError
from basalt.project.backup.files import Shelf
from basalt.project.backup.manifest import FOLDER, Manifest, is_manifest, list_backups, read_contents
from basalt.project.backup.objects import list_object_files
from basalt.project.backup.progress import Tell
from basalt.project.backup.wal_shelf import ARCHIVE, WalShelf

# The times of files are by the target's clock, and another backup may be under way.
MARGIN: Final = timedelta(days=1)


def remove_old(settings: Settings, shelf: Shelf, tell: Tell) -> None:
    """After a backup is complete. A failure is told and leaves too much, never too little."""
    try:
        backups = list_backups(shelf)
        kept = backups[-settings.basalt.backup.keep :]
        old = backups[: len(backups) - len(kept)]
        for backup in old:
            _remove(shelf, backup)
        shelf.target.delete(_interrupted(shelf))
        shelf.target.delete(_old_log(shelf, settings.basalt.backup, kept))
        shelf.target.delete(_unnamed_objects(shelf, kept))
        if old:
            tell(f"Removed older backups: {', '.join(backup.id for backup in old)}")
    except BasaltError as error:
        observe.event("backup_retention_failed", level="warning", reason=error.message)
        tell(f"Warning: older backups could not be removed: {error.message}")


def first_needed(backups: Sequence[Manifest], keep_s: float, now: datetime) -> Manifest | None:
    """The backup from which on the log is needed: the newest one that was complete `keep_s` ago, else the oldest."""
    physical = [backup for backup in backups if backup.log is not None]
    if not physical:
        return None
    if keep_s == 0:
        return physical[0]
    before = [backup for backup in physical if backup.created_at <= now - timedelta(seconds=keep_s)]
    return before[-1] if before else physical[0]


def _remove(shelf: Shelf, backup: Manifest) -> None:
    """The manifest first, so that no half backup is listed when this ends early."""
    names = [file.name for file in shelf.target.list(backup.folder)]
    shelf.target.delete(name for name in names if is_manifest(name))
    shelf.target.delete(names)


def _interrupted(shelf: Shelf) -> Iterator[str]:
    files = list(shelf.target.list(FOLDER))
    complete = {file.name.split("/")[1] for file in files if is_manifest(file.name)}
    before = datetime.now(UTC) - MARGIN
    for file in files:
        if file.name.split("/")[1] not in complete and file.changed_at < before:
            yield file.name


def _old_log(shelf: Shelf, settings: BackupSettings, kept: Sequence[Manifest]) -> Iterator[str]:
    """The log of every earlier history goes with the backups that could use it."""
    first = first_needed(kept, settings.keep_wal_s, datetime.now(UTC))
    if first is None or first.log is None:
        return
    for stored in WalShelf.of_system(shelf, first.log.system_id).list():
        if stored.piece.end <= first.log.start:
            yield stored.file.name
    systems = {f"{ARCHIVE}{backup.log.system_id}/" for backup in kept if backup.log is not None}
    for file in shelf.target.list(ARCHIVE):
        if (
            not any(file.name.startswith(system) for system in systems)
            and file.changed_at < kept[0].started_at - MARGIN
        ):
            yield file.name


def _unnamed_objects(shelf: Shelf, kept: Sequence[Manifest]) -> list[str]:
    """Those that came before the oldest kept backup began, and that no kept backup names or has seen. Later ones may
    be named by the log alone. Needs what opens the backups; without it all of them stay."""
    if not kept or (kept[0].sealed and not shelf.envelope.is_opening):
        return []
    named: set[str] = set()
    for backup in kept:
        contents = read_contents(shelf, backup)
        named.update(contents.stored, (version for version, _ in contents.objects))
    before = kept[0].started_at - MARGIN
    return [
        name
        for version, files in list_object_files(shelf).items()
        if version not in named and files.changed_at is not None and files.changed_at < before
        for name in files.names
    ]
