"""Why a handshake, a join or an open channel is refused, in the words of Supabase Realtime.

One reason has up to three wordings: the body of a refused handshake, the `reason` of a refused join, and the `system`
message that comes before the server closes a channel. Clients show them as they are.
"""

from typing import Final

from basalt.errors import BasaltError


class HandshakeError(BasaltError):
    """The WebSocket is not opened; the body is `{"error": message}`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__("realtime_handshake", status, message)


class JoinError(Exception):
    """The join is refused with this reason. `closes_socket`: a client that goes on would only do harm."""

    def __init__(self, reason: str, *, closes_socket: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.closes_socket = closes_socket


class TokenError(Exception):
    """A token that opens nothing. `handshake` and `join` are its wordings there, the exception's text is the one for an
    open channel."""

    def __init__(self, message: str, *, join_code: str, handshake: str | None = None) -> None:
        super().__init__(message)
        self.join_reason = f"{join_code}: {message}"
        self.handshake_message = handshake or message


def token_expired(seconds_ago: int) -> TokenError:
    return TokenError(
        f"Token has expired {max(seconds_ago, 0)} seconds ago",
        join_code="InvalidJWTToken",
        handshake="Token has expired",
    )


def claims_missing() -> TokenError:
    return TokenError("Fields `role` and `exp` are required in JWT", join_code="InvalidJWTToken")


def role_unknown() -> TokenError:
    """A role that no request may have; `none` would be the one that has logged in."""
    return TokenError("The role in the token may not be used", join_code="InvalidJWTToken")


def expiry_invalid() -> TokenError:
    return TokenError("Token expiration time is invalid", join_code="InvalidJWTToken")


def token_malformed() -> TokenError:
    return TokenError("The token provided is not a valid JWT", join_code="MalformedJWT")


def signature_wrong() -> TokenError:
    return TokenError("Failed to validate JWT signature", join_code="JwtSignatureError")


API_KEY_MISSING = "API key is missing"
TOO_MANY_USERS = "Too many connected users"
TOO_MANY_JOINS = "Too many joins per second"
UNKNOWN_JOIN_ERROR = "Unknown Error on Channel"

TOPIC_REQUIRED = "TopicNameRequired: You must provide a topic name"
PRIVATE_ONLY = "PrivateOnly: This project only allows private channels"
TOO_MANY_CHANNELS = "ChannelRateLimitReached: Too many channels"
JOIN_RATE = f"ClientJoinRateLimitReached: {TOO_MANY_JOINS}"
REPLAY_NOT_PRIVATE = "UnableToReplayMessages: Replay is not allowed for public channels"
REPLAY_INVALID = "UnableToReplayMessages: Replay params are not valid"
REPLAY_FAILED = "UnableToReplayMessages: Realtime was unable to replay messages"
MISSING_PARTITION = "MissingPartition: Realtime was unable to find the expected messages partition"
DATABASE_UNREACHABLE = "UnableToConnectToProject: Realtime was unable to connect to the project database"
DATABASE_BUSY = "IncreaseConnectionPool: Please increase your connection pool size"
RESTARTING = "RealtimeRestarting: Realtime is restarting, please standby"

CANNOT_READ = "You do not have permissions to read from this Channel topic: "
LOST_READ = "You no longer have permission to read from this Channel topic: "

MISSED = "Changes were missed: load the data anew"
MAYBE_MISSED = "Changes before this subscription may have been missed: load the data anew"

SERVER_DISCONNECT = "Server requested disconnect"
TOO_MANY_MESSAGES = "Too many messages per second"
TOO_MANY_PRESENCE_MESSAGES = "Too many presence messages per second"
PRESENCE_RATE = "Client presence rate limit exceeded"
TRACK_TOO_LARGE = "Track message size exceeded"
NOT_REPLICATING = "Replication connection was not established in time"
REPLICATING = "Replication connection established"

# For the reference: wording, where it comes, when. What comes from the database or names things is in angle brackets.
WORDINGS: Final = (
    (API_KEY_MISSING, "handshake 401", "neither `apikey` nor `x-api-key`"),
    ("Token has expired", "handshake 401", "the key is a token past its `exp`"),
    (TOO_MANY_USERS, "handshake 429", "`max_sockets` are open"),
    ("The protocol version <version> is not supported; use 1.0.0 or 2.0.0", "handshake 400", "`vsn`"),
    (str(claims_missing()), "handshake 401, join, system", "a claim is missing"),
    (str(role_unknown()), "handshake 401, join, system", "not a role that REST's login may become"),
    (str(token_malformed()), "handshake 401, join, system", "not a JWT"),
    (str(signature_wrong()), "handshake 401, join, system", "signed with another key"),
    (str(expiry_invalid()), "handshake 401, join, system", "`exp` is no number"),
    ("Token has expired <n> seconds ago", "join, system", "also on an open channel, when its token expires"),
    (TOPIC_REQUIRED, "join", "the topic is `realtime:`"),
    (f"Unauthorized: {CANNOT_READ}<topic>", "join", "a private channel that no policy lets the caller read"),
    (PRIVATE_ONLY, "join", "`private_only`"),
    (TOO_MANY_CHANNELS, "join", "`channels_per_socket`"),
    (JOIN_RATE, "join", "`joins_per_second`; the socket is closed with 1008"),
    (REPLAY_NOT_PRIVATE, "join", "replay is for private channels"),
    (REPLAY_INVALID, "join", "`since` is no Unix time in milliseconds"),
    (REPLAY_FAILED, "join", "the database refused"),
    (MISSING_PARTITION, "join", "`realtime.messages` has no partition for today"),
    (DATABASE_UNREACHABLE, "join", "PostgreSQL is away"),
    (DATABASE_BUSY, "join", "all connections of Realtime are busy"),
    (RESTARTING, "join", "the gateway stops"),
    (UNKNOWN_JOIN_ERROR, "join", "the log has more"),
    (f"{CANNOT_READ}<topic>", "system, closes", "another token may not read the channel"),
    (f"{LOST_READ}<topic>", "system, closes", "another token may read less of it"),
    (TOO_MANY_MESSAGES, "system, closes", "`messages_per_second`"),
    (TOO_MANY_PRESENCE_MESSAGES, "system, closes", "`presence_messages_per_second`"),
    (PRESENCE_RATE, "system, closes", "`presence_calls`"),
    (TRACK_TOO_LARGE, "system, closes", "`max_payload`"),
    (NOT_REPLICATING, "system, closes", "`replication_ready` was asked for"),
    (SERVER_DISCONNECT, "system", "the gateway stops; the socket is closed with 1012 and clients come back"),
    (MISSED, "system", "changes were lost for this subscription, which goes on"),
    (
        MAYBE_MISSED,
        "system",
        "an earlier life of the gateway, or another one that died, may have served this client",
    ),
)
