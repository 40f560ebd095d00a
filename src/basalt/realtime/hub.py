"""What all sockets of a process share, and what happens by itself: keeping watch over sockets, talking to other nodes,
clearing away old messages."""

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Iterable
from typing import Any

import msgspec

from basalt import observe
from basalt.access import Authoriser
from basalt.bounded_dict import BoundedDict
from basalt.bus import Bus
from basalt.config import RealtimeSettings
from basalt.kv import RateLimiter
from basalt.postgres import LanePool, LanesUnavailable, PostgresError, Query
from basalt.realtime import errors
from basalt.realtime.broadcast import Broadcast, TextBroadcast, UserBroadcast
from basalt.realtime.changes.departures import Departures, Key
from basalt.realtime.changes.engine import ChangesEngine, ChangesUnavailable
from basalt.realtime.changes.policies.claims import SharedClaims
from basalt.realtime.changes.position import Position
from basalt.realtime.channel import Channel
from basalt.realtime.channel_changes import ChannelChanges
from basalt.realtime.limits import ProjectLimits
from basalt.realtime.messages import StoredMessage
from basalt.realtime.presence import SILENT_S
from basalt.realtime.presence_rooms import PresenceRooms
from basalt.realtime.rooms import Rooms
from basalt.realtime.socket import Socket
from basalt.realtime.tokens import Gate

WATCH_S = 1.0
ROLES_S = 5.0
CLOCK_STEP_S = 1.0  # a clock that is set moves by more than one that drifts
TIDY_S = 3600.0
REPLICATION_LIMIT_S = 60.0
MAX_OWN_MESSAGES = 10_000

TIDY_PARTITIONS = "select realtime.ensure_message_partitions(), realtime.drop_old_message_partitions()"
TIDY_EXPIRED = "delete from basalt.expiring_messages where expires_at < now()"


SOCKETS = observe.Gauge("basalt_realtime_sockets", "Open sockets.")
CHANNELS = observe.Gauge("basalt_realtime_channels", "Joined channels.")
PRESENCE_ROOMS = observe.Gauge("basalt_realtime_presence_rooms", "Topics with somebody present.")
SUBSCRIPTIONS = observe.Gauge("basalt_realtime_subscriptions", "Subscriptions to changes of tables.")
BUFFERED = observe.Gauge("basalt_realtime_buffered_bytes", "Bytes that clients have not taken yet.")
DELIVERED = observe.Counter(
    "basalt_realtime_messages_delivered_total", "Broadcasts and changes written to sockets."
)
CHANGES = observe.Counter("basalt_realtime_changes_total", "Changes of rows that somebody was told.")
CHANGES_WAITING = observe.Gauge(
    "basalt_realtime_changes_waiting", "Changes read from the log and not delivered yet."
)
STREAM_LIVE = observe.Gauge(
    "basalt_realtime_stream_live", "1 while changes are read; -1 before anybody has asked for them."
)
BUS_DROPPED = observe.Counter(
    "basalt_realtime_bus_dropped_total", "Broadcasts that other nodes were not sent."
)


class RoomMessage(msgspec.Struct, frozen=True, tag="broadcast"):
    """A broadcast for the members that a room has on other nodes."""

    room: str
    broadcast: TextBroadcast | UserBroadcast


class DepartureMessage(msgspec.Struct, frozen=True, tag="departure"):
    """A connection broke: its client may come back to another node, which has the changes as well."""

    role: str
    user_id: str | None
    topic: str
    bindings: tuple[int, ...]
    position: tuple[int, int]


class EndMessage(msgspec.Struct, frozen=True, tag="end"):
    """This node stops, and has said all there was to say."""


class PresenceMessage(msgspec.Struct, frozen=True, tag="presence"):
    """What the presence of one node tells the others."""

    content: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(RoomMessage | PresenceMessage | DepartureMessage | EndMessage).decode


