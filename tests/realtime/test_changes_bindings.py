"""What bindings let through, which are refused in which words, and joins that wait for them (protocol §9.2, §9.4, 9.6).
The grammar of filters has tests of its own."""

from typing import Any

import pytest
from psycopg import sql as pieces

from tests.realtime.conftest import Harbour
from tests.realtime.watching import binding, mark, only, until_marked, watch

pytestmark = pytest.mark.req("P7")


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
