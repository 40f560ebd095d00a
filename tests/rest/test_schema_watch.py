"""How often the schema cache is loaded, and what happens when the database cannot be asked."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, LiteralString

import psycopg
import pytest

from basalt.config import RestSettings
from basalt.postgres import DatabaseAccess, SchemaCache
from basalt.rest.schema_watch import SchemaWatch

pytestmark = pytest.mark.req("P5")

Connection = psycopg.Connection[Any]
CHANNEL = "pgrst"
LISTENERS: LiteralString = (
    "pg_stat_activity where application_name = 'basalt/schema-listener' and datname = current_database()"
)


class Watched:
    """A schema watch, and the caches that it gave away."""

    def __init__(self, conninfo: str) -> None:
        self.caches: list[SchemaCache] = []
        self.refusals = 0
        self.settings = RestSettings(db_schemas=("public",))
        self.watch = SchemaWatch(conninfo, load_settings=self._load_settings, on_change=self._note)

    def _load_settings(self, _: object) -> RestSettings:
        if self.refusals > 0:
            self.refusals -= 1
            raise psycopg.OperationalError("not now")
        return self.settings

    def _note(self, cache: SchemaCache, settings: RestSettings) -> None:
        assert settings is self.settings
        self.caches.append(cache)

    def knows(self, name: str) -> bool:
        return ("public", name) in self.caches[-1].tables

    async def wait(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.01)


@pytest.fixture
async def watched(database: DatabaseAccess) -> AsyncIterator[Watched]:
    found = Watched(database.conninfo("authenticator"))
    await found.watch.open(channel=CHANNEL)
    yield found
    await found.watch.close()


@pytest.fixture
async def tool(database: DatabaseAccess) -> AsyncIterator[Connection]:
    """Its DDL sets off no event trigger."""
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")
        yield connection


async def test_many_notifications_are_a_few_loads(watched: Watched, tool: Connection) -> None:
    for _ in range(300):
        tool.execute("notify pgrst, 'reload schema'")
    tool.execute("create table public.last_one ()")
    tool.execute("notify pgrst")
    await watched.wait(lambda: watched.knows("last_one"))
    assert len(watched.caches) < 20


async def test_callers_that_ask_at_once_share_one_look(watched: Watched, tool: Connection) -> None:
    tool.execute("create table public.fresh ()")
    answers = await asyncio.gather(*(watched.watch.recheck() for _ in range(50)))
    assert answers == [True] * 50
    assert len(watched.caches) == 2


async def test_nothing_is_loaded_when_nothing_has_changed(watched: Watched) -> None:
    assert await asyncio.gather(*(watched.watch.recheck() for _ in range(10))) == [False] * 10
    assert len(watched.caches) == 1


CHANGES: tuple[LiteralString, ...] = (
    "create table public.t (a int)",
    "create view public.v as select 1 as one",
    "create function public.f() returns int language sql as 'select 1'",
    "create domain public.d as text",
    "grant select on public.t to anon",
    "alter table public.t add column b int",
    "alter table public.t rename column a to z",
    "alter table public.t add unique (b)",
    "alter table public.t alter column z type text",
    "alter table public.t rename to renamed",
    "drop table public.renamed",
)


async def test_every_change_of_names_is_seen_without_a_notification(
    watched: Watched, tool: Connection
) -> None:
    for change in CHANGES:
        tool.execute(change)
        assert await watched.watch.recheck(), change
        assert not await watched.watch.recheck(), change


async def test_a_load_that_fails_is_tried_again_and_the_old_cache_kept(
    watched: Watched, tool: Connection
) -> None:
    watched.refusals = 1
    tool.execute("create table public.fresh ()")
    tool.execute("notify pgrst")
    await watched.wait(lambda: watched.refusals == 0)
    assert len(watched.caches) == 1
    await watched.wait(lambda: watched.knows("fresh"))


async def test_what_a_lost_listener_did_not_hear_is_loaded(watched: Watched, tool: Connection) -> None:
    tool.execute(f"select pg_terminate_backend(pid) from {LISTENERS}")
    tool.execute("create table public.unheard ()")
    await watched.wait(lambda: watched.knows("unheard"))
    assert tool.execute(f"select count(*) from {LISTENERS}").fetchone() == (1,)
    tool.execute("create table public.heard ()")
    tool.execute("notify pgrst")
    await watched.wait(lambda: watched.knows("heard"))


async def test_without_a_channel_nothing_is_heard_and_names_are_still_found(
    database: DatabaseAccess, tool: Connection
) -> None:
    found = Watched(database.conninfo("authenticator"))
    await found.watch.open(channel=None)
    with contextlib.closing(tool):
        tool.execute("create table public.fresh ()")
        assert await found.watch.recheck()
    assert found.knows("fresh")
    await found.watch.close()
