"""Tables that come into the publication or leave it, are altered, or have partitions (protocol §9.1)."""

import pytest

from tests.realtime.conftest import Harbour
from tests.realtime.watching import MISSED, binding, only, watch

pytestmark = pytest.mark.req("P7")


async def test_a_table_added_to_the_publication_can_be_subscribed_to_at_once(
    harbour: Harbour, name: str
) -> None:
    early = await harbour.socket()
    await early.join(name, {"postgres_changes": [binding(name)]})
    assert "check Realtime is enabled" in (await early.next()).payload["message"]
    harbour.sql.execute(f"create table {name} (id int primary key)")
    harbour.sql.execute(f"alter publication supabase_realtime add table {name}")
    phx = await watch(harbour, name, binding(name))
    harbour.sql.execute(f"insert into {name} values (1)")
    assert (await only(phx))["record"] == {"id": 1}
    assert await phx.drain() == []


async def test_who_asked_for_a_table_is_told_when_it_goes_and_when_it_comes(
    harbour: Harbour, name: str
) -> None:
    harbour.sql.execute(f"create table {name} (id int primary key)")
    everything = await watch(harbour, name, {"schema": "public"})
    harbour.sql.execute(f"alter publication supabase_realtime add table {name}")
    assert (await everything.next()).payload["message"] == MISSED
    phx = await watch(harbour, name, binding(name))
    harbour.sql.execute(f"alter publication supabase_realtime drop table {name}")
    told = (await phx.next()).payload
    assert (told["extension"], told["status"]) == ("postgres_changes", "error")
    assert "check Realtime is enabled" in told["message"]
    harbour.sql.execute(f"insert into {name} values (2)")
    harbour.sql.execute(f"alter publication supabase_realtime add table {name}")
    harbour.sql.execute(f"insert into {name} values (3)")
    assert (await phx.next()).payload["message"] == MISSED
    assert (await only(phx))["record"] == {"id": 3}


async def test_a_table_altered_while_subscribed_is_told_as_it_is_by_then(harbour: Harbour, name: str) -> None:
    sql = harbour.sql
    sql.execute(f"create table {name} (id int primary key, a text)")
    sql.execute(f"alter publication supabase_realtime add table {name}")
    phx = await watch(harbour, name, binding(name))
    sql.execute(f"insert into {name} values (1, 'x')")
    assert (await only(phx))["record"] == {"id": 1, "a": "x"}
    for number, (alteration, row) in enumerate(
        [
            ("add column b int default 7", {"a": None, "b": 7}),
            ("rename column a to c", {"c": None, "b": 7}),
            ("drop column c", {"b": 7}),
            ("alter column b type text", {"b": "7"}),
        ],
        2,
    ):
        sql.execute(f"alter table {name} {alteration}")
        sql.execute(f"insert into {name} (id) values ({number})")
        data = await only(phx)
        assert data["record"] == {"id": number, **row}
        assert {column["name"] for column in data["columns"]} == {"id", *row}
    assert [column["type"] for column in data["columns"]] == ["int4", "text"]
    sql.execute(f"drop table {name}")


async def test_partitions_are_told_as_themselves_and_as_their_table(harbour: Harbour, name: str) -> None:
    """Published by partition (the default of PostgreSQL)."""
    await partitions(harbour, name, via_root=False)


async def test_a_publication_by_root_tells_partitions_as_their_table(harbour: Harbour, name: str) -> None:
    harbour.sql.execute("alter publication supabase_realtime set (publish_via_partition_root = true)")
    try:
        await partitions(harbour, name, via_root=True)
    finally:
        harbour.sql.execute("alter publication supabase_realtime set (publish_via_partition_root = false)")


async def partitions(harbour: Harbour, name: str, *, via_root: bool) -> None:
    harbour.sql.execute("delete from parcels")
    table = await watch(harbour, name, binding("parcels", name))
    every = await watch(harbour, name, {"schema": "public"})
    light = await watch(harbour, name, binding("parcels_light", name)) if not via_root else None
    harbour.sql.execute("insert into parcels values (1, %s, 5), (100, %s, 50)", (name, name))
    first, second = await table.changes(2)
    assert [(data["table"], data["record"]["id"]) for data in (first, second)] == [
        ("parcels", 1),
        ("parcels", 100),
    ]
    assert first["columns"] == second["columns"]
    seen: list[str] = []
    while len(seen) < 2:
        data = await only(every)
        if data["table"].startswith("parcels"):
            seen.append(data["table"])
    assert seen == ["parcels", "parcels"]
    if light is not None:
        assert (await only(light))["table"] == "parcels_light"
        assert await light.drain() == []


async def test_a_publication_of_inserts_alone_tells_no_updates(harbour: Harbour, name: str) -> None:
    harbour.sql.execute("alter publication supabase_realtime set (publish = 'insert')")
    try:
        phx = await watch(harbour, name, binding("todos", name))
        harbour.sql.execute("insert into todos (room, title) values (%s, 'a')", (name,))
        harbour.sql.execute("update todos set title = 'b' where room = %s", (name,))
        harbour.sql.execute("insert into todos (room, title) values (%s, 'c')", (name,))
        assert [data["record"]["title"] for data in await phx.changes(2)] == ["a", "c"]
    finally:
        harbour.sql.execute(
            "alter publication supabase_realtime set (publish = 'insert, update, delete, truncate')"
        )
    assert (await phx.next()).payload["message"] == MISSED
