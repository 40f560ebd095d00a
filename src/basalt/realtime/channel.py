"""One channel: a topic of one socket, from its join to its close.

Messages are taken one after the other: while one of them waits for the database, those behind it wait too. Most need no
database and are done at once, without a task. What each message does is told in `joining`, `sending`, `tracking` and
`renewal`.
"""

import asyncio
import time
from collections import deque
from collections.abc import Coroutine
from itertools import count
from typing import TYPE_CHECKING, Any

import orjson

from basalt import observe
from basalt.access import Caller
from basalt.realtime import errors
from basalt.realtime.channel_changes import ChannelChanges
from basalt.realtime.errors import TokenError, token_expired
from basalt.realtime.frames import BroadcastPush, Push, Ref, Wording
from basalt.realtime.join import JoinConfig
from basalt.realtime.joining import join
from basalt.realtime.messages import StoredMessage
from basalt.realtime.permissions import Extension
from basalt.realtime.renewal import renew_token
from basalt.realtime.rooms import TOPIC_PREFIX
from basalt.realtime.sending import send_text, send_user_broadcast
from basalt.realtime.tokens import check_alive
from basalt.realtime.tracking import take_presence

if TYPE_CHECKING:
    from basalt.realtime.hub import Hub
    from basalt.realtime.socket import Socket

MAX_WAITING = 1000  # messages behind one that waits for the database
TOKEN_CHECK_S = 300.0

Work = Coroutine[Any, Any, None]

_numbers = count(1)


