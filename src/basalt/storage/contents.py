"""The bytes of objects for commands that deal with all of a user's, whoever may read them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from basalt.config import Settings
from basalt.storage.back_ends import build_store
from basalt.storage.stores import Store


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[Store]:
    """The back end of the settings, without a server around it. Raises BasaltError."""
    store = build_store(settings)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def read_content(store: Store, version: str, size: int) -> AsyncIterator[bytes]:
    """All bytes of a version, piece by piece. Raises ContentMissingError before the first one."""
    content = await store.read(version, 0, size)
    if isinstance(content, bytes):
        yield content
        return
    async for chunk in content:
        yield chunk
