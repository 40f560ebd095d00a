"""A change as clients get it (protocol §9.3), out of values that are JSON already."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from basalt.realtime.changes.log.change import Change, Operation, Relation
from basalt.realtime.changes.policies.role_access import RoleAccess
from basalt.realtime.changes.rendering import (
    MAX_CHANGE_BYTES,
    NO_PRIMARY_KEY,
    TOO_LARGE,
    UNAUTHORIZED,
    RenderedChange,
)
from basalt.realtime.changes.tables.table import Column, Table, ValueType
from tests.realtime.phoenix import read_message

pytestmark = pytest.mark.req("P7", "S9")

TEXT = ValueType(25, "text", "text")
NUMBER = ValueType(23, "int4", "number")
COMMITTED_AT = datetime(2026, 1, 1, 12, 0, 0, 123_999, tzinfo=UTC)
ALL = RoleAccess(frozenset({"id", "title", "secret"}), may_select_key=True)

Values = tuple[str | None, ...]


def table(*, identity: tuple[str, ...] = ("id",), has_row_security: bool = False) -> Table:
    columns = tuple(
        Column(name, number, kind, is_primary_key=name == "id", is_identity=name in identity)
        for number, (name, kind) in enumerate([("id", NUMBER), ("title", TEXT), ("secret", TEXT)], 1)
    )
    return Table(7, "public", "todos", columns, (), has_row_security)


def render(
    operation: Operation, new: Values | None, old: Values | None = None, *, of: Table | None = None
) -> RenderedChange:
    of = of or table()
    change = Change(Relation(7, "public", "todos", "d", ()), operation, new, old)
    return RenderedChange(of, change, COMMITTED_AT, "0/10.3", new=_fields(of, new), old=_fields(of, old))


def _fields(of: Table, values: Values | None) -> list[bytes | None] | None:
    if values is None:
        return None
    fields: list[bytes | None] = []
    for column, value in zip(of.columns, values, strict=True):
        shown = json.loads(value) if value is not None and column.name == "id" else value
        fields.append(f'"{column.name}":{json.dumps(shown)}'.encode())
    return fields


def data(
    rendered: RenderedChange,
    access: RoleAccess = ALL,
    select: tuple[str, ...] | None = None,
    *,
    with_position: bool = False,
) -> Any:
    return json.loads(rendered.data(access, select, with_position=with_position))


def test_an_insert_has_a_record_alone() -> None:
    assert data(render("INSERT", ("1", "a", None))) == {
        "schema": "public",
        "table": "todos",
        "type": "INSERT",
        "commit_timestamp": "2026-01-01T12:00:00.123Z",
        "columns": [
            {"name": "id", "type": "int4"},
            {"name": "title", "type": "text"},
            {"name": "secret", "type": "text"},
        ],
        "record": {"id": 1, "title": "a", "secret": None},
        "errors": None,
    }


def test_an_update_tells_the_identity_of_the_old_row() -> None:
    """By the log where that changed, out of the new row where it did not."""
    same = data(render("UPDATE", ("1", "b", "s")))
    assert (same["record"]["title"], same["old_record"]) == ("b", {"id": 1})
    moved = data(render("UPDATE", ("2", "b", "s"), ("1", None, None)))
    assert (moved["record"]["id"], moved["old_record"]) == (2, {"id": 1})
    full = table(identity=("id", "title", "secret"))
    whole = data(render("UPDATE", ("1", "b", "s"), ("1", "a", "s"), of=full))
    assert whole["old_record"] == {"id": 1, "title": "a", "secret": "s"}
    none = data(render("UPDATE", ("1", "b", "s"), of=table(identity=())))
    assert none["old_record"] == {}


def test_a_delete_tells_the_identity_and_under_row_level_security_the_key_at_most() -> None:
    full = ("id", "title", "secret")
    deleted = render("DELETE", None, ("1", "a", "s"), of=table(identity=full))
    assert data(deleted)["old_record"] == {"id": 1, "title": "a", "secret": "s"}
    assert "record" not in data(deleted)
    secured = render("DELETE", None, ("1", "a", "s"), of=table(identity=full, has_row_security=True))
    assert data(secured)["old_record"] == {"id": 1}
    elsewhere = table(identity=("title",), has_row_security=True)  # by another unique index
    assert data(render("DELETE", None, (None, "a", None), of=elsewhere))["old_record"] == {}


def test_row_level_security_leaves_the_old_row_of_an_update_alone() -> None:
    full = table(identity=("id", "title", "secret"), has_row_security=True)
    assert data(render("UPDATE", ("1", "b", "s"), ("1", "a", "s"), of=full))["old_record"]["title"] == "a"


@pytest.mark.parametrize("operation", ["INSERT", "UPDATE", "DELETE"])
def test_what_a_role_may_not_select_is_nowhere(operation: Operation) -> None:
    full = table(identity=("id", "title", "secret"))
    new = None if operation == "DELETE" else ("1", "b", "hidden")
    old = None if operation == "INSERT" else ("1", "a", "hidden")
    some = RoleAccess(frozenset({"id", "title"}), may_select_key=True)
    rendered = render(operation, new, old, of=full)
    assert b"hidden" in rendered.data(ALL, None, with_position=False)
    assert b"secret" not in rendered.data(some, None, with_position=False)
    assert b"hidden" not in rendered.data(some, None, with_position=False)
    assert b"hidden" not in rendered.data(some, ("secret",), with_position=False)


def test_selected_columns_come_with_the_key_in_the_tables_order() -> None:
    full = table(identity=("id", "title", "secret"))
    found = data(render("UPDATE", ("1", "b", "s"), ("1", "a", "s"), of=full), select=("secret", "nope"))
    assert [column["name"] for column in found["columns"]] == ["id", "secret"]
    assert found["record"] == {"id": 1, "secret": "s"}
    assert found["old_record"] == {"id": 1, "secret": "s"}


def test_a_value_that_is_not_known_is_left_out() -> None:
    rendered = RenderedChange(
        table(),
        Change(Relation(7, "public", "todos", "d", ()), "INSERT", ("1", None, None), None),
        COMMITTED_AT,
        "",
        new=[b'"id":1', None, b'"secret":null'],
        old=None,
    )
    assert data(rendered)["record"] == {"id": 1, "secret": None}


def test_a_change_that_is_too_large_keeps_its_short_values() -> None:
    room = MAX_CHANGE_BYTES - len("1")
    assert data(render("INSERT", ("1", "x" * room, None)))["errors"] is None
    large = data(render("INSERT", ("1", "x" * room, "y" * 64)))
    assert large["errors"] == [TOO_LARGE]
    assert large["record"] == {"id": 1, "secret": "y" * 64}
    assert len(large["columns"]) == 3
    larger = data(render("INSERT", ("1", "x" * room, "y" * 65)))
    assert larger["record"] == {"id": 1}
    full = table(identity=("id", "title", "secret"))
    both = data(render("UPDATE", ("1", "x" * room, "a"), ("1", "x" * room, "b"), of=full))
    assert (both["record"], both["old_record"]) == ({"id": 1, "secret": "a"}, {"id": 1, "secret": "b"})


def test_the_size_of_a_change_is_counted_in_bytes() -> None:
    room = (MAX_CHANGE_BYTES - len("1")) // 2
    assert data(render("INSERT", ("1", "ä" * room, None)))["errors"] is None
    assert data(render("INSERT", ("1", "ä" * (room + 1), None)))["errors"] == [TOO_LARGE]


@pytest.mark.parametrize("error", [NO_PRIMARY_KEY, UNAUTHORIZED])
def test_a_refusal_names_the_table_and_the_operation_alone(error: str) -> None:
    refused = render("UPDATE", ("1", "hidden", "hidden")).refuse(error)
    assert json.loads(refused) == {
        "schema": "public",
        "table": "todos",
        "type": "UPDATE",
        "commit_timestamp": None,
        "columns": [],
        "record": {},
        "old_record": {},
        "errors": [error],
    }


def test_the_position_is_told_to_those_who_want_it() -> None:
    rendered = render("INSERT", ("1", "a", None))
    assert data(rendered, with_position=True)["position"] == "0/10.3"
    assert "position" not in data(rendered)


def test_frames_are_built_once_for_all_who_may_see_the_same() -> None:
    rendered = render("INSERT", ("1", "a", "s"))
    some = RoleAccess(frozenset({"id"}), may_select_key=True)
    content = rendered.data(ALL, None, with_position=False)
    frame = rendered.frame("realtime:x", "2.0.0", (1, 2), content)
    assert rendered.frame("realtime:x", "2.0.0", (1, 2), content) is frame
    others = [
        rendered.frame("realtime:y", "2.0.0", (1, 2), content),
        rendered.frame("realtime:x", "1.0.0", (1, 2), content),
        rendered.frame("realtime:x", "2.0.0", (1,), content),
        rendered.frame("realtime:x", "2.0.0", (1, 2), rendered.data(some, None, with_position=False)),
        rendered.frame("realtime:x", "2.0.0", (1, 2), rendered.data(ALL, None, with_position=True)),
        rendered.frame("realtime:x", "2.0.0", (1, 2), rendered.refuse(UNAUTHORIZED)),
    ]
    assert len({frame, *others}) == 7


def test_the_old_interface_takes_the_operation_for_the_event() -> None:
    rendered = render("INSERT", ("1", "a", "s"))
    frame = rendered.old_frame("realtime:x", "1.0.0", rendered.data(ALL, None, with_position=False))
    message = read_message("1.0.0", frame[4:].decode())
    assert (message.event, message.ref, message.payload["record"]["title"]) == ("INSERT", None, "a")
