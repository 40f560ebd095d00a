"""Random requests as data, which a URL and a hand-written query are both made from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import count, cycle, product
from typing import Literal, TypeVar

from hypothesis import strategies as st

from tests.rest.differential_project import KEYS, LINKS, TABLES, USER, Link, Type

T = TypeVar("T")


@dataclass(frozen=True)
class Step:
    key: str | int
    as_text: bool


@dataclass(frozen=True)
class Field:
    column: str
    path: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Condition:
    """`value` is a tuple for `in`, None for the words of `is`, which stand in `operator`."""

    field: Field
    operator: str
    value: str | tuple[str, ...] | None
    negated: bool = False
    quantifier: Literal["any", "all"] | None = None
    config: str | None = None


@dataclass(frozen=True)
class Group:
    operator: Literal["and", "or"]
    children: tuple["Condition | Group | HasRows", ...]
    negated: bool = False


@dataclass(frozen=True)
class HasRows:
    """A filter on an embed, by its label: whether there are rows."""

    label: str
    has: bool


@dataclass(frozen=True)
class Order:
    """`embed` is the label of a to-one embed that the field is in."""

    field: Field
    direction: Literal["asc", "desc"] | None = None
    nulls: Literal["first", "last"] | None = None
    embed: str | None = None


@dataclass(frozen=True)
class Shown:
    field: Field
    alias: str | None = None
    cast: str | None = None

    @property
    def label(self) -> str:
        keys = [step.key for step in self.field.path if isinstance(step.key, str)]
        return self.alias or (keys[-1] if keys else self.field.column)


@dataclass(frozen=True)
class Aggregate:
    """`column` None is `count()` of the rows."""

    function: Literal["sum", "avg", "count", "max", "min"]
    column: str | None
    alias: str | None = None
    cast: str | None = None

    @property
    def label(self) -> str:
        return self.alias or self.function


@dataclass(frozen=True)
class Embed:
    link: Link
    level: "Level"
    alias: str | None = None
    is_inner: bool = False
    is_spread: bool = False

    @property
    def label(self) -> str:
        return self.alias or self.link.relation


@dataclass(frozen=True)
class Level:
    """`shown` None is `*`. Rows with `aggregates` are grouped by what is shown beside."""

    table: str
    shown: tuple[Shown, ...] | None
    embeds: tuple[Embed, ...] = ()
    aggregates: tuple[Aggregate, ...] = ()
    where: tuple[Condition | Group | HasRows, ...] = ()
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Of what a row shows, `*` apart."""
        own = tuple(one.label for one in self.shown or ())
        for embed in self.embeds:
            if embed.is_spread:
                own += embed.level.labels
            elif not embed.level.is_empty:
                own += (embed.label,)
        return own

    @property
    def is_empty(self) -> bool:
        return self.shown == () and not self.aggregates and all(embed.level.is_empty for embed in self.embeds)

    @property
    def is_ordered(self) -> bool:
        """Down to the last row."""
        own = {term.field.column for term in self.order if term.embed is None and not term.field.path}
        return own >= set(KEYS[self.table])


@dataclass(frozen=True)
class Ask:
    level: Level
    role: Literal["anon", "authenticated"]
    counts: bool


# Conditions

