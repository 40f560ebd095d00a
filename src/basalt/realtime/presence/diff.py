"""Entries, the state of rooms and its changes, in the shape that clients read (`presence_state`, `presence_diff`)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Presences = dict[str, dict[str, list[dict[str, Any]]]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One track of one channel. `ref` is unique over all nodes; `meta` is what clients see, `phx_ref` included."""

    room: str
    key: str
    ref: str
    meta: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Diff:
    """`{key: {"metas": […]}}` each."""

    joins: Presences
    leaves: Presences


class Rooms:
    """The entries of all nodes by room and key, kept up to date in place: a reader pays nothing."""

    def __init__(self) -> None:
        self._rooms: dict[str, Presences] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    def state_of(self, room: str) -> Presences:
        return self._rooms.get(room, {})

    def add(self, entry: Entry) -> None:
        _add(self._rooms.setdefault(entry.room, {}), entry)

    def remove(self, entry: Entry) -> None:
        keys = self._rooms[entry.room]
        metas = keys[entry.key]["metas"]
        metas.remove(entry.meta)  # no two are equal: each has its own `phx_ref`
        if not metas:
            del keys[entry.key]
        if not keys:
            del self._rooms[entry.room]


def build_diffs(joins: Iterable[Entry], leaves: Iterable[Entry]) -> list[tuple[str, Diff]]:
    """One per room."""
    found: dict[str, Diff] = {}
    for entry in joins:
        _add(found.setdefault(entry.room, Diff({}, {})).joins, entry)
    for entry in leaves:
        _add(found.setdefault(entry.room, Diff({}, {})).leaves, entry)
    return list(found.items())


def _add(presences: Presences, entry: Entry) -> None:
    presences.setdefault(entry.key, {"metas": []})["metas"].append(entry.meta)
