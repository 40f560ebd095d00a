"""Conditions against real columns: what is refused, and that every answer is PostgreSQL's own."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql

from basalt.postgres import DatabaseAccess, LanePool
from basalt.realtime.changes.filters.bindings import Binding, BindingError, parse_bindings
from basalt.realtime.changes.filters.columns import FilterColumn, load_filter_columns
from basalt.realtime.changes.filters.database_conditions import ask_database
from basalt.realtime.changes.filters.grammar import Condition, Operator
from basalt.realtime.changes.filters.index import FilterIndex
from basalt.realtime.changes.filters.prepare import Filter, prepare_filter
from basalt.realtime.changes.log.change import UNCHANGED, Value

pytestmark = pytest.mark.req("P7")

TABLE = """
create extension if not exists citext with schema extensions;
create type public.mood as enum ('sad', 'ok', 'happy');
create domain public.small as int check (value < 100);
create domain public.email as extensions.citext not null check (value ~ '@');
create domain public.nickname as text check (value !~ '%');
create type public.pair as (a int, b int);
create schema private;
create type private.shade as enum ('light', 'dark');
create collation public.case_blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
create table public.things (
    int2 int2, int4 int4, int8 int8, oid oid, bool bool, uuid uuid, numeric numeric, float4 float4, float8 float8,
    date date, timestamp timestamp, timestamptz timestamptz, text text, "varchar" varchar(9), c text collate "C",
    mood mood, small small, nickname nickname, pair pair, shade private.shade, citext extensions.citext, email email,
    bpchar char(5), blind text collate public.case_blind, jsonb jsonb, json json, ints int[], bytea bytea,
    gone int
);
alter table public.things drop column gone;
"""


@pytest.fixture(scope="module")
def things(template: DatabaseAccess, clone_database: Any) -> Iterator[DatabaseAccess]:
    with clone_database(template.dbname) as access:
        with psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as connection:
            connection.execute(TABLE)
            # what the session is set to must not matter
            connection.execute(
                sql.SQL(
                    "alter database {0} set timezone = 'Asia/Tokyo'; alter database {0} set datestyle = 'SQL, DMY'"
                ).format(sql.Identifier(access.dbname))
            )
        yield access


@asynccontextmanager
async def opened(access: DatabaseAccess) -> AsyncIterator[LanePool]:
    pool = LanePool(access.conninfo("supabase_admin"), name="test", size=2)
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close()


@pytest.fixture
async def lanes(things: DatabaseAccess) -> AsyncIterator[LanePool]:
    async with opened(things) as pool:
        yield pool


@pytest.fixture
async def columns(lanes: LanePool, things: DatabaseAccess) -> Mapping[str, FilterColumn]:
    return await load_filter_columns(lanes, table_oid(things))


def table_oid(access: DatabaseAccess) -> int:
    with psycopg.connect(access.conninfo("supabase_admin")) as connection:
        row = connection.execute("select 'public.things'::regclass::oid::int").fetchone()
    assert row
    return int(row[0])


def binding(filter_: str, **params: Any) -> Binding:
    (parsed,) = parse_bindings([{"schema": "public", "table": "things", "filter": filter_, **params}])
    assert parsed.problem is None
    return parsed


def bind(*conditions: Condition) -> Binding:
    return Binding({}, 1, schema="public", table="things", conditions=conditions)


async def matches(lanes: LanePool, filter_: Filter, row: Mapping[str, Value]) -> bool:
    (answer,) = await match_all(lanes, [(filter_, row)])
    return answer


async def match_all(lanes: LanePool, asked: Sequence[tuple[Filter, Mapping[str, Value]]]) -> list[bool]:
    """Each filter against its row; what PostgreSQL must be asked, it is asked at once."""
    found = []
    for filter_, row in asked:
        index: FilterIndex[str] = FilterIndex({name: position for position, name in enumerate(row)})
        index.add("me", filter_)
        found.append(index.find(list(row.values())))
    answers = await ask_database(
        lanes, [q for _, asking in found for asked in asking for q in asked.questions]
    )
    assert not answers.failures
    return [
        bool(matching) or any(all(answers.holds[q] for q in asked.questions) for asked in asking)
        for matching, asking in found
    ]


# What is refused


@pytest.mark.parametrize(
    ("filter_", "exception"),
    [
        ("nope=eq.1", "ERROR P0001 (raise_exception) invalid column for filter nope"),
        ("INT4=eq.1", "ERROR P0001 (raise_exception) invalid column for filter INT4"),
        ("gone=eq.1", "ERROR P0001 (raise_exception) invalid column for filter gone"),
        (
            "int4=eq.hey",
            'ERROR 22P02 (invalid_text_representation) invalid input syntax for type integer: "hey"',
        ),
        (
            "uuid=in.(7)",
            'ERROR 22P02 (invalid_text_representation) invalid input syntax for type uuid: "7"',
        ),
        (
            "mood=eq.glad",
            'ERROR 22P02 (invalid_text_representation) invalid input value for enum mood: "glad"',
        ),
        (
            "int2=eq.99999",
            'ERROR 22003 (numeric_value_out_of_range) value "99999" is out of range for type smallint',
        ),
        ("int4=in.(1,,2)", 'ERROR 22P02 (invalid_text_representation) malformed array literal: "{1,,2}"'),
        (
            "small=eq.100",
            'ERROR 23514 (check_violation) value for domain small violates check constraint "small_check"',
        ),
        (
            "email=eq.nobody",
            'ERROR 23514 (check_violation) value for domain email violates check constraint "email_check"',
        ),
        (
            "int4=like.1%",
            "ERROR P0001 (raise_exception) operator like requires a text-compatible column type, got integer",
        ),
        (
            "int4=imatch.1",
            "ERROR P0001 (raise_exception) operator imatch requires a text-compatible column type, got integer",
        ),
        (
            "bytea=match.1",
            "ERROR P0001 (raise_exception) operator match requires a text-compatible column type, got bytea",
        ),
        (
            "int4=is.maybe",
            "ERROR P0001 (raise_exception) invalid value for is filter: must be null, true, false, or unknown",
        ),
        (
            "int4=is.true",
            "ERROR P0001 (raise_exception) is true filter requires a boolean column, got integer",
        ),
        (
            f"int4=in.({','.join(map(str, range(101)))})",
            "ERROR P0001 (raise_exception) too many values for `in` filter. Maximum 100",
        ),
        (
            "text=match.(",
            "ERROR P0001 (raise_exception) invalid regular expression for match filter: "
            "invalid regular expression: parentheses () not balanced",
        ),
        (
            "text=like.a\\",
            "ERROR 22025 (invalid_escape_sequence) LIKE pattern must not end with escape character",
        ),
        ("json=eq.1", "ERROR 42883 (undefined_function) operator does not exist: json = json"),
        (
            "text=eq.a\0b",
            'ERROR 22021 (character_not_in_repertoire) invalid byte sequence for encoding "UTF8": 0x00',
        ),
    ],
)
async def test_a_condition_that_cannot_hold_is_refused_in_supabases_words(
    lanes: LanePool, columns: Mapping[str, FilterColumn], filter_: str, exception: str
) -> None:
    asked = binding(filter_)
    with pytest.raises(BindingError) as caught:
        await prepare_filter(lanes, columns, asked, role="anon")
    assert str(caught.value).startswith(
        "Unable to subscribe to changes with given parameters. An exception happened so please check your connect "
        "parameters: [event: *, schema: public, table: things, filters: [{"
    )
    assert str(caught.value).endswith(f"Exception: {exception}")


async def test_selected_columns_must_exist(lanes: LanePool, columns: Mapping[str, FilterColumn]) -> None:
    with pytest.raises(BindingError, match=r"invalid column for select nope$"):
        await prepare_filter(lanes, columns, binding("", select=["text", "nope"]), role="anon")
    assert await prepare_filter(lanes, columns, binding("", select=["text"]), role="anon") == Filter()


async def test_what_postgresql_is_asked_runs_as_the_subscriber(
    lanes: LanePool, columns: Mapping[str, FilterColumn]
) -> None:
    with pytest.raises(
        BindingError, match=r"\(insufficient_privilege\) permission denied for schema private"
    ):
        await prepare_filter(lanes, columns, binding("shade=eq.dark"), role="anon")
    assert await prepare_filter(lanes, columns, binding("shade=eq.dark"), role="postgres")


async def test_an_operator_of_the_users_does_not_stand_in_for_postgresqls(
    lanes: LanePool, columns: Mapping[str, FilterColumn], things: DatabaseAccess
) -> None:
    with psycopg.connect(things.conninfo("postgres"), autocommit=True) as connection:
        connection.execute("""
            create function public.always(text, text) returns boolean immutable language sql as 'select true';
            create operator public.~~* (function = public.always, leftarg = text, rightarg = text);
        """)
    prepared = await prepare_filter(lanes, columns, binding("text=ilike.a"), role="anon")
    assert not await matches(lanes, prepared, {"text": "b"})


async def test_a_database_that_is_away_is_no_fault_of_the_binding(things: DatabaseAccess) -> None:
    async with opened(things) as lanes:
        columns = await load_filter_columns(lanes, table_oid(things))
    with pytest.raises(Exception, match="connection to the database"):
        await prepare_filter(lanes, columns, binding("int4=eq.1"), role="anon")


# What matches


@pytest.mark.parametrize(
    ("filter_", "row", "expected"),
    [
        ("int4=eq.5,text=like.a%", {"int4": "5", "text": "abc"}, True),
        ("int4=eq.5,text=like.a%", {"int4": "5", "text": "bc"}, False),
        ("int4=eq.5,text=ilike.a%", {"int4": "5", "text": "ABC"}, True),
        ("text=ilike.a%,int4=not.eq.5", {"int4": "5", "text": "ABC"}, False),
        ("int4=not.eq.5", {"int4": None}, False),
        ("int4=not.in.(5)", {"int4": None}, False),
        ("text=not.ilike.a", {"text": None}, False),
        ("bpchar=not.in.()", {"bpchar": None}, False),
        ("int4=isdistinct.5", {"int4": None}, True),
        ("bpchar=isdistinct.5", {"bpchar": None}, True),
        ("int4=is.null", {"int4": None}, True),
        ("int4=not.is.null", {"int4": "1"}, True),
        ("pair=is.null", {"pair": "(,)"}, True),
        ("pair=not.is.null", {"pair": "(1,)"}, False),
        ("int4=in.(1,NULL)", {"int4": "1"}, True),
        ("int4=not.in.(1,NULL)", {"int4": "2"}, False),
        ("timestamptz=eq.2026-01-01 12:00+02", {"timestamptz": "2026-01-01 10:00:00+00"}, True),
        ("timestamptz=eq.2026-01-01 12:00", {"timestamptz": "2026-01-01 12:00:00+00"}, True),
        ("date=eq.02/01/2026", {"date": "2026-01-02"}, True),
        ("nickname=like.a%", {"nickname": "abc"}, True),
        ("nickname=ilike.a%", {"nickname": "ABC"}, True),
        ("email=eq.A@B.com", {"email": "a@b.com"}, True),
        ("email=ilike.%@b%", {"email": "a@b.com"}, True),
        ("email=in.(A@b)", {"email": "a@b"}, True),
        ("citext=eq.ABC", {"citext": "abc"}, True),
        ("citext=in.(ABC)", {"citext": "abc"}, True),
        ("blind=eq.ABC", {"blind": "abc"}, True),
        ('ints=eq."{1,2}"', {"ints": "{1,2}"}, True),
        ("jsonb=eq.{}", {"jsonb": "{}"}, True),
        ("varchar=match.^a", {"varchar": "abc"}, True),
        ("int4=not.eq.5", {"int4": UNCHANGED}, False),
        ("text=not.ilike.a", {"text": UNCHANGED}, False),
        ("int4=not.eq.5", {"int4": "no number any more"}, False),
        ("int4=not.eq.5", {"text": "a column of the replica identity"}, False),
        ("int4=is.null", {"text": "a column of the replica identity"}, False),
        ("", {"text": "x"}, True),
    ],
)
async def test_rows_match_as_the_protocol_says(
    lanes: LanePool,
    columns: Mapping[str, FilterColumn],
    filter_: str,
    row: Mapping[str, Value],
    expected: bool,
) -> None:
    prepared = await prepare_filter(lanes, columns, binding(filter_), role="anon")
    assert await matches(lanes, prepared, row) is expected


INTEGERS = st.sampled_from(["0", "-1", "1", "+1", "32767", "-32768"]) | st.integers(-9, 9).map(str)
INSTANTS = st.sampled_from(
    [
        "infinity",
        "-infinity",
        "0044-03-15 BC",
        "0044-03-16 BC",
        "0043-03-15 BC",
        "10000-01-01",
        "0001-01-01",
        "2026-01-01 12:00:00.5",
        "2026-01-01 12:00:00.45",
        "2026-01-01 12:00",
        "2026-01-01 12:00:00.000001",
        "0044-03-15 12:00:00.5 BC",
    ]
)
FLOATS = st.sampled_from(["NaN", "Infinity", "-Infinity", "0", "-0", "1e3", "1000.0", "0.1", "16777217"])
WORDS = st.text(st.sampled_from('abAZ é%_\\ß😀"'), max_size=4)
OTHER_WORDS = st.text(st.sampled_from("aAb "), max_size=3)
PATTERNS = st.text(st.sampled_from("aAb%_é"), max_size=5) | st.sampled_from(["%a%b", "\\%%", "%\\_%", "%a_%"])
EXPRESSIONS = st.sampled_from(["^a", "a|b", "^.$", "[[:upper:]]", "(?i)é"])
EQUALITY: list[Operator] = ["eq", "neq", "in", "isdistinct"]
ORDER: list[Operator] = [*EQUALITY, "lt", "lte", "gt", "gte"]
COLUMNS: dict[str, tuple[st.SearchStrategy[str], list[Operator]]] = {
    "int2": (INTEGERS, ORDER),
    "int4": (INTEGERS, ORDER),
    "int8": (INTEGERS, ORDER),
    "small": (st.integers(-9, 9).map(str), ORDER),
    "oid": (st.sampled_from(["0", "1", "4294967295"]), ORDER),
    "bool": (st.sampled_from(["t", "f", "yes", "off"]), ORDER),
    "uuid": (
        st.sampled_from(["0" * 32, "{" + "A" * 32 + "}", "a" * 32, "f" * 31 + "0", "0" * 31 + "9"]),
        ORDER,
    ),
    "numeric": (FLOATS | st.decimals(-2, 2, places=1, allow_nan=False).map(str), ORDER),
    "float4": (FLOATS | st.floats(width=32).map(repr), ORDER),
    "float8": (FLOATS | st.floats().map(repr), ORDER),
    "date": (INSTANTS | st.dates().map(str), ORDER),
    "timestamp": (INSTANTS | st.datetimes().map(str), ORDER),
    "timestamptz": (
        INSTANTS | st.builds("{}{}".format, st.datetimes(), st.sampled_from(["", "+02", "-11:30"])),
        ORDER,
    ),
    "text": (WORDS, ORDER),
    "varchar": (WORDS, ORDER),
    "c": (WORDS, ORDER),
    "mood": (st.sampled_from(["sad", "ok", "happy"]), ORDER),
    "citext": (OTHER_WORDS, ORDER),
    "bpchar": (OTHER_WORDS, ORDER),
    "blind": (OTHER_WORDS, ORDER),
    "jsonb": (st.sampled_from(["1", "1.0", "[]", '"a"', "null"]), ORDER),
    "ints": (st.sampled_from(["{}", "{1}", "{1,2}"]), ["eq", "neq", "lt", "gte", "isdistinct"]),
    "bytea": (st.sampled_from(["", "\\x00", "a"]), ORDER),
}
TEXTS = ["text", "varchar", "c", "citext", "bpchar"]
OPERATORS = {
    "eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "in": "= any", "isdistinct":
    "is distinct from", "like": "like", "ilike": "ilike", "match": "~", "imatch": "~*",
}  # fmt: skip


@st.composite
def cases(draw: st.DrawFn) -> tuple[str | None, Condition]:
    """A value, and a condition on a column that holds it."""
    if draw(st.integers(0, 2)) == 0:
        column = draw(st.sampled_from(TEXTS))
        values, operators = COLUMNS[column][0], ["like", "ilike", "match", "imatch"]
    else:
        column = draw(st.sampled_from(sorted(COLUMNS)))
        values, operators = COLUMNS[column]  # type: ignore[assignment]
    operator: Operator = draw(st.sampled_from(operators))  # type: ignore[arg-type]
    if operator == "in":
        literal = array([draw(st.none() | values) for _ in range(draw(st.integers(0, 3)))])
    elif operator in ("like", "ilike"):
        literal = draw(PATTERNS)
    elif operator in ("match", "imatch"):
        literal = draw(EXPRESSIONS)
    else:
        literal = draw(values)
    value = draw(st.just(literal) | values | st.none()) if operator in ORDER else draw(values)
    if operator == "in" and value == literal:
        value = None
    return value, Condition(column, operator, literal, draw(st.booleans()))


def array(items: list[str | None]) -> str:
    quoted = ("NULL" if i is None else '"' + i.replace("\\", "\\\\").replace('"', '\\"') + '"' for i in items)
    return "{" + ",".join(quoted) + "}"


def oracle(columns: Mapping[str, FilterColumn], asked: list[tuple[str | None, Condition]]) -> sql.Composed:
    """The value as the log tells it, and whether PostgreSQL says that the condition holds, one row for each."""
    rows = []
    for value, condition in asked:
        column = columns[condition.column]
        type_ = sql.SQL(column.cast)  # type: ignore[arg-type]
        collation = sql.SQL(f" collate {column.collation}" if column.collation else "")  # type: ignore[arg-type]
        left = sql.SQL("{}::{}").format(sql.Literal(value), type_)
        right = sql.SQL("({}::{}{})").format(
            sql.Literal(condition.value), type_, sql.SQL("[]" if condition.operator == "in" else "")
        )
        test = sql.SQL("{}({}{} {} {})").format(
            sql.SQL("not " if condition.negated else ""),
            left, collation, sql.SQL(OPERATORS[condition.operator]), right,  # type: ignore[arg-type]
        )  # fmt: skip
        if value is None and condition.operator != "isdistinct":
            test = sql.SQL("false").format()
        told = sql.SQL("case when {0} is not null then format('%s', {0}) end").format(
            left
        )  # by the output function
        rows.append(sql.SQL("({}, coalesce({}, false))").format(told, test))
    return sql.SQL("values {}").format(sql.SQL(", ").join(rows))


class World:
    """An event loop with lanes in it, and a connection beside them, for examples made by hypothesis."""

    def __init__(self, access: DatabaseAccess) -> None:
        self.runner = asyncio.Runner()
        self.connection = psycopg.connect(access.conninfo("supabase_admin"), autocommit=True)
        self.connection.execute(
            "set timezone = 'UTC'; set datestyle = 'ISO, DMY'; set search_path = public, extensions"
        )
        self.exit = opened(access)
        self.lanes = self.runner.run(self.exit.__aenter__())
        self.columns = self.runner.run(load_filter_columns(self.lanes, table_oid(access)))

    def close(self) -> None:
        self.runner.run(self.exit.__aexit__(None, None, None))
        self.runner.close()
        self.connection.close()


@pytest.fixture(scope="module")
def world(things: DatabaseAccess) -> Iterator[World]:
    made = World(things)
    yield made
    made.close()


# Shrinking a hundred cases at once takes minutes; what is wrong is listed case by case anyway.
@settings(max_examples=25, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.lists(cases(), min_size=60, max_size=120))
def test_every_answer_is_postgresqls_own(world: World, asked: list[tuple[str | None, Condition]]) -> None:
    expected = world.connection.execute(oracle(world.columns, asked)).fetchall()

    async def answer() -> list[bool]:
        prepared = await asyncio.gather(
            *(
                prepare_filter(world.lanes, world.columns, bind(condition), role="anon")
                for _, condition in asked
            )
        )
        rows = [{condition.column: told} for (_, condition), (told, _) in zip(asked, expected, strict=True)]
        return await match_all(world.lanes, list(zip(prepared, rows, strict=True)))

    answers = world.runner.run(answer())
    wrong = [
        (case, row) for case, row, found in zip(asked, expected, answers, strict=True) if found is not row[1]
    ]
    assert not wrong


ODD: dict[str, list[str]] = {
    "numeric": [
        "NaN",
        "Infinity",
        "-Infinity",
        "0",
        "0.0",
        "1",
        "1.00",
        "-1",
        "1e3",
        "0.1",
        "0.10000000000000001",
    ],
    "float8": ["NaN", "Infinity", "-Infinity", "0", "-0", "1", "0.1", "0.30000000000000004", "0.3", "1e308"],
    "float4": ["NaN", "Infinity", "-Infinity", "0", "-0", "0.1", "16777217", "16777216", "1e-45"],
    "date": [
        "infinity",
        "-infinity",
        "0044-03-15 BC",
        "0044-03-16 BC",
        "0043-03-15 BC",
        "0001-01-01",
        "10000-01-01",
    ],
    "timestamptz": [
        "infinity",
        "-infinity",
        "0044-03-15 12:00 BC",
        "0044-03-15 12:00:00.5 BC",
        "0043-03-15 BC",
        "10000-01-01",
        "9999-12-31",
        "2026-01-01 12:00",
        "2026-01-01 12:00:00.5",
        "2026-01-01 12:00:00.45",
        "2026-01-01 12:00+02",
    ],
    "bool": ["t", "f"],
    "int8": ["9223372036854775807", "-9223372036854775808", "0", "10", "9"],
    "c": ["", "a", "A", "b", "é", "\uffff", "😀", "a ", "ab"],
    "text": ["", "a", "A", "é", "e\u0301", "a ", "ab", "a_b", "abab", "aba", "axbab", "a\\b", "%"],
    "mood": ["sad", "ok", "happy"],
}
ODD_PATTERNS = [
    "",
    "%",
    "a",
    "a%",
    "%a",
    "%a%",
    "a_b",
    "a%b",
    "ab%ab",
    "%ab%ab%",
    "%ab%b",
    "_",
    "_%",
    "%_b",
    r"a\_b",
    r"\%",
    r"a\\b",
]


@pytest.mark.parametrize("column", ODD)
async def test_odd_values_compare_as_in_postgresql(
    world: World, lanes: LanePool, columns: Mapping[str, FilterColumn], column: str
) -> None:
    """Each with each, by every operator."""
    operators = [*ORDER[:2], *ORDER[3:], *(["like"] if column == "text" else [])]
    asked: list[tuple[str | None, Condition]] = [
        (value, Condition(column, operator, literal, negated))  # type: ignore[arg-type]
        for operator in operators
        for literal in (ODD_PATTERNS if operator == "like" else ODD[column])
        for negated in (False, True)
        for value in ODD[column]
    ]
    expected = world.connection.execute(oracle(columns, asked)).fetchall()
    conditions = list(dict.fromkeys(condition for _, condition in asked))
    prepared = await asyncio.gather(
        *(prepare_filter(lanes, columns, bind(c), role="anon") for c in conditions)
    )
    filters = dict(zip(conditions, prepared, strict=True))
    pairs = [
        (filters[condition], {column: told})
        for (_, condition), (told, _) in zip(asked, expected, strict=True)
    ]
    answers = await match_all(lanes, pairs)
    assert not [
        (case, holds)
        for case, (_, holds), found in zip(asked, expected, answers, strict=True)
        if found is not holds
    ]
