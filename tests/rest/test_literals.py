"""What `split_query` takes out of a query string without parsing it, against what the parser finds in it.

A plan that was made for one query string runs for every other of its shape, so the two must never disagree about what
a shape means.
"""

import re
from dataclasses import replace
from itertools import cycle
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basalt.rest.errors import RestError
from basalt.rest.literals import Split, split_query
from basalt.rest.query import ApiRequest, InList, Is, Logic, LogicTree, ParsedQuery
from basalt.rest.request import parse_request
from basalt.rest.shape import Shaped, is_trusted, letter_of, shape_of, values_of
from tests.rest.planning import SCHEMAS, make_request

pytestmark = pytest.mark.req("P5")

TABLE, CALL = "/films", "/rpc/f"


def split(query: str, path: str = TABLE) -> Split | None:
    return split_query(query.encode(), takes_arguments=path == CALL)


def parse(query: str, path: str = TABLE) -> ApiRequest:
    return parse_request(make_request("GET", f"{path}?{query}"), None, schemas=SCHEMAS)


def shaped(query: str, path: str = TABLE) -> Shaped | None:
    letter = letter_of(make_request("GET", f"{path}?{query}"))
    return shape_of(letter, None) if letter is not None else None


def without_literals(query: ParsedQuery) -> ParsedQuery:
    """Everything that a plan is made of: the query with its literals blanked."""
    where = tuple((path, _blanked(tree)) for path, tree in query.where)
    names = tuple((name, "") for name, _ in query.parameters)
    return replace(query, where=where, parameters=names)


def _blanked(tree: LogicTree) -> LogicTree:
    if isinstance(tree, Logic):
        return replace(tree, children=tuple(map(_blanked, tree.children)))
    match tree.operation:
        case Is():
            return tree
        case InList():
            return replace(tree, operation=replace(tree.operation, values=()))
        case _:
            return replace(tree, operation=replace(tree.operation, value=""))


# One by one


@pytest.mark.parametrize(
    ("query", "literals"),
    [
        ("id=eq.5", ("5",)),
        ("id=eq.", ("",)),
        ("id=not.gte.5", ("5",)),
        ("name=like(any).{a*,b*}", ("{a*,b*}",)),
        ("name=isdistinct.x", ("x",)),
        ("name=fts(english).x", ("x",)),
        ("id=in.(1,2)", (("1", "2"),)),
        ("id=not.in.()", ((),)),
        ("id=in.(a b,)", (("a b", ""),)),
        ("name=eq.a+b%2Cc", ("a b,c",)),
        ("films.name=eq.x&id=eq.1", ("x", "1")),
        ("or=(a.eq.1,b.not.in.(2,3))&c=eq.4", ("4", "1", ("2", "3"))),
        ("and=(a->b->>c.gt.1,or(d.lt.2,e.is.null))", ("1", "2")),
        ("films.not.or=(a.eq.1)", ("1",)),
        ("id=is.null&select=a,b&order=a.desc", ()),
    ],
)
def test_literals_are_taken_out(query: str, literals: tuple[object, ...]) -> None:
    found = split(query)
    assert found is not None
    assert found.literals == literals == parse(query).literals


