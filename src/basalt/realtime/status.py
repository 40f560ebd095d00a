"""What this process's Realtime is doing, for the console."""

from collections import Counter
from dataclasses import dataclass

from basalt.realtime.changes.position import render_position
from basalt.realtime.hub import Hub

MOST_ROOMS = 20


@dataclass(frozen=True)
class RealtimeStatus:
    """Rates are messages in the last full second. `rooms` are the largest ones: name, members. `stream` says `live`, or
    why it is not; `position` is how far the log has been delivered, `waiting_changes` how many are behind it."""

    sockets: int
    channels: int
    versions: dict[str, int]
    rooms: list[tuple[str, int]]
    room_count: int
    presence_rooms: int
    joins_per_s: int
    received_per_s: int
    delivered_per_s: int
    changes_per_s: int
    buffered_bytes: int
    subscriptions: int
    stream: str
    position: str
    waiting_changes: int
    bus_dropped: int


def describe(hub: Hub) -> RealtimeStatus:
    """A look at the hub as it is now."""
    sockets = list(hub.sockets)
    rooms = Counter(dict(hub.rooms.names()))
    delivered = hub.limits.delivered.current()
    return RealtimeStatus(
        sockets=len(sockets),
        channels=sum(socket.channel_count for socket in sockets),
        versions=dict(Counter(socket.version for socket in sockets)),
        rooms=rooms.most_common(MOST_ROOMS),
        room_count=len(rooms),
        presence_rooms=hub.presence.room_count,
        joins_per_s=hub.limits.joins.current(),
        received_per_s=max(0, hub.limits.messages.current() - delivered),
        delivered_per_s=delivered,
        changes_per_s=hub.limits.changes.current(),
        buffered_bytes=sum(socket.connection.buffered_bytes() for socket in sockets),
        subscriptions=hub.changes.subscription_count,
        stream="live" if hub.changes.is_live else hub.changes.failure,
        position=render_position(hub.changes.position),
        waiting_changes=hub.changes.waiting_changes,
        bus_dropped=hub.bus_dropped,
    )
