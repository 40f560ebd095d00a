"""The bytes of objects at the target: each version once, in chunks `objects/AB/VERSION.TOTAL.OFFSET.SHA256`.

Versions never change, so what is there is not sent again, and a large object that was interrupted goes on where it
stopped. A version is there when its chunks add up to its size.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from basalt.project.backup.errors import BackupError
from basalt.project.backup.files import CHUNK_BYTES, Shelf
from basalt.storage import ContentMissingError, Store

FOLDER: Final = "objects/"
AT_ONCE: Final = 4


@dataclass
class ObjectFiles:
    """One version at the target: its size, and the names of its chunks by their offsets."""

    size: int
    chunks: dict[int, str] = field(default_factory=dict)
    changed_at: datetime | None = None

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


def list_object_files(shelf: Shelf) -> dict[str, ObjectFiles]:
    """Every version at the target, complete or not."""
    found: dict[str, ObjectFiles] = {}
    for file in shelf.target.list(FOLDER):
        version, total, offset, *_ = [*file.name.rpartition("/")[2].split("."), "", ""]
        if not total.isdigit() or not offset.isdigit():
            continue
        entry = found.setdefault(version, ObjectFiles(int(total)))
        entry.chunks[int(offset)] = file.name
        entry.changed_at = max(entry.changed_at or file.changed_at, file.changed_at)
    return found


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


async def bring_objects(
    shelf: Shelf,
    store: Store,
    wanted: Iterable[str],
    on_bytes: Callable[[int], None] = lambda _: None,
) -> list[str]:
    """Into the store, what it does not have. Returns the versions that the target does not have complete."""
    there = set(await list_store(store))
    files = list_object_files(shelf)
    queue = sorted(set(wanted) - there, reverse=True)
    missing: list[str] = []

    async def work() -> None:
        while queue:
            version = queue.pop()
            found = files.get(version)
            if found is None or found.missing:
                missing.append(version)
                continue
            await store.put(version, _read_chunks(shelf, found), limit=max(found.size, 1))
            on_bytes(found.size)

    async with _one_error(), asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
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
    except BaseExceptionGroup as group:
        own, _ = group.split(BackupError)
        raise (own or group).exceptions[0] from group
