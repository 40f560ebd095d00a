"""Filters: the operation in a column's parameter, and the trees of conditions in `and` and `or`."""

import re
from collections.abc import Callable
from typing import NoReturn, cast

from basalt.rest.errors import RestError
from basalt.rest.grammar.names import (
    DELIMITER,
    FIELD_NAME,
    NAME,
    QUOTED,
    TYPE,
    WORD,
    fail_after_field,
    read_field,
    unescaped,
)
from basalt.rest.grammar.text import Text, read_text
from basalt.rest.query import (
    Compare,
    Filter,
    FilterOperator,
    FtsOperator,
    FullText,
    InList,
    Is,
    IsDistinct,
    IsValue,
    Logic,
    LogicOperator,
    LogicTree,
    Operation,
    Quantifier,
)

_OPERATION = re.compile(
    r"(not\.)?(?:"
    r"(?P<compare>eq|gte|gt|lte|lt|like|ilike|match|imatch)(?:\((?P<quantifier>any|all)\))?"
    r"|(?P<plain>neq|cs|cd|ov|sl|sr|nxr|nxl|adj)"
    r"|(?P<word>in|isdistinct|is)"
    rf"|(?P<fts>fts|plfts|phfts|wfts)(?:\((?P<config>{WORD})\))?"
    r")\."
)
_OPERATOR_NAME = re.compile(
    r"isdistinct|is|in|fts|plfts|phfts|wfts|neq|cs|cd|ov|sl|sr|nxr|nxl|adj|eq|gte|gt|lte|lt|like|ilike|match|imatch"
)
_IS_VALUE = re.compile("null|not_null|true|false|unknown", re.IGNORECASE)
_IS_VALUES = ("null", "not_null", "true", "false", "unknown")
_BARE_VALUE = re.compile(r"[^,)]*")
_ARRAY = re.compile(r"\{[^{}]*\}")
_LOGIC = re.compile(r"(not\.)?(and|or)[ \t]*\([ \t]*")
_LOGIC_START = re.compile(r"(not\.)?(and|or)?")
_CLOSE = re.compile(r"[ \t]*\)[ \t]*")

OPERATOR = "operator (eq, gt, ...)"


def parse_filter(text: str) -> tuple[Operation, bool]:
    """The value of a column's parameter: the operation, and whether it is negated.

    >>> parse_filter("not.in.(1,2)")
    (InList(values=('1', '2'), slot=None), True)
    """
    return read_text(text, "filter", _read_whole_operation)


def is_operation(text: str) -> bool:
    """Whether the parameter of a routine's call is a filter on its rows. So is everything that begins like
    one (`in.`, `is.`, `not.`) and then fails, as in PostgREST.

    >>> is_operation("eq.1"), is_operation("equal"), is_operation("eq(some).1"), is_operation("is.it")
    (True, False, False, True)
    """
    return _OPERATION.match(text) is not None or text.startswith("not.")


def parse_logic(text: str, operator: LogicOperator, *, negated: bool, shown: str | None = None) -> LogicTree:
    """The value of `and`, `or`, `not.and`, `not.or`.

    >>> parse_logic("(a.eq.1,not.or(b.is.null,c.in.(x,y)))", "and", negated=False).children[1].negated
    True
    """
    start = f"{'not.' if negated else ''}{operator}"
    return read_text(start + text, "logic tree", _read_tree, shown=text if shown is None else shown)


# Operations


def _read_whole_operation(source: Text) -> tuple[Operation, bool]:
    return _read_operation(source, _read_rest)


def _read_operation(source: Text, read_value: Callable[[Text], str]) -> tuple[Operation, bool]:
    found = _OPERATION.match(source.text, source.at)
    if found is None:
        _fail_operation(source)
    source.at = found.end()
    negated, compare, quantifier, plain, word, fts, config = found.groups()
    operation: Operation
    if compare:
        operation = Compare(
            cast(FilterOperator, compare), read_value(source), cast("Quantifier | None", quantifier)
        )
    elif word == "in":
        operation = InList(_read_list(source))
    elif word == "is":
        operation = _read_is(source)
    elif plain:
        operation = Compare(cast(FilterOperator, plain), read_value(source))
    elif fts:
        operation = FullText(
            cast(FtsOperator, fts), read_value(source), None if config is None else config.strip()
        )
    else:
        operation = IsDistinct(read_value(source))
    return operation, negated is not None


