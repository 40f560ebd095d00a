"""Lanes on a database of the test's own."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import psycopg
import pytest

from basalt.postgres import DatabaseAccess, LanePool

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
