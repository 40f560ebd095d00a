"""The state of presence: own entries, replicas of the other nodes' entries, and the talk that keeps them equal.

A node numbers its operations; its version is the number of the newest. Operations that arrive in order are applied, old
ones are known already, and after a gap the whole state of that node is asked for. So losses, repetitions and delays end
in the same state everywhere. What a node that falls silent had tracked is taken as gone until it is heard again.
"""

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from basalt import observe
from basalt.realtime.presence.diff import Diff, Entry, Presences, Rooms, build_diffs
from basalt.realtime.presence.messages import (
    ENCODER,
    Ask,
    Delta,
    Farewell,
    Heartbeat,
    Operation,
    Part,
    build_joined,
    parse_entries,
    parse_joined,
    parse_message,
    render_deltas,
    render_state,
)

HEARTBEAT_S = 5.0
SILENT_S = 20.0
ASK_AGAIN_S = 2.0
RESERVED = ("phx_ref", "phx_ref_prev")


@dataclass(slots=True)
class _Tracked:
    """What one of our own channels tracks. `payload` is JSON with sorted keys, because in Python 1 equals true."""

    payload: bytes
    entry: Entry


@dataclass(slots=True)
class _Replica:
    """Another node's entries by `ref`, as of its `version`. `parts` belong to its state at `parts_version`."""

    heard_at: float
    version: int = 0
    entries: dict[str, Entry] = field(default_factory=dict)
    asked_at: float | None = None
    parts_version: int = 0
    parts: dict[int, list[Entry]] = field(default_factory=dict)


