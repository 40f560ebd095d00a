"""Changes of tables on the wire: what is captured, how it is told, and what is refused (protocol §9)."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg import sql as pieces

from tests.realtime.conftest import Harbour
from tests.realtime.phoenix import Phoenix, Vsn

pytestmark = pytest.mark.req("P7")

BOTH: list[Vsn] = ["1.0.0", "2.0.0"]
NO_PRIMARY_KEY = "Error 400: Bad Request, no primary key"
UNAUTHORIZED = "Error 401: Unauthorized"
MISSED = "Changes were missed: load the data anew"
TOO_LARGE = "Error 413: Payload Too Large"


def binding(table: str, room: str | None = None, **more: Any) -> dict[str, Any]:
    """All changes of a table, or of its rows of one room."""
    found = {"event": "*", "schema": "public", "table": table, **more}
    return found if room is None else {**found, "filter": f"room=eq.{room}"}


async def watch(
    harbour: Harbour, name: str, *bindings: dict[str, Any], vsn: Vsn = "2.0.0", token: str | None = None
) -> Phoenix:
    phx = await harbour.socket(vsn)
    await phx.subscribe(name, *bindings, token=token)
    return phx


async def only(phx: Phoenix) -> dict[str, Any]:
    """The data of the next message."""
    (data,) = await phx.changes(1)
    return dict(data)


def mark(harbour: Harbour, name: str) -> None:
    """A change that every subscriber to `markers` of this room gets: by then what came before it has come."""
    harbour.sql.execute("insert into markers (room) values (%s)", (name,))


async def until_marked(phx: Phoenix) -> list[dict[str, Any]]:
    """The data of what came before the marker."""
    found: list[dict[str, Any]] = []
    while (data := await only(phx))["table"] != "markers":
        found.append(data)
    return found


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


# What may not be told


async def test_a_table_without_a_primary_key_is_only_named(harbour: Harbour, name: str) -> None:
    phx = await watch(harbour, name, binding("keyless"))
    harbour.sql.execute("insert into keyless values (%s, 'a')", (name,))
    assert await only(phx) == {
        "schema": "public",
        "table": "keyless",
        "type": "INSERT",
        "commit_timestamp": None,
        "columns": [],
        "record": {},
        "old_record": {},
        "errors": [NO_PRIMARY_KEY],
    }


async def test_a_role_that_may_not_select_the_key_learns_nothing_but_the_operation(
    harbour: Harbour, name: str
) -> None:
    phx = await watch(harbour, name, binding("locked"))
    allowed = await watch(harbour, name, binding("locked"), token=harbour.token(role="service_role"))
    harbour.sql.execute("delete from locked")
    harbour.sql.execute("insert into locked values (1, %s)", (name,))
    assert await only(phx) == {
        "schema": "public",
        "table": "locked",
        "type": "INSERT",
        "commit_timestamp": None,
        "columns": [],
        "record": {},
        "old_record": {},
        "errors": [UNAUTHORIZED],
    }
    assert (await only(allowed))["record"] == {"id": 1, "room": name}


async def test_columns_without_privilege_are_left_out(harbour: Harbour, name: str) -> None:
    harbour.sql.execute("delete from partly")
    harbour.sql.execute("alter table partly replica identity full")
    phx = await watch(harbour, name, binding("partly", name), token=harbour.token())
    selecting = await watch(harbour, name, binding("partly", name, select=["title"]), token=harbour.token())
    harbour.sql.execute("insert into partly values (1, %s, 'a', 'secret')", (name,))
    harbour.sql.execute("update partly set title = 'b', secret = 'another'")
    for data in await phx.changes(2):
        assert [column["name"] for column in data["columns"]] == ["id", "room", "title"]
        assert "secret" not in json.dumps(data)
        assert "another" not in json.dumps(data)
    assert [set(data["record"]) for data in await selecting.changes(2)] == [{"id", "title"}] * 2


async def test_a_privilege_that_is_granted_or_revoked_counts_at_once(harbour: Harbour, name: str) -> None:
    token = harbour.token()
    harbour.sql.execute(f"create table {name} (id int primary key, secret text)")
    harbour.sql.execute(f"alter publication supabase_realtime add table {name}")
    phx = await watch(harbour, name, binding(name), token=token)
    harbour.sql.execute(f"insert into {name} values (1, 'a')")
    assert (await only(phx))["record"] == {"id": 1, "secret": "a"}
    harbour.sql.execute(f"revoke all on {name} from authenticated")
    harbour.sql.execute(f"insert into {name} values (2, 'b')")
    assert (await only(phx))["errors"] == [UNAUTHORIZED]
    harbour.sql.execute(f"grant select (id) on {name} to authenticated")
    harbour.sql.execute(f"insert into {name} values (3, 'c')")
    assert (await only(phx))["record"] == {"id": 3}


# Publication, partitions, altered tables


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


# Filters: a row for each operator; the grammar has tests of its own


@pytest.mark.parametrize(
    ("filter_", "matching"),
    [
        ("rank=eq.2", [2]),
        ("rank=neq.2", [1, 3]),
        ("rank=lt.2", [1]),
        ("rank=lte.2", [1, 2]),
        ("rank=gt.2", [3]),
        ("rank=gte.2", [2, 3]),
        ("rank=in.(1,3)", [1, 3]),
        ("rank=not.in.(1,3)", [2]),
        ("rank=is.null", [4]),
        ("rank=not.is.null", [1, 2, 3]),
        ("rank=isdistinct.2", [1, 3, 4]),
        ("done=is.true", [2]),
        ("done=eq.false", [1, 3, 4]),
        ("title=like.a%", [1, 2]),
        ("title=ilike.A%", [1, 2, 3]),
        ("title=match.^a[0-9]$", [1]),
        ("title=imatch.^A[0-9]$", [1, 3]),
        ("title=eq.b,rank=is.null", [4]),
        ("rank=gte.2,rank=lt.3", [2]),
        ('title=in.("a(1,2)",b)', [2, 4]),
        ("title=eq.a=b.c", []),
        ("  ", [1, 2, 3, 4]),
        ("", [1, 2, 3, 4]),
    ],
)
async def test_a_filter_lets_through_what_it_says(
    harbour: Harbour, name: str, filter_: str, matching: list[int]
) -> None:
    asked = (
        ",".join(part for part in (filter_.strip(), f"room=eq.{name}") if part)
        if filter_.strip()
        else filter_
    )
    phx = await watch(harbour, name, binding("todos", filter=asked), binding("markers", name))
    harbour.sql.execute(
        "insert into todos (room, rank, done, title) values"
        " (%(room)s, 1, false, 'a1'), (%(room)s, 2, true, 'a(1,2)'), (%(room)s, 3, false, 'A3'),"
        " (%(room)s, null, false, 'b')",
        {"room": name},
    )
    mark(harbour, name)
    records = [data["record"] for data in await until_marked(phx)]
    assert [record["rank"] or 4 for record in records if record["room"] == name] == matching


UNABLE = "Unable to subscribe to changes with given parameters. "
CHECK = UNABLE + "Please check Realtime is enabled for the given connect parameters: "
HUNDRED_AND_ONE = ",".join(map(str, range(101)))
BAD_FILTERS = [
    ("title=foo.hey", 'Error parsing `filter` params: ["foo", "hey"]'),
    ("id", 'Error parsing `filter` params: ["id"]'),
    (
        "id=eq.1,,id=eq.2",
        "Error parsing `filter` params: filter must not contain empty segments (check for extra commas)",
    ),
    ("id=in.1", "Error parsing `filter` params: `in` filter value must be wrapped by parentheses"),
    ("nope=eq.1", "invalid column for filter nope"),
    ("ROOM=eq.1", "invalid column for filter ROOM"),
    ("id=eq.x", 'invalid input syntax for type integer: "x"'),
    ("id=like.1%", "operator like requires a text-compatible column type, got integer"),
    (f"id=in.({HUNDRED_AND_ONE})", "too many values for `in` filter. Maximum 100"),
    ("title=match.(", "invalid regular expression"),
]
BAD_BINDINGS: list[tuple[dict[str, Any], str]] = [
    *(({"table": "todos", "filter": filter_}, message) for filter_, message in BAD_FILTERS),
    (
        {"event": "*"},
        "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to:",
    ),
    ({"schema": "public", "filter": "id=eq.1"}, "No subscription params provided."),
    (
        {"table": "todos", "select": "title"},
        "Error parsing `select` params: expected a list of column name strings, e.g."
        ' select: ["col1", "col2"]',
    ),
    (
        {"schema": "public", "select": ["id"]},
        "Column selection is not supported for wildcard subscriptions. Provide an explicit schema and table name.",
    ),
    ({"table": "todos", "select": ["id", "nope"]}, "invalid column for select nope"),
    ({"table": "nope"}, f"{CHECK}[event: *, schema: public, table: nope, filters: [], select: nil]"),
    (
        {"schema": "nope", "table": "todos"},
        f"{CHECK}[event: *, schema: nope, table: todos, filters: [], select: nil]",
    ),
    (
        {"table": "identityless"},
        f"{CHECK}[event: *, schema: public, table: identityless, filters: [], select: nil]",
    ),
]


@pytest.mark.parametrize(
    ("asked", "message"), BAD_BINDINGS, ids=[str(asked)[:60] for asked, _ in BAD_BINDINGS]
)
async def test_a_bad_binding_is_complained_about_and_the_join_stands(
    harbour: Harbour, name: str, asked: dict[str, Any], message: str
) -> None:
    phx = await harbour.socket()
    await phx.join(name, {"postgres_changes": [binding("todos"), asked], "broadcast": {"self": True}})
    told = await phx.next()
    assert (told.event, told.ref) == ("system", None)
    assert {**told.payload, "message": ""} == {
        "extension": "postgres_changes",
        "status": "error",
        "message": "",
        "channel": name,
    }
    assert message in told.payload["message"]
    harbour.sql.execute("insert into todos (room) values (%s)", (name,))
    other = await watch(harbour, name, binding("markers", name))
    mark(harbour, name)
    assert await until_marked(other) == []
    await phx.broadcast(f"realtime:{name}", "e", {})
    assert [each.event for each in await phx.drain()] == ["broadcast"]


async def test_a_column_without_privilege_cannot_be_filtered_by_or_selected(
    harbour: Harbour, name: str
) -> None:
    for asked, problem in (
        ({"filter": "secret=eq.secret"}, "invalid column for filter secret"),
        ({"select": ["secret"]}, "invalid column for select secret"),
    ):
        phx = await harbour.socket(key=harbour.token())
        await phx.join(name, {"postgres_changes": [binding("partly", **asked)]})
        told = await phx.next()
        assert told.payload["status"] == "error"
        assert problem in told.payload["message"]


# A join that wants to be sure


async def test_a_join_may_wait_until_its_changes_flow(harbour: Harbour, name: str) -> None:
    phx = await harbour.socket()
    wait = {"postgres_changes_options": {"wait": True}}
    await phx.join(name, {"postgres_changes": [binding("todos", name)], **wait})
    harbour.sql.execute("insert into todos (room) values (%s)", (name,))
    live, change = await phx.take(2)
    assert live.payload["message"] == "Subscribed to PostgreSQL"
    assert change.payload["data"]["record"]["room"] == name


async def test_a_join_that_wants_to_be_sure_is_refused_for_a_bad_binding(harbour: Harbour, name: str) -> None:
    phx = await harbour.socket()
    wait = {"postgres_changes_options": {"wait": True}}
    reason = await phx.refused_join(name, {"postgres_changes": [binding("nope")], **wait})
    assert reason.startswith(
        "RealtimeDisabledForConfiguration: Unable to subscribe to changes with given parameters."
    )
    await phx.join(name)


async def test_who_leaves_gets_no_more_changes(harbour: Harbour, name: str) -> None:
    phx = await watch(harbour, name, binding("todos", name))
    witness = await watch(harbour, f"{name} too", binding("todos", name))
    await phx.send(f"realtime:{name}", "phx_leave")
    await phx.take(2)
    harbour.sql.execute("insert into todos (room) values (%s)", (name,))
    await only(witness)
    assert await phx.drain() == []


async def test_a_second_join_of_a_topic_replaces_its_bindings(harbour: Harbour, name: str) -> None:
    phx = await watch(harbour, name, binding("todos", name), binding("markers", name))
    ref = await phx.ask_join(name, {"postgres_changes": [binding("markers", name)]})
    closed, reply, live = await phx.take(3)
    assert (closed.event, reply.ref, live.payload["message"]) == (
        "phx_close",
        ref,
        "Subscribed to PostgreSQL",
    )
    harbour.sql.execute("insert into todos (room) values (%s)", (name,))
    mark(harbour, name)
    assert await until_marked(phx) == []


async def test_quotes_and_dots_in_names_are_only_names(harbour: Harbour, name: str) -> None:
    odd = f'{name}."ä" \\ x'
    harbour.sql.execute(
        pieces.SQL(
            "create table {0} (id int primary key, {1} text); alter publication supabase_realtime add table {0}"
        ).format(pieces.Identifier(odd), pieces.Identifier('a "b".c'))
    )
    phx = await watch(harbour, name, binding(odd, filter='a "b".c=eq.x'))
    harbour.sql.execute(pieces.SQL("insert into {} values (1, 'x')").format(pieces.Identifier(odd)))
    data = await only(phx)
    assert (data["table"], data["record"]) == (odd, {"id": 1, 'a "b".c': "x"})
    harbour.sql.execute(pieces.SQL("drop table {}").format(pieces.Identifier(odd)))