class Channel:
    """`name` is the topic without `realtime:`, `number` tells it from every other channel of this process. The first
    message it takes is its join."""

    __slots__ = (
        "_is_closed",
        "_lives_until",
        "_replayed",
        "_task",
        "_timer",
        "_waiting",
        "_wording",
        "caller",
        "changes",
        "config",
        "hub",
        "join_ref",
        "may_write",
        "name",
        "number",
        "presence_key",
        "reads_broadcasts",
        "reads_presence",
        "room",
        "socket",
        "topic",
        "version",
    )

    def __init__(self, hub: "Hub", socket: "Socket", topic: str, join_ref: Ref) -> None:
        self.number = next(_numbers)
        self.hub = hub
        self.socket = socket
        self.topic = topic
        self.name = topic.removeprefix(TOPIC_PREFIX)
        self.join_ref = join_ref
        self.version = socket.version
        self.caller: Caller = socket.caller
        self.room = ""
        self.presence_key = ""
        self.reads_broadcasts = False
        self.reads_presence = False
        self._wording = Wording(socket.version, topic, join_ref)
        self.config = JoinConfig()
        self.changes: ChannelChanges | None = None
        self.may_write: dict[Extension, bool] = {}
        self._replayed: set[str] = set()
        self._waiting: deque[Push | BroadcastPush] | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lives_until: float | None = None
        self._is_closed = False

    # What others see of it

    @property
    def receives_own(self) -> bool:
        return self.config.sends_to_self

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def write(self, frame: bytes) -> None:
        self.socket.write(frame)

    def has_replayed(self, message_id: str) -> bool:
        """Whether a stored message has been sent when the channel joined."""
        return message_id in self._replayed

    def tell(self, extension: str, status: str, message: str, **more: object) -> None:
        """A `system` message (protocol §6)."""
        payload = {"extension": extension, "status": status, "message": message, "channel": self.name, **more}
        self.write(self._wording.message(b"system", orjson.dumps(payload), names_join=True))

    def tell_restart(self) -> None:
        """The server is about to stop; the socket closes next, and clients come back by themselves."""
        payload = {"extension": "system", "status": "ok", "message": errors.SERVER_DISCONNECT}
        self.write(self._wording.message(b"system", orjson.dumps(payload), names_join=True))

    def end(self, message: str) -> None:
        """The server ends the channel: it says why, then closes it."""
        if not self._is_closed:
            self.tell("system", "error", message)
            self.close()

    def close(self, *, is_replaced: bool = False) -> None:
        """Leave everything and tell the client that the channel is closed. `is_replaced`: it has joined again."""
        if not self._is_closed:
            self.write(self._wording.message(b"phx_close", b"{}", ref=self.join_ref, names_join=True))
            self.abandon(is_lost=is_replaced)

    def abandon(self, *, is_lost: bool = False) -> None:
        """Be gone without another word."""
        self.leave(is_lost=is_lost)
        self.socket.forget(self)

    def leave(self, *, is_lost: bool) -> None:
        """Be gone from room, presence and changes. `is_lost`: not by the client's will, so it may come back for what it
        misses."""
        if self._is_closed:
            return
        self._is_closed = True
        self.hub.rooms.remove(self)
        self.hub.presence.leave(self)
        if self.changes is not None:
            self.changes.close(is_lost=is_lost)
        for pending in (self._timer, self._task):
            if pending is not None and pending is not asyncio.current_task():
                pending.cancel()

    # Messages, one after the other

    def take(self, push: Push | BroadcastPush) -> None:
        """A message of the client's for this channel."""
        if self._waiting is not None:
            if len(self._waiting) >= MAX_WAITING:
                self.end(errors.TOO_MANY_MESSAGES)
            else:
                self._waiting.append(push)
            return
        work = self._begin(push)
        if work is not None:
            self._waiting = deque()
            self._task = self.hub.spawn(self._work(work))

    async def _work(self, work: Work | None) -> None:
        assert self._waiting is not None
        try:
            while work is not None:
                await work
                work = None
                while self._waiting and work is None and not self._is_closed:
                    work = self._begin(self._waiting.popleft())
        except asyncio.CancelledError:
            raise
        except Exception as error:
            observe.event("channel_crashed", level="error", error=error)
            self.write(self._wording.message(b"phx_error", b"{}", ref=self.join_ref, names_join=True))
            self.abandon(is_lost=True)  # clients join again
        finally:
            self._waiting = None
            self._task = None

    def _begin(self, push: Push | BroadcastPush) -> Work | None:
        """Do what the message says, or return what is left to be awaited. Unknown events are ignored."""
        if isinstance(push, BroadcastPush):
            return send_user_broadcast(self, push)
        match push.event:
            case "broadcast" if not push.is_binary:
                return send_text(self, push)
            case "presence":
                return take_presence(self, push)
            case "access_token":
                return renew_token(self, push)
            case "phx_join":
                return join(self, push)
            case "phx_leave":
                self.reply(push.ref)
                self.close()
        return None

    def reply(self, ref: Ref, response: bytes = b"{}", *, is_ok: bool = True) -> None:
        """`phx_reply` to one of the client's messages."""
        self.write(self._wording.reply(ref, "ok" if is_ok else "error", response))

    def replay(self, message: StoredMessage) -> None:
        """A message of the past; it is not sent again when the log tells it too."""
        self._replayed.add(message.id)
        frame = message.broadcast.build(self.version, self.topic)
        if frame is not None:
            self.write(frame)

    # The token

    def watch_token(self) -> None:
        """A token lives as long as it had left when it came, and no longer than the clock says: whoever sets the clock
        back does not prolong it. It is looked at when it expires, and every few minutes in any case."""
        expires_at = self.caller.expires_at
        self._lives_until = None if expires_at is None else self.hub.clock() + expires_at - time.time()
        self._look_again()

    def check_token(self) -> None:
        """End the channel if its token has expired."""
        try:
            check_alive(self.caller)
        except TokenError as error:
            self.end(str(error))
            return
        if self._lives_until is not None and self.hub.clock() >= self._lives_until:
            self.end(str(token_expired(int(self.hub.clock() - self._lives_until))))
        else:
            self._look_again()

    def _look_again(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lives_until is not None:
            wait_s = min(max(self._lives_until - self.hub.clock(), 0.0) + 0.01, TOKEN_CHECK_S)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self.check_token)
