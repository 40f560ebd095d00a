"""A file on its way to a client."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable
from typing import Any

from basalt.storage.stores.blocks import BLOCK_BYTES
from basalt.storage.stores.store import ContentMissingError


class OpenFile:
    """Open for as long as anybody holds this. A thread that reads goes on when its request is cancelled; were the
    descriptor closed under it, its number could be another file's by then."""

    def __init__(self, path: str, least_size: int) -> None:
        """Raises ContentMissingError for a file that is not there or shorter."""
        self.descriptor = -1
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as exc:
            raise ContentMissingError(path) from exc
        status = os.fstat(self.descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size < least_size:
            raise ContentMissingError(path)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


class Reading:
    """The bytes of a file from `start` up to `stop`, in blocks; `run` runs work in a thread. The file is let go of at
    the end, by `aclose`, or with this when nobody ever read it."""

    def __init__(self, file: OpenFile, run: Callable[..., Any], start: int, stop: int) -> None:
        self._file: OpenFile | None = file
        self._run = run
        self._start = start
        self._stop = stop
        self._ahead: asyncio.Future[bytes] | None = None

    async def whole(self) -> bytes:
        """In the event loop as far as the bytes are in memory already, else in a thread."""
        file, self._file = self._file, None
        assert file is not None
        size = self._stop - self._start
        data = _read_cached(file, self._start, size)
        if data is None:
            data = await self._run(_read_exactly, file, self._start, size)
        return data

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """The next block; the one after it is read in the meantime."""
        if self._file is None or self._start >= self._stop:
            await self.aclose()
            raise StopAsyncIteration
        if self._ahead is None:
            self._ahead = self._read_block(self._file)
        block = await self._ahead
        self._start += len(block)
        self._ahead = self._read_block(self._file) if self._start < self._stop else None
        return block

    async def aclose(self) -> None:
        ahead, self._ahead, self._file = self._ahead, None, None
        if ahead is not None:
            ahead.cancel()

    def _read_block(self, file: OpenFile) -> "asyncio.Future[bytes]":
        size = min(BLOCK_BYTES, self._stop - self._start)
        future: asyncio.Future[bytes] = asyncio.ensure_future(
            self._run(_read_exactly, file, self._start, size)
        )
        future.add_done_callback(_note)
        return future


def _note(future: "asyncio.Future[bytes]") -> None:
    """A block that nobody waits for any more may fail."""
    if not future.cancelled():
        future.exception()


def _read_cached(file: OpenFile, start: int, size: int) -> bytes | None:
    """None unless all of it is in memory, or where the system or the file system cannot say so."""
    try:
        buffer = bytearray(size)
        read = os.preadv(file.descriptor, [buffer], start, os.RWF_NOWAIT)
    except (AttributeError, OSError):
        return None
    return bytes(buffer) if read == size else None


def _read_exactly(file: OpenFile, start: int, size: int) -> bytes:
    data = os.pread(file.descriptor, size, start)
    while len(data) < size:
        more = os.pread(file.descriptor, size - len(data), start + len(data))
        if not more:
            raise ContentMissingError("the file is shorter than it was")
        data += more
    return data
