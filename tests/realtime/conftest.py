"""A database of the test's own: as a project's developer sees it, and lanes to look things up. A server with tables and
policies for every rule of the protocol, and sockets to it."""

import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

import jwt
import psycopg
import pytest

from basalt.postgres import DatabaseAccess, LanePool
from tests.projects import write_project
from tests.realtime.harbour import CONFIG, MIGRATION
from tests.realtime.phoenix import Phoenix, Vsn, open_phoenix
from tests.server import Server, running_server

Connection = psycopg.Connection[tuple[Any, ...]]
Names = Callable[[], str]


@pytest.fixture
def postgres(database: DatabaseAccess) -> Iterator[Connection]:
    """What a project's developer is connected as; each statement commits."""
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        yield connection


@pytest.fixture
async def lanes(database: DatabaseAccess) -> AsyncIterator[LanePool]:
    pool = LanePool(database.conninfo("supabase_admin"), name="test")
    await pool.open()
    yield pool
    await pool.close()


class Harbour:
    """A running server, its database as the developer sees it, and sockets that close when the test ends."""

    def __init__(self, server: Server, sql: Connection, stack: AsyncExitStack) -> None:
        self.server = server
        self.sql = sql
        self._stack = stack

    async def socket(self, vsn: Vsn = "2.0.0", *, key: str | None = None) -> Phoenix:
        key = key or self.server.anon_key
        return await self._stack.enter_async_context(open_phoenix(self.server.url, key, vsn))

    def token(self, sub: str | None = None, **claims: Any) -> str:
        return sign(self.server.jwt_secret, sub, **claims)


def sign(secret: str, sub: str | None = None, *, expires_in_s: float = 3600, **claims: object) -> str:
    """A user's access token, by default of somebody new; a claim that is None is left out. Two are never alike."""
    claims = {
        "role": "authenticated",
        "sub": sub or str(uuid.uuid4()),
        "exp": time.time() + expires_in_s,
        "jti": str(uuid.uuid4()),
        **claims,
    }
    told = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(told, secret, algorithm="HS256")


@pytest.fixture(scope="session")
def harbour_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    files = {"config.toml": CONFIG, "20260101000000_harbour.sql": MIGRATION}
    project = write_project(tmp_path_factory.mktemp("harbour"), files)
    with running_server(project, BASALT_REALTIME_REFUSAL_DELAY="0") as server:
        yield server


@pytest.fixture(scope="session")
def harbour_sql(harbour_server: Server) -> Iterator[Connection]:
    with psycopg.connect(harbour_server.database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def harbour(harbour_server: Server, harbour_sql: Connection) -> AsyncIterator[Harbour]:
    async with AsyncExitStack() as stack:
        yield Harbour(harbour_server, harbour_sql, stack)


_numbers = count(1)


@pytest.fixture
def name() -> str:
    """A channel that no other test knows."""
    return f"channel{next(_numbers)}"
