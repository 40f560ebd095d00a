"""Bytes on their way into and out of an S3-compatible store, a bounded number of them in memory."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, Final

import obstore
from obstore.store import S3Store as Client

from basalt.storage.stores.s3_client import failing_as, failing_to_find
from basalt.storage.stores.store import ContentMissingError, Part

PIECE_BYTES: Final = 8 * 1024 * 1024
MOST_PIECES: Final = 10_000
AT_ONCE: Final = 2  # pieces of one upload that are under way
READ_BYTES: Final = 4 * 1024 * 1024
WITHDRAW_S: Final = 20.0


class Arriving:
    """Blocks that are counted and hashed as they pass: first `take`, then the rest one by one."""

    def __init__(self, blocks: AsyncGenerator[bytes, None]) -> None:
        self._blocks = blocks
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.size = 0
        self.is_over = False

    @property
    def md5(self) -> str:
        return self._md5.hexdigest()

    def as_part(self, number: int) -> Part:
        return Part(number, self.size, self.md5)

    async def take(self, least: int) -> bytes:
        """About `least` bytes, fewer when there are no more."""
        taken = bytearray()
        while len(taken) < least and (block := await self.next()):
            taken += block
        return bytes(taken)

    async def next(self) -> bytes | None:
        """None at the end."""
        block = await anext(self._blocks, None)
        if block is None:
            self.is_over = True
        else:
            self.size += len(block)
            await asyncio.to_thread(self._md5.update, block)
        return block


class _WithdrawnError(Exception):
    """The rest will not come."""


class _Pieces:
    """What obstore takes its pieces from. An error in the place of a block makes it take back what was uploaded; were
    its own call cancelled, the pieces would stay in the bucket, paid for and seen by nobody."""

    def __init__(self) -> None:
        self._blocks: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(1)

    async def give(self, block: bytes | None) -> None:
        await self._blocks.put(block)

    def withdraw(self) -> None:
        while not self._blocks.empty():
            self._blocks.get_nowait()
        self._blocks.put_nowait(_WithdrawnError())

    def __aiter__(self) -> "_Pieces":
        return self

    async def __anext__(self) -> bytes:
        block = await self._blocks.get()
        if block is None:
            raise StopAsyncIteration
        if isinstance(block, Exception):
            raise block
        return block


async def put_arriving(client: Client, key: str, arriving: Arriving, head: bytes, *, limit: int) -> None:
    """Store `head` and what comes after it. `limit` is the most that can come. When the source raises, nothing is
    left."""
    if arriving.is_over:
        with failing_as():
            await obstore.put_async(client, key, head, use_multipart=False)
        return
    pieces = _Pieces()
    upload = asyncio.ensure_future(
        obstore.put_async(
            client,
            key,
            pieces,
            use_multipart=True,
            chunk_size=max(PIECE_BYTES, -(-limit // MOST_PIECES)),
            max_concurrency=AT_ONCE,
        )
    )
    try:
        block: bytes | None = head
        while block is not None:
            await _unless_failed(upload, pieces.give(block))
            block = await arriving.next()
        await _unless_failed(upload, pieces.give(None))
        with failing_as():
            await asyncio.shield(upload)
    except BaseException:
        pieces.withdraw()
        await asyncio.wait({upload}, timeout=WITHDRAW_S)
        raise
    finally:
        upload.add_done_callback(_note)


async def stream_range(client: Client, key: str, start: int, stop: int) -> AsyncGenerator[bytes, None]:
    """In a request for each block, so that a slow client holds no connection to the store and each can be tried again.
    The next one is under way in the meantime. Raises ContentMissingError."""
    ahead = asyncio.ensure_future(_read_range(client, key, start, min(stop, start + READ_BYTES)))
    try:
        while start < stop:
            block = await ahead
            start += len(block)
            if start < stop:
                ahead = asyncio.ensure_future(_read_range(client, key, start, min(stop, start + READ_BYTES)))
            yield block
    finally:
        ahead.cancel()
        ahead.add_done_callback(_note)


async def _read_range(client: Client, key: str, start: int, stop: int) -> bytes:
    with failing_to_find(key):
        try:
            block = await obstore.get_range_async(client, key, start=start, end=stop)
        except obstore.exceptions.GenericError as exc:
            if "416 Range" in str(exc):  # it is shorter than its row says
                raise ContentMissingError(key) from exc
            raise
    if len(block) != stop - start:
        raise ContentMissingError(key)
    return bytes(block)


async def _unless_failed(upload: "asyncio.Future[Any]", step: Coroutine[Any, Any, None]) -> None:
    """Wait for a step of an upload, and no longer when the upload has ended with an error."""
    task = asyncio.ensure_future(step)
    try:
        await asyncio.wait({task, upload}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        task.cancel()
    if upload.done():
        with failing_as():
            upload.result()


def _note(future: "asyncio.Future[Any]") -> None:
    """Nobody asks any more how it ended."""
    if not future.cancelled():
        future.exception()
