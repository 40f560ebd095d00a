"""One client's WebSocket: takes its messages apart, hands each to its channel, and watches that the client lives and
reads."""

import struct
from typing import TYPE_CHECKING

from basalt import observe
from basalt.access import Caller
from basalt.http import PING, SocketConnection, build_frame
from basalt.realtime.channel import Channel
from basalt.realtime.frames import BroadcastPush, FrameError, Push, Version, Wording, parse_message
from basalt.realtime.rooms import TOPIC_PREFIX

if TYPE_CHECKING:
    from basalt.realtime.hub import Hub

PHOENIX = "phoenix"
TOO_SLOW = 1013  # "try again later", IANA registry of RFC 6455 close codes: clients come back
SILENT = 1001  # after 1000 clients would stay away
PING_PAUSE_S = 2.0
CHECK_BYTES = 65_536  # between two looks at what the client has not read yet
ROUND = struct.Struct("!Q")


class Socket:
    """`caller` is whoever the connection's key stands for. What is written between two pings is one round: a pong tells
    that all rounds up to its own have arrived. `round` is the present one, `acknowledged` the last that did."""

    __slots__ = (
        "_channels",
        "_noted",
        "_pinged_at",
        "_unchecked",
        "acknowledged",
        "caller",
        "connection",
        "hub",
        "idle_since",
        "last_heard",
        "opened_at",
        "round",
        "version",
    )

    def __init__(self, hub: "Hub", connection: SocketConnection, version: Version, caller: Caller) -> None:
        self.hub = hub
        self.connection = connection
        self.version = version
        self.caller = caller
        self.opened_at = self.last_heard = self.idle_since = hub.clock()
        self.round = 1
        self.acknowledged = 0
        self._noted = 0
        self._pinged_at = 0.0
        self._unchecked = 0
        self._channels: dict[str, Channel] = {}
        connection.on_message = self._receive
        connection.on_pong = self._hear_pong
        connection.on_closing = self._say_restart

    @property
    def channel_count(self) -> int:
        return len(self._channels)

    def write(self, frame: bytes) -> None:
        self.connection.write(frame)
        self._unchecked += len(frame)
        if self._unchecked > CHECK_BYTES:
            self._unchecked = 0
            self._check_reader()

    def forget(self, channel: Channel) -> None:
        """The channel has closed; another one may have its topic by now."""
        if self._channels.get(channel.topic) is channel:
            del self._channels[channel.topic]
            if not self._channels:
                self.idle_since = self.hub.clock()

    def lost(self, *, may_return: bool) -> None:
        """The connection has ended. `may_return`: not by the client's will."""
        for channel in list(self._channels.values()):
            channel.leave(is_lost=may_return)
        self._channels.clear()

    def check_tokens(self) -> None:
        """The clock was set: whose token has expired by it?"""
        for channel in list(self._channels.values()):
            channel.check_token()

    def tell_maybe_missed(self, since: float) -> None:
        """Channels that joined after `since` and began anew may have been served elsewhere before."""
        for channel in list(self._channels.values()):
            if channel.changes is not None:
                channel.changes.tell_maybe_missed(since)

    # Watching

    def _check_reader(self) -> None:
        """Close a client that reads too slowly: what waits for it is memory that everybody shares."""
        if self.connection.buffered_bytes() > self.hub.settings.max_buffer_bytes:
            observe.event("socket_too_slow", level="warning", channels=self.channel_count)
            self.connection.close(TOO_SLOW, "Too slow: too much is waiting to be read")

    def check_life(self, now: float) -> None:
        """Close a socket from which nothing has come for long, or that has had no channel for longer."""
        settings = self.hub.settings
        if now - self.last_heard > settings.silence_limit_s:
            self.connection.close(SILENT, "Nothing was heard for too long")
        elif not self._channels and now - self.idle_since > settings.idle_limit_s:
            self.connection.close(SILENT, "No channel was joined for too long")
        elif self._noted == self.round:
            self._ping(now)

    def note_delivered(self) -> None:
        """Changes have been written; a ping behind them asks whether they arrived, not too often."""
        self._noted = self.round
        now = self.hub.clock()
        if now - self._pinged_at > PING_PAUSE_S:
            self._ping(now)

    def _ping(self, now: float) -> None:
        self.connection.write(build_frame(PING, ROUND.pack(self.round)))
        self._pinged_at = now
        self.round += 1

    def _hear_pong(self, payload: bytes) -> None:
        self.last_heard = self.hub.clock()
        if len(payload) == ROUND.size:
            (number,) = ROUND.unpack(payload)
            if number < self.round:  # nothing that was never sent
                self.acknowledged = max(self.acknowledged, number)

    def _say_restart(self) -> None:
        for channel in list(self._channels.values()):
            channel.tell_restart()

    # Messages

    def _receive(self, data: str | bytes) -> None:
        self.last_heard = self.hub.clock()
        try:
            push = parse_message(self.version, data)
        except FrameError as error:
            observe.event("frame_dropped", level="debug", reason=str(error))
            return
        channel = self._channels.get(push.topic)
        if isinstance(push, BroadcastPush):
            if channel is None:
                self._reply_unmatched(push)
            else:
                channel.take(push)
        elif push.event == "phx_join" and push.topic.startswith(TOPIC_PREFIX):
            self._join(push, channel)
        elif channel is not None:
            channel.take(push)
        elif push.topic == PHOENIX and push.event == "heartbeat":
            self.write(Wording(self.version, PHOENIX, None).reply(push.ref, "ok"))
        elif push.event == "phx_leave":
            self.write(Wording(self.version, push.topic, push.join_ref).reply(push.ref, "ok"))
        else:
            self._reply_unmatched(push)

    def _join(self, push: Push, earlier: Channel | None) -> None:
        if earlier is not None:
            earlier.close(is_replaced=True)
        channel = Channel(self.hub, self, push.topic, push.join_ref)
        self._channels[push.topic] = channel
        channel.take(push)

    def _reply_unmatched(self, push: Push | BroadcastPush) -> None:
        wording = Wording(self.version, push.topic, push.join_ref)
        self.write(wording.reply(push.ref, "error", b'{"reason":"unmatched topic"}'))
