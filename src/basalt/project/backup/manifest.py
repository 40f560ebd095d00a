"""What a backup consists of. The manifest is written last: without one there is no backup, whatever else lies there.

The manifest itself is readable without a key; what tells of the project, its tables and objects, is in the sealed
`contents`.
"""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from basalt import observe
from basalt.project.backup.errors import BackupError
from basalt.project.backup.files import FileEntry, Shelf, check_digest
from basalt.project.backup.target import Target

FORMAT: Final = 1
FOLDER: Final = "backups/"
NAME: Final = "manifest"

Kind = Literal["physical", "logical"]


class TableEntry(msgspec.Struct, frozen=True):
    """`checksum` is None where rows were only counted."""

    name: str
    rows: int
    checksum: str | None


class DatabaseSetting(msgspec.Struct, frozen=True):
    """Of the whole database where `role` is None."""

    role: str | None
    name: str
    value: str


class DatabaseGrant(msgspec.Struct, frozen=True):
    """On the whole database; to everybody where `role` is None."""

    role: str | None
    privilege: str


class Contents(msgspec.Struct, frozen=True):
    """`tables` is None where no exact snapshot came about. `objects` are versions with their sizes as the rows of the
    backup name them, `stored` those that the store had. `settings` and `grants` are what a dump does not hold."""

    tables: list[TableEntry] | None
    objects: list[tuple[str, int]]
    stored: list[str]
    settings: Sequence[DatabaseSetting] = ()
    grants: Sequence[DatabaseGrant] = ()


class LogRange(msgspec.Struct, frozen=True):
    """The log of a physical copy: `start` and `stop` are the copy's own, at `check` its tables are as `contents` says
    (the end of the copy where there was no exact snapshot)."""

    system_id: str
    timeline: int
    start: int
    stop: int
    check: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`created_at` is the moment that the backup shows, `finished_at` the one since which it exists."""

    format: int = FORMAT
    id: str
    kind: Kind
    project_id: str
    basalt_version: str
    postgres_version: str
    postgres_major: int
    started_at: datetime
    created_at: datetime
    finished_at: datetime
    sealed: bool
    log: LogRange | None
    files: dict[str, list[FileEntry]]
    object_count: int
    object_bytes: int
    missing_objects: int

    @property
    def size(self) -> int:
        """Bytes at the target, without objects."""
        return sum(entry.size for entries in self.files.values() for entry in entries)

    @property
    def folder(self) -> str:
        return f"{FOLDER}{self.id}/"


def new_backup_id(now: datetime) -> str:
    """Sorts by time."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def write_manifest(target: Target, manifest: Manifest) -> None:
    """From now on the backup exists."""
    data = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    target.put(f"{manifest.folder}{NAME}.{hashlib.sha256(data).hexdigest()}.json", data)


def is_manifest(name: str) -> bool:
    return name.rpartition("/")[2].startswith(f"{NAME}.")


def list_backups(shelf: Shelf) -> list[Manifest]:
    """Complete ones, the oldest first. A damaged manifest is told and left out: the other backups are no worse for it.
    Raises BackupError where one was made by a later version of Basalt."""
    found: list[Manifest] = []
    for name in [file.name for file in shelf.target.list(FOLDER) if is_manifest(file.name)]:
        try:
            found.append(_read(shelf, name))
        except BackupError as error:
            if error.code != "backup_damaged":
                raise
            observe.event("backup_manifest_damaged", level="error", reason=error.message)
    return sorted(found, key=lambda one: one.created_at)


def find_backup(shelf: Shelf, backup_id: str) -> Manifest:
    """Raises BackupError."""
    for file in shelf.target.list(f"{FOLDER}{backup_id}/"):
        if is_manifest(file.name):
            return _read(shelf, file.name)
    raise BackupError("backup_unknown", backup=backup_id, place=shelf.place)


def read_contents(shelf: Shelf, manifest: Manifest) -> Contents:
    data = b"".join(shelf.read_stream(manifest.files["contents"]))
    return msgspec.json.decode(data, type=Contents)


def _read(shelf: Shelf, name: str) -> Manifest:
    data = shelf.target.get(name)
    if data is None:
        raise BackupError("backup_damaged", file=name, reason="it is missing")
    check_digest(name, data)
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as exc:
        raise BackupError("backup_damaged", file=name, reason=str(exc)) from exc
    if manifest.format > FORMAT:
        raise BackupError("backup_too_new", backup=manifest.id, version=manifest.basalt_version)
    return manifest
