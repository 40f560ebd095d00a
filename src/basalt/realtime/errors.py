"""Why a handshake, a join or an open channel is refused, in the words of Supabase Realtime.

One reason has up to three wordings: the body of a refused handshake, the `reason` of a refused join, and the `system`
message that comes before the server closes a channel. Clients show them as they are.
"""

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

SERVER_DISCONNECT = "Server requested disconnect"
TOO_MANY_MESSAGES = "Too many messages per second"
TOO_MANY_PRESENCE_MESSAGES = "Too many presence messages per second"
PRESENCE_RATE = "Client presence rate limit exceeded"
TRACK_TOO_LARGE = "Track message size exceeded"
NOT_REPLICATING = "Replication connection was not established in time"
REPLICATING = "Replication connection established"
