"""Back ends for the bytes of objects: a folder on disk, or an S3-compatible store."""

import importlib
from typing import TYPE_CHECKING

from basalt.storage.stores.disk import DiskStore
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

if TYPE_CHECKING:
    from basalt.storage.stores.s3 import S3Store

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


def __getattr__(name: str) -> object:
    # obstore is for those whose bytes lie in S3.
    if name != "S3Store":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("basalt.storage.stores.s3"), name)
