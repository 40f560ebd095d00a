"""What is looked up about tables: columns, keys, kinds of values, ancestors, and what can be subscribed to."""

from typing import Any

import pytest
from psycopg import sql

from basalt.postgres import LanePool
from basalt.realtime.changes.log.change import Relation, RelationColumn
from basalt.realtime.changes.tables.catalog import TableCatalog
from tests.realtime.conftest import Connection

pytestmark = pytest.mark.req("P7")


def relate(postgres: Connection, table: str, *names: str) -> Relation:
    """The log's description of a table, of all its columns or of these, the first of which is its identity."""
    rows = postgres.execute(
        "select attrelid, attname, atttypid from pg_attribute"
        " where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum",
        [table],
    ).fetchall()
    columns = [
        RelationColumn(name, oid, name == rows[0][1]) for _, name, oid in rows if name in names or not names
    ]
    return Relation(rows[0][0], "public", table, "d", tuple(columns))


async def test_a_table_has_its_columns_keys_and_what_the_log_leaves_out(
    lanes: LanePool, postgres: Connection
) -> None:
    postgres.execute(
        "create table t (dropped int, b text, a int, twice int generated always as (a * 2) stored, primary key (a, b));"
        "alter table t drop column dropped"
    )
    table = await TableCatalog(lanes).describe(relate(postgres, "t", "b", "a"))
    assert [(column.name, column.number, column.type.name) for column in table.columns] == [
        ("b", 2, "text"),
        ("a", 3, "int4"),
    ]
    assert (table.missing, table.primary_key, table.identity) == (("twice",), (0, 1), (0,))
    assert (table.schema, table.name, table.has_row_security, table.ancestors) == ("public", "t", False, ())


async def test_it_is_looked_up_once_for_a_relation_until_it_is_forgotten(
    lanes: LanePool, postgres: Connection
) -> None:
    postgres.execute("create table t (id int)")
    catalog = TableCatalog(lanes)
    relation = relate(postgres, "t")
    table = await catalog.describe(relation)
    postgres.execute("alter table t enable row level security, add primary key (id)")
    assert await catalog.describe(relation) is table
    again = relate(postgres, "t")
    assert again == relation
    secured = await catalog.describe(again)
    assert (secured.has_row_security, secured.primary_key) == (True, (0,))
    postgres.execute("alter table t disable row level security")
    catalog.forget()
    assert not (await catalog.describe(again)).has_row_security


async def test_a_table_that_is_gone_is_told_with_its_types_and_closed(
    lanes: LanePool, postgres: Connection
) -> None:
    postgres.execute("create table t (id int primary key, renamed text)")
    relation = relate(postgres, "t")
    postgres.execute("alter table t rename renamed to other")
    altered = await TableCatalog(lanes).describe(relation)
    assert [column.number for column in altered.columns] == [1, 0]
    assert altered.missing == ("other",)
    postgres.execute("drop table t")
    gone = await TableCatalog(lanes).describe(relation)
    assert [(column.type.name, column.number) for column in gone.columns] == [("int4", 0), ("text", 0)]
    assert (gone.has_row_security, gone.primary_key) == (True, ())


KINDS = {
    **dict.fromkeys(["int2", "int4", "int8", "float4", "float8", "numeric(6,2)", "price"], "number"),
    **dict.fromkeys(
        ["oid", "money", "text", "varchar(3)", "uuid", "timetz", "name", "point", "mood"], "text"
    ),
    **dict.fromkeys(["int4range", "interval", "bit(3)", "inet", "tsvector", "regclass", '"char"'], "text"),
    **dict.fromkeys(["int4[]", "prices", "price[]", "prices[]", "boxes"], "array"),
    **dict.fromkeys(
        ["int2vector", "oidvector", "pair", "pair[]", "some_pair", "extensions.hstore"], "database"
    ),
    **dict.fromkeys(["timestamp", "timestamptz"], "timestamp"),
    **dict.fromkeys(["json", "jsonb"], "json"),
    "bool": "boolean",
    "date": "date",
    "bytea": "bytes",
}
TYPES = """
create extension if not exists hstore schema extensions;
create type mood as enum ('so', 'well');
create domain price as numeric check (value >= 0);
create domain prices as price[];
create type pair as (a int, b text);
create domain some_pair as pair;
create domain boxes as box[];
"""


async def test_kinds_are_those_of_to_jsonb_and_names_those_of_the_column(
    lanes: LanePool, postgres: Connection
) -> None:
    postgres.execute(TYPES)
    columns = ", ".join(f"{sql.Identifier(name).as_string()} {name}" for name in KINDS)
    postgres.execute(f"create table t ({columns})".encode())
    table = await TableCatalog(lanes).describe(relate(postgres, "t"))
    assert {column.name: column.type.kind for column in table.columns} == KINDS
    names = {column.name: column.type.name for column in table.columns}
    assert [names[name] for name in ("int4", "price", "price[]", "prices", "varchar(3)", "mood")] == [
        "int4", "price", "_price", "prices", "varchar", "mood",
    ]  # fmt: skip
    boxes = table.columns[table.positions["boxes"]].type
    assert boxes.element is not None
    assert (boxes.delimiter, boxes.element.name) == (";", "box")


async def test_what_can_be_subscribed_to_are_listed_tables_and_those_above_them(
    lanes: LanePool, postgres: Connection
) -> None:
    postgres.execute(
        """
        create schema app;
        create table app.events (id int, day date, "Odd Name" text) partition by range (day);
        create table app.events_2026 partition of app.events for values from ('2026-01-01') to ('2027-01-01')
            partition by list (id);
        create table app.events_2026_1 partition of app.events_2026 for values in (1);
        create table parents (id int);
        create table children () inherits (parents);
        create table unpublished (id int);
        alter publication supabase_realtime add table app.events_2026_1, only children;
        """
    )
    catalog = TableCatalog(lanes)
    published = await catalog.published()
    assert [(each.schema, each.name) for each in published] == [
        ("app", "events"),
        ("app", "events_2026"),
        ("app", "events_2026_1"),
        ("public", "children"),
    ]
    assert {name: each.name for name, each in published[0].columns.items()} == {
        "id": "int4",
        "day": "date",
        "Odd Name": "text",
    }
    leaf = await catalog.describe(relate(postgres, "app.events_2026_1"))
    oids: dict[str, Any] = {each.name: each.oid for each in published}
    assert leaf.ancestors == (
        (oids["events_2026"], "app", "events_2026"),
        (oids["events"], "app", "events"),
    )
    postgres.execute("alter publication supabase_realtime add table unpublished")
    assert await catalog.published() is published
    catalog.forget()
    assert "unpublished" in [each.name for each in await catalog.published()]
