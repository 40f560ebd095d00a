"""The grammar of the query string: what is read as what, and how what cannot be read is refused."""

import pytest

from basalt.rest.errors import RestError
from basalt.rest.grammar import (
    is_operation,
    parse_filter,
    parse_logic,
    parse_logic_path,
    parse_names,
    parse_order,
    parse_path,
    parse_select,
)
from basalt.rest.grammar.text import MAX_DEPTH, MAX_ITEMS, MAX_LENGTH
from basalt.rest.query import (
    Compare,
    FieldRef,
    Filter,
    FullText,
    InList,
    Is,
    IsDistinct,
    JsonStep,
    Logic,
    OrderTerm,
    SelectEmbed,
    SelectField,
)

pytestmark = pytest.mark.req("P5")


def field(name: str, *path: str | int, text: bool = False) -> FieldRef:
    """`field("data", "a", 0, text=True)` is `data->a->>0`."""
    steps = [JsonStep(key, False) for key in path]
    if steps and text:
        steps[-1] = JsonStep(path[-1], True)
    return FieldRef(name, tuple(steps))


def column(name: str) -> SelectField:
    return SelectField(FieldRef(name))


SELECTS = [
    ("", ()),
    ("*", (column("*"),)),
    ("id,name", (column("id"), column("name"))),
    ("id , name", (column("id"), column("name"))),
    (" with spaces ,with-dashes", (column("with spaces"), column("with-dashes"))),
    ("a - b", (column("a-b"),)),
    ("123,_,$", (column("123"), column("_"), column("$"))),
    ("größe,名前", (column("größe"), column("名前"))),
    ('"a,b(c)","say \\"hi\\"","\\\\"', (column("a,b(c)"), column('say "hi"'), column("\\"))),
    ("title:name", (SelectField(field("name"), alias="title"),)),
    ('"my title":name', (SelectField(field("name"), alias="my title"),)),
    ("price::text", (SelectField(field("price"), cast="text"),)),
    ("at::timestamp without time zone", (SelectField(field("at"), cast="timestamp without time zone"),)),
    ("p:price::numeric", (SelectField(field("price"), alias="p", cast="numeric"),)),
    ("data->a->>b", (SelectField(field("data", "a", "b", text=True)),)),
    ("data->0->>-1", (SelectField(field("data", 0, -1, text=True)),)),
    ("data->!@#$%^&*_a::int", (SelectField(field("data", "!@#$%^&*_a"), cast="int"),)),
    ('data->>"a.b,c"', (SelectField(field("data", "a.b,c", text=True)),)),
    ("data->>78xy", (SelectField(field("data", "78xy", text=True)),)),
    ("data->some-key->>other-key", (SelectField(field("data", "some-key", "other-key", text=True)),)),
    ("count()", (SelectField(field("*"), aggregate="count"),)),
    ("n:count()::text", (SelectField(field("*"), alias="n", aggregate="count", aggregate_cast="text"),)),
    ("price.sum()", (SelectField(field("price"), aggregate="sum"),)),
    (
        "total:price::int.sum()::text",
        (SelectField(field("price"), alias="total", cast="int", aggregate="sum", aggregate_cast="text"),),
    ),
    ("data->n.max(),min", (SelectField(field("data", "n"), aggregate="max"), column("min"))),
    ("count", (column("count"),)),
    ("count.count()", (SelectField(field("count"), aggregate="count"),)),
    ("clients(id)", (SelectEmbed("clients", (column("id"),)),)),
    ("clients()", (SelectEmbed("clients", ()),)),
    ("clients( id , name )", (SelectEmbed("clients", (column("id"), column("name"))),)),
    ("c:clients(*)", (SelectEmbed("clients", (column("*"),), alias="c"),)),
    ("clients!fk(*)", (SelectEmbed("clients", (column("*"),), hint="fk"),)),
    ("clients!inner(*)", (SelectEmbed("clients", (column("*"),), join="inner"),)),
    ("clients!left(*)", (SelectEmbed("clients", (column("*"),), join="left"),)),
    ("clients!fk!inner(*)", (SelectEmbed("clients", (column("*"),), hint="fk", join="inner"),)),
    ("c:clients!inner!fk(*)", (SelectEmbed("clients", (column("*"),), alias="c", hint="fk", join="inner"),)),
    ("...clients(name)", (SelectEmbed("clients", (column("name"),), spread=True),)),
    ("...clients!fk!inner(name)", (SelectEmbed("clients", (column("name"),), hint="fk", join="inner", spread=True),)),
    ("*,a(*,b(*,...c(d)))", (
        column("*"),
        SelectEmbed("a", (
            column("*"),
            SelectEmbed("b", (column("*"), SelectEmbed("c", (column("d"),), spread=True))),
        )),
    )),
]  # fmt: skip


