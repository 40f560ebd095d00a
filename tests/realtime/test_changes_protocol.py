"""Changes of tables on the wire: what is captured and how it is told (protocol §9.1 to §9.3)."""

import re
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from tests.realtime.conftest import Harbour
from tests.realtime.phoenix import Vsn
from tests.realtime.watching import binding, mark, only, until_marked, watch

pytestmark = pytest.mark.req("P7")

BOTH: list[Vsn] = ["1.0.0", "2.0.0"]
TOO_LARGE = "Error 413: Payload Too Large"


# The message


@pytest.mark.parametrize("vsn", BOTH)
async def test_each_operation_is_told_with_what_belongs_to_it(harbour: Harbour, name: str, vsn: Vsn) -> None:
    phx = await harbour.socket(vsn)
    (identity,) = await phx.subscribe(name, binding("todos"))
    before = datetime.now(UTC)
    row = harbour.sql.execute(
        "insert into todos (room, title) values (%s, 'a') returning id", (name,)
    ).fetchone()
    assert row is not None
    harbour.sql.execute("update todos set title = 'b' where id = %s", row)
    harbour.sql.execute("delete from todos where id = %s", row)
    messages = [message for message in await phx.take(3) if message.event == "postgres_changes"]
    columns = [
        {"name": "id", "type": "int4"},
        {"name": "room", "type": "text"},
        {"name": "title", "type": "text"},
        {"name": "done", "type": "bool"},
        {"name": "rank", "type": "int4"},
        {"name": "details", "type": "jsonb"},
    ]
    record = {"id": row[0], "room": name, "title": "a", "done": False, "rank": None, "details": None}
    parts: list[dict[str, Any]] = [
        {"type": "INSERT", "record": record},
        {"type": "UPDATE", "record": {**record, "title": "b"}, "old_record": {"id": row[0]}},
        {"type": "DELETE", "old_record": {"id": row[0]}},
    ]
    for message, expected in zip(messages, parts, strict=True):
        assert (message.topic, message.ref) == (f"realtime:{name}", None)
        assert set(message.payload) == {"ids", "data"}
        assert message.payload["ids"] == [identity]
        data = dict(message.payload["data"])
        stamp = data.pop("commit_timestamp")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp)
        assert -1 < (datetime.fromisoformat(stamp) - before).total_seconds() < 60
        assert data == {"schema": "public", "table": "todos", "columns": columns, "errors": None, **expected}


async def test_one_message_names_all_bindings_that_match(harbour: Harbour, name: str) -> None:
    phx = await harbour.socket()
    ids = await phx.subscribe(
        name,
        binding("todos", name),
        binding("todos", name, event="insert"),
        binding("todos", name, event="UPDATE"),
        binding("todos", event="INSERT", filter=f"title=eq.a,room=eq.{name}"),
        binding("todos", f"not {name}"),
    )
    harbour.sql.execute("insert into todos (room, title) values (%s, 'a')", (name,))
    harbour.sql.execute("update todos set title = 'b' where room = %s", (name,))
    inserted, updated = await phx.take(2)
    assert sorted(inserted.payload["ids"]) == sorted([ids[0], ids[1], ids[3]])
    assert sorted(updated.payload["ids"]) == sorted([ids[0], ids[2]])


async def test_bindings_with_other_columns_are_other_messages(harbour: Harbour, name: str) -> None:
    phx = await harbour.socket()
    ids = await phx.subscribe(
        name,
        binding("todos", name),
        binding("todos", name, select=["title"]),
        binding("todos", name, select=["title"], event="INSERT"),
    )
    harbour.sql.execute("insert into todos (room, title) values (%s, 'a')", (name,))
    messages = await phx.take(2)
    by_ids = {tuple(sorted(message.payload["ids"])): message.payload["data"] for message in messages}
    whole, selected = by_ids[ids[0],], by_ids[tuple(sorted(ids[1:]))]
    assert set(whole["record"]) == {"id", "room", "title", "done", "rank", "details"}
    assert set(selected["record"]) == {"id", "title"}
    assert [column["name"] for column in selected["columns"]] == ["id", "title"]
    assert await phx.drain() == []


async def test_a_wildcard_means_every_table(harbour: Harbour, name: str) -> None:
    phx = await harbour.socket()
    everything, public, boats, all_boats = await phx.subscribe(
        name,
        {"event": "*", "schema": "*"},
        {"event": "*", "schema": "public"},
        {"event": "INSERT", "schema": "app", "table": "boats"},
        {"event": "*", "schema": "app", "table": "*"},
    )
    harbour.sql.execute("insert into app.boats (name) values ('Anna')")
    harbour.sql.execute("insert into todos (title) values ('a')")
    found = []
    while len(found) < 2:
        message = await phx.next()
        data = message.payload["data"]
        if data["table"] in ("boats", "todos"):
            found.append((data["schema"], data["table"], sorted(message.payload["ids"])))
    assert found == [
        ("app", "boats", sorted([everything, boats, all_boats])),
        ("public", "todos", sorted([everything, public])),
    ]


