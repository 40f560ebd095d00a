"""From the conditions of a subscription to tests of rows. What Python decides exactly as PostgreSQL would becomes a
closure over the literal as PostgreSQL reads it; the rest is asked of PostgreSQL change by change."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from basalt.postgres import LanePool, PostgresError, Query
from basalt.realtime.changes.filters.bindings import Binding, refuse
from basalt.realtime.changes.filters.columns import FilterColumn
from basalt.realtime.changes.filters.comparable import Key
from basalt.realtime.changes.filters.database_conditions import (
    DatabaseCondition,
    build_database_condition,
    build_settings,
    is_trouble,
)
from basalt.realtime.changes.filters.grammar import Condition
from basalt.realtime.changes.filters.like import compile_like, ends_with_escape
from basalt.realtime.changes.literals import render_array

MAX_IN_VALUES = 100
PREPARE_TIMEOUT_MS = 5_000

Test = Callable[[Key], bool]  # of a key, or of None for null

ORDERINGS: Mapping[str, Callable[[Key, Key], bool]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}
COMPARISONS: Mapping[str, Callable[[Key, Key], bool]] = {**ORDERINGS, "neq": operator.ne}
IS_TESTS: Mapping[str, Test] = {
    "null": lambda key: key is None,
    "unknown": lambda key: key is None,
    "true": lambda key: key is True,
    "false": lambda key: key is False,
}


@dataclass(frozen=True, slots=True)
class MemoryCondition:
    """`literals` as PostgreSQL writes them. `keys`: the column must be equal to one of them, None for other tests."""

    column: str
    operator: str
    literals: tuple[str | None, ...]
    negated: bool
    key: Callable[[str], Key]
    test: Test = field(compare=False)
    keys: frozenset[Key] | None = field(default=None, compare=False)


FilterCondition = MemoryCondition | DatabaseCondition


@dataclass(frozen=True, slots=True)
class Filter:
    """All conditions must hold; filters with equal conditions are equal."""

    conditions: tuple[FilterCondition, ...] = ()


async def prepare_filter(
    lanes: LanePool, columns: Mapping[str, FilterColumn], binding: Binding, *, role: str
) -> Filter:
    """One round trip, or none where there is nothing to ask. `columns` are those of one table (`load_filter_columns`)
    that the role may select. Literals mean what they mean now, and instants without a zone are in UTC.

    Raises BindingError with the message for the client; LanesUnavailable or PostgresError when the database is in
    trouble, which another attempt may overcome."""
    _check_names(columns, binding)
    pairs = [(columns[condition.column], condition) for condition in binding.conditions]
    for column, condition in pairs:
        if problem := _find_problem(column, condition):
            raise refuse(binding, *problem)
    questions = [_build_questions(column, condition, role=role) for column, condition in pairs]
    try:
        results = iter(await lanes.execute([query for asked in questions for query in asked], read_only=True))
    except PostgresError as error:
        if is_trouble(error):
            raise
        raise refuse(binding, *_explain(binding, error)) from error
    conditions = []
    for (column, condition), asked in zip(pairs, questions, strict=True):
        literals = [_text(row[0]) for row in [next(results) for _ in asked][-1].rows] if asked else []
        if condition.operator == "in" and len(literals) > MAX_IN_VALUES:
            raise refuse(binding, f"too many values for `in` filter. Maximum {MAX_IN_VALUES}")
        conditions.append(_build_condition(column, condition, tuple(literals), role=role))
    return Filter(tuple(conditions))


def _check_names(columns: Mapping[str, FilterColumn], binding: Binding) -> None:
    for condition in binding.conditions:
        if condition.column not in columns:
            raise refuse(binding, f"invalid column for filter {condition.column}")
    for name in binding.select or ():
        if name not in columns:
            raise refuse(binding, f"invalid column for select {name}")


def _find_problem(column: FilterColumn, condition: Condition) -> tuple[str, str] | None:
    """What needs no question, in Supabase's words (`realtime.subscription_check_filters`), and its SQLSTATE."""
    name, value = condition.operator, condition.value
    if name == "is" and value not in IS_TESTS:
        return "invalid value for is filter: must be null, true, false, or unknown", "P0001"
    if name == "is" and value != "null" and not column.is_boolean:
        return f"is {value} filter requires a boolean column, got {column.type_name}", "P0001"
    if (name in ("like", "ilike") and not column.has_like) or (
        name in ("match", "imatch") and not column.has_match
    ):
        return f"operator {name} requires a text-compatible column type, got {column.type_name}", "P0001"
    if name in ("like", "ilike") and ends_with_escape(value):
        return "LIKE pattern must not end with escape character", "22025"
    return None


