"""Where the settings put the bytes, and Storage without a server around it, for commands."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from basalt.config import Settings
from basalt.postgres import DatabaseAccess, LanePool
from basalt.storage import stores
from basalt.storage.database import StorageDatabase
from basalt.storage.stores import DiskStore, Store


@asynccontextmanager
async def open_back_ends(
    settings: Settings, access: DatabaseAccess
) -> AsyncIterator[tuple[StorageDatabase, Store]]:
    """Database and store without a server around them, for commands. Raises BasaltError."""
    lanes = LanePool(access.conninfo("supabase_storage_admin"), size=1, name="storage")
    store = build_store(settings)
    await store.open()
    try:
        await lanes.open()
        yield StorageDatabase(lanes), store
    finally:
        await lanes.close()
        await store.close()


def build_store(settings: Settings) -> Store:
    """The back end of the settings. Raises BasaltError where they will not do."""
    if settings.basalt.storage.backend == "s3":
        return stores.S3Store(settings.basalt.storage.s3)
    return DiskStore(storage_folder(settings))


def storage_folder(settings: Settings) -> Path:
    """Where the disk back end keeps everything."""
    path = settings.basalt.storage.path
    return settings.project_dir / path if path else settings.state_dir / "storage"
