"""What a client asks for when it joins a channel (`phx_join`).

Everything is optional, booleans may be strings, and a part of the wrong type is as good as missing: the join goes on
with its default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

REPLAY_LIMIT = 25
DEFAULT_WAIT_S = 15.0
LONGEST_WAIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Replay:
    """Broadcasts of the past to begin with: since Unix milliseconds, at most so many, the newest."""

    since_ms: int
    limit: int


@dataclass(frozen=True, slots=True)
class JoinConfig:
    """`token` is the access token that came along, None for the connection's key. `replay` is None where none was asked
    for and False where what was asked makes no sense. `changes` is as it came, for `parse_bindings`. `wait_s`: hold the
    reply until the changes flow, for so long at most. `is_old`: a join without `config`."""

    token: str | None = None
    is_private: bool = False
    sends_to_self: bool = False
    acknowledges: bool = False
    tells_replication: bool = False
    replay: Replay | Literal[False] | None = None
    has_presence: bool = False
    presence_key: str = ""
    changes: object = None
    wait_s: float | None = None
    is_old: bool = False


def parse_join(payload: bytes) -> JoinConfig:
    """The payload of `phx_join`; what is not JSON counts as empty.

    >>> parse_join(b'{"config":{"broadcast":{"self":"TRUE","ack":1},"private":null}}').sends_to_self
    True
    """
    parsed = _loads(payload)
    asked = _object(parsed)
    config = _object(asked.get("config"))
    broadcast = _object(config.get("broadcast"))
    presence = _object(config.get("presence"))
    key = presence.get("key")
    return JoinConfig(
        token=_token(asked),
        is_private=_flag(config.get("private")),
        sends_to_self=_flag(broadcast.get("self")),
        acknowledges=_flag(broadcast.get("ack")),
        tells_replication=_flag(broadcast.get("replication_ready")),
        replay=_replay(broadcast.get("replay")),
        has_presence=_flag(presence.get("enabled")),
        presence_key=key if isinstance(key, str) else "",
        changes=config.get("postgres_changes"),
        wait_s=_wait(_object(config.get("postgres_changes_options"))),
        is_old=isinstance(parsed, dict) and "config" not in parsed,
    )


def old_bindings(name: str) -> list[dict[str, str]]:
    """What a join of the old interface subscribes to, by the channel's name.

    >>> old_bindings("public:todos:id=eq.1")
    [{'event': '*', 'schema': 'public', 'table': 'todos', 'filter': 'id=eq.1'}]
    """
    parts = dict(zip(("schema", "table", "filter"), name.split(":", 2), strict=False))
    return [{"event": "*", **parts}]


def _loads(payload: bytes) -> object:
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _flag(value: object) -> bool:
    return value is True or (isinstance(value, str) and value.lower() == "true")


def _token(asked: Mapping[str, Any]) -> str | None:
    """A key of the project in a token's place stands for the connection's own."""
    for name in ("user_token", "access_token"):
        token = asked.get(name)
        if isinstance(token, str) and token:
            return None if token.startswith("sb_") else token
    return None


def _replay(value: object) -> Replay | Literal[False] | None:
    if value is None:
        return None
    asked = _object(value)
    since, limit = asked.get("since"), asked.get("limit", REPLAY_LIMIT)
    if isinstance(since, bool) or not isinstance(since, int) or not 0 <= since < 1 << 53:
        return False
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        return False
    return Replay(since, min(limit, REPLAY_LIMIT))


def _wait(options: Mapping[str, Any]) -> float | None:
    if not _flag(options.get("wait")):
        return None
    timeout_ms = options.get("timeout")
    if isinstance(timeout_ms, bool) or not isinstance(timeout_ms, (int, float)) or not timeout_ms > 0:
        return DEFAULT_WAIT_S
    return min(timeout_ms / 1000, LONGEST_WAIT_S)
