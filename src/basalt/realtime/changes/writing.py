"""The last step of a batch: which frame of a change goes to whom, and all frames of a receiver in one piece.

Many receivers differ in nothing that a frame depends on. What they have in common is their `Shape`, so that what
remains for each of them is to look up a frame and to put it into a list.
"""

from collections.abc import Mapping, Sequence

from basalt.realtime.changes.policies.memory import NOBODY, Audience
from basalt.realtime.changes.policies.role_access import RoleAccess
from basalt.realtime.changes.rendering import NO_PRIMARY_KEY, UNAUTHORIZED, RenderedChange
from basalt.realtime.changes.subscriptions import Entry, Shape, Subscription


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
    ) -> int:
        """One change for all who asked for it and may see it; `accesses` and `audiences` by role. The answer is for
        how many that is."""
        frames = self._frames
        known: dict[Shape, tuple[bytes, Audience | None]] = {}
        several: dict[Subscription, list[Entry]] = {}
        before = self.count
        for entry in matching:
            subscription = entry.subscription
            shape = entry.shape
            found = known.get(shape)
            if found is None:
                found = known[shape] = self._build(rendered, (entry,), accesses, audiences)
            frame, audience = found
            if audience is not None and not audience.everyone:  # `includes`, without the calls
                claims = subscription.claims
                if claims.user_id not in audience.user_ids and claims not in audience.claims:
                    continue
            if len(subscription.entries) > 1:
                several.setdefault(subscription, []).append(entry)
                continue
            self.count += 1
            if subscription in frames:
                frames[subscription].append(frame)
            else:
                frames[subscription] = [frame]
        for subscription, entries in several.items():
            self._add_several(rendered, subscription, entries, accesses, audiences)
        self.size += max((len(frame) for frame, _ in known.values()), default=0)
        return self.count - before

    def _add_several(
        self,
        rendered: RenderedChange,
        subscription: Subscription,
        entries: Sequence[Entry],
        accesses: Mapping[str, RoleAccess],
        audiences: Mapping[str, Audience],
    ) -> None:
        """One frame for all bindings of a channel that select the same columns."""
        for select in dict.fromkeys(entry.binding.select for entry in entries):
            chosen = [entry for entry in entries if entry.binding.select == select]
            frame, _ = self._build(rendered, chosen, accesses, audiences)
            self._frames.setdefault(subscription, []).append(frame)
            self.count += 1

    def _build(
        self,
        rendered: RenderedChange,
        entries: Sequence[Entry],
        accesses: Mapping[str, RoleAccess],
        audiences: Mapping[str, Audience],
    ) -> tuple[bytes, Audience | None]:
        """The frame for entries that select the same, and who of those with their role gets it; None for all."""
        shape = entries[0].shape
        access = accesses[shape.role]
        audience = None
        if not rendered.table.primary_key:
            data = rendered.refuse(NO_PRIMARY_KEY)
        elif not access.may_select_key:
            data = rendered.refuse(UNAUTHORIZED)
        else:
            with_position = any(entry.shape.has_position for entry in entries)
            data = rendered.data(access, shape.select, with_position=with_position)
            if rendered.change.operation != "DELETE" and not access.sees_all:
                audience = audiences.get(shape.role, NOBODY)
        if shape.is_old:
            return rendered.old_frame(shape.topic, shape.version, data), audience
        ids = tuple(entry.binding.id for entry in entries)
        return rendered.frame(shape.topic, shape.version, ids, data), audience

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
