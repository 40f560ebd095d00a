"""Cached values in `cache.kv_store`, leases in `basalt.cache_leases`.

Every call is one flush on a lane: one round trip, and no connection is held while a value is computed or waited for.
Whoever ends a lease notifies only where somebody waits, because all notifying transactions of a cluster queue for one
lock.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import orjson
import psycopg

from basalt.kv.engine import Claim
from basalt.postgres import LanePool, Query, Result

LANES = 2
CONNECT_LIMIT_S = 10
PURGE_BATCH = 1000
ROLE = Query("select set_config('role', 'service_role', true)")
# What PostgreSQL forgets in a crash is computed again, so most commits need not wait for the disk. One that takes a
# value away must: it would be back.
RELAXED = Query(
    "select set_config('role', 'service_role', true), set_config('synchronous_commit', 'off', true)"
)
LISTEN = "listen basalt_cache"


class PostgresEngine:
    """`conninfo` logs in as a role that may become `service_role`."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._lanes = LanePool(conninfo, size=LANES, name="cache")

    async def open(self) -> None:
        await self._lanes.open()

    async def close(self) -> None:
        await self._lanes.close()

    READ = """
    select value from cache.kv_store where key = $1 and (expires_at is null or expires_at > now())
    """

    async def read(self, key: str) -> bytes | None:
        return _first(await self._run(Query(self.READ, (key.encode(),))))

    WRITE = """
    insert into cache.kv_store (key, value, expires_at) values ($1, $2, now() + make_interval(secs => $3))
    on conflict (key) do update set value = excluded.value, created_at = now(), expires_at = excluded.expires_at
    """

    async def write(self, key: str, value: bytes, *, ttl_s: float) -> None:
        await self._run(Query(self.WRITE, (key.encode(), value, _number(ttl_s))))

    DELETE = """
    with wanted as (
        select jsonb_array_elements_text($1) as key
    ), gone as (
        delete from cache.kv_store as v using wanted where v.key = wanted.key returning v.expires_at
    ), ended as (
        delete from basalt.cache_leases as l using wanted where l.key = wanted.key returning l.key, l.has_waiters
    )
    select (select count(*) from gone where expires_at is null or expires_at > now()),
        (select count(pg_notify('basalt_cache', key)) from ended where has_waiters)
    """

    async def delete(self, keys: Sequence[str]) -> int:
        return int(_first(await self._run(Query(self.DELETE, (orjson.dumps(keys),)), prelude=ROLE)) or 0)

    # Who meets a lease leaves a mark that somebody waits.
    CLAIM = """
    insert into basalt.cache_leases as l (key, holder, lease_until)
    values ($1, $2, clock_timestamp() + make_interval(secs => $3))
    on conflict (key) do update set
        holder = case when l.lease_until <= now() then excluded.holder else l.holder end,
        lease_until = case when l.lease_until <= now() then excluded.lease_until else l.lease_until end,
        has_waiters = true
    returning holder = $2, extract(epoch from lease_until - clock_timestamp())
    """

    async def claim(self, key: str, holder: str, *, lease_s: float) -> Claim:
        # Two statements: the second one sees what was committed until the first one had the lease.
        claimed, found = await self._run(
            Query(self.CLAIM, (key.encode(), holder.encode(), _number(lease_s))),
            Query(self.READ, (key.encode(),)),
        )
        is_mine, left_s = claimed.rows[0]
        return Claim(_first([found]), is_mine == b"t", float(left_s or 0))

    EXTEND = """
    update basalt.cache_leases set lease_until = clock_timestamp() + make_interval(secs => $3)
    where key = $1 and holder = $2 returning 1
    """

    async def extend(self, key: str, holder: str, *, lease_s: float) -> bool:
        query = Query(self.EXTEND, (key.encode(), holder.encode(), _number(lease_s)))
        return _first(await self._run(query)) is not None

    SETTLE = """
    with mine as (
        delete from basalt.cache_leases where key = $1 and holder = $2 returning key, has_waiters
    ), kept as (
        insert into cache.kv_store (key, value, expires_at)
        select key, $3::jsonb, now() + make_interval(secs => $4) from mine
        on conflict (key) do update set value = excluded.value, created_at = now(), expires_at = excluded.expires_at
    )
    select has_waiters, case when has_waiters then pg_notify('basalt_cache', key) end from mine
    """

    async def settle(self, key: str, holder: str, value: bytes, *, ttl_s: float) -> bool:
        query = Query(self.SETTLE, (key.encode(), holder.encode(), value, _number(ttl_s)))
        return _first(await self._run(query)) is not None

    FREE = """
    with mine as (
        delete from basalt.cache_leases where key = $1 and holder = $2 returning key, has_waiters
    )
    select pg_notify('basalt_cache', key) from mine where has_waiters
    """

    async def free(self, key: str, holder: str) -> None:
        await self._run(Query(self.FREE, (key.encode(), holder.encode())))

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[AsyncIterator[str]]:
        connection = await psycopg.AsyncConnection.connect(
            self._conninfo,
            autocommit=True,
            application_name="basalt/cache-listener",
            connect_timeout=CONNECT_LIMIT_S,
        )
        async with connection:
            await connection.execute(LISTEN)
            yield (notification.payload async for notification in connection.notifies())

    # Rows that somebody else has locked are left for the next time.
    PURGE = """
    with expired as (
        select key from cache.kv_store where expires_at <= now() order by expires_at limit $1 for update skip locked
    ), gone as (
        delete from cache.kv_store as v using expired where v.key = expired.key returning 1
    )
    select count(*) from gone
    """
    PURGE_LEASES = """
    delete from basalt.cache_leases where key in (
        select key from basalt.cache_leases where lease_until < now() - interval '1 minute' for update skip locked)
    """

    async def purge(self) -> int:
        await self._run(Query(self.PURGE_LEASES))
        total = 0
        while True:
            removed = int(_first(await self._run(Query(self.PURGE, (_number(PURGE_BATCH),)))) or 0)
            total += removed
            if removed < PURGE_BATCH:
                return total

    async def _run(self, *queries: Query, prelude: Query = RELAXED) -> list[Result]:
        return (await self._lanes.execute([prelude, *queries]))[1:]


def _first(results: list[Result]) -> bytes | None:
    """The first value, None where there is no row."""
    rows = results[0].rows
    return rows[0][0] if rows else None


def _number(value: float) -> bytes:
    return repr(value).encode()