async def test_a_table_alone_is_in_public(harbour: Harbour, name: str) -> None:
    phx = await watch(harbour, name, {"table": "todos", "filter": f"room=eq.{name}"})
    harbour.sql.execute("insert into todos (room) values (%s)", (name,))
    assert (await only(phx))["schema"] == "public"


async def test_rolled_back_work_never_shows_and_the_order_is_that_of_commits(
    harbour: Harbour, name: str
) -> None:
    phx = await watch(harbour, name, binding("todos", name))
    insert = "insert into todos (room, title) values (%s, %s)"
    with psycopg.connect(harbour.server.database_url) as other:
        other.execute(insert, (name, "rolled back"))
        other.rollback()
        other.execute(insert, (name, "written first"))
        harbour.sql.execute(insert, (name, "committed first"))
        other.execute("savepoint here")
        other.execute(insert, (name, "rolled back too"))
        other.execute("rollback to here")
        other.execute(insert, (name, "last"))
        other.commit()
    titles = [data["record"]["title"] for data in await phx.changes(3)]
    assert titles == ["committed first", "written first", "last"]
    assert await phx.drain() == []


async def test_only_what_comes_after_the_subscription_is_told_and_all_of_that(
    harbour: Harbour, name: str
) -> None:
    other = await watch(harbour, f"{name} too", binding("todos", name))
    insert = "insert into todos (room, rank) values (%s, %s)"
    for number in range(10):
        phx = await harbour.socket()
        harbour.sql.execute(insert, (name, -number))
        await phx.subscribe(name, binding("todos", name))
        harbour.sql.execute(insert, (name, number))
        assert (await only(phx))["record"]["rank"] == number
        await phx.close()
    assert len(await other.changes(20)) == 20


async def test_a_burst_arrives_complete_and_in_order(harbour: Harbour, name: str) -> None:
    phx = await watch(harbour, name, binding("todos", name))
    harbour.sql.execute(
        "insert into todos (room, rank) select %s, n from generate_series(1, 500) as n", (name,)
    )
    for number in range(20):
        harbour.sql.execute("insert into todos (room, rank) values (%s, %s)", (name, 501 + number))
    assert [data["record"]["rank"] for data in await phx.changes(520)] == list(range(1, 521))


async def test_a_change_does_not_overtake_the_response_of_its_request(harbour: Harbour, name: str) -> None:
    phx = await watch(harbour, name, binding("todos", name))
    with harbour.server.client() as http:
        created = http.post(
            "/rest/v1/todos", json={"room": name}, headers={"prefer": "return=representation"}
        )
    assert (await only(phx))["record"] == created.json()[0]


# Replica identity


async def test_a_full_replica_identity_tells_the_whole_old_row(harbour: Harbour, name: str) -> None:
    phx = await watch(harbour, name, binding("whole", name))
    harbour.sql.execute("delete from whole")
    harbour.sql.execute("insert into whole values (1, %s, 'a')", (name,))
    harbour.sql.execute("update whole set title = 'b'")
    harbour.sql.execute("delete from whole")
    _, updated, deleted = await phx.changes(3)
    assert updated["old_record"] == {"id": 1, "room": name, "title": "a"}
    assert deleted["old_record"] == {"id": 1, "room": name, "title": "b"}
    assert "record" not in deleted


async def test_a_filter_on_what_the_log_does_not_tell_matches_no_delete(harbour: Harbour, name: str) -> None:
    phx = await watch(harbour, name, binding("todos", name), binding("markers", name))
    row = harbour.sql.execute("insert into todos (room) values (%s) returning id", (name,)).fetchone()
    assert row is not None
    by_key = await watch(harbour, name, binding("todos", filter=f"id=eq.{row[0]}"))
    harbour.sql.execute("delete from todos where id = %s", row)
    mark(harbour, name)
    assert [data["type"] for data in await until_marked(phx)] == ["INSERT"]
    assert (await only(by_key))["old_record"] == {"id": row[0]}


async def test_a_changed_key_tells_the_old_one(harbour: Harbour, name: str) -> None:
    phx = await watch(harbour, name, binding("todos", name))
    row = harbour.sql.execute("insert into todos (room) values (%s) returning id", (name,)).fetchone()
    assert row is not None
    harbour.sql.execute("update todos set id = id + 1000000 where id = %s", row)
    _, updated = await phx.changes(2)
    assert (updated["old_record"], updated["record"]["id"]) == ({"id": row[0]}, row[0] + 1_000_000)


# Values


