"""The JSON API of Storage, as `storage-js` and `storage-py` speak it."""

from basalt.storage.api.routes import ROUTES

__all__ = ["ROUTES"]
