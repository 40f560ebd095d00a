"""Another access token on an open channel (protocol §10): its role and claims decide from then on."""

import contextlib
from typing import TYPE_CHECKING

from basalt.postgres import LanesUnavailable, PostgresError
from basalt.realtime import errors
from basalt.realtime.errors import TokenError
from basalt.realtime.frames import Push
from basalt.realtime.joining import extensions_of
from basalt.realtime.permissions import find_readable
from basalt.realtime.sending import parse_object

if TYPE_CHECKING:
    from basalt.realtime.channel import Channel, Work


def renew_token(channel: "Channel", push: Push) -> "Work | None":
    """Take over the new token; a bad one ends the channel. Null, a key of the project and the token in use mean
    nothing new."""
    token = parse_object(push.payload).get("access_token")
    if not isinstance(token, str) or token.startswith("sb_") or token == channel.caller.token:
        return None
    try:
        caller = channel.hub.gate.open(token)
    except TokenError as error:
        channel.end(str(error))
        return None
    if caller.claims_json == channel.caller.claims_json:
        return None
    channel.caller = caller
    channel.may_write.clear()
    channel.watch_token()
    if channel.changes is not None:
        channel.changes.renew()
    return _check_reading(channel) if channel.config.is_private else None


async def _check_reading(channel: "Channel") -> None:
    """What the new token may read; trouble with the database ends the channel, for it may not be allowed any more."""
    readable: frozenset[str] = frozenset()
    with contextlib.suppress(PostgresError, LanesUnavailable):
        asked = extensions_of(channel.config)
        readable = await find_readable(channel.hub.lanes, channel.caller, channel.name, asked)
    if not readable:
        channel.end(errors.CANNOT_READ + channel.name)
    elif (channel.reads_broadcasts and "broadcast" not in readable) or (
        channel.reads_presence and channel.config.has_presence and "presence" not in readable
    ):
        channel.end(errors.LOST_READ + channel.name)
    else:
        channel.reads_broadcasts = "broadcast" in readable
