"""Clients keep copies of a table from a snapshot and the changes after it, while everything breaks in turn. In the end
each copy is what the table is: a copy is loaded anew only when the server has said that something was missed."""

import asyncio
import contextlib
import itertools
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from tests.faults.realtime_client import Rejoining
from tests.faults.realtime_faults import (
    admin_conninfo,
    end_lanes,
    end_walsenders,
    execute,
    kill_gateway,
    kill_postgres,
    until,
)
from tests.projects import write_project
from tests.server import Server, running_server

SEED = int(os.environ.get("REALTIME_FAULTS_SEED", "20261126"))
ROUNDS = int(os.environ.get("REALTIME_FAULTS_ROUNDS", "1"))  # of all faults; more for a soak
UNMODIFIED, OPTED_IN = 4, 3
WRITERS = 3
KEYS = 60
MARKER = 0
CONVERGE_LIMIT_S = 30.0

MIGRATION = """
create table public.items (id bigint primary key, body text not null, change bigint not null);
create table public.entries (n bigint primary key);
create sequence public.numbers;
grant select on public.items, public.entries to anon;
alter publication supabase_realtime add table public.items, public.entries;
"""

Row = tuple[int, str, int]
Fault = Callable[[Server], Awaitable[None]]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Server]:
    files = {"config.toml": 'project_id = "copies"\n', "20260101000000_items.sql": MIGRATION}
    with running_server(write_project(tmp_path / "project", files)) as server:
        yield server


class Copy:
    """A client's copy of both tables. `seen` counts changes by their positions, of clients that ask for these."""

    def __init__(self, server: Server, number: int, *, opts_in: bool) -> None:
        self.items: dict[int, Row] = {}
        self.entries: set[int] = set()
        self.seen: Counter[str] = Counter()
        self.snapshots = 0
        self.told: Counter[str] = Counter()
        self._opts_in = opts_in
        self._position: str | bool = True
        self._rest = httpx2.AsyncClient(base_url=server.url, headers={"apikey": server.anon_key}, timeout=10)
        self.client = Rejoining(server.url, server.anon_key, f"copy-{number}", self._config, self._take)

    def _config(self) -> dict[str, Any]:
        more = {"replay": self._position} if self._opts_in else {}
        tables = [{"event": "*", "schema": "public", "table": name, **more} for name in ("items", "entries")]
        return {"postgres_changes": tables}

    async def _take(self, event: str, content: dict[str, Any]) -> None:
        if event == "postgres_changes":
            self._apply(content["data"])
        elif event == "system" and content["extension"] == "postgres_changes":
            self.told[content["message"].partition(":")[0]] += 1
            if not self.snapshots or "missed" in content["message"]:
                await self._load()
            if "position" in content and self._position is True:
                self._position = content["position"]

    def _apply(self, data: dict[str, Any]) -> None:
        assert data["errors"] is None, data
        if self._opts_in:
            self._position = data["position"]
            self.seen[data["position"]] += 1
        if data["table"] == "entries":
            self.entries.add(data["record"]["n"])
        elif data["type"] == "DELETE":
            self.items.pop(data["old_record"]["id"], None)
        else:
            record = data["record"]
            self.items[record["id"]] = (record["id"], record["body"], record["change"])

    async def _load(self) -> None:
        """As an application does: until it has succeeded."""
        while True:
            with contextlib.suppress(httpx2.TransportError):
                items = await self._rest.get("/rest/v1/items?select=id,body,change")
                entries = await self._rest.get("/rest/v1/entries?select=n")
                if items.status_code == entries.status_code == 200:
                    break
            await asyncio.sleep(0.1)
        self.items = {row["id"]: (row["id"], row["body"], row["change"]) for row in items.json()}
        self.entries = {row["n"] for row in entries.json()}
        self.snapshots += 1

    async def close(self) -> None:
        await self._rest.aclose()


async def write(server: Server, dice: random.Random, is_over: asyncio.Event, written: Counter[str]) -> None:
    """Small transactions of everything, some of them rolled back, over connections that may break at any time."""
    while not is_over.is_set():
        with contextlib.suppress(psycopg.Error):
            async with await psycopg.AsyncConnection.connect(admin_conninfo(server)) as connection:
                while not is_over.is_set():
                    await write_once(connection, dice, written)
                    await asyncio.sleep(dice.uniform(0, 0.03))
        await asyncio.sleep(0.05)


