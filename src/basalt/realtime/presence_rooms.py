"""Presence in the rooms of this process: what `presence` keeps, told to channels here and to other nodes.

A change goes out at once in a quiet room. Where many come in a row they are told together, a few times a second: a
thousand who arrive at once would otherwise mean a million messages.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from basalt.realtime.frames import Version, build_message
from basalt.realtime.presence import HEARTBEAT_S, Diff, PresenceState
from basalt.realtime.rooms import Rooms, topic_of

if TYPE_CHECKING:
    from basalt.realtime.channel import Channel

TOGETHER_S = 0.1

Metas = dict[str, dict[str, Any]]  # by key, by `phx_ref`


class _Pending:
    """Changes of a room that were not told yet. Who came and went in between is not mentioned."""

    def __init__(self) -> None:
        self.joins: Metas = {}
        self.leaves: Metas = {}

    def add(self, diff: Diff) -> None:
        for key, presence in diff.joins.items():
            for meta in presence["metas"]:
                self.joins.setdefault(key, {})[meta["phx_ref"]] = meta
        for key, presence in diff.leaves.items():
            for meta in presence["metas"]:
                joined = self.joins.get(key, {})
                if joined.pop(meta["phx_ref"], None) is None:
                    self.leaves.setdefault(key, {})[meta["phx_ref"]] = meta
                elif not joined:
                    del self.joins[key]

    def render(self) -> bytes | None:
        """The payload of `presence_diff`; None when nothing is left to tell."""
        if not self.joins and not self.leaves:
            return None
        return orjson.dumps({"joins": _with_metas(self.joins), "leaves": _with_metas(self.leaves)})


class PresenceRooms:
    """`publish` brings messages to the other nodes."""

    def __init__(
        self,
        rooms: Rooms,
        node_id: str,
        publish: Callable[[bytes], None],
        *,
        on_told: Callable[[int], object],
    ) -> None:
        self._rooms = rooms
        self._state = PresenceState(node_id)
        self._publish = publish
        self._on_told = on_told
        self._pending: dict[str, _Pending] = {}  # of rooms that have just been told something
        self._is_publishing = False
        self._beat_at = 0.0

    @property
    def room_count(self) -> int:
        return self._state.room_count

    def track(self, channel: "Channel", meta: dict[str, Any]) -> None:
        """Raises ValueError for a meta that cannot be told."""
        diff = self._state.track(channel.room, channel, channel.presence_key, meta)
        if diff is not None:
            self._tell(channel.room, diff)

    def leave(self, channel: "Channel") -> None:
        """Harmless for a channel that tracks nothing."""
        diff = self._state.untrack(channel.room, channel)
        if diff is not None:
            self._tell(channel.room, diff)

    def show_state(self, channel: "Channel") -> None:
        """`presence_state` to a channel that has just joined. What others have not been told yet is in it."""
        payload = orjson.dumps(self._state.state_of(channel.room))
        channel.write(build_message(channel.version, channel.topic, b"presence_state", payload))

    def receive(self, sender: str, content: bytes, now: float) -> None:
        """A message of another node."""
        for room, diff in self._state.receive(sender, content, now):
            self._tell(room, diff)
        self._publish_soon()

    def ask_all(self) -> None:
        """The bus may have lost messages."""
        self._state.resync()
        self._publish_soon()

    def tick(self, now: float) -> None:
        """To be called every second or so."""
        if now - self._beat_at >= HEARTBEAT_S:
            self._beat_at = now
            self._state.beat()
            for room, diff in self._state.expire(now):
                self._tell(room, diff)
            self._publish_soon()

    def close(self) -> None:
        """The other nodes need not wait until they miss this one."""
        self._publish(self._state.farewell())

    def _tell(self, room: str, diff: Diff) -> None:
        self._publish_soon()
        pending = self._pending.get(room)
        if pending is not None:
            pending.add(diff)
            return
        pending = self._pending[room] = _Pending()
        pending.add(diff)
        self._flush(room)

    def _flush(self, room: str) -> None:
        """Tell what there is; if there was something, look again in a moment."""
        payload = self._pending[room].render()
        if payload is None:
            del self._pending[room]
            return
        self._pending[room] = _Pending()
        asyncio.get_running_loop().call_later(TOGETHER_S, self._flush, room)
        topic = topic_of(room)
        frames: dict[Version, bytes] = {}
        told = 0
        for member in self._rooms.members(room):
            if member.reads_presence:
                version = member.version
                if version not in frames:
                    frames[version] = build_message(version, topic, b"presence_diff", payload)
                member.write(frames[version])
                told += 1
        self._on_told(told)

    def _publish_soon(self) -> None:
        if not self._is_publishing and self._state.has_outgoing:
            self._is_publishing = True
            asyncio.get_running_loop().call_soon(self._publish_outgoing)

    def _publish_outgoing(self) -> None:
        self._is_publishing = False
        for message in self._state.take_outgoing():
            self._publish(message)


def _with_metas(found: Metas) -> dict[str, dict[str, list[Any]]]:
    return {key: {"metas": list(metas.values())} for key, metas in found.items()}
