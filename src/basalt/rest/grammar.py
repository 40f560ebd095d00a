"""The grammar of the query string: `select`, filters, logic trees, `order`, as PostgREST documents it under
"Tables and Views".

Hand-written recursive descent over one string with an index; runs of characters are matched by compiled
expressions, because this stands
on every request's path. Limits are checked before work. What cannot be read is PGRST100 with line and column.
"""

import re
from collections.abc import Callable
from typing import NoReturn, TypeVar, get_args

from basalt.rest.errors import RestError
from basalt.rest.query import (
    AggregateName,
    Compare,
    EmbedPath,
    FieldRef,
    Filter,
    FilterOperator,
    FtsOperator,
    FullText,
    InList,
    Is,
    IsDistinct,
    JsonStep,
    Logic,
    LogicTree,
    Operation,
    OrderTerm,
    SelectEmbed,
    SelectField,
    SelectItem,
)

MAX_LENGTH = 64 * 1024
MAX_DEPTH = 32
MAX_ITEMS = 4096

OPERATORS: frozenset[str] = frozenset(get_args(FilterOperator))
FTS_OPERATORS: frozenset[str] = frozenset(get_args(FtsOperator))
AGGREGATES: frozenset[str] = frozenset(get_args(AggregateName))
QUANTIFIABLE = frozenset({"eq", "gte", "gt", "lte", "lt", "like", "ilike", "match", "imatch"})
IS_VALUES = {"null", "not_null", "true", "false", "unknown"}

