"""One database and one Redis for a file; keys are fresh for each test."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from itertools import count

import psycopg
import pytest

from basalt.kv import Cache
from basalt.postgres import DatabaseAccess
from tests.bus.brokers import Postgres, has_server, running_server
from tests.conftest import CloneDatabase
from tests.kv.engines import CacheServer
from tests.kv.rates import RateServer

numbers = count(1)


@pytest.fixture(scope="module", params=["postgres", "redis"])
def cache_server(
    request: pytest.FixtureRequest,
    template: DatabaseAccess,
    clone_database: CloneDatabase,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[CacheServer]:
    with ExitStack() as stack:
        access = stack.enter_context(clone_database(template.dbname))
        with psycopg.connect(access.conninfo("supabase_admin")) as connection:
            connection.execute("create table public.computations (id int generated always as identity)")
        if request.param == "postgres":
            yield CacheServer({"engine": "postgres"}, access)
        elif not has_server("redis"):
            pytest.skip("redis-server is not installed (tools/install-test-brokers)")
        else:
            server = stack.enter_context(running_server("redis", tmp_path_factory.mktemp("redis")))
            yield CacheServer({"engine": "redis", "url": server.url}, access, server)


@pytest.fixture(scope="module", params=["memory", "postgres", "redis"])
def rate_server(
    request: pytest.FixtureRequest,
    template: DatabaseAccess,
    cluster_access: DatabaseAccess,
    clone_database: CloneDatabase,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RateServer]:
    with ExitStack() as stack:
        access = stack.enter_context(clone_database(template.dbname))
        if request.param == "memory":
            yield RateServer("memory", access)
        elif request.param == "postgres":
            yield RateServer("postgres", access, Postgres(access, cluster_access))
        elif not has_server("redis"):
            pytest.skip("redis-server is not installed (tools/install-test-brokers)")
        else:
            server = stack.enter_context(running_server("redis", tmp_path_factory.mktemp("redis")))
            yield RateServer("redis", access, server)


@pytest.fixture
async def cache(cache_server: CacheServer) -> AsyncIterator[Cache]:
    opened = await cache_server.open()
    yield opened
    await opened.close()


@pytest.fixture
def key() -> str:
    return f"key-{next(numbers)}"
