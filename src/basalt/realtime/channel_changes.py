"""The changes of tables that one channel has subscribed to: its subscription from the join to the end, through new
tokens and broken streams, and what the client is told about it."""

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from basalt.postgres import LanesUnavailable, PostgresError
from basalt.realtime.changes.departures import Key
from basalt.realtime.changes.engine import ChangesUnavailable, Prepared
from basalt.realtime.changes.filters.bindings import Binding, BindingError
from basalt.realtime.changes.position import Position, parse_position, render_position
from basalt.realtime.changes.subscriptions import Subscription
from basalt.realtime.errors import MAYBE_MISSED, MISSED, JoinError
from basalt.realtime.frames import Version

if TYPE_CHECKING:
    from basalt.realtime.channel import Channel

EXTENSION = "postgres_changes"
SUBSCRIBED = "Subscribed to PostgreSQL"
NOWHERE: Position = (0, 0)
LIVE_LIMIT_S = 15.0
RETRY_S = (5.0, 10.0)
PROBLEM_PAUSE_S = 1.0  # between two messages about changes that were not delivered


class ChannelChanges:
    """`bindings` as the channel joined with them; also the `Receiver` that the engine writes to.

    `_after` is where the next attempt to subscribe goes on, until there is a subscription. `_underway` has a pair for
    each round of the socket that it has not acknowledged and that brought something for this channel: the round, and up
    to where the channel had been served before."""

    __slots__ = (
        "_after",
        "_began_at",
        "_channel",
        "_prepared",
        "_present_as",
        "_subscription",
        "_task",
        "_told_at",
        "_underway",
        "bindings",
        "is_old",
    )

    def __init__(self, channel: "Channel", bindings: Sequence[Binding], *, is_old: bool) -> None:
        self.bindings = bindings
        self.is_old = is_old
        self._channel = channel
        self._subscription: Subscription | None = None
        self._prepared: Prepared | None = None
        self._task: asyncio.Task[None] | None = None
        self._told_at = 0.0
        self._began_at: float | None = None
        self._present_as: Key | None = None
        self._after: Position | None = None
        self._underway: deque[tuple[int, Position]] = deque()

    # What the channel says

    async def prepare(self, limit_s: float) -> None:
        """Before the reply to a join that wants to be sure. Raises JoinError."""
        try:
            async with asyncio.timeout(limit_s):
                self._prepared = await self._prepare(limit_s)
        except BindingError as error:
            raise JoinError(f"RealtimeDisabledForConfiguration: {error}") from error
        except (ChangesUnavailable, LanesUnavailable, PostgresError, TimeoutError) as error:
            raise JoinError(
                f"PostgresChangesSubscribeTimeout: the subscription was not active in time: {error}"
            ) from error

    def open(self) -> None:
        """Behind the reply: subscribe, as often as it takes, and tell the client when it is done."""
        self._after = self._position_to_go_on_from()
        self._task = self._channel.hub.spawn(self._subscribe(is_first=True))

    def renew(self) -> None:
        """The channel has another token: from now on its role and claims decide, and nothing is lost in between."""
        if self._task is not None:
            self._task.cancel()
        self._prepared = None
        self._task = self._channel.hub.spawn(self._subscribe_anew())

    def close(self, *, is_lost: bool) -> None:
        """Stop. `is_lost`: remember where, for the client will come back."""
        if self._task is not None:
            self._task.cancel()
        hub = self._channel.hub
        self._be_absent()
        served = self._after  # somebody who leaves before being served again
        if self._subscription is not None:
            hub.changes.drop(self._subscription)
            served = max(hub.changes.position, self._subscription.since) if is_lost else None
            self._subscription = None
        if served is not None and is_lost:
            self._forget_acknowledged()
            hub.note_departure(self._key(), min([served, *(before for _, before in self._underway)]))

    # Subscribing

    async def _prepare(self, limit_s: float) -> Prepared:
        hub, caller = self._channel.hub, self._channel.caller
        claims = hub.claims.share(caller.role, caller.claims_json, caller.claims)
        return await hub.changes.prepare(self.bindings, claims, limit_s=limit_s)

    async def _subscribe_anew(self) -> None:
        if self._subscription is not None:
            self._after = await self._channel.hub.changes.let_out(self._subscription)
            self._subscription = None
        await self._subscribe(is_first=False)

    async def _subscribe(self, *, is_first: bool) -> None:
        changes = self._channel.hub.changes
        is_new = is_first and self._after is None
        self._be_present()
        while True:
            try:
                prepared = self._prepared or await self._prepare(LIVE_LIMIT_S)
                self._prepared = None
                self._subscription = await changes.let_in(
                    prepared, self, after=self._after, on_live=partial(self._tell_subscribed, prepared)
                )
            except BindingError as error:
                self._tell("error", str(error))
                return
            except (ChangesUnavailable, LanesUnavailable, PostgresError) as error:
                self._tell("error", f"Unable to subscribe to changes, trying again: {error}")
                await asyncio.sleep(random.uniform(*RETRY_S))  # noqa: S311
            else:
                break
        self._after = None
        self._began_at = self._channel.hub.clock() if is_new else None
        if is_new and self._channel.hub.is_fresh():
            self._tell_maybe_missed()

    def tell_maybe_missed(self, since: float) -> None:
        """Unless it began before `since`, or where it had left."""
        if self._began_at is not None and self._began_at >= since:
            self._tell_maybe_missed()

    def _tell_maybe_missed(self) -> None:
        self._tell("ok", MAYBE_MISSED)
        self._note_underway(NOWHERE)

    def _position_to_go_on_from(self) -> Position | None:
        """Where the client says that it has come to, or where it left us when its connection broke."""
        told = [
            position
            for binding in self.bindings
            if isinstance(binding.replay, str) and (position := parse_position(binding.replay)) is not None
        ]
        key = self._key()
        left_at = self._channel.hub.departures.take(key)
        if told:
            return min(told)
        return min([*([] if left_at is None else [left_at]), *self._find_half_open(key)], default=None)

    def _find_half_open(self, key: Key) -> list[Position]:
        """Where other channels of the same user have got to that wait for an acknowledgement: one of them may be the
        client's connection from before, whose loss nobody has noticed yet."""
        if key[1] is None:
            return []
        others = [other._unacknowledged() for other in self._channel.hub.present.get(key, ())]
        return [position for position in others if position is not None]

    def _unacknowledged(self) -> Position | None:
        self._forget_acknowledged()
        return min((before for _, before in self._underway if before != NOWHERE), default=None)

    def _be_present(self) -> None:
        self._be_absent()
        self._present_as = self._key()
        self._channel.hub.present.setdefault(self._present_as, set()).add(self)

    def _be_absent(self) -> None:
        present = self._channel.hub.present
        if self._present_as is not None and self._present_as in present:
            present[self._present_as].discard(self)
            if not present[self._present_as]:
                del present[self._present_as]
        self._present_as = None

    def _key(self) -> Key:
        caller = self._channel.caller
        return (caller.role, caller.user_id, self._channel.topic, tuple(each.id for each in self.bindings))

    # What the engine sees

    @property
    def topic(self) -> str:
        return self._channel.topic

    @property
    def version(self) -> Version:
        return self._channel.version

    def write(self, frames: bytes) -> None:
        if not self._channel.is_closed:  # it may have ended while the database was asked about the batch
            self._channel.write(frames)

    def note_delivered(self) -> None:
        served = self._after if self._subscription is None else self._channel.hub.changes.position
        if served is not None:
            self._note_underway(served)

    def _note_underway(self, served: Position) -> None:
        """Something is on its way to the client that has been served up to `served`: NOWHERE for the message that
        something was missed, so that who never gets it is told again."""
        socket = self._channel.socket
        self._forget_acknowledged()
        if served == NOWHERE or not self._underway or self._underway[-1][0] < socket.round:
            self._underway.append((socket.round, served))
        socket.note_delivered()

    def _forget_acknowledged(self) -> None:
        acknowledged = self._channel.socket.acknowledged
        while self._underway and self._underway[0][0] <= acknowledged:
            self._underway.popleft()

    def tell_problem(self, message: str) -> None:
        now = self._channel.hub.clock()
        if now - self._told_at >= PROBLEM_PAUSE_S:
            self._told_at = now
            self._tell("error", message)

    def tell_ended(self, message: str) -> None:
        self._tell("error", message)

    def tell_missed(self) -> None:
        self._tell("ok", MISSED)  # supabase-py takes an error for the end of the channel and joins anew
        self._note_underway(NOWHERE)

    def _tell_subscribed(self, prepared: Prepared) -> None:
        if self._after is None:
            self._after = prepared.since  # what it has been told that it gets
        more = {}
        if any(binding.replay for binding in self.bindings):
            more["position"] = render_position(self._after)
        self._tell("ok", SUBSCRIBED, **more)

    def _tell(self, status: str, message: str, **more: object) -> None:
        self._channel.tell(EXTENSION, status, message, **more)
