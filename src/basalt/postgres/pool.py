"""The ordinary connection pool, for everything that is not a lane: auth, migrations, jobs, the schema
cache."""

from typing import Any

from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

Pool = AsyncConnectionPool[AsyncConnection[DictRow]]

CONNECT_TIMEOUT_S = 10
ACQUIRE_TIMEOUT_S = 10.0
RECONNECT_TIMEOUT_S = 60.0
IDLE_S = 120.0
LIFETIME_S = 3600.0
WAITING_PER_CONNECTION = 32


def open_pool(conninfo: str, *, min_size: int = 0, max_size: int = 8, name: str) -> Pool:
    """A pool whose rows are dicts and whose connections start a transaction with the first statement; shown
    in pg_stat_activity as `basalt/NAME`. It is not open yet: `async with open_pool(…) as pool` or `await
    pool.open()`. Beyond the bound on waiting it raises psycopg_pool.TooManyRequests, beyond the time
    psycopg_pool.PoolTimeout."""
    options: dict[str, Any] = {"row_factory": dict_row, "autocommit": False}
    return AsyncConnectionPool(
        make_conninfo(
            conninfo,
            application_name=f"basalt/{name}",
            client_encoding="UTF8",
            connect_timeout=CONNECT_TIMEOUT_S,
        ),
        kwargs=options,
        min_size=min_size,
        max_size=max_size,
        open=False,
        name=name,
        timeout=ACQUIRE_TIMEOUT_S,
        reconnect_timeout=RECONNECT_TIMEOUT_S,
        max_idle=IDLE_S,
        max_lifetime=LIFETIME_S,
        max_waiting=max_size * WAITING_PER_CONNECTION,
        check=AsyncConnectionPool.check_connection,
    )
