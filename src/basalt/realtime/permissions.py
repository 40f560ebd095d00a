"""What a caller may do on a private channel: the policies on `realtime.messages` decide (protocol §11).

PostgreSQL is asked with real rows in a transaction that is rolled back: rows that the caller's role can select mean
that it may read, a row that it can insert means that it may write. Policies see the channel as `realtime.topic()`.
"""

import uuid
from collections.abc import Sequence
from typing import Literal

from basalt.access import Caller
from basalt.postgres import LanePool, PostgresError, Query, Result

Extension = Literal["broadcast", "presence"]

OWNER = "supabase_realtime_admin"
NO_PARTITION = "23514"  # "no partition of relation found for row" is a check violation

BECOME_OWNER = "select set_config('role', $1, true)"
INSERT_PROBES = """
insert into realtime.messages (id, topic, extension, event, private)
select probe.id, $1, probe.extension, 'probe', true
from unnest($2::uuid[], $3::text[]) as probe (id, extension)
"""
BECOME_CALLER = """
select set_config('realtime.topic', $2, true), set_config('request.jwt.claims', $3, true),
    set_config('request.jwt.claim.sub', $4, true), set_config('request.jwt.claim.role', $1, true),
    set_config('request.headers', '{}', true), set_config('role', $1, true)
"""
SELECT_PROBES = "select extension from realtime.messages where id = any($1::uuid[])"
INSERT_MESSAGE = (
    "insert into realtime.messages (topic, extension, event, private) values ($1, $2, 'probe', true)"
)
ENSURE_PARTITIONS = "select realtime.ensure_message_partitions()"


async def find_readable(
    lanes: LanePool, caller: Caller, name: str, extensions: Sequence[Extension]
) -> frozenset[str]:
    """Which of the extensions the caller may read on the channel `name`. A policy that raises means none. Raises
    LanesUnavailable, and PostgresError when there is no partition for today."""
    ids = _uuids([uuid.uuid4() for _ in extensions])
    queries = [
        Query(BECOME_OWNER, (OWNER.encode(),)),
        Query(INSERT_PROBES, (name.encode(), ids, _texts(extensions))),
        become_caller(caller, name),
        Query(SELECT_PROBES, (ids,), scope=caller.role),
    ]
    try:
        results = await _execute(lanes, queries)
    except PostgresError as error:
        if is_missing_partition(error) or is_trouble(error):
            raise
        return frozenset()
    return frozenset(row[0].decode() for row in results[-1].rows if row[0] is not None)


async def may_write(lanes: LanePool, caller: Caller, name: str, extension: Extension) -> bool:
    """Whether the caller may send or track on the channel `name`. Raises as `find_readable` does."""
    queries = [
        become_caller(caller, name),
        Query(INSERT_MESSAGE, (name.encode(), extension.encode()), scope=caller.role),
    ]
    try:
        await _execute(lanes, queries)
    except PostgresError as error:
        if is_missing_partition(error) or is_trouble(error):
            raise
        return False
    return True


def become_caller(caller: Caller, name: str) -> Query:
    """Role and settings of the caller for the rest of the transaction, the channel as `realtime.topic()`."""
    subject = caller.user_id or ""
    return Query(
        BECOME_CALLER, (caller.role.encode(), name.encode(), caller.claims_json.encode(), subject.encode())
    )


async def ensure_partitions(lanes: LanePool) -> None:
    await lanes.execute([Query(ENSURE_PARTITIONS)])


async def _execute(lanes: LanePool, queries: Sequence[Query]) -> list[Result]:
    """Undone at the end; the day's partition is made when it is missing, as after a long sleep of the machine."""
    try:
        return await lanes.execute(queries, rollback=True)
    except PostgresError as error:
        if not is_missing_partition(error):
            raise
    await ensure_partitions(lanes)
    return await lanes.execute(queries, rollback=True)


def is_missing_partition(error: PostgresError) -> bool:
    return error.sqlstate == NO_PARTITION and "no partition" in error.message


def is_trouble(error: PostgresError) -> bool:
    """Whether it says nothing about policies: cancelled, out of resources, or shutting down."""
    return error.sqlstate[:2] in ("57", "53", "08", "58")


def _uuids(values: Sequence[uuid.UUID]) -> bytes:
    return b"{%b}" % b",".join(str(value).encode() for value in values)


def _texts(values: Sequence[str]) -> bytes:
    """Words of ours: nothing in them needs quoting."""
    return b"{%b}" % b",".join(value.encode() for value in values)
