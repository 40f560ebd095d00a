"""The text of a filter: what separates, what quotes, what is an error."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basalt.realtime.changes.filters.grammar import OPERATORS, Condition, FilterError, parse_filter

pytestmark = pytest.mark.req("P7")

PARSED = [
    ("subject=eq.hey", [("subject", "eq", "hey", False)]),
    ("subject=in.(hidee,ho)", [("subject", "in", "{hidee,ho}", False)]),
    ("subject=not.like.hey%", [("subject", "like", "hey%", True)]),
    ("id=gt.0,id=lt.100", [("id", "gt", "0", False), ("id", "lt", "100", False)]),
    (" id=gt.0 , id=lt.100 ", [("id", "gt", "0", False), ("id", "lt", "100", False)]),
    ("name=in.(red,blue),n=gt.0", [("name", "in", "{red,blue}", False), ("n", "gt", "0", False)]),
    ("a=eq.x),b=eq.y),c=eq.z", [("a", "eq", "x)", False), ("b", "eq", "y)", False), ("c", "eq", "z", False)]),
    ('name=eq.O\'Brien "x"', [("name", "eq", 'O\'Brien "x"', False)]),
    ('name=eq."a,b",id=gt.0', [("name", "eq", "a,b", False), ("id", "gt", "0", False)]),
    ('name=eq."a.b:c(d)"', [("name", "eq", "a.b:c(d)", False)]),
    (r'name=eq."she said \"hi\""', [("name", "eq", 'she said "hi"', False)]),
    (r'path=eq."C:\\tmp"', [("path", "eq", r"C:\tmp", False)]),
    (r'path=eq."C:\new"', [("path", "eq", "C:new", False)]),
    ('name=not.neq."a,b"', [("name", "neq", "a,b", True)]),
    ('name=eq.""', [("name", "eq", "", False)]),
    ('name=eq." a "', [("name", "eq", " a ", False)]),
    ('tags=in.("a,b","c,d")', [("tags", "in", '{"a,b","c,d"}', False)]),
    ('name=eq."unterminated', [("name", "eq", '"unterminated', False)]),
    ('name=eq."ab"cd', [("name", "eq", '"ab"cd', False)]),
    ('desc=eq.5" tall,id=gt.0', [("desc", "eq", '5" tall', False), ("id", "gt", "0", False)]),
    ("url=eq.https://a.b/?c=d", [("url", "eq", "https://a.b/?c=d", False)]),
    ("id =eq.", [("id ", "eq", "", False)]),
    ("a=in.()", [("a", "in", "{}", False)]),
    ("", []),
    (" \t", []),
]

REFUSED = [
    ("subject=foo.hey", '["foo", "hey"]'),
    ("undefined", '["undefined"]'),
    ("id=7", '["7"]'),
    ("id=EQ.7", '["EQ", "7"]'),
    ("not=not.not.eq.1", '["not", "eq.1"]'),
    ("id=gt.0,", "filter must not contain empty segments (check for extra commas)"),
    (",id=gt.0", "filter must not contain empty segments (check for extra commas)"),
    ("a=eq.1,,b=eq.2", "filter must not contain empty segments (check for extra commas)"),
    ("id=in.1,2", "`in` filter value must be wrapped by parentheses"),
    ("id=in.(", "`in` filter value must be wrapped by parentheses"),
]


@pytest.mark.parametrize(("text", "conditions"), PARSED)
def test_a_filter_is_read_as_supabase_reads_it(
    text: str, conditions: list[tuple[str, str, str, bool]]
) -> None:
    found = [(c.column, c.operator, c.value, c.negated) for c in parse_filter(text)]
    assert found == conditions


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_a_filter_that_makes_no_sense_is_refused_in_supabases_words(text: str, reason: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter(text)
    assert str(caught.value) == reason


def quote(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(
    st.lists(
        st.tuples(
            st.text("abc_", min_size=1),
            st.sampled_from(sorted(OPERATORS - {"in"})),
            st.text(st.sampled_from('a ,.()="\\é\n')),
            st.booleans(),
        )
    )
)
def test_any_value_can_be_said_in_quotes(conditions: list[tuple[str, str, str, bool]]) -> None:
    text = ",".join(
        f"{column}={'not.' * negated}{operator}.{quote(value)}"
        for column, operator, value, negated in conditions
    )
    assert parse_filter(text) == tuple(Condition(*condition) for condition in conditions)  # type: ignore[arg-type]


@given(st.text(st.sampled_from('ab=.,()"\\ ') | st.characters()) | st.text('eqinot.=,()"\\ '))
def test_whatever_the_text_nothing_but_a_filter_error_comes_of_it(text: str) -> None:
    try:
        conditions = parse_filter(text)
    except FilterError:
        return
    assert all(condition.operator in OPERATORS for condition in conditions)


@pytest.mark.parametrize("piece", ['"', "\\", "(", ",", 'a=eq."\\', 'a=eq."",', "a=in.((,"])
def test_hostile_text_takes_linear_time(piece: str) -> None:
    text = 'a=eq."' + piece * (300_000 // len(piece))
    started = time.perf_counter()
    with suppress(FilterError):
        parse_filter(text)
    assert time.perf_counter() - started < 3