async def write_once(
    connection: psycopg.AsyncConnection[Any], dice: random.Random, written: Counter[str]
) -> None:
    for _ in range(dice.randint(1, 3)):
        key, body = dice.randint(1, KEYS), dice.choice("abc") * dice.choice((3, 30, 3000))
        what = dice.choice(("insert", "update", "delete", "entry"))
        written[what] += 1
        if what == "insert":
            statement = (
                "insert into items values (%s, %s, nextval('numbers'))"
                " on conflict (id) do update set body = excluded.body, change = excluded.change"
            )
            await connection.execute(statement, (key, body))
        elif what == "update":
            statement = "update items set change = nextval('numbers') where id = %s"
            await connection.execute(statement, (key,))
        elif what == "delete":
            await connection.execute("delete from items where id = %s", (key,))
        else:
            await connection.execute("insert into entries values (nextval('numbers'))")
    await (connection.rollback() if dice.random() < 0.1 else connection.commit())


async def take_out_of_publication(server: Server) -> None:
    await execute(server, "alter publication supabase_realtime drop table items")
    await asyncio.sleep(0.3)  # for changes that nobody is told
    await execute(server, "alter publication supabase_realtime add table items")


async def alter_table(server: Server) -> None:
    """Columns come and go, and the table is written anew."""
    await execute(server, "alter table items add column if not exists extra int default 7")
    await execute(server, "alter table items alter column body type varchar")
    await execute(
        server, "alter table items drop column extra", "alter table items alter column body type text"
    )


FAULTS: dict[str, Fault] = {
    "gateway killed": kill_gateway,
    "PostgreSQL killed": kill_postgres,
    "walsender ended": end_walsenders,
    "lanes ended": end_lanes,
    "table out of the publication": take_out_of_publication,
    "table altered": alter_table,
}


async def break_everything(server: Server, copies: list[Copy], dice: random.Random) -> None:
    for _ in range(ROUNDS):
        names = [name for name in FAULTS for _ in range(1 if "killed" in name else 2)]
        dice.shuffle(names)
        for name in names:
            for copy in dice.sample(copies, k=len(copies) // 2):
                copy.client.cut()
                await asyncio.sleep(dice.uniform(0, 0.1))
            await FAULTS[name](server)
            await asyncio.sleep(dice.uniform(0, 0.7))


@contextlib.asynccontextmanager
async def running(copies: list[Copy]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(copy.client.run()) for copy in copies]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for copy in copies:
            await copy.close()
    broken = [error for error in ended if not isinstance(error, asyncio.CancelledError)]
    assert not broken, broken


@pytest.mark.req("P7")
@pytest.mark.timeout(120 * ROUNDS)
async def test_copies_of_a_table_stay_true_whatever_breaks(shop: Server) -> None:
    dice = random.Random(SEED)
    numbers = itertools.count(1)
    copies = [Copy(shop, next(numbers), opts_in=False) for _ in range(UNMODIFIED)]
    copies += [Copy(shop, next(numbers), opts_in=True) for _ in range(OPTED_IN)]
    is_over, written = asyncio.Event(), Counter[str]()
    async with running(copies):
        await until(lambda: all(copy.snapshots for copy in copies))
        async with asyncio.TaskGroup() as group:
            for number in range(WRITERS):
                group.create_task(write(shop, random.Random(SEED + number), is_over, written))
            await break_everything(shop, copies, dice)
            is_over.set()
        await execute(shop, "insert into items values (0, 'last', 0)", "insert into entries values (0)")
        with contextlib.suppress(TimeoutError):
            await until(
                lambda: all(MARKER in copy.items and MARKER in copy.entries for copy in copies),
                CONVERGE_LIMIT_S,
            )

    async with await psycopg.AsyncConnection.connect(admin_conninfo(shop)) as connection:
        items = {
            row[0]: row
            for row in await (await connection.execute("select id, body, change from items")).fetchall()
        }
        entries = {row[0] for row in await (await connection.execute("select n from entries")).fetchall()}
    for number, copy in enumerate(copies, 1):
        what = f"seed {SEED}, client {number} of {UNMODIFIED} + {OPTED_IN}, told {dict(copy.told)}"
        assert sorted(copy.items.items() ^ items.items()) == [], what
        assert sorted(copy.entries ^ entries) == [], what
        assert [position for position, times in copy.seen.items() if times > 1] == [], what
    assert len(written) == 4
    assert min(written.values()) > 50
    assert all(copy.client.joins > 3 for copy in copies)
    assert all(copy.seen for copy in copies[UNMODIFIED:])
