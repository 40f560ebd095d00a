"""What a client sends into its channel's room: broadcasts, kept ones too."""

from typing import TYPE_CHECKING, Any

import orjson

from basalt import observe
from basalt.postgres import LanesUnavailable, PostgresError
from basalt.realtime import errors
from basalt.realtime.broadcast import Broadcast, TextBroadcast, UserBroadcast, size_of
from basalt.realtime.frames import BroadcastPush, Push, Ref, is_json
from basalt.realtime.messages import LONGEST_KEPT_S, store_message
from basalt.realtime.permissions import Extension, may_write

if TYPE_CHECKING:
    from basalt.realtime.channel import Channel, Work

TOO_LARGE = "Payload size exceeds tenant limit"


def send_text(channel: "Channel", push: Push) -> "Work | None":
    """A broadcast in a text frame."""
    return _broadcast(channel, push.ref, TextBroadcast(push.payload))


def send_user_broadcast(channel: "Channel", push: BroadcastPush) -> "Work | None":
    """A broadcast in a binary frame; one that calls itself JSON and is none is dropped."""
    if push.is_json and not is_json(push.payload):
        return None
    broadcast = UserBroadcast(push.event, push.payload, is_json=push.is_json)
    life_s = parse_persistence(push.metadata) if channel.config.is_private else None
    if life_s is not None:
        return _store(channel, push.ref, broadcast, life_s)
    return _broadcast(channel, push.ref, broadcast)


def _broadcast(channel: "Channel", ref: Ref, broadcast: Broadcast) -> "Work | None":
    if not _takes_message(channel):
        return None
    if size_of(broadcast) > channel.hub.settings.max_payload_bytes:
        if channel.config.acknowledges:
            channel.reply(ref, is_ok=False)
        return None
    if channel.config.is_private and "broadcast" not in channel.may_write:
        return _ask_and_send(channel, ref, broadcast)
    if not channel.config.is_private or channel.may_write["broadcast"]:
        _send(channel, ref, broadcast)
    return None


async def _ask_and_send(channel: "Channel", ref: Ref, broadcast: Broadcast) -> None:
    if await has_write_permission(channel, "broadcast"):
        _send(channel, ref, broadcast)


def _send(channel: "Channel", ref: Ref, broadcast: Broadcast) -> None:
    channel.hub.broadcast(channel.room, broadcast, sender=channel)
    if channel.config.acknowledges:
        channel.reply(ref)


async def _store(channel: "Channel", ref: Ref, broadcast: UserBroadcast, life_s: float) -> None:
    """A broadcast that its sender wants kept: it comes back out of the log for everybody in the room."""
    if not _takes_message(channel):
        return
    problem = await _try_to_store(channel, broadcast, life_s)
    if problem is not None:
        channel.reply(ref, orjson.dumps({"error": problem}), is_ok=False)
    elif channel.config.acknowledges:
        channel.reply(ref)


async def _try_to_store(channel: "Channel", broadcast: UserBroadcast, life_s: float) -> str | None:
    """What went wrong."""
    hub = channel.hub
    if size_of(broadcast) > hub.settings.max_payload_bytes:
        return TOO_LARGE
    try:
        identity = await store_message(hub.lanes, channel.caller, channel.name, broadcast, life_s=life_s)
    except (PostgresError, LanesUnavailable) as error:
        return "Unauthorized" if is_refusal(error) else "Unable to store the message"
    hub.own_messages[identity] = channel
    return None


def _takes_message(channel: "Channel") -> bool:
    if channel.hub.limits.messages.count():
        return True
    channel.end(errors.TOO_MANY_MESSAGES)
    return False


async def has_write_permission(channel: "Channel", extension: Extension) -> bool:
    """Asked once and kept until the token changes; trouble with the database counts as no, for this time."""
    known = channel.may_write.get(extension)
    if known is None:
        try:
            known = await may_write(channel.hub.lanes, channel.caller, channel.name, extension)
        except (PostgresError, LanesUnavailable) as error:
            observe.event("channel_permission_unknown", level="warning", reason=str(error))
            return False
        channel.may_write[extension] = known
    return known


def is_refusal(error: Exception) -> bool:
    """Whether a policy or a missing privilege said no."""
    return isinstance(error, PostgresError) and error.sqlstate == "42501"


def parse_persistence(metadata: bytes) -> float | None:
    """How long a sender wants its broadcast kept, in seconds; None where it does not.

    >>> parse_persistence(b'{"persist":{"ttl":60}}'), parse_persistence(b"")
    (60.0, None)
    """
    persist = parse_object(metadata).get("persist")
    if persist is True:
        return float(LONGEST_KEPT_S)
    if isinstance(persist, dict):
        ttl = persist.get("ttl", LONGEST_KEPT_S)
        if isinstance(ttl, (int, float)) and not isinstance(ttl, bool) and ttl > 0:
            return min(float(ttl), float(LONGEST_KEPT_S))
    return None


def parse_object(payload: bytes) -> dict[str, Any]:
    """A JSON object; anything else counts as an empty one."""
    try:
        value = orjson.loads(payload or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
