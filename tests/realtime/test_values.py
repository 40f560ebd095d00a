"""Values as JSON, held against `to_jsonb` of the very database."""

import json
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from basalt.postgres import LanePool, Query
from basalt.realtime.changes.log.change import UNCHANGED, Relation, RelationColumn
from basalt.realtime.changes.tables.catalog import TableCatalog
from basalt.realtime.changes.tables.table import Column, Table, ValueType
from basalt.realtime.changes.tables.values import (
    SET_SESSION_FORMS,
    RowRenderer,
    render_by_database,
    render_rows,
    render_value,
)
from tests.realtime.conftest import Connection

pytestmark = pytest.mark.req("P7")

TYPES = """
create extension if not exists hstore schema extensions;
create type mood as enum ('so', 'so la', '"l,a"', 'null', '{}');
create domain price as numeric check (value >= 0);
create domain prices as price[];
create domain note as text not null;
create domain day as date;
create type pair as (a int, at timestamptz, b text);
create domain some_pair as pair;
create type temperature as enum ('hot');
create function temperature_to_json(temperature) returns json language sql as $$ select '{"is": "hot"}'::json $$;
create cast (temperature as json) with function temperature_to_json(temperature);
create type span as range (subtype = float8);
"""

SAMPLES: dict[str, list[str]] = {
    "int2": ["0", "-32768"],
    "int4": ["2147483647", "-1"],
    "int8": ["9223372036854775807"],
    "float4": ["0.1", "1e30", "NaN", "Infinity", "-Infinity", "-0", "1.5e-30"],
    "float8": ["0.1", "1.7976931348623157e308", "5e-324", "NaN", "Infinity", "-Infinity", "1e15", "1e16"],
    "numeric": ["0.10", "NaN", "Infinity", "-Infinity", "123456789012345678901234567890.5", "1e-20"],
    "numeric(6,2)": ["1.5", "-0.01"],
    "oid": ["4294967295"],
    "bool": ["t", "f"],
    "json": ["null", ' {"b" :\n1, "a": [1 , "x\\u00e9"]} ', '"text"', "1.50", "[]"],
    "jsonb": ["null", '{"b" : 1, "a": [1 , "é"]}', '"{}"', "1.50"],
    "text": ["", " ", "é✓𝄞", '"\\/', "a\nb\tc\x01\x1f\x7f", "NULL", "</script>\u2028"],
    "varchar(3)": ["ab"],
    "char(5)": ["ab", ""],
    '"char"': ["x", ""],
    "name": ["a name"],
    "uuid": ["6BA7B810-9DAD-11D1-80B4-00C04FD430C8"],
    "date": ["2026-01-02", "infinity", "-infinity", "0044-03-15 BC", "12026-01-02"],
    "timestamp": [
        "2026-01-02 03:04:05.123456",
        "2026-01-02",
        "infinity",
        "-infinity",
        "0044-03-15 10:00:00 BC",
    ],
    "timestamptz": [
        "2026-01-02 03:04:05.5+05:30",
        "2026-01-02 00:00:00-11",
        "infinity",
        "0044-03-15 10:00:00+00 BC",
    ],
    "time": ["24:00:00", "03:04:05.5"],
    "timetz": ["03:04:05+05:30"],
    "interval": ["1 year 2 mons -3 days 04:05:06.7", "-00:00:01"],
    "money": ["-1234.5"],
    "bit(3)": ["101"],
    "varbit": ["", "10101"],
    "inet": ["10.1.2.3", "::1/64"],
    "cidr": ["10.0.0.0/8"],
    "macaddr": ["08:00:2b:01:02:03"],
    "point": ["(1.5,-2)"],
    "polygon": ["((0,0),(1,1),(1,0))"],
    "tsvector": ["'a':1A 'b c':2"],
    "tsquery": ["'a' & 'b'"],
    "int4range": ["[1,5)", "empty", "(,)"],
    "tstzrange": ['["2026-01-01 00:00:00+00",)'],
    "span": ["[1.5,2]"],
    "int4multirange": ["{[1,3),[5,9)}"],
    "regclass": ["pg_class"],
    "xml": ["<a>b</a>"],
    "mood": ["so", "so la", '"l,a"', "null"],
    "price": ["1.10"],
    "note": ["a note"],
    "day": ["2026-01-02"],
    "pair": ["(1,2026-01-02 03:04:05+02,x)", '(,,"a ""b"", c")', "(,,)"],
    "some_pair": ["(1,,x)"],
    "temperature": ["hot"],
    "extensions.hstore": ["a=>1,b=>NULL"],
    "int2vector": ["1 2 3"],
    "int4[]": [
        "{}",
        "{1,NULL,3}",
        "{{1,2},{3,4}}",
        "[0:1]={7,8}",
        "[-1:0][2:3]={{1,2},{3,4}}",
        "{{{1},{2}}}",
    ],
    "float8[]": ["{1.5,NaN,-Infinity,NULL}"],
    "numeric[]": ["{1.10,NaN}"],
    "bool[]": ["{t,f,NULL}"],
    "text[]": ['{a,"b c","",NULL,"NULL","null","a\\"b\\\\c","{x}","a,b"," ","é\n"}', '{{"a b",c},{"}",d}}'],
    "varchar(3)[]": ["{abc}"],
    "char(3)[]": ["{a}"],
    "uuid[]": ["{6ba7b810-9dad-11d1-80b4-00c04fd430c8}"],
    "timestamptz[]": ['{"2026-01-02 03:04:05+02",infinity,NULL}'],
    "date[]": ["{2026-01-02}"],
    "jsonb[]": ['{"{\\"a\\": [1, 2]}",null,"null","[]"}'],
    "json[]": ['{"{\\"a\\" :1}"}'],
    "bytea[]": ['{"\\\\x0102"}'],
    "box[]": ["{(1,1),(0,0);(2,2),(1,1)}"],
    "mood[]": ['{so,"so la","\\"l,a\\"","null","{}"}'],
    "price[]": ["{1.10,2}"],
    "prices": ["{1.10,2}"],
    "prices[]": ['{"{1.10,2}","{3}"}'],
    "day[]": ["{2026-01-02}"],
    "int4range[]": ['{"[1,5)",empty}'],
    "interval[]": ['{"1 day",NULL}'],
    "pair[]": ['{"(1,2026-01-02 03:04:05+02,x)",NULL}'],
    "temperature[]": ["{hot}"],
    "extensions.hstore[]": ['{"a=>1"}'],
}


