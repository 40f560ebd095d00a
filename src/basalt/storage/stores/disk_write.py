"""Files on their way to a name, and folders that survive a crash. Everything here runs in threads."""

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from uuid import uuid4

from basalt.storage.stores.blocks import BLOCK_BYTES
from basalt.storage.stores.keys import name_of_part
from basalt.storage.stores.store import ContentMissingError, Part

REMEMBERED_FOLDERS: Final = 10_000
# A file system without hard links, too many links to one file, or without copies by the kernel.
NO_LINK: Final = frozenset({errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV})
NO_KERNEL_COPY: Final = frozenset(
    {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.EIO}
)


class Folders:
    """Where finished files get their names."""

    def __init__(self) -> None:
        self._synced: set[Path] = set()

    def place(self, put: Callable[[Path], object], target: Path) -> None:
        """Let `put` make `target` in its folder, and that name survive a crash."""
        self._ensure(target.parent)
        try:
            put(target)
        except FileNotFoundError:  # the folder was taken away since, or what `put` begins with is missing
            self._synced.discard(target.parent)
            self._ensure(target.parent)
            put(target)
        sync_folder(target.parent)

    def _ensure(self, folder: Path) -> None:
        """Synced once by every process: one that found the folder there cannot know whether the other one that made
        it has come so far, and each time would be one more flush of the disk."""
        if folder in self._synced:
            return
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)
        if len(self._synced) >= REMEMBERED_FOLDERS:
            self._synced.clear()
        self._synced.add(folder)


class Writing:
    """A temporary file on its way to its name. Its methods take turns, and `discard` is final: a thread goes on when
    its caller is cancelled, and must not meet a descriptor that is another file's by then."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / uuid4().hex
        self._turn = threading.Lock()
        self._descriptor: int | None = None
        self._is_over = False
        self.size = 0
        self.md5 = hashlib.md5(usedforsecurity=False)

    def write(self, block: bytes) -> None:
        with self._turn:
            descriptor = self._open()
            self.md5.update(block)
            view = memoryview(block)
            while view:
                view = view[os.write(descriptor, view) :]
            _begin_write_back(descriptor, self.size, len(block))
            self.size += len(block)

    def append_parts(self, folder: Path, parts: Sequence[Part]) -> None:
        """Raises ContentMissingError for a part that is not there whole."""
        with self._turn:
            descriptor = self._open()
            for part in parts:
                _append_file(folder / name_of_part(part), descriptor, part.size)
                self.size += part.size

    def append_file(self, source: Path) -> None:
        with self._turn:
            descriptor = self._open()
            self.size += _append_file(source, descriptor, source.stat().st_size)

    def move_to(self, target: Path, folders: Folders) -> None:
        """Synced before it gets its name, and the name after."""
        with self._turn:
            os.fsync(self._open())
            self._close()
            folders.place(self._path.rename, target)
            self._is_over = True

    def discard(self) -> None:
        with self._turn:
            self._is_over = True
            self._close()
            self._path.unlink(missing_ok=True)

    def _open(self) -> int:
        if self._is_over:
            raise ValueError("this file was moved or discarded")
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o600)
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)


def _begin_write_back(descriptor: int, start: int, size: int) -> None:
    """Linux begins to write out what is said not to be needed, so that the sync at the end has little left to do."""
    if size >= BLOCK_BYTES and hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, start, size, os.POSIX_FADV_DONTNEED)


def give_second_name(source: Path, target: Path, folders: Folders, incoming: Path) -> None:
    """The same bytes as `target`: a link, or a copy where there can be none. Raises ContentMissingError."""

    def link(path: Path) -> None:
        try:
            os.link(source, path)
        except FileExistsError:  # of an attempt that ended before its row was written
            if not path.samefile(source):
                second = incoming / uuid4().hex
                os.link(source, second)
                second.rename(path)

    try:
        try:
            folders.place(link, target)
        except OSError as exc:
            if exc.errno not in NO_LINK:
                raise
            _copy_to(source, target, folders, incoming)
    except FileNotFoundError as exc:
        raise ContentMissingError(source.name) from exc


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy_to(source: Path, target: Path, folders: Folders, incoming: Path) -> None:
    writing = Writing(incoming)
    try:
        writing.append_file(source)
        writing.move_to(target, folders)
    except BaseException:
        writing.discard()
        raise


def _append_file(source: Path, descriptor: int, size: int) -> int:
    """Raises ContentMissingError unless it is there with exactly `size` bytes."""
    try:
        opened = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as exc:
        raise ContentMissingError(source.name) from exc
    try:
        if os.fstat(opened).st_size != size or _copy_bytes(opened, descriptor) != size:
            raise ContentMissingError(source.name)
    finally:
        os.close(opened)
    return size


def _copy_bytes(source: int, target: int) -> int:
    """By the kernel where it can, which on some file systems shares the blocks."""
    copied = 0
    try:
        while count := os.copy_file_range(source, target, 64 * BLOCK_BYTES):
            copied += count
        return copied
    except (AttributeError, OSError) as exc:
        if copied or (isinstance(exc, OSError) and exc.errno not in NO_KERNEL_COPY):
            raise
    while block := os.read(source, BLOCK_BYTES):
        view = memoryview(block)
        while view:
            view = view[os.write(target, view) :]
        copied += len(block)
    return copied