# What PostgreSQL is asked once


def _build_questions(column: FilterColumn, condition: Condition, *, role: str) -> list[Query]:
    """The rows of the last one are the literals. A condition for PostgreSQL is tried before, against null, so that an
    operator that does not exist, or a bad pattern, is known now and not at the first change."""
    name = condition.operator
    in_memory = _is_for_memory(column, condition)
    if in_memory and name in ("is", "like"):
        return []
    asked = build_database_condition(column, condition, role=role)
    literal = condition.value.encode("utf-8", "surrogatepass")
    queries = [build_settings(*asked.settings, timeout_ms=PREPARE_TIMEOUT_MS)]
    if not in_memory:
        null = render_array([None])
        queries.append(Query(asked.statement, (null, render_array([condition.value])), scope=role))
    if name in ("match", "imatch"):
        queries.append(Query("select '' ~ $1::text", (literal,)))
    elif name not in ("is", "like", "ilike"):
        read = f"unnest($1::{column.cast}[])" if name == "in" else f"$1::{column.cast}"
        queries.append(Query(f"select {read}", (literal,), scope=role))
    return queries


def _explain(binding: Binding, error: PostgresError) -> tuple[str, str]:
    matches = [
        condition.operator for condition in binding.conditions if condition.operator in ("match", "imatch")
    ]
    if error.sqlstate == "2201B" and matches:
        return f"invalid regular expression for {matches[0]} filter: {error.message}", "P0001"
    return error.message, error.sqlstate


def _text(cell: bytes | None) -> str | None:
    return None if cell is None else cell.decode()


# What comes of it


def _is_for_memory(column: FilterColumn, condition: Condition) -> bool:
    comparable = column.comparable
    if condition.operator == "is":
        return not column.is_composite  # whose `is null` looks into the row
    if comparable is None:
        return False
    if condition.operator == "like":
        return comparable.is_text and compile_like(condition.value) is not None
    if condition.operator in ORDERINGS:
        return comparable.is_ordered
    return condition.operator in ("eq", "neq", "in", "isdistinct")


def _build_condition(
    column: FilterColumn, condition: Condition, literals: tuple[str | None, ...], *, role: str
) -> FilterCondition:
    if not _is_for_memory(column, condition):
        return build_database_condition(column, condition, role=role)
    return build_memory_condition(condition, column.comparable.key if column.comparable else str, literals)


def build_memory_condition(
    condition: Condition, key: Callable[[str], Key], literals: tuple[str | None, ...]
) -> MemoryCondition:
    """`literals`: the value as PostgreSQL writes it, or the values of `in`."""
    if condition.operator in ("is", "like"):
        literals = (condition.value,)
        keys = []
    else:
        keys = [None if literal is None else key(literal) for literal in literals]
    is_lookup = condition.operator in ("eq", "in") and not condition.negated
    return MemoryCondition(
        condition.column,
        condition.operator,
        literals,
        condition.negated,
        key,
        _build_test(condition, keys),
        frozenset(keys) - {None} if is_lookup else None,
    )


def _build_test(condition: Condition, keys: list[Key]) -> Test:
    """Null passes `is` and `isdistinct` only, negated or not."""
    if condition.operator == "is":
        test = IS_TESTS[condition.value]
        return (lambda key: not test(key)) if condition.negated else test
    if condition.operator == "isdistinct":
        (literal,) = keys
        return (lambda key: key == literal) if condition.negated else (lambda key: key != literal)
    if condition.operator == "in" and condition.negated and None in keys:
        return lambda key: False  # in SQL it is not known whether the null is the value
    holds = _build_comparison(condition, keys)
    return (lambda key: key is not None and not holds(key)) if condition.negated else holds


def _build_comparison(condition: Condition, keys: list[Key]) -> Test:
    if condition.operator == "like":
        matches = compile_like(condition.value)
        assert matches is not None
        return lambda key: key is not None and matches(key)
    if condition.operator == "in":
        among = frozenset(keys) - {None}
        return lambda key: key in among
    (literal,) = keys
    if condition.operator == "eq":
        return lambda key: key == literal  # never null
    compare = COMPARISONS[condition.operator]
    return lambda key: key is not None and compare(key, literal)
