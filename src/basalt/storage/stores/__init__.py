"""Back ends for the bytes of objects: a folder on disk, or an S3-compatible store."""

from basalt.storage.stores.disk import DiskStore
from basalt.storage.stores.s3 import S3Store
from basalt.storage.stores.store import (
    Chunks,
    Content,
    ContentMissingError,
    Part,
    Store,
    Stored,
    StoreFullError,
    StoreUnavailableError,
    TooLargeError,
)

__all__ = [
    "Chunks",
    "Content",
    "ContentMissingError",
    "DiskStore",
    "Part",
    "S3Store",
    "Store",
    "StoreFullError",
    "StoreUnavailableError",
    "Stored",
    "TooLargeError",
]