class PresenceState:
    """`node_id` is new in each life of a process, as a bus's is. `now` is a monotonic time in seconds. What is to be
    published is in `take_outgoing` after any other call; HEARTBEAT_S after the last one, `beat` and `expire`."""

    def __init__(self, node_id: str) -> None:
        self.node_id = node_id
        self._rooms = Rooms()
        self._tracked: dict[tuple[str, Hashable], _Tracked] = {}
        self._replicas: dict[str, _Replica] = {}
        self._version = 0
        self._operations: list[Operation] = []
        self._asks: list[str] = []
        self._state_wanted = False
        self._beat_wanted = False
        self._answer_wanted = False

    def state_of(self, room: str) -> Presences:
        """`{key: {"metas": […]}}`. It is the living state: render it before anything else happens, do not change
        it."""
        return self._rooms.state_of(room)

    @property
    def room_count(self) -> int:
        return len(self._rooms)

    @property
    def has_outgoing(self) -> bool:
        return bool(self._operations or self._asks) or self._state_wanted or self._beat_wanted

    def track(self, room: str, owner: Hashable, key: str, meta: Mapping[str, Any]) -> Diff | None:
        """`owner` is the channel, with one entry per room. None where it tracks just that already. Raises
        ValueError for a meta that JSON cannot hold (nested too deep) or that is too large."""
        payload = _sorted_json(meta)
        old = self._tracked.get((room, owner))
        if old is not None and old.payload == payload and old.entry.key == key:
            return None
        ref = f"{self.node_id}.{self._version + 1:x}"
        refs = {"phx_ref": ref} | ({"phx_ref_prev": old.entry.ref} if old else {})
        own = {name: value for name, value in meta.items() if name not in RESERVED}
        new = _Tracked(payload, Entry(room, key, ref, refs | own))
        self._say(Operation(old.entry.ref if old else None, build_joined(new.entry)))
        self._tracked[room, owner] = new
        return self._change(joins=[new.entry], leaves=[old.entry] if old else [])[0][1]

    def untrack(self, room: str, owner: Hashable) -> Diff | None:
        """None where the owner tracks nothing there."""
        old = self._tracked.pop((room, owner), None)
        if old is None:
            return None
        self._say(Operation(old.entry.ref, None))
        return self._change(joins=[], leaves=[old.entry])[0][1]

    def receive(self, sender: str, message: bytes, now: float) -> list[tuple[str, Diff]]:
        """What another node's message changes, one diff per room. What cannot be read is reported and ignored."""
        try:
            return self._receive(sender, message, now)
        except (ValueError, RecursionError) as error:
            observe.event("presence_message_malformed", level="warning", sender=sender, reason=str(error))
            return []

    def resync(self) -> None:
        """Messages may have been missed (a bus's gap): ask everybody how far they are."""
        self._beat_wanted = self._answer_wanted = True

    def beat(self) -> None:
        """Say that this node lives; others drop its entries SILENT_S after they heard it last."""
        self._beat_wanted = True

    def expire(self, now: float) -> list[tuple[str, Diff]]:
        """Drop the nodes that were silent for too long."""
        silent = [node for node, replica in self._replicas.items() if now - replica.heard_at > SILENT_S]
        gone = [entry for node in silent for entry in self._replicas.pop(node).entries.values()]
        return self._change(joins=[], leaves=gone)

    def farewell(self) -> bytes:
        """The last message of a node that stops, so that nobody waits for its silence."""
        return ENCODER.encode(Farewell())

    def take_outgoing(self) -> list[bytes]:
        """What the others are to be told, each at most as large as a bus carries."""
        messages = list(render_deltas(self._version - len(self._operations) + 1, self._operations))
        if self._state_wanted:
            messages += render_state(self._version, [tracked.entry for tracked in self._tracked.values()])
        if self._beat_wanted:
            messages.append(ENCODER.encode(Heartbeat(self._version, self._answer_wanted)))
        messages += [ENCODER.encode(Ask(node)) for node in self._asks]
        self._operations, self._asks = [], []
        self._state_wanted = self._beat_wanted = self._answer_wanted = False
        return messages

    def _say(self, operation: Operation) -> None:
        self._version += 1
        self._operations.append(operation)

    def _change(self, *, joins: Collection[Entry], leaves: Collection[Entry]) -> list[tuple[str, Diff]]:
        for entry in joins:
            self._rooms.add(entry)
        for entry in leaves:
            self._rooms.remove(entry)
        return build_diffs(joins, leaves)

    def _receive(self, sender: str, message: bytes, now: float) -> list[tuple[str, Diff]]:
        parsed = parse_message(message)
        if isinstance(parsed, Farewell):
            gone = self._replicas.pop(sender, None)
            return self._change(joins=[], leaves=gone.entries.values() if gone else [])
        replica = self._replicas.get(sender)
        if replica is None:
            replica = self._replicas[sender] = _Replica(now)
        replica.heard_at = now
        match parsed:
            case Delta():
                return self._apply(sender, replica, parsed, now)
            case Part():
                return self._collect(replica, parsed)
            case Heartbeat():
                self._beat_wanted |= parsed.wants_answer
                self._expect(sender, replica, parsed.version, now)
            case Ask():
                self._state_wanted |= parsed.node == self.node_id
        return []

    def _apply(self, sender: str, replica: _Replica, delta: Delta, now: float) -> list[tuple[str, Diff]]:
        if delta.first > replica.version + 1:
            self._expect(sender, replica, delta.first, now)
            return []
        joins: dict[str, Entry] = {}
        leaves: dict[str, Entry] = {}
        for operation in delta.operations[replica.version + 1 - delta.first :]:
            left_ref = operation.left_ref
            if left_ref is not None and joins.pop(left_ref, None) is None and left_ref in replica.entries:
                leaves[left_ref] = replica.entries[left_ref]
            if operation.joined is not None and operation.joined.ref not in replica.entries:
                joins[operation.joined.ref] = parse_joined(operation.joined)
        return self._step(
            replica, max(replica.version, delta.first + len(delta.operations) - 1), joins, leaves
        )

    def _collect(self, replica: _Replica, part: Part) -> list[tuple[str, Diff]]:
        if part.version <= replica.version or part.version < replica.parts_version:
            return []
        if part.version != replica.parts_version:
            replica.parts_version, replica.parts = part.version, {}
        replica.parts[part.number] = parse_entries(part)
        if len(replica.parts) < part.count:
            return []
        entries = {entry.ref: entry for entries in replica.parts.values() for entry in entries}
        joins = {ref: entry for ref, entry in entries.items() if ref not in replica.entries}
        leaves = {ref: entry for ref, entry in replica.entries.items() if ref not in entries}
        return self._step(replica, part.version, joins, leaves)

    def _step(
        self, replica: _Replica, version: int, joins: dict[str, Entry], leaves: dict[str, Entry]
    ) -> list[tuple[str, Diff]]:
        """The replica's next version. Nothing was changed before it, so that a message that cannot be read changes
        nothing."""
        replica.version = version
        replica.asked_at = None
        replica.parts_version, replica.parts = 0, {}
        for ref in leaves:
            del replica.entries[ref]
        replica.entries |= joins
        return self._change(joins=joins.values(), leaves=leaves.values())

    def _expect(self, sender: str, replica: _Replica, version: int, now: float) -> None:
        if version <= replica.version:
            return
        if replica.asked_at is None or now - replica.asked_at >= ASK_AGAIN_S:
            replica.asked_at = now
            self._asks.append(sender)


def _sorted_json(meta: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(meta, option=orjson.OPT_SORT_KEYS)
    except TypeError as exc:
        raise ValueError(f"a meta is no JSON: {exc}") from exc