def _fail_operation(source: Text) -> NoReturn:
    expecting: tuple[str, ...] = ('"not"', OPERATOR)
    first_word = "not"
    if source.take("not."):
        expecting, first_word = (OPERATOR,), "in"
    name = _OPERATOR_NAME.match(source.text, source.at)
    if name is None:
        source.fail_word((first_word,), *expecting)
    source.at = name.end()
    if name[0] not in ("in", "is", "isdistinct") and source.take("("):
        # `eq(` wants any or all, `fts(` the name of a configuration
        if name[0] in ("fts", "plfts", "phfts", "wfts"):
            config = TYPE.match(source.text, source.at)
            source.at = config.end() if config else source.at
            source.at += config is not None and source.has(")")
        else:
            if source.has("any)") or source.has("all)"):
                source.at += len("any)")
            source.fail_word(("any",), OPERATOR)
    source.fail(OPERATOR)


def _read_rest(source: Text) -> str:
    value = source.text[source.at :]
    source.at = len(source.text)
    return value


def _read_is(source: Text) -> Is:
    found = _IS_VALUE.match(source.text, source.at)
    if found is None:
        given = source.text[source.at :].lower()
        common = max(_shared_length(given, value) for value in _IS_VALUES)
        source.fail("isVal: (null, not_null, true, false, unknown)", at=source.at + common)
    source.at = found.end()
    return Is(cast(IsValue, found[0].lower()))


def _shared_length(one: str, other: str) -> int:
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    return length


def _read_list(source: Text) -> tuple[str, ...]:
    source.skip_spaces()
    if not source.take("("):
        source.fail('"("')
    source.skip_spaces()
    text = source.text
    values = [_read_list_value(source)]
    while source.at < len(text) and text[source.at] == ",":
        source.count()
        source.at += 1
        values.append(_read_list_value(source))
    found = _CLOSE.match(text, source.at)
    if found is None:
        source.fail('","', '")"')
    source.at = found.end()
    return () if values == [""] else tuple(values)


def _read_list_value(source: Text) -> str:
    text = source.text
    if source.has('"'):
        quoted = QUOTED.match(text, source.at)
        # `"a"b` is no quoted value but one with quotes in it
        if quoted is not None and text[quoted.end() : quoted.end() + 1] in ("", ",", ")"):
            source.at = quoted.end()
            return unescaped(quoted[1])
    found = _BARE_VALUE.match(text, source.at)
    assert found is not None
    source.at = found.end()
    return found[0]


def _read_logic_value(source: Text) -> str:
    if source.has("{"):
        array = _ARRAY.match(source.text, source.at)
        if array is not None:
            source.at = array.end()
            return array[0]
    return _read_list_value(source)


# Logic


def _read_tree(source: Text) -> LogicTree:
    found = _LOGIC.match(source.text, source.at)
    if found is None:
        return _read_condition(source)
    source.at = found.end()
    source.enter()
    children = [_read_tree(source)]
    while source.take_comma():
        children.append(_read_tree(source))
    close = _CLOSE.match(source.text, source.at)
    if close is None:
        source.skip_spaces()
        source.fail('","', '")"')
    source.at = close.end()
    source.depth -= 1
    return Logic(cast(LogicOperator, found[2]), tuple(children), found[1] is not None)


def _read_condition(source: Text) -> Filter:
    start = source.at
    if NAME.match(source.text, start) is None and not source.has('"'):
        source.skip_spaces()
        source.fail(FIELD_NAME, "negation operator (not)", "logic operator (and, or)")
    try:
        field = read_field(source)
        if not source.take("."):
            fail_after_field(source, source.at, DELIMITER)
        operation, negated = _read_operation(source, _read_logic_value)
    except RestError:
        _fail_tree(source, start)
        raise
    return Filter(field, operation, negated)


def _fail_tree(source: Text, start: int) -> None:
    """What is no condition but begins like a logic tree is blamed for not being one."""
    found = _LOGIC_START.match(source.text, start)
    assert found is not None
    source.at = found.end()
    if found[2] is not None:
        source.skip_spaces()
        source.fail('"("')
    if found[1] is not None:
        source.fail_word(("and", "or"), "logic operator (and, or)")