@pytest.mark.parametrize(("text", "items"), SELECTS, ids=[text for text, _ in SELECTS])
def test_select_is_read(text: str, items: object) -> None:
    assert parse_select(text) == items


FILTERS = [
    ("eq.5", Compare("eq", "5")),
    ("eq.", Compare("eq", "")),
    ("eq.a.b,c)(\"", Compare("eq", 'a.b,c)("')),
    ("neq.x", Compare("neq", "x")),
    ("gt.1", Compare("gt", "1")),
    ("gte.1", Compare("gte", "1")),
    ("lt.1", Compare("lt", "1")),
    ("lte.1", Compare("lte", "1")),
    ("like.*a*", Compare("like", "*a*")),
    ("ilike.*a*", Compare("ilike", "*a*")),
    ("match.^a", Compare("match", "^a")),
    ("imatch.^a", Compare("imatch", "^a")),
    ("cs.{1,2}", Compare("cs", "{1,2}")),
    ("cd.[1,2)", Compare("cd", "[1,2)")),
    ("ov.{a}", Compare("ov", "{a}")),
    ("sl.[1,2)", Compare("sl", "[1,2)")),
    ("sr.[1,2)", Compare("sr", "[1,2)")),
    ("nxr.[1,2)", Compare("nxr", "[1,2)")),
    ("nxl.[1,2)", Compare("nxl", "[1,2)")),
    ("adj.[1,2)", Compare("adj", "[1,2)")),
    ("eq(any).{1,2}", Compare("eq", "{1,2}", "any")),
    ("like(all).{a*,*b}", Compare("like", "{a*,*b}", "all")),
    ("isdistinct.5", IsDistinct("5")),
    ("is.null", Is("null")),
    ("is.NULL", Is("null")),
    ("is.not_null", Is("not_null")),
    ("is.true", Is("true")),
    ("is.False", Is("false")),
    ("is.unknown", Is("unknown")),
    ("in.(1,2,3)", InList(("1", "2", "3"))),
    ("in.()", InList(())),
    ("in.(1, 2)", InList(("1", " 2"))),
    ("in.( a)", InList(("a",))),
    ("in.(a,)", InList(("a", ""))),
    ('in.("a,b","c\\"d",e)', InList(("a,b", 'c"d', "e"))),
    ('in.("a"b,"c")', InList(('"a"b', "c"))),
    ("in.(a,b)ignored", InList(("a", "b"))),
    ("fts.a&b", FullText("fts", "a&b")),
    ("plfts.a b", FullText("plfts", "a b")),
    ("phfts(english).a b", FullText("phfts", "a b", "english")),
    ("wfts(simple).a.b", FullText("wfts", "a.b", "simple")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "operation"), FILTERS, ids=[text for text, _ in FILTERS])
@pytest.mark.parametrize("negated", [False, True])
def test_filter_is_read(text: str, operation: object, negated: bool) -> None:
    assert parse_filter(("not." if negated else "") + text) == (operation, negated)


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        ("eq.1", True),
        ("not.eq.1", True),
        ("not.anything", True),
        ("in.anything", True),
        ("is.anything", True),
        ("fts(english).a", True),
        ("equal", False),
        ("1", False),
        ("", False),
        ("eq", False),
        ("eq(one).a", False),
        ("nothing.at.all", False),
    ],
)
def test_argument_of_a_call_is_told_from_a_filter(text: str, filters: bool) -> None:
    assert is_operation(text) is filters


def one(name: str, operator: str, value: str) -> Filter:
    return Filter(field(name), Compare(operator, value))  # type: ignore[arg-type]


