"""Small pieces from a socket become blocks that are worth a thread or a request."""

from collections.abc import AsyncGenerator
from typing import Final

from basalt.storage.stores.store import Chunks, TooLargeError

BLOCK_BYTES: Final = 1024 * 1024


async def join_blocks(chunks: Chunks, *, limit: int) -> AsyncGenerator[bytes, None]:
    """Blocks of about `BLOCK_BYTES`, the last one shorter. Raises TooLargeError as soon as more than `limit` bytes have
    come."""
    waiting = bytearray()  # a list of the pieces would be forty times as large when they come byte by byte
    total = 0
    async for chunk in chunks:
        total += len(chunk)
        if total > limit:
            raise TooLargeError
        waiting += chunk
        if len(waiting) >= BLOCK_BYTES:
            block = bytes(waiting)
            waiting.clear()
            yield block
    if waiting:
        yield bytes(waiting)