async def describe(lanes: LanePool, postgres: Connection, table: str) -> Table:
    rows = postgres.execute(
        "select attrelid, attname, atttypid from pg_attribute"
        " where attrelid = %s::regclass and attnum > 0 order by attnum",
        [table],
    ).fetchall()
    columns = tuple(RelationColumn(name, oid, False) for _, name, oid in rows)
    return await TableCatalog(lanes).describe(Relation(rows[0][0], "public", table, "d", columns))


def parse(text: bytes | str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


async def test_every_type_becomes_what_to_jsonb_makes_of_it(lanes: LanePool, postgres: Connection) -> None:
    """What the table holds is read in text format, as the log tells it, and beside it as `to_jsonb`."""
    postgres.execute(TYPES)
    names = [f"c{number}" for number in range(len(SAMPLES))]
    columns = ", ".join(f"{name} {kind}" for name, kind in zip(names, SAMPLES, strict=True))
    postgres.execute(f"create table wide ({columns})".encode())
    postgres.execute("alter domain note drop not null")
    for number in range(max(map(len, SAMPLES.values()))):
        row = [samples[number] if number < len(samples) else None for samples in SAMPLES.values()]
        postgres.execute(f"insert into wide values ({', '.join(['%s'] * len(row))})".encode(), row)
    table = await describe(lanes, postgres, "wide")
    renderer = RowRenderer(table)
    assert [name for name, kind in zip(SAMPLES, renderer.types, strict=True) if kind.kind == "database"] == [
        "pair", "some_pair", "temperature", "extensions.hstore", "int2vector", "pair[]", "temperature[]",
        "extensions.hstore[]",
    ]  # fmt: skip
    expected = ", ".join(f"to_jsonb({name})" for name in names)
    results = await lanes.execute(
        [SET_SESSION_FORMS, Query("select * from wide"), Query(f"select {expected} from wide")]
    )
    rows = [[None if cell is None else cell.decode() for cell in row] for row in results[1].rows]
    rendered = await render_rows(lanes, renderer, rows)
    for fields, told, row in zip(rendered, results[2].rows, rows, strict=True):
        for name, kind, field, wanted, text in zip(names, SAMPLES, fields, told, row, strict=True):
            assert field is not None
            assert parse(b"{%s}" % field) == {name: None if wanted is None else parse(wanted)}, (kind, text)


def test_bytes_are_told_without_their_prefix() -> None:
    assert render_value(ValueType(17, "bytea", "bytes"), r"\x00ff") == b'"00ff"'
    assert render_value(ValueType(17, "bytea", "bytes"), r"\x") == b'""'


def test_a_row_is_told_field_by_field_and_what_was_left_out_is_not() -> None:
    number, text = ValueType(23, "int4", "number"), ValueType(25, "text", "text")
    columns = tuple(
        Column(name, position, kind, position == 1, False)
        for position, (name, kind) in enumerate([("id", number), ('a "b"', text), ("body", text)], 1)
    )
    renderer = RowRenderer(Table(1, "public", "t", columns, (), False))
    assert renderer.render(("7", None, UNCHANGED)) == [b'"id":7', rb'"a \"b\"":null', None]


async def test_a_value_that_its_type_refuses_by_now_stays_text(lanes: LanePool, postgres: Connection) -> None:
    postgres.execute(TYPES)
    row = postgres.execute("select 'pair'::regtype::oid").fetchone()
    assert row is not None
    pair = ValueType(row[0], "pair", "database")
    gone = ValueType(4_000_000_000, "gone", "database")
    assert await render_by_database(lanes, [(pair, "(1,,x)"), (pair, "(1,2,3,4)"), (gone, "é")]) == [
        b'{"a": 1, "b": "x", "at": null}', b'"(1,2,3,4)"', '"é"'.encode(),
    ]  # fmt: skip
    assert await render_by_database(lanes, []) == []


async def test_a_projects_own_cast_runs_without_the_rights_of_the_server(
    lanes: LanePool, postgres: Connection
) -> None:
    postgres.execute(TYPES)
    postgres.execute(
        "create or replace function temperature_to_json(temperature) returns json language sql"
        " as $$ select to_json(current_user) $$"
    )
    row = postgres.execute("select 'temperature'::regtype::oid").fetchone()
    assert row is not None
    temperature = ValueType(row[0], "temperature", "database")
    assert await render_by_database(lanes, [(temperature, "hot")]) == [b'"service_role"']


@pytest.fixture(scope="module")
def reader(cluster_access: Any) -> Any:
    with psycopg.connect(cluster_access.conninfo("supabase_admin"), autocommit=True) as connection:
        yield connection


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@given(st.lists(st.one_of(texts, st.none(), st.sampled_from(["NULL", "{", '"', "\\", ",", " "])), max_size=8))
def test_arrays_of_text_come_out_as_they_went_in(reader: Connection, values: list[str | None]) -> None:
    row = reader.execute(
        "select %s::text[]::text, array[%s::text[], %s::text[]]::text", [values] * 3
    ).fetchone()
    assert row is not None
    kind = ValueType(1009, "_text", "array", ValueType(25, "text", "text"))
    assert json.loads(render_value(kind, row[0])) == values
    assert json.loads(render_value(kind, row[1])) == ([values, values] if values else [])


@given(st.lists(st.one_of(st.floats(), st.none()), max_size=8))
def test_arrays_of_numbers_are_those_of_to_jsonb(reader: Connection, values: list[float | None]) -> None:
    row = reader.execute(
        "select v::text, to_jsonb(v)::text from (select %s::float8[] as v) as s", [values]
    ).fetchone()
    assert row is not None
    kind = ValueType(1022, "_float8", "array", ValueType(701, "float8", "number"))
    assert parse(render_value(kind, row[0])) == parse(row[1])
