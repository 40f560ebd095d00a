"""Bytes on their way into a store and out of it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from basalt.storage.stores import Store


def files_below(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


async def pieces(*given: bytes, error: BaseException | None = None) -> AsyncIterator[bytes]:
    """These bytes as they come from a client, and then perhaps an error."""
    for piece in given:
        yield piece
        await asyncio.sleep(0)
    if error is not None:
        raise error


async def content_of(store: Store, version: str, start: int, stop: int) -> bytes:
    read = await store.read(version, start, stop)
    return read if isinstance(read, bytes) else b"".join([block async for block in read])
