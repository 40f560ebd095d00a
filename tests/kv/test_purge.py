"""The worker's part that removes what has expired."""

import asyncio
from pathlib import Path

import psycopg
import pytest

from basalt.kv import ExpiryPurger
from basalt.postgres import DatabaseAccess
from tests.projects import settings_of, write_project

INSERT_VALUES = """
insert into cache.kv_store (key, value, expires_at)
select 'old ' || n, '1'::jsonb, now() - interval '1 second' from generate_series(1, 3000) as n
union all select 'live', '1', now() + interval '1 hour'
"""
# Two kinds to be removed and two to stay, a hundred of each.
INSERT_KEYS = """
insert into basalt.idempotency_keys (key_hash, request_hash, holder, state, lease_until, expires_at)
select sha256((state || lease || life || n)::bytea), '', gen_random_uuid(), state, now() + lease, now() + life
from generate_series(1, 100) as n, (values
    ('unkept', interval '1 minute', interval '-1 second'),
    ('started', '-1 minute', '-1 second'),
    ('started', '1 minute', '-1 second'),
    ('unkept', '-1 minute', '1 hour')) as kind (state, lease, life)
"""


@pytest.mark.req("P14", "P23", "S8")
async def test_several_workers_remove_what_has_expired_and_nothing_else(
    database: DatabaseAccess, tmp_path: Path
) -> None:
    config = 'project_id = "shop"\n[basalt.cache]\npurge_interval = "1s"\n'
    settings = settings_of(write_project(tmp_path, {"config.toml": config}))
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute(INSERT_VALUES)
        connection.execute(INSERT_KEYS)
        stopping = asyncio.Event()
        workers = [asyncio.create_task(ExpiryPurger(settings, database).run(stopping)) for _ in range(3)]
        await until(connection, "select count(*) from cache.kv_store", 1)
        # Those that a live request holds are left, however old.
        await until(connection, "select count(*) from basalt.idempotency_keys", 200)
        connection.execute("insert into cache.kv_store values ('later', '1', now(), now())")
        await until(connection, "select count(*) from cache.kv_store", 1)
        stopping.set()
        async with asyncio.timeout(5):
            await asyncio.gather(*workers)


async def until(connection: psycopg.Connection, query: str, count: int) -> None:
    async with asyncio.timeout(10):
        while connection.execute(query.encode()).fetchone() != (count,):
            await asyncio.sleep(0.02)
