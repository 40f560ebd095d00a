"""Rows of `realtime.messages`: broadcast as the log tells of them, replayed to whoever joins later, written for senders
that want their broadcast kept (protocol §12, §13)."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from basalt.access import Caller
from basalt.postgres import LanePool, Query
from basalt.realtime.broadcast import UserBroadcast
from basalt.realtime.changes.log.change import Change, Relation, Value
from basalt.realtime.join import Replay
from basalt.realtime.permissions import become_caller
from basalt.realtime.rooms import room_key

SCHEMA = "realtime"
TABLE = "messages"
LONGEST_KEPT_S = 72 * 3600

REPLAY = """
select id, event, payload::text, encode(binary_payload, 'hex') from (
    select m.id, m.event, m.payload, m.binary_payload, m.inserted_at
    from realtime.messages as m
    where m.topic = $1 and m.private and m.extension = 'broadcast'
        and m.inserted_at >= (to_timestamp($2::float8 / 1000) at time zone 'utc')
        and m.event is not null and (m.payload is not null or m.binary_payload is not null)
        and not exists (
            select from basalt.expiring_messages as e where e.message_id = m.id and e.expires_at < now())
    order by m.inserted_at desc
    limit $3::int
) as newest
order by inserted_at
"""
STORE = """
insert into realtime.messages (id, topic, event, payload, binary_payload, private, extension)
values ($1, $2, $3, $4::jsonb, decode($5, 'hex'), true, 'broadcast')
"""
EXPIRE = """
insert into basalt.expiring_messages (message_id, expires_at)
values ($1, now() + make_interval(secs => $2::float8))
"""
RESET_ROLE = "select set_config('role', 'none', true)"


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A row that is to be broadcast, and the room it goes to."""

    id: str
    room: str
    broadcast: UserBroadcast


def is_message(relation: Relation) -> bool:
    """Whether the log speaks of `realtime.messages` (its publication tells partitions as the table itself)."""
    return relation.name == TABLE and relation.schema == SCHEMA


def read_message(change: Change) -> StoredMessage | None:
    """The message in an insert into `realtime.messages`; None for a row without topic, event or payload, or of another
    extension."""
    if change.new is None:
        return None
    row = dict(zip((column.name for column in change.relation.columns), change.new, strict=True))
    topic, event, identity = _text(row, "topic"), _text(row, "event"), _text(row, "id")
    payload, binary = _text(row, "payload"), _text(row, "binary_payload")
    if topic is None or event is None or identity is None or row.get("extension") != "broadcast":
        return None
    meta = orjson.dumps({"id": identity})
    if payload is not None:
        broadcast = UserBroadcast(event, payload.encode(), meta=meta)
    elif binary is not None:
        broadcast = UserBroadcast(event, bytes.fromhex(binary.removeprefix("\\x")), is_json=False, meta=meta)
    else:
        return None
    return StoredMessage(identity, room_key(topic, is_private=row.get("private") == "t"), broadcast)


def _text(row: dict[str, Value], name: str) -> str | None:
    value = row.get(name)
    return value if isinstance(value, str) else None


async def load_replay(lanes: LanePool, name: str, replay: Replay) -> list[StoredMessage]:
    """The newest messages of a private channel since a time, oldest first. Raises PostgresError, LanesUnavailable."""
    params = (name.encode(), b"%d" % replay.since_ms, b"%d" % replay.limit)
    (result,) = await lanes.execute([Query(REPLAY, params)], read_only=True)
    return [_replayed(name, row) for row in result.rows]


def _replayed(name: str, row: Sequence[bytes | None]) -> StoredMessage:
    identity, event, payload, binary = (None if value is None else value.decode() for value in row)
    assert identity is not None
    assert event is not None
    meta = orjson.dumps({"replayed": True, "id": identity})
    room = room_key(name, is_private=True)
    if payload is not None:
        return StoredMessage(
            identity, room, UserBroadcast(event, payload.encode(), meta=meta, prefers_text=True)
        )
    content = bytes.fromhex(binary or "")
    return StoredMessage(identity, room, UserBroadcast(event, content, is_json=False, meta=meta))


async def store_message(
    lanes: LanePool, caller: Caller, name: str, broadcast: UserBroadcast, *, life_s: float | None
) -> str:
    """Insert a private broadcast as the caller, to be replayed later, and return its id; the log then brings it to the
    room. `life_s`: how long it may be replayed. Raises PostgresError (42501 without a policy), LanesUnavailable."""
    identity = str(uuid.uuid4())
    payload = broadcast.payload if broadcast.is_json else None
    binary = None if broadcast.is_json else broadcast.payload.hex().encode()
    row = (identity.encode(), name.encode(), broadcast.event.encode(), payload, binary)
    queries = [become_caller(caller, name), Query(STORE, row, scope=caller.role)]
    if life_s is not None and life_s < LONGEST_KEPT_S:
        queries += [Query(RESET_ROLE), Query(EXPIRE, (identity.encode(), repr(life_s).encode()))]
    await lanes.execute(queries)
    return identity
