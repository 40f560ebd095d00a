"""The back end in a folder.

`objects/AB/VERSION` are finished bytes, `incoming/` those being written, `uploads/UPLOAD/NUMBER.SIZE.MD5` the parts
of uploads. A write goes to a temporary file, is synced, and gets its name by a rename in a synced folder: no half
file is ever visible, and what has a name survives a crash. Work on files runs in threads of the store's own.
"""

import asyncio
import errno
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from basalt.errors import BasaltError
from basalt.storage.stores import disk_sweep
from basalt.storage.stores.blocks import join_blocks
from basalt.storage.stores.disk_read import OpenFile, Reading
from basalt.storage.stores.disk_write import Folders, Writing, give_second_name, sync_folder
from basalt.storage.stores.keys import check_key, etag_of_parts, is_key, name_of_part, sort_parts
from basalt.storage.stores.store import Chunks, Content, ContentMissingError, Part, Stored, StoreFullError

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 16
AT_ONCE_BYTES: Final = 256 * 1024  # read in the event loop when it is in the page cache
BATCH: Final = 1000
NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DiskStore:
    """`folder` is made when it is missing. One per process; several processes may share a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._objects = folder / "objects"
        self._prefix = str(self._objects)
        self._incoming = folder / "incoming"
        self._uploads = folder / "uploads"
        self._folders = Folders()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="storage")

    async def open(self) -> None:
        """Raises BasaltError storage_folder_unusable."""
        folders = (self._objects, self._incoming, self._uploads)
        try:
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            sync_folder(self._folder.parent)
            sync_folder(self._folder)
            places = {folder.stat().st_dev for folder in folders}
        except OSError as exc:
            raise self._unusable(str(exc.strerror)) from exc
        if not all(os.access(folder, os.W_OK | os.X_OK) for folder in folders):
            raise self._unusable("it cannot be written")
        if len(places) > 1:
            raise self._unusable("its folders must lie on one file system")

    def _unusable(self, reason: str) -> BasaltError:
        return BasaltError(
            "storage_folder_unusable", 500, f"The folder for objects {self._folder} cannot be used: {reason}"
        )

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def put(self, version: str, chunks: Chunks, *, limit: int) -> Content:
        target = self._path(version)
        writing = Writing(self._incoming)
        try:
            await self._fill(writing, chunks, limit=limit)
            await self._run(writing.move_to, target, self._folders)
        except BaseException:
            await self._run(writing.discard)
            raise
        return Content(version, writing.size, writing.md5.hexdigest())

    async def read(self, version: str, start: int, stop: int) -> bytes | Chunks:
        reading = Reading(OpenFile(self._name(version), stop), self._run, start, stop)
        return await reading.whole() if stop - start <= AT_ONCE_BYTES else reading

    async def size(self, version: str) -> int:
        try:
            return (await self._run(self._path(version).stat)).st_size
        except FileNotFoundError as exc:
            raise ContentMissingError(version) from exc

    async def copy(self, version: str, target: str) -> None:
        source, place = self._path(version), self._path(target)
        await self._run(give_second_name, source, place, self._folders, self._incoming)

    async def delete(self, versions: Sequence[str]) -> None:
        paths = [self._path(version) for version in versions if is_key(version)]
        await self._run(disk_sweep.remove_files, paths)

    async def list_older(self, age_s: float) -> AsyncIterator[list[Stored]]:
        before = time.time() - age_s
        for shard in await self._run(disk_sweep.list_folders, self._objects):
            found = await self._run(disk_sweep.list_stored, shard, before)
            for start in range(0, len(found), BATCH):
                yield found[start : start + BATCH]

    async def list_uploads(self, age_s: float) -> AsyncIterator[list[str]]:
        found = await self._run(disk_sweep.list_idle_uploads, self._uploads, time.time() - age_s)
        for start in range(0, len(found), BATCH):
            yield found[start : start + BATCH]

    async def discard_unfinished(self, age_s: float) -> None:
        await self._run(disk_sweep.remove_older, self._incoming, time.time() - age_s)

    async def put_part(self, upload_id: str, number: int, chunks: Chunks, *, limit: int) -> Part:
        folder = self._upload(upload_id)
        writing = Writing(self._incoming)
        try:
            await self._fill(writing, chunks, limit=limit)
            part = Part(number, writing.size, writing.md5.hexdigest())
            await self._run(writing.move_to, folder / name_of_part(part), self._folders)
        except BaseException:
            await self._run(writing.discard)
            raise
        return part

    async def list_parts(self, upload_id: str) -> list[Part]:
        return sort_parts(await self._run(disk_sweep.list_names, self._upload(upload_id)))

    async def assemble(self, upload_id: str, parts: Sequence[Part], version: str) -> Content:
        folder, target = self._upload(upload_id), self._path(version)
        if len(parts) == 1:
            source = folder / name_of_part(parts[0])
            await self._run(give_second_name, source, target, self._folders, self._incoming)
            return Content(version, parts[0].size, parts[0].etag)
        writing = Writing(self._incoming)
        try:
            await self._run(writing.append_parts, folder, parts)
            await self._run(writing.move_to, target, self._folders)
        except BaseException:
            await self._run(writing.discard)
            raise
        return Content(version, writing.size, etag_of_parts(parts))

    async def discard_upload(self, upload_id: str) -> None:
        await self._run(partial(shutil.rmtree, ignore_errors=True), self._upload(upload_id))

    async def local_file(self, version: str) -> Path | None:
        return self._path(version)

    async def presign(self, version: str, *, expires_s: float) -> str | None:
        return None

    async def _fill(self, writing: Writing, chunks: Chunks, *, limit: int) -> None:
        """Write while the next block arrives, so that at most two are in memory. However it ends, the last write has
        ended before, unless the task was cancelled."""
        pending: asyncio.Future[None] | None = None
        try:
            async with aclosing(join_blocks(chunks, limit=limit)) as blocks:
                async for block in blocks:
                    if pending is not None:
                        await pending
                    pending = asyncio.ensure_future(self._run(writing.write, block))
        finally:
            if pending is not None:
                await pending

    def _path(self, version: str) -> Path:
        return Path(self._name(version))

    def _name(self, version: str) -> str:
        """As text, which costs a fraction of a `Path`; it is made for every read."""
        checked = check_key(version)
        return f"{self._prefix}/{checked[:2]}/{checked}"

    def _upload(self, upload_id: str) -> Path:
        return self._uploads / check_key(upload_id)

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """In a thread. Raises StoreFullError where the disk is full."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, partial(work, *args, **kwargs))
        except OSError as exc:
            if exc.errno in NO_SPACE:
                raise StoreFullError from exc
            raise