@pytest.mark.parametrize(
    ("query", "limit", "offset"),
    [
        ("", None, None),
        ("limit=5", 5, None),
        ("limit=5&offset=10", 5, 10),
        ("limit=5&limit=6", 6, None),
        ("films.limit=5", None, None),
    ],
)
def test_the_window_is_that_of_the_root(query: str, limit: int | None, offset: int | None) -> None:
    found = split(query)
    assert found is not None
    assert (found.limit, found.offset) == (limit, offset)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("id=eq.5", "id=eq.6"),
        ("id=eq.5", "id=eq.x%20y+z"),
        ("id=in.(1,2)", "id=in.()"),
        ("name=cs.{a}", "name=cs.(b"),
        ("or=(a.eq.1,b.in.(2))", "or=(a.eq.,b.in.(3,4,5))"),
        ("limit=5&offset=1", "limit=6&offset=200"),
        ("select=a%2Cb&id=eq.1", "select=a,b&id=eq.2"),
    ],
)
def test_requests_that_differ_in_literals_share_a_shape(one: str, other: str) -> None:
    first, second = split(one), split(other)
    assert first is not None
    assert second is not None
    assert first.shape == second.shape


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("id=eq.5", "id=gt.5"),
        ("id=eq.5", "id=not.eq.5"),
        ("id=eq.5", "ID=eq.5"),
        ("id=is.null", "id=is.true"),
        ("id=eq.5&a=eq.1", "a=eq.1&id=eq.5"),
        ("select=a", "select=b"),
        ("select", "select="),
        ("films.limit=5", "films.limit=6"),
        ("limit=5", "limit=0"),
        ("offset=5", "offset=0"),
        ("fts=fts(english).a", "fts=fts(simple).a"),
        ("or=(a.eq.1)", "and=(a.eq.1)"),
        ("or=(a.eq.1)", "not.or=(a.eq.1)"),
        ("or=(a.eq.1,b.eq.2)", "or=(a.eq.1,or(b.eq.2))"),
        ('or=(a.eq."x,y")', 'or=(a.eq."x,z")'),
    ],
)
def test_requests_that_differ_in_more_have_shapes_of_their_own(one: str, other: str) -> None:
    first, second = split(one), split(other)
    assert first is not None
    assert second is not None
    assert first.shape != second.shape


@pytest.mark.parametrize(
    "query",
    [
        "a=eq.1;b=eq.2",
        "apikey=x",
        "limit=x",
        "limit=-1",
        "limit=1e3",
        f"limit={'9' * 19}",
        "a=%ff",
        "a%3Db=eq.1",
        "a=eq.%00",
        "a=eq.\0",
    ],
)
def test_what_only_the_parser_can_tell_is_left_to_it(query: str) -> None:
    assert split(query) is None


def test_arguments_of_a_call_are_literals_too() -> None:
    found = split("a=1&b=eq.2&c=x.y&or=(d.eq.3)", CALL)
    assert found is not None
    assert found.literals == ("2", "3", "1", "x.y")
    as_filters = split("a=1")
    assert as_filters is not None
    assert as_filters.literals == ()


# The shape of anything

NAMES = [
    "a",
    "b_1",
    "größe",
    "a b",
    '"q,(x"',
    "d->k",
    "d->>0",
    "e.a",
    "e.d.b",
    "a-b",
    "not",
    "and",
    "order",
    "1",
]
OPERATORS = [
    "eq", "neq", "gte", "lt", "like", "ilike", "match", "cs", "ov", "adj", "isdistinct", "fts", "wfts(english)",
    "fts(a b)", "eq(any)", "like(all)", "eq(some)",
]  # fmt: skip
HOLE = "\1"  # where a literal goes
NUMBERS = ["0", "1", "7", "00", "x", "-1", HOLE]
RESERVED = [
    "select=a",
    "select=a,e(b)",
    "select",
    "order=a.desc",
    "e.order=a",
    "columns=a",
    "e.select=eq.1",
    "a",
]
LITERALS = [HOLE, HOLE, HOLE, HOLE, f'"{HOLE}"', f"{{{HOLE}}}"]
TAME, WILD = "ab1 .*-:é\t%'", 'ab1.,()"{}\\:=\t '


def an_operation(random: Random) -> str:
    match random.randrange(8):
        case 0:
            return random.choice(["is.null", "not.is.true", "is.", "eq"])
        case 1 | 2:
            values = ",".join(random.choices(LITERALS, k=random.randrange(4)))
            start, end = random.choice(["(", "(", "( "]), random.choice([")", ")", ") ", ")x", ""])
            return f"{random.choice(['', 'not.'])}in.{start}{values}{end}"
        case _:
            return f"{random.choice(['', '', 'not.'])}{random.choice(OPERATORS)}.{random.choice(LITERALS)}"


def a_tree(random: Random, depth: int = 0) -> str:
    if depth < 3 and random.random() < 0.25:
        return random.choice(["and", "or", "not.and", "not.or"]) + some_trees(random, depth + 1)
    return f"{random.choice(NAMES)}.{an_operation(random)}"


