"""The last step of a batch: which frame of a change goes to whom, and all frames of a receiver in one piece.

Many receivers differ in nothing that a frame depends on. What they have in common is their `Shape`, so that what
remains for each of them is to look up a frame and to put it into a list.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from basalt.realtime.changes.policies.claims import Claims
from basalt.realtime.changes.policies.memory import NOBODY, Audience
from basalt.realtime.changes.policies.role_access import RoleAccess
from basalt.realtime.changes.rendering import NO_PRIMARY_KEY, UNAUTHORIZED, RenderedChange
from basalt.realtime.changes.subscriptions import Entry, Shape, Subscription


class _Frames(NamedTuple):
    """Of one change for one shape. `audience`: who gets it, None for all. `old_audience`: who is told the old row as
    well, None for all of them; the others get `without_old`."""

    whole: bytes
    without_old: bytes
    audience: Audience | None
    old_audience: Audience | None

    def for_claims(self, claims: Claims) -> bytes:
        old = self.old_audience
        return self.whole if old is None or old.includes(claims) else self.without_old


class Outgoing:
    """Frames of some changes, in their order, by subscription."""

    def __init__(self) -> None:
        self._frames: dict[Subscription, list[bytes]] = {}
        self.count = 0
        self.size = 0  # the most that one subscription has to get, in bytes

    def add(
        self,
        rendered: RenderedChange,
        matching: Sequence[Entry],
        accesses: Mapping[str, RoleAccess],
        audiences: Mapping[str, Audience],
        old_audiences: Mapping[str, Audience],
    ) -> int:
        """One change for all who asked for it and may see it; accesses and audiences by role. The answer is for how
        many that is."""
        frames = self._frames
        known: dict[Shape, _Frames] = {}
        several: dict[Subscription, list[Entry]] = {}
        before = self.count
        for entry in matching:
            subscription = entry.subscription
            shape = entry.shape
            found = known.get(shape)
            if found is None:
                found = known[shape] = self._build(rendered, (entry,), accesses, audiences, old_audiences)
            frame, audience = found.whole, found.audience
            if audience is not None and not audience.everyone:  # `includes`, without the calls
                claims = subscription.claims
                if claims.user_id not in audience.user_ids and claims not in audience.claims:
                    continue
            if len(subscription.entries) > 1:
                several.setdefault(subscription, []).append(entry)
                continue
            if found.old_audience is not None:
                frame = found.for_claims(subscription.claims)
            self.count += 1
            if subscription in frames:
                frames[subscription].append(frame)
            else:
                frames[subscription] = [frame]
        for subscription, entries in several.items():
            self._add_several(rendered, subscription, entries, accesses, audiences, old_audiences)
        self.size += max((len(each.whole) for each in known.values()), default=0)
        return self.count - before

    def _add_several(
        self,
        rendered: RenderedChange,
        subscription: Subscription,
        entries: Sequence[Entry],
        accesses: Mapping[str, RoleAccess],
        audiences: Mapping[str, Audience],
        old_audiences: Mapping[str, Audience],
    ) -> None:
        """One frame for all bindings of a channel that select the same columns."""
        for select in dict.fromkeys(entry.binding.select for entry in entries):
            chosen = [entry for entry in entries if entry.binding.select == select]
            built = self._build(rendered, chosen, accesses, audiences, old_audiences)
            self._frames.setdefault(subscription, []).append(built.for_claims(subscription.claims))
            self.count += 1

    def _build(
        self,
        rendered: RenderedChange,
        entries: Sequence[Entry],
        accesses: Mapping[str, RoleAccess],
        audiences: Mapping[str, Audience],
        old_audiences: Mapping[str, Audience],
    ) -> _Frames:
        """For entries that select the same, and those with their role."""
        shape = entries[0].shape
        access = accesses[shape.role]
        if not rendered.table.primary_key or not access.may_select_key:
            refusal = UNAUTHORIZED if rendered.table.primary_key else NO_PRIMARY_KEY
            frame = _frame(rendered, entries, rendered.refuse(refusal))
            return _Frames(frame, frame, None, None)
        with_position = any(entry.shape.has_position for entry in entries)
        whole = _frame(rendered, entries, rendered.data(access, shape.select, with_position=with_position))
        if rendered.change.operation == "DELETE" or access.sees_all:
            return _Frames(whole, whole, None, None)
        audience = audiences.get(shape.role, NOBODY)
        if not rendered.change.replaces_whole_row:
            return _Frames(whole, whole, audience, None)
        hidden = rendered.data(access, shape.select, with_position=with_position, hides_old=True)
        without_old = _frame(rendered, entries, hidden)
        return _Frames(whole, without_old, audience, old_audiences.get(shape.role, NOBODY))

    def write(self) -> None:
        """Receivers that get the same frames share one piece of memory."""
        joined: dict[tuple[int, ...], bytes] = {}
        for subscription, frames in self._frames.items():
            if len(frames) == 1:
                subscription.receiver.write(frames[0])
                continue
            key = tuple(map(id, frames))
            piece = joined.get(key)
            if piece is None:
                piece = joined[key] = b"".join(frames)
            subscription.receiver.write(piece)


def _frame(rendered: RenderedChange, entries: Sequence[Entry], data: bytes) -> bytes:
    shape = entries[0].shape
    if shape.is_old:
        return rendered.old_frame(shape.topic, shape.version, data)
    return rendered.frame(shape.topic, shape.version, tuple(entry.binding.id for entry in entries), data)
