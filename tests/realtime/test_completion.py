"""Large values that the log leaves out are found in the old row or in the table, never taken from another version."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import psycopg
import pytest

from basalt.postgres import DatabaseAccess, LanePool
from basalt.realtime.changes.log.change import UNCHANGED, Change
from basalt.realtime.changes.log.stream import ReplicationStream
from basalt.realtime.changes.tables.catalog import TableCatalog
from basalt.realtime.changes.tables.completion import complete_changes, load_missing
from basalt.realtime.changes.tables.table import Table
from tests.realtime.conftest import Connection

pytestmark = pytest.mark.req("P7")

LARGE = "x" * 10_000
NOTES = """
create table notes (
    "the id" int, at timestamptz default '2026-01-02 03:04:05+00', title text, body text,
    words int generated always as (length(title)) stored, primary key ("the id", at));
alter table notes alter column body set storage external;
alter publication supabase_realtime add table notes;
"""

ReadChanges = Callable[[int], Awaitable[list[Change]]]


@pytest.fixture
async def read_changes(database: DatabaseAccess, postgres: Connection) -> AsyncIterator[ReadChanges]:
    """So many changes, as the log tells them."""
    postgres.execute(NOTES)
    stream = ReplicationStream(database.conninfo("supabase_replication_admin"))
    await stream.open()

    async def read(count: int) -> list[Change]:
        changes: list[Change] = []
        async with asyncio.timeout(20):
            while len(changes) < count:
                changes += [change for each in await stream.read() for change in each.changes]
        return changes

    yield read
    await stream.close()


async def describe(lanes: LanePool, change: Change) -> Table:
    return await TableCatalog(lanes).describe(change.relation)


AT = "2026-01-02 03:04:05+00"


async def test_an_update_is_completed_from_the_table(
    lanes: LanePool, postgres: Connection, read_changes: ReadChanges
) -> None:
    with postgres.transaction():
        for number in range(3):
            postgres.execute("insert into notes values (%s, default, 'a', %s)", [number, LARGE + str(number)])
    postgres.execute("update notes set title = 'b'")
    postgres.execute('delete from notes where "the id" = 2')
    changes = await read_changes(7)
    assert [change.new and change.new[3] for change in changes[3:]] == [UNCHANGED] * 3 + [None]
    completed = await complete_changes(lanes, await describe(lanes, changes[0]), changes)
    assert completed[:3] == changes[:3]
    assert [change.new for change in completed[3:]] == [
        ("0", AT, "b", LARGE + "0"),
        ("1", AT, "b", LARGE + "1"),
        ("2", AT, "b", UNCHANGED),
        None,
    ]


async def test_a_newer_version_of_the_row_is_not_told_in_place_of_an_older_one(
    lanes: LanePool, postgres: Connection, read_changes: ReadChanges
) -> None:
    postgres.execute("insert into notes values (1, default, 'a', %s)", [LARGE])
    postgres.execute("update notes set title = 'b'")
    postgres.execute("update notes set title = 'secret', body = body || 'secret'")
    changes = await read_changes(3)
    completed = await complete_changes(lanes, await describe(lanes, changes[0]), changes)
    assert [change.new and change.new[3] for change in completed] == [LARGE, UNCHANGED, LARGE + "secret"]


async def test_a_full_identity_needs_no_look_up(
    lanes: LanePool, postgres: Connection, read_changes: ReadChanges
) -> None:
    postgres.execute("alter table notes replica identity full")
    postgres.execute("insert into notes values (1, default, 'a', %s)", [LARGE])
    postgres.execute("update notes set title = 'b'")
    postgres.execute("delete from notes")
    changes = await read_changes(3)
    completed = await complete_changes(lanes, await describe(lanes, changes[0]), changes)
    assert completed[1].new == ("1", AT, "b", LARGE)


async def test_without_a_primary_key_or_a_table_it_is_left_out(
    lanes: LanePool, postgres: Connection, read_changes: ReadChanges
) -> None:
    postgres.execute("insert into notes values (1, default, 'a', %s)", [LARGE])
    postgres.execute("update notes set title = 'b'")
    changes = await read_changes(2)
    table = await describe(lanes, changes[0])
    postgres.execute("alter table notes drop constraint notes_pkey")
    keyless = await describe(lanes, changes[0])
    assert await complete_changes(lanes, keyless, changes) == changes
    for statement in ("alter table notes rename title to heading", "drop table notes"):
        postgres.execute(statement.encode())
        assert await complete_changes(lanes, table, changes) == changes


async def test_a_locked_table_holds_nothing_up_for_long(
    lanes: LanePool, database: DatabaseAccess, postgres: Connection, read_changes: ReadChanges
) -> None:
    postgres.execute("insert into notes values (1, default, 'a', %s)", [LARGE])
    postgres.execute("update notes set title = 'b'")
    changes = await read_changes(2)
    table = await describe(lanes, changes[0])
    with psycopg.connect(database.conninfo("postgres")) as other:
        other.execute("lock table notes")
        async with asyncio.timeout(15):
            assert await complete_changes(lanes, table, changes) == changes


async def test_columns_that_the_log_never_tells_are_looked_up(
    lanes: LanePool, postgres: Connection, read_changes: ReadChanges
) -> None:
    postgres.execute(
        'insert into notes ("the id", title, body)'
        " select number, repeat('a', number), 'b' from generate_series(1, 1200) as number"
    )
    postgres.execute("update notes set title = 'other' where \"the id\" = 7")
    postgres.execute('delete from notes where "the id" = 8')
    changes = await read_changes(1202)
    table = await describe(lanes, changes[0])
    assert table.missing == ("words",)
    missing = await load_missing(lanes, table, changes)
    expected: list[dict[str, str] | None] = [{"words": str(number)} for number in range(1, 1201)]
    expected[6] = expected[7] = None
    assert missing == [*expected, {"words": "5"}, None]
    assert await load_missing(lanes, table, []) == []


async def test_a_database_with_forms_of_its_own_compares_alike(
    database: DatabaseAccess, postgres: Connection, read_changes: ReadChanges
) -> None:
    postgres.execute(
        f"alter database {database.dbname} set timezone = 'Asia/Kolkata';"
        f"alter database {database.dbname} set datestyle = 'german'".encode()
    )
    postgres.execute("insert into notes values (1, default, 'a', %s)", [LARGE])
    postgres.execute("update notes set title = 'b'")
    changes = await read_changes(2)
    odd = LanePool(database.conninfo("supabase_admin"), name="test")
    await odd.open()
    completed = await complete_changes(odd, await describe(odd, changes[0]), changes)
    await odd.close()
    assert completed[1].new == ("1", AT, "b", LARGE)