def some_trees(random: Random, depth: int = 0) -> str:
    comma = random.choice([",", ",", ", "])
    return f"({comma.join(a_tree(random, depth) for _ in range(random.randrange(1, 4)))})"


def a_parameter(random: Random) -> str:
    match random.randrange(8):
        case 0:
            return f"{random.choice(NAMES)}={random.choice(LITERALS)}"
        case 1:
            return f"{random.choice(['limit', 'offset', 'e.limit'])}={random.choice(NUMBERS)}"
        case 2:
            return random.choice(RESERVED)
        case 3 | 4 | 5:
            # what stands behind a whole tree is nothing to the parser
            rest = random.choice(["", "", "(", ",", "x("])
            behind = f"{rest}{a_tree(random)})" if rest else ""
            return f"{random.choice(['and', 'or', 'not.or', 'e.and'])}={some_trees(random)}{behind}"
        case _:
            return f"{random.choice(NAMES)}={an_operation(random)}"


def some_texts(random: Random) -> list[str]:
    """Of those that `split_query` leaves in the shape, some have to be as in the first request."""
    alphabet = random.choice([TAME, TAME, TAME, WILD])
    return [random.choice(["7", "".join(random.choices(alphabet, k=random.randrange(5)))]) for _ in range(5)]


def fill(query: str, texts: list[str]) -> str:
    """A query string with literals in its holes, percent-encoded as far as it has to be."""
    following = cycle(texts)
    encoded = re.sub(r"[%+\s]", _percent, query)
    return re.sub(HOLE, lambda _: re.sub(r"[%&;+#\s]", _percent, next(following)), encoded)


def _percent(found: re.Match[str]) -> str:
    return f"%{ord(found[0]):02X}"


def trusted(query: str, path: str) -> tuple[Shaped, ApiRequest] | None:
    """What would be kept of a request: None where it is refused, or where the next one has to be parsed as well."""
    found = shaped(query, path)
    if found is None or found.values is None:
        return None
    try:
        api = parse(query, path)
    except RestError:
        return None
    return (found, api) if is_trusted(found, api) else None


def check_that_both_mean_the_same(first: str, second: str, path: str) -> None:
    one, other = trusted(first, path), shaped(second, path)
    if one is None or other is None or other.key != one[0].key:
        return
    api = parse(second, path)
    assert without_literals(api.query) == without_literals(one[1].query)
    assert values_of(api) == other.values


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("or=(a.fts.1)(b.eq.1)", "or=(a.fts.1)(b.eq.2)"),
        ("or=(a.cs.x),b.eq.x)", "or=(a.cs.x),b.eq.y)"),
        ("or=(größe.eq.1),b.eq.1)", "or=(größe.eq.1),b.eq.2)"),
        ("limit=5&offset=3", "limit=0&offset=3"),
        ("offset=3", "offset=0"),
        ("e.select=eq.1&or=(a.is.null)(b.eq.1)", "e.select=eq.1&or=(a.is.null)(b.eq.2)"),
    ],
)
def test_a_shape_that_was_taken_wrongly_is_not_trusted(first: str, second: str) -> None:
    check_that_both_mean_the_same(first, second, TABLE)


@settings(max_examples=200)
@given(st.integers(0, 2**32))
def test_a_shape_that_is_trusted_means_one_thing(seed: int) -> None:
    random = Random(seed)
    for _ in range(25):
        query = "&".join(a_parameter(random) for _ in range(random.choice([1, 1, 2, 3])))
        path = random.choice([TABLE, CALL])
        # where the same literal is everywhere, parser and `split_query` may agree by chance
        first = fill(query, random.choice([["7"], some_texts(random)]))
        check_that_both_mean_the_same(first, fill(query, some_texts(random)), path)


def test_most_shapes_are_trusted() -> None:
    """Or nothing would be shared, and the tests above would prove nothing."""
    random = Random(7)
    understood, kept = 0, 0
    for _ in range(1000):
        query = fill(a_parameter(random), ["7", "x"])
        try:
            parse(query)
        except RestError:
            continue
        understood += 1
        kept += trusted(query, TABLE) is not None
    assert kept > 0.5 * understood > 100