COLUMNS = {table: tuple(columns) for table, columns in TABLES.items()}
LINKS_OF = {table: tuple(one for one in LINKS if one.parent == table) for table in TABLES}
COUNTS = (range(1), range(2), range(3))
WORDS = (
    "M",
    "cat",
    "Helm",
    "Lang",
    "Oscar",
    "x",
    "v1",
    'A "quoted", one',
    "(a)",
    "part 2",
    "",
    "notes 1",
    "a\\b",
    "né",
)
LIKE = ("*a*", "M", "%cat%", "_", "L*", '*"*', "", "Dogs%", "met\\**")
REGEXES = ("^M$", "cat", "a|o", "", "[A-D]", "^(The|Dogs)", "\\s")
PATTERNS = {"like": LIKE, "ilike": LIKE, "match": REGEXES, "imatch": REGEXES}
WRONG_VALUES = (
    ("year", "x"), ("year", "99999999999"), ("price", "1.2.3"), ("rating", "X"), ("during", "[5,1)"), ("tags", "{"),
    ("made_at", "yesterdayish"), ("owner", "1"), ("data", "{"),
)  # fmt: skip
# Refused when the statement is read, whatever else it says and whatever rows there are.
WRONG = (
    Condition(Field("no such column"), "eq", "1"),
    Condition(Field("year"), "like", "1*"),
    Condition(Field("is_silent"), "cs", "{a}"),
    Condition(Field("raw", (Step("a", False),)), "eq", "1"),
    *(Condition(Field(column), "eq", value) for column, value in WRONG_VALUES),
)
# Refused when the rows are looked for.
WRONG_SEARCHES = (
    Condition(Field("search"), "fts", "cat &", config="english"),
    Condition(Field("title"), "plfts", "cat", config="klingon"),
    Condition(Field("title"), "match", "(" * 3),
)
COMPARED: dict[Type, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "int": (("eq", "neq", "gt", "gte", "lt", "lte", "in", "isdistinct"), ("1", "3", "1922", "1925", "7", "-1", "0")),
    "numeric": (("eq", "neq", "gt", "gte", "lt", "lte", "in", "isdistinct"), ("1.25", "5", "0", "3.750", "NaN", "1e1")),
    "text": (("eq", "neq", "gt", "lte", "in", "isdistinct", "like", "ilike", "match", "imatch", "fts"), WORDS),
    "enum": (("eq", "neq", "gt", "in", "isdistinct"), ("G", "PG", "R")),
    "array": (("eq", "cs", "cd", "ov", "neq", "isdistinct"), ("{}", "{silent}", '{silent,crime}', '{"a,b"}', "{x}")),
    "jsonb": (("cs", "cd", "eq", "isdistinct"), ('{"a": 1}', "{}", '"x"', "[2]", "null", '{"a": {"b": "x"}}')),
    "json": ((), ()),
    "range": (("eq", "cs", "cd", "ov", "sl", "sr", "nxr", "nxl", "adj"), ("[1,3)", "empty", "(2,5]", "[3,)", "[6,9)")),
    "time": (("gt", "lte", "eq", "in", "isdistinct"), ("1930-01-09", "1930-01-10 06:00:00+00", "infinity")),
    "bool": (("eq", "neq", "isdistinct", "in"), ("true", "false")),
    "uuid": (("eq", "neq", "isdistinct", "in"), (USER, "00000000-0000-0000-0000-000000000000")),
    "tsvector": (("fts",), ()),
}  # fmt: skip
ONE_OF_EACH = ("year", "title", "price", "rating", "tags", "data", "during", "made_at", "is_silent", "owner")
QUANTIFIED: tuple[Type, ...] = ("int", "text", "numeric", "enum")
QUANTIFIABLE = ("eq", "gt", "gte", "lt", "lte", "like", "ilike", "match", "imatch")
SEARCHES = {
    "fts": ("cat", "cat & run", "dog | sunrise", "!cat"),
    "plfts": ("cats running", "the", ""),
    "phfts": ("dogs and cats", "cat run"),
    "wfts": ('"the cat" or sunrise', "-cat", "dogs"),
}
PATHS: dict[str, tuple[tuple[Step, ...], ...]] = {
    "data": (
        (Step("a", False),), (Step("a", True),), (Step("a", False), Step("b", True)), (Step(-1, True),),
        (Step("list", False), Step(0, True)), (Step(0, False), Step("a", True)), (Step("n", True),),
    ),
    "raw": ((Step("a", True),), (Step("a", False), Step("b", True))),
    "tags": ((Step(0, True),), (Step(0, False),)),
}  # fmt: skip


