"""Storage: files with the same policies as rows. The contract of Supabase Storage, TUS 1.0.0 and S3.

A request enters `service`, which tells the protocols apart: the JSON API (`api/`), resumable uploads (`resumable/`)
and S3 (`s3/`). All of them pass names through `names`, ask the policies through `database` (every statement runs as
the caller, or as the tables' owner where the contract says so), and share the flows: `uploads`, `downloads`,
`copies`, `removal`, `buckets`. Bytes lie in a back end (`stores/`) under the version that their row names, written
once and never changed; `collector` takes away what no row names any more, `check` compares both. `images/` transforms
pictures in processes of their own. Buckets of the settings are made before all that (`configured_buckets`).
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from basalt.storage.back_ends import build_store
    from basalt.storage.build import build_storage
    from basalt.storage.commands import check_project, collect_project
    from basalt.storage.configured_buckets import check_bucket_settings, ensure_buckets
    from basalt.storage.contents import open_store, read_content
    from basalt.storage.pace import is_unlimited
    from basalt.storage.s3_keys import s3_key_pair
    from basalt.storage.service import StorageService
    from basalt.storage.stores import ContentMissingError, Store, StoreFullError, StoreUnavailableError
    from basalt.storage.stores.s3_client import build_client as connect_object_store

__all__ = [
    "ContentMissingError",
    "StorageService",
    "Store",
    "StoreFullError",
    "StoreUnavailableError",
    "build_storage",
    "build_store",
    "check_bucket_settings",
    "check_project",
    "collect_project",
    "connect_object_store",
    "ensure_buckets",
    "is_unlimited",
    "open_store",
    "read_content",
    "s3_key_pair",
]

_MODULES = {
    "ContentMissingError": "basalt.storage.stores",
    "Store": "basalt.storage.stores",
    "StoreFullError": "basalt.storage.stores",
    "StoreUnavailableError": "basalt.storage.stores",
    "build_store": "basalt.storage.back_ends",
    "StorageService": "basalt.storage.service",
    "build_storage": "basalt.storage.build",
    "check_bucket_settings": "basalt.storage.configured_buckets",
    "check_project": "basalt.storage.commands",
    "collect_project": "basalt.storage.commands",
    "ensure_buckets": "basalt.storage.configured_buckets",
    "open_store": "basalt.storage.contents",
    "read_content": "basalt.storage.contents",
    "is_unlimited": "basalt.storage.pace",
    "s3_key_pair": "basalt.storage.s3_keys",
}


def __getattr__(name: str) -> object:
    # As in Auth: the supervisor and the command line need no service.
    if name == "connect_object_store":
        return importlib.import_module("basalt.storage.stores.s3_client").build_client
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