_NAME = re.compile(r"[ \t]*([\w$][\w $]*(?:-(?!>)[\w $]+)*)")
_QUOTED = re.compile(r'[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*', re.DOTALL)
_JSON_KEY = re.compile(r'[^\s"(\-:.,>)][^"(\-:.,>)]*(?:-(?!>)[^"(\-:.,>)]+)*')
_JSON_INDEX = re.compile(r"-?\d+(?=->|::|[.,)]|$)")
_CAST = re.compile(r"[\w $]+(?:\([\d, ]*\))?(?:\[\])*")
_AGGREGATE = re.compile(r"\.(avg|count|max|min|sum)\(\)")
_OPERATOR = re.compile(r"(not\.)?([a-z]+)(?:\(([^()]*)\))?\.", re.DOTALL)
_BARE_VALUE = re.compile(r"[^,)]*", re.DOTALL)
_LIST_VALUE = re.compile(r"[^,)]*", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

T = TypeVar("T")


class _Text:
    """A string being read. `what` is what an error calls it."""

    __slots__ = ("at", "depth", "items", "text", "what")

    def __init__(self, text: str, what: str) -> None:
        if len(text) > MAX_LENGTH:
            raise RestError("PGRST100", problem=f"{what} is longer than {MAX_LENGTH} characters")
        self.text, self.what, self.at, self.depth, self.items = text, what, 0, 0, 0

    def fail(self, expecting: str) -> NoReturn:
        found = f'"{self.text[self.at]}"' if self.at < len(self.text) else "end of input"
        raise RestError(
            "PGRST100",
            problem=f'"failed to parse {self.what} ({self.text[:200]})" (line 1, column {self.at + 1})',
            details=f"unexpected {found} expecting {expecting}",
        )

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.at)
        if found is not None:
            self.at = found.end()
        return found

    def take(self, literal: str) -> bool:
        if self.text.startswith(literal, self.at):
            self.at += len(literal)
            return True
        return False

    def expect(self, literal: str) -> None:
        if not self.take(literal):
            self.fail(f'"{literal}"')

    def next_is(self, literal: str) -> bool:
        return self.text.startswith(literal, self.at)

    def is_done(self) -> bool:
        return self.at >= len(self.text)

    def enter(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise RestError("PGRST100", problem=f"{self.what} is nested deeper than {MAX_DEPTH} levels")

    def count(self) -> None:
        self.items += 1
        if self.items > MAX_ITEMS:
            raise RestError("PGRST100", problem=f"{self.what} has more than {MAX_ITEMS} items")


def _whole(text: str, what: str, read: Callable[[_Text], T]) -> T:
    source = _Text(text, what)
    result = read(source)
    if not source.is_done():
        source.fail("end of input")
    return result


def parse_select(text: str) -> tuple[SelectItem, ...]:
    """The value of `select`.

    >>> parse_select("id,name:title::text")[1]
    SelectField(field=FieldRef(name='title', json_path=()), alias='name', cast='text', aggregate=None,
    aggregate_cast=None)
    >>> parse_select("who:actors!inner(name)")[0].join
    'inner'
    """
    return _whole(text, "select parameter", _read_items) if text else ()


def parse_filter(text: str) -> tuple[Operation, bool]:
    """The value of a column's parameter: the operation, and whether it is negated.

    >>> parse_filter("not.in.(1,2)")
    (InList(values=('1', '2')), True)
    """
    return _whole(text, "filter", lambda source: _read_operation(source, in_logic=False))


def parse_logic(text: str, operator: str, *, negated: bool) -> Logic:
    """The value of `and`, `or`, `not.and`, `not.or`."""

    def read(source: _Text) -> Logic:
        return Logic(operator, _read_children(source), negated)  # type: ignore[arg-type]

    return _whole(text, "logic tree", read)


def parse_order(text: str) -> tuple[OrderTerm, ...]:
    """
    >>> parse_order("name.desc.nullslast,id")[0].nulls
    'last'
    """

    def read(source: _Text) -> tuple[OrderTerm, ...]:
        terms = [_read_term(source)]
        while source.take(","):
            source.count()
            terms.append(_read_term(source))
        return tuple(terms)

    return _whole(text, "order", read)


def parse_names(text: str, what: str) -> tuple[str, ...]:
    """Column names with commas between: `columns`, `on_conflict`."""

    def read(source: _Text) -> tuple[str, ...]:
        names = [_read_name(source)]
        while source.take(","):
            source.count()
            names.append(_read_name(source))
        return tuple(names)

    return _whole(text, what, read)


def parse_path(text: str) -> tuple[EmbedPath, FieldRef]:
    """The name of a filter's parameter: the embeds that lead to it and the field.

    >>> parse_path("actors.roles.data->>a")
    (('actors', 'roles'), FieldRef(name='data', json_path=(JsonStep(key='a', as_text=True),)))
    """

    def read(source: _Text) -> tuple[EmbedPath, FieldRef]:
        path = []
        one = _read_field(source)
        while source.take("."):
            if one.json_path:
                source.fail("end of input")
            path.append(one.name)
            one = _read_field(source)
        return tuple(path), one

    return _whole(text, "filter", read)


def has_operator(text: str) -> bool:
    """Whether a parameter of a routine's call is a filter on its rows."""
    found = _OPERATOR.match(text)
    return found is not None and (
        found[2] in OPERATORS or found[2] in FTS_OPERATORS or found[2] in ("in", "is", "isdistinct")
    )


# Select


def _read_items(source: _Text) -> tuple[SelectItem, ...]:
    items = [_read_item(source)]
    while source.take(","):
        source.count()
        items.append(_read_item(source))
    return tuple(items)


def _read_item(source: _Text) -> SelectItem:
    if source.take("..."):
        return _read_embed(source, None, _read_name(source), spread=True)
    if source.take("*"):
        return SelectField(FieldRef("*"))
    if source.take("count()"):
        return _with_aggregate_cast(source, FieldRef("*"), None, None, "count")
    alias = None
    name = _read_name(source)
    if source.next_is(":") and not source.next_is("::"):
        source.take(":")
        alias = name
        if source.take("count()"):
            return _with_aggregate_cast(source, FieldRef("*"), alias, None, "count")
        name = _read_name(source)
    if source.next_is("!") or source.next_is("("):
        return _read_embed(source, alias, name, spread=False)
    one = FieldRef(name, _read_json_path(source))
    cast = _read_cast(source)
    aggregate = source.match(_AGGREGATE)
    if aggregate is not None:
        return _with_aggregate_cast(source, one, alias, cast, aggregate[1])
    return SelectField(one, alias, cast)


def _with_aggregate_cast(
    source: _Text, one: FieldRef, alias: str | None, cast: str | None, name: str
) -> SelectField:
    return SelectField(one, alias, cast, name, _read_cast(source))  # type: ignore[arg-type]


def _read_embed(source: _Text, alias: str | None, relation: str, *, spread: bool) -> SelectEmbed:
    hint, join = None, None
    while source.take("!"):
        word = _read_name(source)
        if word in ("inner", "left"):
            join = word
        else:
            hint = word
    source.expect("(")
    source.enter()
    items = () if source.next_is(")") else _read_items(source)
    source.expect(")")
    source.depth -= 1
    return SelectEmbed(relation, items, alias, hint, join, spread)  # type: ignore[arg-type]


def _read_cast(source: _Text) -> str | None:
    if not source.take("::"):
        return None
    found = source.match(_CAST)
    if found is None:
        source.fail("a type name")
    return found[0].strip()


# Fields


def _read_name(source: _Text) -> str:
    quoted = source.match(_QUOTED)
    if quoted is not None:
        return _ESCAPED.sub(r"\1", quoted[1])
    bare = source.match(_NAME)
    if bare is None:
        source.fail("a field name")
    return bare[1].strip()


def _read_field(source: _Text) -> FieldRef:
    return FieldRef(_read_name(source), _read_json_path(source))


def _read_json_path(source: _Text) -> tuple[JsonStep, ...]:
    if not source.next_is("->"):
        return ()
    steps = []
    while source.take("->"):
        source.count()
        as_text = source.take(">")
        steps.append(JsonStep(_read_json_key(source), as_text))
    return tuple(steps)


def _read_json_key(source: _Text) -> str | int:
    index = source.match(_JSON_INDEX)
    if index is not None and len(index[0]) < 10:
        return int(index[0])
    quoted = source.match(_QUOTED)
    if quoted is not None:
        return _ESCAPED.sub(r"\1", quoted[1])
    key = source.match(_JSON_KEY)
    if key is None:
        source.fail("a JSON key or index")
    return key[0]


# Filters


def _read_operation(source: _Text, *, in_logic: bool) -> tuple[Operation, bool]:
    found = source.match(_OPERATOR)
    if found is None:
        source.fail("an operator (eq, gt, …)")
    negated, name, argument = bool(found[1]), found[2], found[3]
    if name in OPERATORS:
        if argument is not None and (argument not in ("any", "all") or name not in QUANTIFIABLE):
            source.at = found.start(3)
            source.fail("any or all")
        value = _read_value(source, in_logic=in_logic)
        return Compare(name, value, argument), negated  # type: ignore[arg-type]
    if name in FTS_OPERATORS:
        return FullText(name, _read_value(source, in_logic=in_logic), argument), negated  # type: ignore[arg-type]
    if argument is None:
        match name:
            case "in":
                return InList(_read_list(source)), negated
            case "is":
                return _read_is(source, in_logic=in_logic), negated
            case "isdistinct":
                return IsDistinct(_read_value(source, in_logic=in_logic)), negated
    source.at = found.start(2)
    return source.fail("an operator (eq, gt, …)")


def _read_is(source: _Text, *, in_logic: bool) -> Is:
    start = source.at
    value = _read_value(source, in_logic=in_logic).lower()
    if value not in IS_VALUES:
        source.at = start
        source.fail("null, not_null, true, false or unknown")
    return Is(value)  # type: ignore[arg-type]


def _read_value(source: _Text, *, in_logic: bool) -> str:
    if not in_logic:
        value = source.text[source.at :]
        source.at = len(source.text)
        return value
    quoted = source.match(_QUOTED)
    if quoted is not None:
        return _ESCAPED.sub(r"\1", quoted[1])
    if source.next_is("{"):
        return _read_array(source)
    found = source.match(_BARE_VALUE)
    return found[0] if found else ""


def _read_array(source: _Text) -> str:
    """An array literal, up to its closing brace outside quotes."""
    start, is_quoted, depth = source.at, False, 0
    for position in range(start, len(source.text)):
        char = source.text[position]
        if char == '"' and source.text[position - 1] != "\\":
            is_quoted = not is_quoted
        elif not is_quoted:
            depth += (char == "{") - (char == "}")
            if depth == 0:
                source.at = position + 1
                return source.text[start : source.at]
    source.at = len(source.text)
    return source.fail('"}"')


def _read_list(source: _Text) -> tuple[str, ...]:
    source.expect("(")
    values = []
    while True:
        source.count()
        quoted = source.match(_QUOTED)
        if quoted is not None:
            values.append(_ESCAPED.sub(r"\1", quoted[1]))
        else:
            bare = source.match(_LIST_VALUE)
            values.append(bare[0] if bare else "")
        if not source.take(","):
            break
    source.expect(")")
    return tuple(values)


# Logic


def _read_children(source: _Text) -> tuple[LogicTree, ...]:
    source.expect("(")
    source.enter()
    children = [_read_child(source)]
    while source.take(","):
        source.count()
        children.append(_read_child(source))
    source.expect(")")
    source.depth -= 1
    return tuple(children)


_NESTED = re.compile(r"[ \t]*(not\.)?(and|or)(?=\()")


def _read_child(source: _Text) -> LogicTree:
    nested = source.match(_NESTED)
    if nested is not None:
        return Logic(nested[2], _read_children(source), bool(nested[1]))  # type: ignore[arg-type]
    one = _read_field(source)
    source.expect(".")
    operation, negated = _read_operation(source, in_logic=True)
    return Filter(one, operation, negated)


# Order

_DIRECTION = re.compile(r"\.(asc|desc)(?=[.,]|$)")
_NULLS = re.compile(r"\.nulls(first|last)(?=,|$)")


def _read_term(source: _Text) -> OrderTerm:
    one = _read_field(source)
    relation = None
    if not one.json_path and source.take("("):
        relation = one.name
        one = _read_field(source)
        source.expect(")")
    direction = source.match(_DIRECTION)
    nulls = source.match(_NULLS)
    if not source.is_done() and not source.next_is(","):
        source.fail('"asc", "desc", "nullsfirst" or "nullslast"')
    return OrderTerm(one, direction[1] if direction else None, nulls[1] if nulls else None, relation)  # type: ignore[arg-type]
