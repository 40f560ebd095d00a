"""A channel's own presence: `track` and `untrack` (protocol §8)."""

from typing import TYPE_CHECKING, Any

from basalt.postgres import LanesUnavailable, PostgresError
from basalt.realtime import errors
from basalt.realtime.frames import Push, Ref
from basalt.realtime.permissions import find_readable
from basalt.realtime.sending import has_write_permission, parse_object

if TYPE_CHECKING:
    from basalt.realtime.channel import Channel, Work

CALLS_WINDOW_S = 30.0
NO_MAP = b'{"reason":"Presence track payload must be a map"}'


def take_presence(channel: "Channel", push: Push) -> "Work | None":
    """A `presence` message; its event is read without regard to case."""
    if not _takes_call(channel):
        return None
    asked = parse_object(push.payload)
    event = str(asked.get("event", "")).lower()
    if event == "untrack":
        channel.reply(push.ref)
        channel.hub.presence.leave(channel)
        return None
    if event != "track":
        channel.reply(push.ref, is_ok=False)
        return None
    if len(push.payload) > channel.hub.settings.max_payload_bytes:
        channel.end(errors.TRACK_TOO_LARGE)
        return None
    meta = asked.get("payload", {})
    if not isinstance(meta, dict):
        channel.reply(push.ref, NO_MAP, is_ok=False)
        return None
    if channel.config.is_private and "presence" not in channel.may_write:
        return _ask_and_track(channel, push.ref, meta)
    is_allowed = not channel.config.is_private or channel.may_write["presence"]
    _track(channel, push.ref, meta, is_allowed=is_allowed)
    return None


def _takes_call(channel: "Channel") -> bool:
    hub = channel.hub
    if not hub.limits.presence.count():
        channel.end(errors.TOO_MANY_PRESENCE_MESSAGES)
        return False
    most = hub.settings.presence_calls
    if most and hub.presence_calls.take(str(channel.number), most, CALLS_WINDOW_S) is not None:
        channel.end(errors.PRESENCE_RATE)
        return False
    return True


async def _ask_and_track(channel: "Channel", ref: Ref, meta: dict[str, Any]) -> None:
    is_allowed = await has_write_permission(channel, "presence")
    if is_allowed and not channel.reads_presence:
        channel.reads_presence = await _may_read(channel)
    _track(channel, ref, meta, is_allowed=is_allowed)


async def _may_read(channel: "Channel") -> bool:
    try:
        readable = await find_readable(channel.hub.lanes, channel.caller, channel.name, ["presence"])
    except (PostgresError, LanesUnavailable):
        return False
    return "presence" in readable


def _track(channel: "Channel", ref: Ref, meta: dict[str, Any], *, is_allowed: bool) -> None:
    channel.reply(ref, is_ok=is_allowed)
    if not is_allowed:
        return
    if not channel.config.is_private:
        channel.reads_presence = True  # whoever shows up wants to see the others
    try:
        channel.hub.presence.track(channel, meta)
    except ValueError:
        channel.end(errors.TRACK_TOO_LARGE)
