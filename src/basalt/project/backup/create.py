"""`basalt backup create`: database, objects, keys and settings to the target.

In this order, so that rows find their bytes: most objects, then the database, then the objects that came meanwhile, and
what the rows of the backup name is compared with what is there. What was deleted while the backup ran still has its
bytes (`basalt.storage.deleted_retention`).
"""

import asyncio
import importlib.metadata
from collections.abc import Container
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from basalt import observe
from basalt.config import Settings
from basalt.errors import BasaltError
from basalt.postgres import DatabaseAccess
from basalt.project.backup.copies import DatabaseCopy, copy_external, copy_private
from basalt.project.backup.errors import BackupError
from basalt.project.backup.files import FileEntry, Shelf
from basalt.project.backup.keys import pack_keys
from basalt.project.backup.manifest import (
    Contents,
    Manifest,
    TableEntry,
    list_backups,
    new_backup_id,
    write_manifest,
)
from basalt.project.backup.objects import list_object_files, list_store, open_store, send_objects
from basalt.project.backup.progress import Progress, Tell
from basalt.project.backup.records import BEGIN, COMPLETE, FAIL, FORGET, connect, only_one
from basalt.project.backup.retention import remove_old


def create_backup(settings: Settings, access: DatabaseAccess, shelf: Shelf, tell: Tell) -> Manifest:
    """A complete backup, or none. Older ones beyond `basalt.backup.keep` go afterwards. Raises BackupError and other
    BasaltErrors."""
    started_at = datetime.now(UTC)
    backup_id = new_backup_id(started_at)
    with connect(access) as connection, only_one(connection):
        _check_owner(settings, shelf)
        kind = "logical" if access.is_external else "physical"
        connection.execute(BEGIN, [backup_id, kind, shelf.place])
        try:
            making = _Making(settings, access, shelf, tell, backup_id, started_at)
            manifest = making.run()
        except BaseException as error:
            reason = error.message if isinstance(error, BasaltError) else f"{type(error).__name__}: {error}"
            observe.event("backup_failed", level="error", backup=backup_id, reason=reason)
            _discard(shelf, backup_id)
            if not connection.broken:
                connection.execute(FAIL, [reason, backup_id])
            raise
        connection.execute(COMPLETE, [manifest.size, backup_id])
        connection.execute(FORGET)
        observe.event("backup_complete", backup=backup_id, bytes=manifest.size, objects=manifest.object_count)
        remove_old(settings, shelf, tell)
    return manifest


@dataclass
class _Making:
    settings: Settings
    access: DatabaseAccess
    shelf: Shelf
    tell: Tell
    backup_id: str
    started_at: datetime
    files: dict[str, list[FileEntry]] = field(default_factory=dict)

    def run(self) -> Manifest:
        folder = f"backups/{self.backup_id}"
        self.files["keys"] = self.shelf.put_stream(f"{folder}/keys", [pack_keys(self.settings)])
        asyncio.run(self._send_stored())
        copying = copy_external if self.access.is_external else copy_private
        with copying(self.settings, self.access, self.shelf, self.backup_id, self.tell) as copy:
            self.files.update(copy.files)
            stored, missing = asyncio.run(self._send_rest(copy))
        contents = Contents(
            tables=None
            if copy.tables is None
            else [TableEntry(table.name, table.rows, table.checksum) for table in copy.tables],
            objects=copy.objects,
            stored=stored,
            settings=copy.settings,
            grants=copy.grants,
        )
        self.files["contents"] = self.shelf.put_stream(f"{folder}/contents", [msgspec.json.encode(contents)])
        manifest = self._describe(copy, missing)
        write_manifest(self.shelf.target, manifest)
        return manifest

    async def _send_stored(self) -> None:
        """Most of it, before the database is copied."""
        async with open_store(self.settings) as store:
            stored, known = await list_store(store), list_object_files(self.shelf)
            progress = Progress(self.tell, "Objects", total=_bytes_to_send(stored, known))
            await send_objects(self.shelf, store, stored, known, progress.add)
            progress.end()

    async def _send_rest(self, copy: DatabaseCopy) -> tuple[list[str], list[str]]:
        """What came meanwhile. Returns what the store has, and what rows name and nobody has."""
        async with open_store(self.settings) as store:
            stored, known = await list_store(store), list_object_files(self.shelf)
            gone = await send_objects(self.shelf, store, stored, known)
        there = {version for version, files in known.items() if not files.missing} | (stored.keys() - {*gone})
        missing = [version for version, _ in copy.objects if version not in there]
        if missing:
            observe.event(
                "backup_objects_missing", level="warning", backup=self.backup_id, count=len(missing)
            )
            self.tell(f"Warning: {len(missing)} objects have no bytes; `basalt storage check` names them")
        return sorted(stored), missing

    def _describe(self, copy: DatabaseCopy, missing: list[str]) -> Manifest:
        sizes = [max(size, 0) for _, size in copy.objects]
        return Manifest(
            id=self.backup_id,
            kind="logical" if self.access.is_external else "physical",
            project_id=self.settings.project_id,
            basalt_version=importlib.metadata.version("basalt"),
            postgres_version=copy.postgres_version,
            postgres_major=copy.postgres_major,
            started_at=self.started_at,
            created_at=copy.created_at,
            finished_at=datetime.now(UTC),
            sealed=self.shelf.envelope.is_sealing,
            log=copy.log,
            files=self.files,
            object_count=len(sizes),
            object_bytes=sum(sizes),
            missing_objects=len(missing),
        )


def _check_owner(settings: Settings, shelf: Shelf) -> None:
    """Two projects at one place would take each other's objects away."""
    for manifest in list_backups(shelf)[-1:]:
        if manifest.project_id != settings.project_id:
            raise BackupError(
                "backup_of_another_project",
                place=shelf.place,
                project=manifest.project_id,
                own=settings.project_id,
            )


def _discard(shelf: Shelf, backup_id: str) -> None:
    """What an attempt has left; objects stay, for the next one."""
    try:
        shelf.target.delete([file.name for file in shelf.target.list(f"backups/{backup_id}/")])
    except BasaltError:
        return  # the target is away; `remove_old` finds it later


def _bytes_to_send(stored: dict[str, int], known: Container[str]) -> int:
    return sum(size for version, size in stored.items() if version not in known)