def draw_condition(draw: st.DrawFn, table: str) -> Condition:
    column = pick(draw, COLUMNS[table])
    kind = TABLES[table][column]
    negated = pick(draw, (False, True))
    if column in PATHS and pick(draw, (True, False)):
        return draw_path_condition(draw, Field(column, pick(draw, PATHS[column])), negated=negated)
    if kind == "json" or pick(draw, range(5)) == 0:
        words = ("null", "not_null", "true", "false", "unknown") if kind == "bool" else ("null", "not_null")
        return Condition(Field(column), f"is.{pick(draw, words)}", None, negated)
    operators, values = COMPARED[kind]
    operator = pick(draw, operators)
    if operator == "fts":
        return draw_search(draw, column, negated=negated)
    values = PATTERNS.get(operator, values)
    if operator == "in":
        return Condition(Field(column), "in", tuple(draw_several(draw, values, 3)), negated)
    if operator in QUANTIFIABLE and kind in QUANTIFIED and pick(draw, range(3)) == 0:
        several = array_literal(draw_several(draw, values, 3))
        return Condition(Field(column), operator, several, negated, pick(draw, ("any", "all")))
    return Condition(Field(column), operator, pick(draw, values), negated)


def draw_path_condition(draw: st.DrawFn, field: Field, *, negated: bool) -> Condition:
    if not field.path[-1].as_text:
        return Condition(field, pick(draw, ("is.null", "is.not_null")), None, negated)
    value = pick(draw, ("x", "1", "2", "*", "silent"))
    operator = pick(draw, ("eq", "neq", "like", "in", "isdistinct"))
    return Condition(field, operator, (value, "5") if operator == "in" else value, negated)


def array_literal(values: list[str]) -> str:
    return "{" + ",".join('"' + one.replace("\\", "\\\\").replace('"', '\\"') + '"' for one in values) + "}"


def draw_search(draw: st.DrawFn, column: str, *, negated: bool) -> Condition:
    operator = pick(draw, tuple(SEARCHES))
    config = pick(draw, (None, "english", "simple"))
    return Condition(Field(column), operator, pick(draw, SEARCHES[operator]), negated, config=config)


def every_condition() -> Iterator[Condition]:
    """On films: each operator with each value that suits a column's type, on one column of each type."""
    negated = cycle((False, True))
    for column, kind in TABLES["films"].items():
        if kind in ("json", "tsvector") or column not in ONE_OF_EACH:
            continue
        operators, values = COMPARED[kind]
        for operator in operators:
            if operator == "fts":
                continue
            several = PATTERNS.get(operator, values)
            for value in several:
                yield Condition(
                    Field(column), operator, (value,) if operator == "in" else value, next(negated)
                )
            if operator in QUANTIFIABLE and kind in QUANTIFIED:
                for quantifier in ("any", "all"):
                    yield Condition(
                        Field(column), operator, array_literal(several[:2]), next(negated), quantifier
                    )
    for column in ("title", "search"):
        for operator, texts in SEARCHES.items():
            for text, config in product(texts, (None, "english", "simple")):
                yield Condition(Field(column), operator, text, next(negated), config=config)
    for column, paths in PATHS.items():
        for path in paths:
            yield Condition(Field(column, path), "is.null", None, next(negated))
            if path[-1].as_text:
                yield Condition(Field(column, path), "in", ("x", "1"), next(negated))


def draw_filter(
    draw: st.DrawFn, table: str, labels: tuple[str, ...], depth: int = 2
) -> Condition | Group | HasRows:
    if labels and pick(draw, range(3)) == 0:
        return HasRows(pick(draw, labels), pick(draw, (True, False)))
    if depth == 0 or pick(draw, range(3)):
        return draw_condition(draw, table)
    children = tuple(draw_filter(draw, table, labels, depth - 1) for _ in pick(draw, COUNTS))
    return Group(pick(draw, ("and", "or")), children, pick(draw, (False, True)))


# Levels

