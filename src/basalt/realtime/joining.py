"""The way of a join: limits, token, permissions, what the past has to offer, and then the room."""

import asyncio
import uuid
from typing import TYPE_CHECKING

import orjson

from basalt import observe
from basalt.postgres import LanesUnavailable, PostgresError
from basalt.realtime import errors
from basalt.realtime.changes.filters.bindings import parse_bindings
from basalt.realtime.channel_changes import ChannelChanges
from basalt.realtime.errors import JoinError, TokenError
from basalt.realtime.frames import Push
from basalt.realtime.join import JoinConfig, Replay, old_bindings, parse_join
from basalt.realtime.messages import StoredMessage, load_replay
from basalt.realtime.permissions import Extension, find_readable, is_missing_partition
from basalt.realtime.rooms import room_key
from basalt.realtime.tokens import check_alive

if TYPE_CHECKING:
    from basalt.realtime.channel import Channel


async def join(channel: "Channel", push: Push) -> None:
    """Let the channel in, or refuse it with the reason."""
    try:
        await _enter(channel, push)
    except JoinError as error:
        await _refuse(channel, push, error)
    except TokenError as error:
        await _refuse(channel, push, JoinError(error.join_reason))
    except PostgresError as error:
        await _refuse(channel, push, JoinError(_database_reason(error)))
    except LanesUnavailable as error:
        is_busy = error.reason == "busy"
        reason = errors.DATABASE_BUSY if is_busy else errors.DATABASE_UNREACHABLE
        await _refuse(channel, push, JoinError(reason))


async def _refuse(channel: "Channel", push: Push, error: JoinError) -> None:
    """The reply waits a little: it slows down who tries again and again."""
    await asyncio.sleep(channel.hub.settings.refusal_delay_s)
    channel.reply(push.ref, orjson.dumps({"reason": error.reason}), is_ok=False)
    channel.abandon()
    if error.closes_socket:
        channel.socket.connection.close(1008, error.reason)


async def _enter(channel: "Channel", push: Push) -> None:
    """Raises JoinError, TokenError, PostgresError, LanesUnavailable."""
    _check_limits(channel)
    config = channel.config = parse_join(push.payload)
    if not config.is_private and channel.hub.settings.private_only:
        raise JoinError(errors.PRIVATE_ONLY)
    if config.token is not None:
        channel.caller = channel.hub.gate.open(config.token)
    check_alive(channel.caller)
    channel.room = room_key(channel.name, is_private=config.is_private)
    channel.presence_key = config.presence_key or str(uuid.uuid4())
    readable = await _find_readable(channel)
    replayed = await _load_replay(channel, readable)
    channel.reads_broadcasts = "broadcast" in readable
    channel.reads_presence = config.has_presence and "presence" in readable
    bindings = parse_bindings(old_bindings(channel.name) if config.is_old else config.changes)
    changes = ChannelChanges(channel, bindings, is_old=config.is_old) if bindings else None
    if changes is not None and config.wait_s is not None:
        await changes.prepare(config.wait_s)
    channel.hub.rooms.add(channel)
    channel.reply(push.ref, _render_response(changes))
    channel.watch_token()
    if channel.reads_presence:
        channel.hub.presence.show_state(channel)
    for message in replayed:
        channel.replay(message)
    if changes is not None:
        channel.changes = changes
        changes.open()
    if config.tells_replication:
        channel.hub.tell_replication(channel)


def _check_limits(channel: "Channel") -> None:
    limits = channel.hub.limits
    if channel.hub.is_closing:
        raise JoinError(errors.RESTARTING)
    if not channel.name:
        raise JoinError(errors.TOPIC_REQUIRED)
    most = limits.settings.channels_per_socket
    if most and channel.socket.channel_count > most:
        raise JoinError(errors.TOO_MANY_CHANNELS)
    if not limits.joins.count():
        raise JoinError(errors.JOIN_RATE, closes_socket=True)


def extensions_of(config: JoinConfig) -> list[Extension]:
    """What a channel may want to read."""
    return ["broadcast", "presence"] if config.has_presence else ["broadcast"]


async def _find_readable(channel: "Channel") -> frozenset[str]:
    if not channel.config.is_private:
        return frozenset(("broadcast", "presence"))
    asked = extensions_of(channel.config)
    readable = await find_readable(channel.hub.lanes, channel.caller, channel.name, asked)
    if not readable:
        raise JoinError(f"Unauthorized: {errors.CANNOT_READ}{channel.name}")
    return readable


async def _load_replay(channel: "Channel", readable: frozenset[str]) -> list[StoredMessage]:
    replay = channel.config.replay
    if replay is None:
        return []
    if not channel.config.is_private:
        raise JoinError(errors.REPLAY_NOT_PRIVATE)
    if not isinstance(replay, Replay):
        raise JoinError(errors.REPLAY_INVALID)
    if "broadcast" not in readable:
        return []
    try:
        return await load_replay(channel.hub.lanes, channel.name, replay)
    except PostgresError as error:
        raise JoinError(errors.REPLAY_FAILED) from error


def _render_response(changes: ChannelChanges | None) -> bytes:
    bindings = [] if changes is None else [{**each.params, "id": each.id} for each in changes.bindings]
    return orjson.dumps({"postgres_changes": bindings})


def _database_reason(error: PostgresError) -> str:
    if is_missing_partition(error):
        return errors.MISSING_PARTITION
    if error.sqlstate == "57014":
        return f"QueryCanceled: {error.message}"
    if error.sqlstate.startswith("53"):
        return f"DatabaseLackOfConnections: {error.message}"
    observe.event("join_failed", level="error", error=error)
    return errors.UNKNOWN_JOIN_ERROR