VALUES = {
    "small": -32768, "big": 9223372036854775807, "real4": 1.5, "real8": 0.1, "exact": 12345678901234567890.12,
    "flag": True, "words": 'a "b" \\ ä😀\n', "code": "abc", "fixed": "ab   ",
    "day": "2026-02-28", "clock": "12:34:56.789", "moment": "2026-02-28T12:34:56.7", "span": "1 day 02:03:00",
    "ident": "6a0ff2a4-9d7c-4c1b-8f1e-0d7a4e1e6b11", "doc": {"a": [1, None]}, "docb": {"b": {"c": "d"}},
    "raw": "00ff", "address": "10.0.0.1/8", "numbers": [1, None, 3], "texts": ["a", 'b,"c"', None],
    "grid": [[1, 2], [3, 4]],
    "mood": "sad", "pair": {"a": 1, "b": "x,y"}, "email": "a@b.c", "within": "[1,5)",
}  # fmt: skip
TYPES = {
    "id": "int8", "room": "text", "small": "int2", "big": "int8", "real4": "float4", "real8": "float8",
    "exact": "numeric", "flag": "bool", "words": "text", "code": "varchar", "fixed": "bpchar", "day": "date",
    "clock": "time",
    "moment": "timestamp", "instant": "timestamptz", "span": "interval", "ident": "uuid", "doc": "json",
    "docb": "jsonb", "raw": "bytea", "address": "inet", "numbers": "_int4", "texts": "_text", "grid": "_int4",
    "mood": "mood",
    "pair": "pair", "email": "email", "within": "int4range",
}  # fmt: skip
INSERT_KINDS = r"""
insert into kinds values (%s, %s, -32768, 9223372036854775807, 1.5, 0.1, 12345678901234567890.12, true,
    E'a "b" \\ ä😀\n', 'abc', 'ab', '2026-02-28', '12:34:56.789', '2026-02-28 12:34:56.7', '2026-02-28 12:34:56+02',
    '1 day 02:03:00', '6a0ff2a4-9d7c-4c1b-8f1e-0d7a4e1e6b11', '{"a": [1, null]}', '{"b": {"c": "d"}}', '\x00ff',
    '10.0.0.1/8', '{1,null,3}', array['a', 'b,"c"', null], '{{1,2},{3,4}}', 'sad', (1, 'x,y'), 'a@b.c', '[1,5)')
"""


async def test_values_of_every_type_are_what_to_jsonb_makes_of_them(harbour: Harbour, name: str) -> None:
    phx = await watch(harbour, name, binding("kinds", name))
    harbour.sql.execute(INSERT_KINDS, (1, name))
    harbour.sql.execute("insert into kinds (id, room) values (2, %s)", (name,))
    full, empty = await phx.changes(2)
    assert {column["name"]: column["type"] for column in full["columns"]} == TYPES
    instant = full["record"].pop("instant")
    assert datetime.fromisoformat(instant) == datetime(2026, 2, 28, 10, 34, 56, tzinfo=UTC)
    assert full["record"] == {"id": 1, "room": name, **VALUES}
    assert empty["record"] == dict.fromkeys(TYPES) | {"id": 2, "room": name}
    rendered = harbour.sql.execute(
        "select to_jsonb(k) - 'instant' - 'raw' from kinds as k where id = 1"
    ).fetchone()
    assert rendered is not None
    assert {key: value for key, value in full["record"].items() if key != "raw"} == rendered[0]
    harbour.sql.execute("delete from kinds")


async def test_large_values_that_did_not_change_are_told_all_the_same(harbour: Harbour, name: str) -> None:
    phx = await watch(harbour, name, binding("large", name))
    body = "x" * 20_000
    harbour.sql.execute("delete from large where id = 1")
    harbour.sql.execute("insert into large values (1, %s, 'a', %s, null)", (name, body))
    await only(phx)
    harbour.sql.execute("update large set title = 'b' where id = 1")
    by_lookup = await only(phx)  # the row as it is now, so that it must not have changed again
    harbour.sql.execute("alter table large replica identity full")
    harbour.sql.execute("update large set title = 'c' where id = 1")
    harbour.sql.execute("alter table large replica identity default")
    from_old = await only(phx)
    for data, title in ((by_lookup, "b"), (from_old, "c")):
        assert data["record"] == {"id": 1, "room": name, "title": title, "body": body, "body2": None}
    assert from_old["old_record"]["title"] == "b"


async def test_a_change_over_a_mebibyte_is_told_without_its_large_values(harbour: Harbour, name: str) -> None:
    phx = await watch(harbour, name, binding("large", name))
    harbour.sql.execute("delete from large where id = 2")
    harbour.sql.execute(
        "insert into large values (2, %s, %s, %s, %s)", (name, "t" * 64, "x" * 600_000, "y" * 600_000)
    )
    data = await only(phx)
    assert data["errors"] == [TOO_LARGE]
    assert data["record"] == {"id": 2, "room": name, "title": "t" * 64}
    assert len(data["columns"]) == 5
    harbour.sql.execute("update large set title = %s, body2 = '' where id = 2", ("t" * 65,))
    assert (await only(phx))["errors"] is None