class Hub:
    """`lanes` log in as `postgres`; `replication_conninfo` as a role with `replication`."""

    def __init__(
        self,
        settings: RealtimeSettings,
        authoriser: Authoriser,
        lanes: LanePool,
        bus: Bus,
        *,
        replication_conninfo: str,
    ) -> None:
        self.settings = settings
        self.gate = Gate(authoriser)
        self.lanes = lanes
        self.clock = time.monotonic
        self.limits = ProjectLimits(settings, self.clock)
        self.presence_calls = RateLimiter()
        self.rooms = Rooms()
        self.claims = SharedClaims()
        self.departures = Departures(self.clock)
        self.present: dict[Key, set[ChannelChanges]] = {}
        self.own_messages: BoundedDict[str, Channel] = BoundedDict(MAX_OWN_MESSAGES)
        self.is_closing = False
        self.presence = PresenceRooms(
            self.rooms, bus.node_id, self._publish_presence, on_told=self.limits.presence.count
        )
        self._replication_conninfo = replication_conninfo
        self._bus = bus
        self._sockets: dict[Socket, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._opened_at = self.clock()
        self._nodes: dict[str, float] = {}  # when each was heard last
        self._bus_dropped_told = 0

    # Life

    async def open(self) -> None:
        await self.lanes.open()
        await self.gate.load_roles(self.lanes)
        self.changes = ChangesEngine(
            self._replication_conninfo,
            self.lanes,
            self.settings,
            clock=self.clock,
            on_message=self._broadcast_stored,
            on_delivered=self._count_changes,
            is_over_limit=lambda: self.limits.messages.is_over,
        )
        await self._bus.open(self._receive, on_gap=self.presence.ask_all)
        self._opened_at = self.clock()
        self._forget_figures = observe.before_scrape(self._tell)
        self.spawn(self._watch())
        self.spawn(self._watch_roles())
        self.spawn(self._tidy())

    async def close(self) -> None:
        self.is_closing = True
        self._forget_figures()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.changes.close()
        self.presence.close()
        self._publish(EndMessage())
        await self._bus.close()
        await self.lanes.close()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that ends with the hub at the latest; what it raises is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget_task)
        return task

    def _forget_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            observe.event("realtime_task_failed", level="error", error=error)

    def _tell(self) -> None:
        sockets = list(self._sockets)
        SOCKETS.set(len(sockets))
        CHANNELS.set(sum(socket.channel_count for socket in sockets))
        BUFFERED.set(sum(socket.connection.buffered_bytes() for socket in sockets))
        PRESENCE_ROOMS.set(self.presence.room_count)
        SUBSCRIPTIONS.set(self.changes.subscription_count)
        CHANGES_WAITING.set(self.changes.waiting_changes)
        STREAM_LIVE.set(1 if self.changes.is_live else -1 if not self.changes.is_started else 0)
        BUS_DROPPED.add(self.bus_dropped - self._bus_dropped_told)
        self._bus_dropped_told = self.bus_dropped

    def is_fresh(self) -> bool:
        """Whether clients may come back that another life of this process has served."""
        return self.clock() - self._opened_at < self.settings.replay_window_s

    @property
    def bus_dropped(self) -> int:
        """Messages of this process that other nodes were not sent."""
        return self._bus.dropped

    # Sockets

    @property
    def sockets(self) -> Iterable[Socket]:
        return self._sockets

    def add_socket(self, socket: Socket) -> None:
        self._sockets[socket] = None
        self.limits.sockets += 1
        self.changes.ensure_started()

    def remove_socket(self, socket: Socket) -> None:
        if socket in self._sockets:
            del self._sockets[socket]
            self.limits.sockets -= 1

    async def _watch(self) -> None:
        started_at = time.time() - self.clock()
        while True:
            await asyncio.sleep(WATCH_S)
            now = self.clock()
            was_clock_set = abs(time.time() - now - started_at) > CLOCK_STEP_S
            if was_clock_set:
                started_at = time.time() - now
            for socket in list(self._sockets):
                socket.check_life(now)
                if was_clock_set:
                    socket.check_tokens()
            self.departures.expire()
            self.changes.look_at_limit()
            self.presence.tick(now)
            self._look_for_lost_nodes(now)

    async def _watch_roles(self) -> None:
        while True:
            await asyncio.sleep(ROLES_S)
            with contextlib.suppress(PostgresError, LanesUnavailable):
                await self.gate.load_roles(self.lanes)

    async def _tidy(self) -> None:
        """Partitions of `realtime.messages`: those of the next days made, those of the past dropped."""
        while True:
            try:
                await self.lanes.execute([Query(TIDY_PARTITIONS), Query(TIDY_EXPIRED)])
            except (PostgresError, LanesUnavailable) as error:
                observe.event("messages_not_tidied", level="warning", reason=str(error))
            await asyncio.sleep(TIDY_S)

    # Broadcasts

    def broadcast(self, room: str, broadcast: Broadcast, *, sender: Channel | None = None) -> None:
        """To everybody in the room, here and on other nodes."""
        self._count(self.rooms.deliver(room, broadcast, sender=sender))
        if self._bus.reaches_others:  # asked first: a room of one process does without the message
            self._publish(RoomMessage(room, broadcast))

    def _broadcast_stored(self, message: StoredMessage) -> None:
        """Every node reads it from the log by itself. Over the limit of messages it is skipped."""
        if self.limits.messages.is_over:
            return
        sender = self.own_messages.pop(message.id, None)
        members = self.rooms.members(message.room)
        seen = [
            member for member in members if isinstance(member, Channel) and member.has_replayed(message.id)
        ]
        self._count(self.rooms.deliver(message.room, message.broadcast, sender=sender, skip=seen))

    def _count(self, delivered: int) -> None:
        DELIVERED.add(delivered)
        self.limits.messages.count(delivered)
        self.limits.delivered.count(delivered)

    def _count_changes(self, delivered: int) -> None:
        self.limits.changes.count()
        CHANGES.add()
        self._count(delivered)

    def tell_replication(self, channel: Channel) -> None:
        """Tell the channel when rows of `realtime.messages` reach it from now on."""
        self.spawn(self._tell_replication(channel))

    async def _tell_replication(self, channel: Channel) -> None:
        try:
            await self.changes.wait_live(REPLICATION_LIMIT_S)
        except ChangesUnavailable:
            channel.end(errors.NOT_REPLICATING)
        else:
            if not channel.is_closed:
                channel.tell("system", "ok", errors.REPLICATING)

    # Other nodes

    def _publish(self, message: RoomMessage | PresenceMessage | DepartureMessage | EndMessage) -> None:
        if self._bus.reaches_others:
            self._bus.publish(_encode(message))

    def _publish_presence(self, content: bytes) -> None:
        self._publish(PresenceMessage(content))

    def note_departure(self, key: Key, position: Position) -> None:
        """A subscription whose connection broke; `key` is that of `ChannelChanges`."""
        self.departures.add(key, position)
        role, user_id, topic, bindings = key
        self._publish(DepartureMessage(role, user_id, topic, bindings, position))

    def _look_for_lost_nodes(self, now: float) -> None:
        """The clients of a node that died have come back without it being known what they had: whoever joined since
        then is told that it may have missed something."""
        for node, heard_at in list(self._nodes.items()):
            if now - heard_at > SILENT_S:
                del self._nodes[node]
                observe.event("node_lost", level="warning", node=node)
                for socket in list(self._sockets):
                    socket.tell_maybe_missed(heard_at)

    def _receive(self, sender: str, payload: bytes) -> None:
        try:
            message = _decode(payload)
        except msgspec.DecodeError as error:
            observe.event("bus_message_dropped", level="warning", sender=sender, reason=str(error))
            return
        self._nodes[sender] = self.clock()
        match message:
            case RoomMessage():
                self._count(self.rooms.deliver(message.room, message.broadcast))
            case PresenceMessage():
                self.presence.receive(sender, message.content, self.clock())
            case DepartureMessage():
                key = (message.role, message.user_id, message.topic, message.bindings)
                self.departures.add(key, message.position)
            case EndMessage():
                del self._nodes[sender]