LOGIC = [
    ("(a.eq.1)", (one("a", "eq", "1"),)),
    ("(a.eq.1,b.gt.2)", (one("a", "eq", "1"), one("b", "gt", "2"))),
    ("( a.eq.1 , b.gt.2 )", (one("a", "eq", "1 "), one("b", "gt", "2 "))),
    (" (a.eq.1)", (one("a", "eq", "1"),)),
    ("(a.eq.1)ignored", (one("a", "eq", "1"),)),
    ("(a.eq.1.5)", (one("a", "eq", "1.5"),)),
    ("(a.eq.)", (one("a", "eq", ""),)),
    ('(a.eq."x,y)")', (one("a", "eq", "x,y)"),)),
    ('(a.eq."x"y)', (one("a", "eq", '"x"y'),)),
    ("(a.cs.{1,2},b.ov.{x})", (one("a", "cs", "{1,2}"), one("b", "ov", "{x}"))),
    ("(a.not.eq.1)", (Filter(field("a"), Compare("eq", "1"), negated=True),)),
    ("(a.in.(1,2),b.is.null)", (Filter(field("a"), InList(("1", "2"))), Filter(field("b"), Is("null")))),
    ("(data->a->>0.eq.1)", (Filter(field("data", "a", 0, text=True), Compare("eq", "1")),)),
    ('("a.b".eq.1)', (one("a.b", "eq", "1"),)),
    ("(and.eq.1,or.eq.2,not.eq.3)", (one("and", "eq", "1"), one("or", "eq", "2"), one("not", "eq", "3"))),
    ("(order.eq.1,android.eq.2)", (one("order", "eq", "1"), one("android", "eq", "2"))),
    ("(or(a.eq.1,b.eq.2),c.eq.3)", (Logic("or", (one("a", "eq", "1"), one("b", "eq", "2"))), one("c", "eq", "3"))),
    ("(not.and(a.eq.1,not.or(b.eq.2,c.eq.3)))", (
        Logic("and", (one("a", "eq", "1"), Logic("or", (one("b", "eq", "2"), one("c", "eq", "3")), True)), True),
    )),
]  # fmt: skip


@pytest.mark.parametrize(("text", "children"), LOGIC, ids=[text for text, _ in LOGIC])
def test_logic_tree_is_read(text: str, children: object) -> None:
    assert parse_logic(text, "or", negated=False) == Logic("or", children)  # type: ignore[arg-type]
    assert parse_logic(text, "and", negated=True) == Logic("and", children, True)  # type: ignore[arg-type]


ORDERS = [
    ("id", (OrderTerm(field("id")),)),
    ("id.asc,name.desc", (OrderTerm(field("id"), "asc"), OrderTerm(field("name"), "desc"))),
    ("id , name.desc ", (OrderTerm(field("id")), OrderTerm(field("name"), "desc"))),
    ("id.nullsfirst", (OrderTerm(field("id"), None, "first"),)),
    ("id.desc.nullslast", (OrderTerm(field("id"), "desc", "last"),)),
    ("data->a->>0.asc.nullsfirst", (OrderTerm(field("data", "a", 0, text=True), "asc", "first"),)),
    ('"a.b".desc', (OrderTerm(field("a.b"), "desc"),)),
    ("clients(name).desc", (OrderTerm(field("name"), "desc", relation="clients"),)),
    ("clients(data->a)", (OrderTerm(field("data", "a"), relation="clients"),)),
    ("clients(a),id", (OrderTerm(field("a"), relation="clients"), OrderTerm(field("id")))),
]  # fmt: skip


@pytest.mark.parametrize(("text", "terms"), ORDERS, ids=[text for text, _ in ORDERS])
def test_order_is_read(text: str, terms: object) -> None:
    assert parse_order(text) == terms


@pytest.mark.parametrize(
    ("text", "path", "name"),
    [
        ("id", (), field("id")),
        ("actors.id", ("actors",), field("id")),
        ("a.b.data->x->>0", ("a", "b"), field("data", "x", 0, text=True)),
        ('"a.b".c', ("a.b",), field("c")),
        ("id!", (), field("id")),
    ],
)
def test_path_of_a_filter_is_read(text: str, path: object, name: object) -> None:
    assert parse_path(text) == (path, name)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("and", ((), "and", False)),
        ("not.or", ((), "or", True)),
        ("a.b.or", (("a", "b"), "or", False)),
        ("a.not.and", (("a",), "and", True)),
        ("not.a.and", (("a",), "and", True)),
    ],
)
def test_path_of_a_logic_tree_is_read(text: str, read: object) -> None:
    assert parse_logic_path(text) == read