CASTS: dict[Type, tuple[str, ...]] = {
    "int": ("text", "numeric", "bigint"), "text": ("varchar", "text"), "numeric": ("text", "int", "double precision"),
    "enum": ("text",), "array": ("text",), "jsonb": ("text", "json"), "json": ("text", "jsonb"), "range": ("text",),
    "time": ("date", "text"), "bool": ("text", "int"), "uuid": ("text",), "tsvector": ("text",),
}  # fmt: skip
ORDERABLE: frozenset[Type] = frozenset(
    {"int", "text", "numeric", "enum", "array", "range", "time", "bool", "uuid"}
)
NUMBERS: tuple[Type, ...] = ("int", "numeric")
COMPARABLE: tuple[Type, ...] = ("int", "numeric", "text", "enum", "array", "time")
AGGREGATED: dict[str, tuple[Type, ...]] = {
    "count": (*COMPARABLE, "json", "jsonb"),
    "sum": NUMBERS,
    "avg": NUMBERS,
    "max": COMPARABLE,
    "min": COMPARABLE,
}
ALIASES = (None, None, "first", "the second", 'a"b', "id", "name")


@st.composite
def asks(draw: st.DrawFn) -> Ask:
    table = pick(draw, ("films", "films", "films", "directors", "actors", "roles", "awards", "details"))
    level = draw_level(draw, table, pick(draw, (1, 2, 2, 0)), count(1), is_root=True)
    if table == "films" and pick(draw, range(5)) == 4:
        level = replace(level, where=(*level.where, pick(draw, WRONG)))
    return Ask(level, pick(draw, ("anon", "authenticated")), pick(draw, (False, True)))


def draw_level(
    draw: st.DrawFn, table: str, depth: int, numbers: "count[int]", *, is_root: bool = False
) -> Level:
    """`numbers` are for the aliases, so that no label is there twice."""
    shown = draw_shown(draw, table, is_root=is_root)
    embeds: list[Embed] = []
    for _ in pick(draw, (range(0), range(1), range(1), range(2))) if depth else ():
        link = pick(draw, LINKS_OF[table])
        taken = {one.link.relation for one in embeds} | _labels(shown, embeds)
        embeds.append(draw_embed(draw, link, depth, numbers, taken))
    if not embeds and shown is not None and pick(draw, range(4)) == 3:
        return draw_groups(draw, table, shown)
    labels = tuple(one.label for one in embeds if not one.is_spread)
    where = tuple(draw_filter(draw, table, labels) for _ in pick(draw, (range(0), range(1), range(2))))
    order, limit, offset = draw_window(draw, table, embeds)
    if shown and _ends_in_index(shown[-1]) and not embeds and not is_root:
        shown = (*shown, Shown(Field(KEYS[table][0]), "key"))
    return Level(table, shown, tuple(embeds), (), where, order, limit, offset)


def draw_groups(draw: st.DrawFn, table: str, shown: tuple[Shown, ...]) -> Level:
    """Without an order: what is grouped can only be ordered by what it is grouped by."""
    taken = {one.label for one in shown}
    aggregates: dict[str, Aggregate] = {}
    for number in pick(draw, COUNTS):
        function = pick(draw, ("count", "sum", "max", "avg", "min"))
        columns = [name for name, kind in TABLES[table].items() if kind in AGGREGATED[function]]
        column = pick(draw, (None, *columns) if function == "count" else columns)
        alias = pick(draw, (None, f"total {number}"))
        one = Aggregate(function, column, alias, pick(draw, (None, "text")))
        if one.label not in taken:
            aggregates.setdefault(one.label, one)
    where = tuple(draw_filter(draw, table, ()) for _ in pick(draw, (range(0), range(1))))
    return Level(table, shown, aggregates=tuple(aggregates.values()), where=where)


def _labels(shown: tuple[Shown, ...] | None, embeds: list[Embed]) -> set[str]:
    found = {one.label for one in shown or ()}
    for embed in embeds:
        found |= {embed.label, *(embed.level.labels if embed.is_spread else ())}
    return found


