"""Finding the subscriptions that match a row."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basalt.realtime.changes.filters.comparable import LABEL
from basalt.realtime.changes.filters.database_conditions import DatabaseCondition
from basalt.realtime.changes.filters.grammar import Condition, Operator
from basalt.realtime.changes.filters.index import FilterIndex
from basalt.realtime.changes.filters.prepare import Filter, MemoryCondition, build_memory_condition
from basalt.realtime.changes.log.change import UNCHANGED, Value

pytestmark = pytest.mark.req("P7")

POSITIONS = {"a": 0, "b": 1}
VALUES = st.sampled_from(["x", "y", "z", None, UNCHANGED])


def condition(column: str, operator: Operator, *literals: str, negated: bool = False) -> MemoryCondition:
    value = literals[0] if literals else ""
    return build_memory_condition(Condition(column, operator, value, negated), LABEL.key, literals)


def question(column: str, operator: str = "ilike") -> DatabaseCondition:
    return DatabaseCondition(column, operator, "x", "…", ("anon", "public"), operator == "isdistinct")


CONDITIONS = st.one_of(
    st.builds(
        condition,
        st.sampled_from("abc"),
        st.sampled_from(["eq", "neq", "isdistinct"]),
        st.sampled_from("xyz"),
    ),
    st.builds(
        lambda column, literals, negated: condition(column, "in", *literals, negated=negated),
        st.sampled_from("ab"),
        st.lists(st.sampled_from("xyz"), max_size=3),
        st.booleans(),
    ),
    st.builds(question, st.sampled_from("ab"), st.sampled_from(["ilike", "isdistinct"])),
)
FILTERS = st.lists(CONDITIONS, max_size=3).map(lambda conditions: Filter(tuple(conditions)))


def decide(filter_: Filter, row: dict[str, Value]) -> set[DatabaseCondition] | None:
    """What is left to ask, one condition after the other; None when the filter fails."""
    left = set()
    for wanted in filter_.conditions:
        value = row.get(wanted.column, UNCHANGED)
        if value is UNCHANGED:
            return None
        if isinstance(wanted, DatabaseCondition):
            if value is None and not wanted.asks_null:
                return None
            left.add(wanted)
        elif not wanted.test(value):
            return None
    return left


@given(
    st.dictionaries(st.integers(0, 20), FILTERS),
    st.sets(st.integers(0, 20)),
    st.lists(st.tuples(VALUES, VALUES)),
)
def test_the_index_finds_what_looking_at_each_would_find(
    filters: dict[int, Filter], gone: set[int], rows: list[tuple[Value, Value]]
) -> None:
    index: FilterIndex[int] = FilterIndex(POSITIONS)
    for number, filter_ in filters.items():
        index.add(number, Filter())
        index.add(number, filter_)
    for number in gone:
        index.remove(number)
    left = {number: filter_ for number, filter_ in filters.items() if number not in gone}
    assert len(index) == len(left)
    for values in rows:
        row = dict(zip(POSITIONS, values, strict=True))
        expected = {number: decide(filter_, row) for number, filter_ in left.items()}
        matching, asking = index.find(values)
        asked = {n: {q for q, _ in group.questions} for group in asking for n in group.subscriptions}
        assert sorted(matching) == sorted(number for number, rest in expected.items() if rest == set())
        assert asked == {number: rest for number, rest in expected.items() if rest}
    for number in left:
        index.remove(number)
    assert not index.positions_read
    assert index.find(["x", "x"]) == ([], [])


def test_the_index_tells_which_values_it_reads() -> None:
    index: FilterIndex[str] = FilterIndex(POSITIONS)
    assert not index.positions_read
    index.add("one", Filter((condition("b", "eq", "x"),)))
    index.add("two", Filter((question("b"),)))
    index.remove("one")
    assert set(index.positions_read) == {1}


def test_one_row_among_5000_equalities_takes_microseconds() -> None:
    index: FilterIndex[int] = FilterIndex(POSITIONS)
    for number in range(5_000):
        index.add(number, Filter((condition("a", "eq", f"user {number}"),)))
    started = time.perf_counter()
    for number in range(5_000):
        assert index.find((f"user {number}", "b")) == ([number], [])
    assert time.perf_counter() - started < 5  # 0.03 s as it is; to look at each filter would take 35 s