def test_names_are_read_once_each_in_their_order() -> None:
    assert parse_names('b, a,"x,y",b', "columns parameter") == ("b", "a", "x,y")


GO_ON = 'letter, digit, "-", "->>", "->"'
AFTER_FIELD = f'{GO_ON}, "::", ".", ")", "," or end of input'
JSON_KEY = "any non reserved character different from: .,>()"
LOGIC_START = "field name (* or [a..z0..9_$]), negation operator (not) or logic operator (and, or)"
ERRORS = [
    # select
    ("select", "id,clients(name[])", 16, f"unexpected '[' expecting {AFTER_FIELD}"),
    ("select", "name!hint", 5, f"unexpected '!' expecting {AFTER_FIELD}"),
    ("select", "*!hint", 2, "unexpected '!' expecting \")\", \",\" or end of input"),
    ("select", "name::", 7, "unexpected end of input expecting letter or digit"),
    ("select", "data->>-78xy", 11, "unexpected 'x' expecting digit, \"->\", \"::\", \".\", \",\" or end of input"),
    ("select", "data->>--34", 9, 'unexpected "-" expecting digit'),
    ("select", "data->>-xy-4", 9, 'unexpected "x" expecting digit'),
    ("select", "data->(!@#$%^&*_d::integer", 7, f'unexpected "(" expecting "-", digit or {JSON_KEY}'),
    ("select", ":", 1, 'unexpected ":" expecting field name (* or [a..z0..9_$])'),
    ("select", "id,", 4, "unexpected end of input expecting field name (* or [a..z0..9_$])"),
    ("select", "price.total()", 7, 'unexpected "t" expecting "sum", "avg", "count", "max" or "min"'),
    ("select", "clients(id", 11, 'unexpected end of input expecting "," or ")"'),
    ("select", "...clients", 11, 'unexpected end of input expecting letter, digit, "-", "!" or "("'),
    ("select", "...clients!fk.", 14, 'unexpected "." expecting letter, digit, "-", "!" or "("'),
    ("select", '"open', 6, "unexpected end of input expecting \"\\\"\""),
    # filters
    ("filter", "0", 1, 'unexpected "0" expecting "not" or operator (eq, gt, ...)'),
    ("filter", "val", 1, 'unexpected "v" expecting "not" or operator (eq, gt, ...)'),
    ("filter", "noop.0", 1, 'unexpected "o" expecting "not" or operator (eq, gt, ...)'),
    ("filter", "", 1, 'unexpected end of input expecting "not" or operator (eq, gt, ...)'),
    ("filter", "not.xx.1", 5, 'unexpected "x" expecting operator (eq, gt, ...)'),
    ("filter", "eq", 3, "unexpected end of input expecting operator (eq, gt, ...)"),
    ("filter", "eq().value", 4, 'unexpected ")" expecting operator (eq, gt, ...)'),
    ("filter", "fts().value", 5, 'unexpected ")" expecting operator (eq, gt, ...)'),
    ("filter", "is().value", 3, 'unexpected "(" expecting operator (eq, gt, ...)'),
    ("filter", "in().value", 3, 'unexpected "(" expecting operator (eq, gt, ...)'),
    ("filter", "is.nul", 7, "unexpected end of input expecting isVal: (null, not_null, true, false, unknown)"),
    ("filter", "in.1,2", 4, 'unexpected "1" expecting "("'),
    ("filter", "in.(1,2", 8, 'unexpected end of input expecting "," or ")"'),
    # order
    ("order", "clients(name,id)", 8, f"unexpected '(' expecting {GO_ON}, delimiter (.), \",\" or end of input"),
    ("order", "id.ac", 4, 'unexpected "c" expecting "asc", "desc", "nullsfirst" or "nullslast"'),
    ("order", "id.descc", 8, "unexpected 'c' expecting delimiter (.), \",\" or end of input"),
    ("order", "id.nulsfist", 4, 'unexpected "n" expecting "asc", "desc", "nullsfirst" or "nullslast"'),
    ("order", "id.nullslasttt", 13, "unexpected 't' expecting \",\" or end of input"),
    ("order", "id.smth34", 4, 'unexpected "s" expecting "asc", "desc", "nullsfirst" or "nullslast"'),
    ("order", "id.asc.nlsfst", 8, 'unexpected "l" expecting "nullsfirst" or "nullslast"'),
    ("order", "id.asc.nullslasttt", 17, "unexpected 't' expecting \",\" or end of input"),
    ("order", "id.asc.smth34", 8, 'unexpected "s" expecting "nullsfirst" or "nullslast"'),
    ("order", "", 1, "unexpected end of input expecting field name (* or [a..z0..9_$])"),
    # logic trees, read with their operator before them
    ("or", "()", 4, f'unexpected ")" expecting {LOGIC_START}'),
    ("or", "(id.in.1,2,id.eq.3)", 10, 'unexpected "1" expecting "("'),
    ("or", ")(", 3, 'unexpected ")" expecting "("'),
    ("and", "(ord(id.eq.1,id.eq.1),id.eq.2)", 7, 'unexpected "d" expecting "("'),
    ("or", "(id.eq.1,not.xor(id.eq.2,id.eq.3))", 16, 'unexpected "x" expecting logic operator (and, or)'),
    ("or", "(id.eq.1", 11, 'unexpected end of input expecting "," or ")"'),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "text", "at", "details"), ERRORS, ids=[f"{kind} {text}" for kind, text, *_ in ERRORS]
)
def test_refusal_names_place_and_expectation(kind: str, text: str, at: int, details: str | None) -> None:
    with pytest.raises(RestError) as raised:
        read(kind, text)
    error = raised.value
    called = {"select": "select parameter", "or": "logic tree", "and": "logic tree"}.get(kind, kind)
    assert (error.code, error.status) == ("PGRST100", 400)
    assert error.message == f'"failed to parse {called} ({text})" (line 1, column {at})'
    if details is not None:
        assert error.details == details