def _ends_in_index(one: Shown) -> bool:
    """Before a parenthesis the grammar takes a number for a key."""
    return bool(one.field.path) and isinstance(one.field.path[-1].key, int)


def draw_shown(draw: st.DrawFn, table: str, *, is_root: bool) -> tuple[Shown, ...] | None:
    match pick(draw, range(6)):
        case 0:
            return None
        case 1 if not is_root:
            return ()
    found: dict[str, Shown] = {}
    for _ in pick(draw, COUNTS):
        column = pick(draw, COLUMNS[table])
        path = pick(draw, ((), *PATHS.get(column, ())))
        cast = None if path else pick(draw, (None, None, *CASTS[TABLES[table][column]]))
        one = Shown(Field(column, path), pick(draw, ALIASES), cast)
        found.setdefault(one.label, one)
    return tuple(found.values())


def draw_embed(draw: st.DrawFn, link: Link, depth: int, numbers: "count[int]", taken: set[str]) -> Embed:
    level = draw_level(draw, link.target, depth - 1, numbers)
    is_inner = pick(draw, (False, True))
    can_be_spread = (
        level.shown
        and not level.aggregates
        and link.relation not in taken
        and not taken.intersection(level.labels)
    )
    if can_be_spread and pick(draw, range(3)) == 0:
        return Embed(link, level, is_inner=is_inner, is_spread=True)
    needs_alias = link.relation in taken or link.relation in TABLES[link.parent]
    alias = pick(draw, ("e{}", "embed {}") if needs_alias else (None, "e{}", "embed {}"))
    return Embed(link, level, alias and alias.format(next(numbers)), is_inner=is_inner)


def draw_window(
    draw: st.DrawFn, table: str, embeds: list[Embed]
) -> tuple[tuple[Order, ...], int | None, int | None]:
    """A limit is only told over rows in an order that leaves nothing to chance."""
    own: list[tuple[str | None, Field]] = [
        (None, Field(name)) for name, kind in TABLES[table].items() if kind in ORDERABLE
    ]
    if table == "films":
        own.append((None, Field("data", (Step("a", True),))))
    related = [(embed.label, field) for embed in embeds if embed.link.is_to_one for field in _sortable(embed)]
    terms = []
    for fields in (related, own, own):
        if fields and pick(draw, (False, True)):
            label, field = pick(draw, fields)
            direction, nulls = pick(draw, (None, "asc", "desc")), pick(draw, (None, "first", "last"))
            terms.append(Order(field, direction, nulls, label))
    if pick(draw, (False, True)):
        terms += [Order(Field(key)) for key in KEYS[table]]
        return tuple(terms), pick(draw, (None, 5, 2, 1, 0)), pick(draw, (None, 0, 1, 4))
    return tuple(terms), None, None


def _sortable(embed: Embed) -> list[Field]:
    """What is selected of an embed under its own name, because only that can be ordered by."""
    types = TABLES[embed.link.target]
    if embed.level.aggregates:
        return []
    if embed.level.shown is None:
        return [Field(name) for name, kind in types.items() if kind in ORDERABLE]
    return [
        one.field
        for one in embed.level.shown
        if one.label == one.field.column
        and not (one.field.path or one.cast)
        and types[one.field.column] in ORDERABLE
    ]


# Drawing


def pick(draw: st.DrawFn, options: Sequence[T]) -> T:
    """One of several, the first one when a failure is shrunk."""
    return options[draw(_below(len(options)))]


@cache
def _below(number: int) -> st.SearchStrategy[int]:
    """Kept, because making a strategy costs more than drawing from it."""
    return st.integers(0, number - 1)


def draw_several(draw: st.DrawFn, options: Sequence[T], most: int) -> list[T]:
    return [pick(draw, options) for _ in range(draw(_below(most + 1)))]
