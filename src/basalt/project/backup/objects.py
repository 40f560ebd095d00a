"""The bytes of objects at the target: each version once, in chunks `objects/AB/VERSION.TOTAL.OFFSET.SHA256`.

Versions never change, so what is there is not sent again, and a large object that was interrupted goes on where it
stopped. A version is there when its chunks add up to its size.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import psycopg

from basalt.config import Settings
from basalt.postgres.backup import list_objects
from basalt.project.backup.errors import BackupError
from basalt.project.backup.files import CHUNK_BYTES, Shelf
from basalt.project.backup.progress import Progress, Tell
from basalt.storage import ContentMissingError, Store, StoreFullError, StoreUnavailableError, build_store

FOLDER: Final = "objects/"
AT_ONCE: Final = 4


@dataclass
class ObjectFiles:
    """One version at the target: its size, the names of its chunks by their offsets, and those of chunks that were sent
    twice: sealed again, the same bytes have another name."""

    size: int
    chunks: dict[int, str] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)
    changed_at: datetime | None = None

    @property
    def names(self) -> list[str]:
        return [*self.chunks.values(), *self.again]

    @property
    def missing(self) -> list[int]:
        """Offsets of chunks that are not there."""
        return [offset for offset in offsets_of(self.size) if offset not in self.chunks]


def offsets_of(size: int) -> list[int]:
    """
    >>> offsets_of(0), offsets_of(CHUNK_BYTES + 1) == [0, CHUNK_BYTES]
    ([0], True)
    """
    return list(range(0, size, CHUNK_BYTES)) or [0]


def list_object_files(shelf: Shelf, shard: str | None = None) -> dict[str, ObjectFiles]:
    """Every version at the target, complete or not; with `shard` those whose names begin with these two letters."""
    found: dict[str, ObjectFiles] = {}
    for file in shelf.target.list(f"{FOLDER}{shard}/" if shard else FOLDER):
        version, total, offset, *_ = [*file.name.rpartition("/")[2].split("."), "", ""]
        if not total.isdigit() or not offset.isdigit():
            continue
        entry = found.setdefault(version, ObjectFiles(int(total)))
        if entry.chunks.setdefault(int(offset), file.name) != file.name:
            entry.again.append(file.name)
        entry.changed_at = max(entry.changed_at or file.changed_at, file.changed_at)
    return found


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[Store]:
    """The project's own. Where it is away or full, whatever was done with it raises BackupError."""
    store = build_store(settings)
    try:
        await store.open()
        yield store
    except StoreUnavailableError as exc:
        raise BackupError("backup_objects_unusable", reason="their store cannot be reached") from exc
    except StoreFullError as exc:
        raise BackupError("backup_objects_unusable", reason="their store has no space left") from exc
    finally:
        await store.close()


async def list_store(store: Store) -> dict[str, int]:
    """Versions and sizes of everything that is stored."""
    return {stored.version: stored.size async for page in store.list_older(0) for stored in page}


async def send_objects(
    shelf: Shelf,
    store: Store,
    wanted: Mapping[str, int],
    known: Mapping[str, ObjectFiles],
    on_bytes: Callable[[int], None] = lambda _: None,
) -> list[str]:
    """What is wanted and not there yet, four at once. Returns the versions that the store does not have (any more)."""
    missing: list[str] = []
    queue = [(version, size) for version, size in wanted.items() if _is_lacking(known.get(version))]
    queue.reverse()

    async def work() -> None:
        while queue:
            version, size = queue.pop()
            try:
                await _send(shelf, store, version, size, known.get(version), on_bytes)
            except ContentMissingError:
                missing.append(version)

    async with _one_error(), asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    return missing


def bring_objects(settings: Settings, shelf: Shelf, conninfo: str, tell: Tell) -> tuple[int, int]:
    """What the rows of a restored database name, into the project's store. Returns how many rows name bytes, and how
    many of these the target does not have whole."""
    with psycopg.connect(conninfo, application_name="basalt/backup") as connection:
        wanted = list_objects(connection)
    progress = Progress(tell, "Objects", total=sum(max(size, 0) for _, size in wanted))
    missing = asyncio.run(_bring(settings, shelf, {version for version, _ in wanted}, tell, progress.add))
    progress.end()
    return len(wanted), missing


async def _bring(
    settings: Settings, shelf: Shelf, wanted: set[str], tell: Tell, on_bytes: Callable[[int], None]
) -> int:
    """How many are missing at the target."""
    files = list_object_files(shelf)
    missing = 0

    async def work(store: Store, queue: list[str]) -> None:
        nonlocal missing
        while queue:
            version = queue.pop()
            found = files.get(version)
            if found is None or found.missing:
                missing += 1
                continue
            try:
                await store.put(version, _read_chunks(shelf, found), limit=max(found.size, 1))
            except BackupError as error:
                if error.code != "backup_damaged":
                    raise
                tell(f"Warning: {error.message}")  # one object of many: the others come back
                missing += 1
            else:
                on_bytes(found.size)

    async with open_store(settings) as store, _one_error(), asyncio.TaskGroup() as group:
        queue = sorted(wanted - set(await list_store(store)), reverse=True)
        for _ in range(AT_ONCE):
            group.create_task(work(store, queue))
    return missing


async def _send(
    shelf: Shelf,
    store: Store,
    version: str,
    size: int,
    known: ObjectFiles | None,
    on_bytes: Callable[[int], None],
) -> None:
    lacking = known.missing if known is not None and known.size == size else offsets_of(size)
    for offset in lacking:
        stop = min(offset + CHUNK_BYTES, size)
        content = await store.read(version, offset, stop)
        data = content if isinstance(content, bytes) else b"".join([block async for block in content])
        if len(data) != stop - offset:
            raise ContentMissingError(version)
        stem = f"{FOLDER}{version[:2]}/{version}.{size}.{offset}"
        await asyncio.to_thread(shelf.put, stem, data, is_packed=False)
        on_bytes(len(data))


async def _read_chunks(shelf: Shelf, found: ObjectFiles) -> AsyncIterator[bytes]:
    for offset in sorted(found.chunks):
        yield await asyncio.to_thread(shelf.read, found.chunks[offset])


def _is_lacking(known: ObjectFiles | None) -> bool:
    return known is None or bool(known.missing)


@asynccontextmanager
async def _one_error() -> AsyncIterator[None]:
    """The first error of a group is raised as itself."""
    try:
        yield
    except ExceptionGroup as group:
        raise group.exceptions[0] from group
