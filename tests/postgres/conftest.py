"""Lanes on a database of the test's own, and the schema cache of a small project."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import psycopg
import pytest

from basalt.postgres import DatabaseAccess, LanePool, SchemaCache, load_schema_cache
from tests.postgres.schema_project import CASTS, EXPOSED, MEDIA, RELATIONSHIPS, ROUTINES, TABLES, Connection

OpenLanes = Callable[..., AbstractAsyncContextManager[LanePool]]
Observer = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def open_lanes(database: DatabaseAccess) -> OpenLanes:
    """`async with open_lanes(size=1) as lanes`: connected as `authenticator` unless `role` says otherwise."""

    @asynccontextmanager
    async def run(role: str = "authenticator", **options: Any) -> AsyncIterator[LanePool]:
        pool = LanePool(database.conninfo(role), name="test", **options)
        await pool.open()
        try:
            yield pool
        finally:
            await pool.close()

    return run


@pytest.fixture
async def lanes(open_lanes: OpenLanes) -> AsyncIterator[LanePool]:
    async with open_lanes("postgres") as pool:
        yield pool


@pytest.fixture
def observer(database: DatabaseAccess) -> Iterator[Observer]:
    """A connection beside the lanes that sees everything and commits each statement."""
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def schema_project(template: DatabaseAccess, clone_database: Any) -> Iterator[Connection]:
    """Connected as a superuser who has taken a role without privileges."""
    with (
        clone_database(template.dbname) as access,
        psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as connection,
    ):
        for statements in (TABLES, RELATIONSHIPS, ROUTINES, CASTS, MEDIA):
            connection.execute(statements)
        connection.execute("create role cache_login noinherit")
        connection.execute("set role cache_login")
        yield connection  # the role goes with the cluster
        connection.execute("reset role")


@pytest.fixture(scope="session")
def cache(schema_project: Connection) -> SchemaCache:
    return load_schema_cache(schema_project, EXPOSED, ["extra"])
