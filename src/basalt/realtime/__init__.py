"""Realtime: Phoenix channels under `/realtime/v1` with broadcast, presence and the changes of tables.

A WebSocket comes in at `service` and becomes a `socket`, which takes messages (`frames`) apart and hands each to
its `channel`. A join (`join`, `tokens`, `permissions`) puts the channel into a room (`rooms`), where broadcasts go to
all its members (`broadcast`, `api` for those over HTTP, `messages` for those from the database) and presence is kept
(`presence_rooms`). What changes in tables goes from the log to the channels through `changes`; `channel_changes` is a
channel's part in it. `hub` holds what all sockets share. What is refused is worded in `errors`.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from basalt.realtime.build import build_realtime
    from basalt.realtime.service import RealtimeService

__all__ = ["RealtimeService", "build_realtime"]

_MODULES = {
    "RealtimeService": "basalt.realtime.service",
    "build_realtime": "basalt.realtime.build",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