def test_refusal_counts_lines() -> None:
    with pytest.raises(RestError, match=r"\(line 2, column 5\)") as raised:
        parse_select('"a\nb",é;')
    assert raised.value.details.startswith("unexpected ';'")


def read(kind: str, text: str) -> object:
    match kind:
        case "select":
            return parse_select(text)
        case "filter":
            return parse_filter(text)
        case "order":
            return parse_order(text)
        case "path":
            return parse_path(text)
        case "names":
            return parse_names(text, "columns parameter")
        case "and" | "or":
            return parse_logic(text, kind, negated=False)
    raise AssertionError(kind)


def test_empty_columns_are_refused_as_postgrest_does() -> None:
    with pytest.raises(RestError) as raised:
        parse_names("", "columns parameter")
    assert raised.value.message == '"failed to parse columns parameter ()" (line 1, column 1)'
    assert raised.value.details == "unexpected end of input expecting field name (* or [a..z0..9_$])"


DEEP, WIDE = MAX_DEPTH + 1, MAX_ITEMS + 1


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("select", "a(" * DEEP + "b" + ")" * DEEP),
        ("or", "(and" * DEEP + "(a.eq.1)" + ")" * DEEP),
        ("select", ",".join("a" * 1 for _ in range(WIDE + 1))),
        ("select", "a" + "->b" * (WIDE + 1)),
        ("select", "a->" + "1" * 10),
        ("select", "a" * (MAX_LENGTH + 1)),
        ("filter", f"in.({','.join('1' for _ in range(WIDE + 1))})"),
        ("order", ",".join("a" for _ in range(WIDE + 1))),
        ("names", ",".join("a" for _ in range(WIDE + 1))),
        ("path", ".".join("a" for _ in range(WIDE + 1))),
    ],
    ids=[
        "select depth",
        "logic depth",
        "items",
        "path",
        "index",
        "length",
        "list",
        "order",
        "names",
        "embeds",
    ],
)
def test_limits_answer_before_work(kind: str, text: str) -> None:
    with pytest.raises(RestError) as raised:
        read(kind, text)
    assert (raised.value.code, raised.value.status) == ("PGRST100", 400)
    assert raised.value.message.startswith("The ")
