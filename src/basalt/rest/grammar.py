"""The grammar of the query string: `select`, filters, logic trees, `order`, JSON paths and name lists.

Hand-written recursive descent over one string with an index; runs of characters are matched by compiled
expressions, because this stands on every request's path. The language is that of PostgREST's
`ApiRequest/QueryParams.hs`, and so are the errors: PGRST100 with line, column, what was unexpected and what
was expected. As there, what follows a complete value is ignored. Limits are checked before work.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NoReturn, TypeVar, cast

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
    IsValue,
    JoinType,
    JsonStep,
    Logic,
    LogicTree,
    Operation,
    OrderTerm,
    Quantifier,
    SelectEmbed,
    SelectField,
    SelectItem,
)

MAX_LENGTH = 64 * 1024
MAX_DEPTH = 32  # levels of embeds, levels of and/or
MAX_EMBEDS = 100
MAX_ITEMS = 4096  # fields, list values, conditions, steps of one parameter
MAX_DIGITS = 9  # of an index into a JSON array
CACHED_TEXTS = 2048
MAX_CACHED_LENGTH = 2048

_WORD = r"(?:[^\W\d]|[0-9 $])+"  # letters of any script, digits, `_`, `$` and inner spaces
_NAME = re.compile(rf"{_WORD}(?:-(?!>){_WORD})*")
_TYPE = re.compile(_WORD)
_QUOTED = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_JSON_KEY = re.compile(r"[^(\-:.,>)]+(?:-(?!>)[^(\-:.,>)]+)*")
_JSON_INDEX = re.compile(r"-?[0-9]+(?=->|::|[.,]|\Z)")
_JSON_DIGITS = re.compile(r"-?[0-9]*")
_AGGREGATE = re.compile(r"\.(sum|avg|count|max|min)\(\)")
_OPERATION = re.compile(
    r"(not\.)?(?:"
    r"(?P<compare>eq|gte|gt|lte|lt|like|ilike|match|imatch)(?:\((?P<quantifier>any|all)\))?"
    r"|(?P<plain>neq|cs|cd|ov|sl|sr|nxr|nxl|adj)"
    r"|(?P<word>in|isdistinct|is)"
    rf"|(?P<fts>fts|plfts|phfts|wfts)(?:\((?P<config>{_WORD})\))?"
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
_COMMA = re.compile(r"[ \t]*,[ \t]*")
_ORDER_WORDS = re.compile(r"(?:\.(asc|desc))?(?:\.nulls(first|last))?")

T = TypeVar("T")


@lru_cache(maxsize=CACHED_TEXTS)
def _parse_short_select(text: str) -> tuple[SelectItem, ...]:
    return _read(text, "select parameter", _read_items)


def parse_select(text: str) -> tuple[SelectItem, ...]:
    """The value of `select`; empty selects nothing.

    >>> parse_select("id,name:title->>en::text")[1].alias
    'name'
    >>> parse_select("who:actors!inner(name)")[0].join
    'inner'
    >>> parse_select("id,clients(name[])")
    Traceback (most recent call last):
    basalt.rest.errors.RestError: "failed to parse select parameter (id,clients(name[]))" (line 1, column 16)
    """
    if not text:
        return ()
    if len(text) <= MAX_CACHED_LENGTH:
        return _parse_short_select(text)
    return _read(text, "select parameter", _read_items)


@lru_cache(maxsize=CACHED_TEXTS)
def _parse_short_order(text: str) -> tuple[OrderTerm, ...]:
    return _read(text, "order", _read_terms)


def parse_order(text: str) -> tuple[OrderTerm, ...]:
    """The value of `order`.

    >>> parse_order("name.desc.nullslast,id")[0].nulls
    'last'
    >>> parse_order("clients(data->a).asc")[0].relation
    'clients'
    """
    return _parse_short_order(text) if len(text) <= MAX_CACHED_LENGTH else _read(text, "order", _read_terms)


def parse_filter(text: str) -> tuple[Operation, bool]:
    """The value of a column's parameter: the operation, and whether it is negated.

    >>> parse_filter("not.in.(1,2)")
    (InList(values=('1', '2'), slot=None), True)
    """
    return _read(text, "filter", _read_whole_operation)


def is_operation(text: str) -> bool:
    """Whether the parameter of a routine's call is a filter on its rows. So is everything that begins like
    one (`in.`, `is.`, `not.`) and then fails, as in PostgREST.

    >>> is_operation("eq.1"), is_operation("equal"), is_operation("eq(some).1"), is_operation("is.it")
    (True, False, False, True)
    """
    return _OPERATION.match(text) is not None or text.startswith("not.")


def parse_logic(
    text: str, operator: Literal["and", "or"], *, negated: bool, shown: str | None = None
) -> LogicTree:
    """The value of `and`, `or`, `not.and`, `not.or`.

    >>> parse_logic("(a.eq.1,not.or(b.is.null,c.in.(x,y)))", "and", negated=False).children[1].negated
    True
    """
    start = f"{'not.' if negated else ''}{operator}"
    return _read(start + text, "logic tree", _read_tree, shown=text if shown is None else shown)


def parse_names(text: str, what: str) -> tuple[str, ...]:
    """Column names with commas between, each once: `columns`, `on_conflict`.

    >>> parse_names('id,"a,b",id', "columns parameter")
    ('id', 'a,b')
    """
    return tuple(dict.fromkeys(_read(text, what, _read_names)))


@lru_cache(maxsize=CACHED_TEXTS)
def _parse_short_path(text: str) -> tuple[EmbedPath, FieldRef]:
    return _read(text, "tree path", _read_tree_path)


def parse_path(text: str) -> tuple[EmbedPath, FieldRef]:
    """The name of a filter's parameter: the embeds that lead to it and the field.

    >>> parse_path("actors.roles.data->>a")
    (('actors', 'roles'), FieldRef(name='data', json_path=(JsonStep(key='a', as_text=True),)))
    """
    if len(text) <= 256:
        return _parse_short_path(text)
    return _read(text, "tree path", _read_tree_path)


def parse_logic_path(text: str) -> tuple[EmbedPath, Literal["and", "or"], bool]:
    """The name of a logic parameter: the embeds, the operator, whether it is negated.

    >>> parse_logic_path("actors.not.or")
    (('actors',), 'or', True)
    """
    *path, operator = _read(text, "logic path", _read_dotted)
    if operator not in ("and", "or"):  # quoted, such as "a.or"
        raise RestError("PGRST100", problem=f'"failed to parse logic path ({text})" (line 1, column 1)')
    embeds = tuple(name for name in path if name != "not")
    return embeds, cast(Literal["and", "or"], operator), "not" in path


# Reading one text


class _Text:
    """A text with the place reached. `shown` is how an error quotes it, `hidden` the number of characters
    before it that the caller did not write."""

    __slots__ = ("at", "depth", "embeds", "items", "shown", "text", "what")

    def __init__(self, text: str, what: str, shown: str) -> None:
        self.text, self.what, self.shown = text, what, shown
        self.at = self.depth = self.embeds = self.items = 0

    def count(self) -> None:
        self.items += 1
        if self.items > MAX_ITEMS:
            raise _over_limit(self.what, f"has more than {MAX_ITEMS} items")

    def enter(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _over_limit(self.what, f"is nested deeper than {MAX_DEPTH} levels")

    def skip_spaces(self) -> None:
        text = self.text
        while self.at < len(text) and text[self.at] in " \t":
            self.at += 1

    def has(self, literal: str) -> bool:
        return self.text.startswith(literal, self.at)

    def take(self, literal: str) -> bool:
        if self.text.startswith(literal, self.at):
            self.at += len(literal)
            return True
        return False

    def fail(self, *expecting: str, at: int | None = None, found: int | None = None) -> NoReturn:
        """Raise PGRST100 in Parsec's words. `found` is where the unexpected character stands when that is
        not the place of the error, as in the middle of a word that was expected."""
        place = self.at if at is None else at
        found = place if found is None else found
        if found >= len(self.text):
            unexpected = "end of input"
        else:
            # Parsec quotes differently where the end would have been right.
            mark = "'" if END in expecting else '"'
            unexpected = mark + _escaped(self.text[found], mark) + mark
        before = self.text[:place]
        line, column = before.count("\n") + 1, place - (before.rfind("\n") + 1) + 1
        raise RestError(
            "PGRST100",
            problem=f'"failed to parse {self.what} ({self.shown})" (line {line}, column {column})',
            details=f"unexpected {unexpected}" + (f" expecting {_listed(expecting)}" if expecting else ""),
        )

    def fail_word(self, words: tuple[str, ...], *expecting: str) -> NoReturn:
        """One of several words was expected; Parsec blames the character where the first one differs."""
        word, common = words[0], 0
        while common < len(word) and self.text.startswith(word[common], self.at + common):
            common += 1
        self.fail(*(expecting or tuple(f'"{word}"' for word in words)), found=self.at + common)


END = "end of input"
FIELD_NAME = "field name (* or [a..z0..9_$])"
NAME_GOES_ON = ("letter", "digit", '"-"')
ARROWS = ('"->>"', '"->"')
OPERATOR = "operator (eq, gt, ...)"
DELIMITER = "delimiter (.)"
AFTER_SELECT_FIELD = ('"::"', '"."', '")"', '","', END)
AFTER_ORDER_FIELD = (DELIMITER, '","', END)


def _read(text: str, what: str, read: Callable[[_Text], T], *, shown: str | None = None) -> T:
    if len(text) > MAX_LENGTH:
        raise _over_limit(what, f"is longer than {MAX_LENGTH} characters")
    return read(_Text(text, what, text if shown is None else shown))


def _over_limit(what: str, problem: str) -> RestError:
    return RestError("PGRST100", problem=f"The {what} {problem}", hint="Ask for less in one request")


def _listed(words: tuple[str, ...]) -> str:
    unique = list(dict.fromkeys(words))
    return unique[0] if len(unique) == 1 else f"{', '.join(unique[:-1])} or {unique[-1]}"


def _escaped(char: str, mark: str) -> str:
    if char in ("\\", mark):
        return "\\" + char
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char)
    return named or (char if " " <= char <= "~" else f"\\{ord(char)}")


# Names and fields


def _read_name(source: _Text) -> str:
    found = _NAME.match(source.text, source.at)
    if found is not None:
        source.at = found.end()
        return _stripped(found[0])
    if source.has('"'):
        return _read_quoted(source)
    return source.fail(FIELD_NAME)


def _stripped(text: str) -> str:
    """Spaces around a name and around its dashes do not count."""
    if "-" in text:
        return "-".join(part.strip() for part in text.split("-"))
    return text.strip()


def _read_quoted(source: _Text) -> str:
    found = _QUOTED.match(source.text, source.at)
    if found is None:
        source.fail('"\\""', at=len(source.text))
    source.at = found.end()
    return _unescaped(found[1])


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(r"\1", text) if "\\" in text else text


def _read_field(source: _Text) -> FieldRef:
    source.skip_spaces()
    name = _read_name(source)
    found = FieldRef(name, _read_json_path(source) if source.has("->") else ())
    source.skip_spaces()
    return found


def _read_json_path(source: _Text) -> tuple[JsonStep, ...]:
    steps = []
    while source.take("->"):
        source.count()
        as_text = source.take(">")
        steps.append(JsonStep(_read_json_key(source), as_text))
    return tuple(steps)


def _read_json_key(source: _Text) -> str | int:
    index = _JSON_INDEX.match(source.text, source.at)
    if index is not None:
        if index.end() - index.start() > MAX_DIGITS:
            raise _over_limit(source.what, f"has an index of more than {MAX_DIGITS} digits")
        source.at = index.end()
        return int(index[0])
    key = _JSON_KEY.match(source.text, source.at)
    if source.has('"'):
        return _read_quoted(source)
    if key is None:
        return _fail_json_key(source)
    source.at = key.end()
    return _stripped(key[0])


def _fail_json_key(source: _Text) -> NoReturn:
    digits = _JSON_DIGITS.match(source.text, source.at)
    assert digits is not None
    if digits[0] == "-":
        source.fail("digit", at=digits.end())
    if digits[0]:
        source.fail("digit", '"->"', '"::"', '"."', '","', END, at=digits.end())
    source.fail('"-"', "digit", "any non reserved character different from: .,>()")


def _fail_after_field(source: _Text, name_end: int, *follow: str) -> NoReturn:
    """Something stands behind a field that belongs neither to it nor after it."""
    text = source.text
    if source.at > 0 and source.has("-") and text[source.at - 1] not in '"':
        source.fail("letter", "digit", at=source.at + 1)
    if source.at > name_end:  # a JSON path was read
        is_index = text[source.at - 1 : source.at].isdigit()
        source.fail(*(("digit",) if is_index else ('"-"',)), *ARROWS, *follow)
    source.fail(*(() if text[name_end - 1 : name_end] == '"' else NAME_GOES_ON), *ARROWS, *follow)


def _read_names(source: _Text) -> list[str]:
    names = [_read_name(source)]
    while (comma := _COMMA.match(source.text, source.at)) is not None:
        source.count()
        source.at = comma.end()
        names.append(_read_name(source))
    return names


def _read_dotted(source: _Text) -> list[str]:
    names = [_read_name(source)]
    while source.take("."):
        source.count()
        names.append(_read_name(source))
    return names


def _read_tree_path(source: _Text) -> tuple[EmbedPath, FieldRef]:
    *path, name = _read_dotted(source)
    return tuple(path), FieldRef(name, _read_json_path(source) if source.has("->") else ())


# Select


def _read_items(source: _Text) -> tuple[SelectItem, ...]:
    items = [_read_item(source)]
    while (comma := _COMMA.match(source.text, source.at)) is not None:
        source.count()
        source.at = comma.end()
        items.append(_read_item(source))
    return tuple(items)


def _read_item(source: _Text) -> SelectItem:
    source.skip_spaces()
    if source.take("..."):
        embed = _read_embed(source, None, _read_name(source), spread=True)
        if embed is None:
            source.fail(*NAME_GOES_ON, '"!"', '"("')
        return embed
    if source.take("*"):
        _expect_end_of_item(source, '")"', '","', END)
        return SelectField(FieldRef("*"))
    alias = None
    start = source.at
    name = _read_name(source)
    if source.has(":") and not source.has("::"):
        source.at += 1
        alias, start, name = name, source.at, _read_name(source)
    if name == "count" and source.text.startswith("count()", start):
        source.at = start + len("count()")
        return _read_field_end(source, FieldRef("*"), alias, None, "count")
    if name != "count" and (source.has("(") or source.has("!")):
        name_end = source.at
        embed = _read_embed(source, alias, name, spread=False)
        if embed is None:
            source.at = name_end
            _fail_after_field(source, name_end, *AFTER_SELECT_FIELD)
        return embed
    return _read_select_field(source, alias, name)


def _read_select_field(source: _Text, alias: str | None, name: str) -> SelectField:
    name_end = source.at
    field = FieldRef(name, _read_json_path(source) if source.has("->") else ())
    source.skip_spaces()
    if source.at == len(source.text) or source.text[source.at] in ",)":
        return SelectField(field, alias)
    if source.text[source.at] not in ":.":
        _fail_after_field(source, name_end, *AFTER_SELECT_FIELD)
    cast_to = _read_cast(source)
    aggregate = _AGGREGATE.match(source.text, source.at)
    if aggregate is None:
        if source.has("."):
            _fail_aggregate(source)
        _expect_end_of_item(source, *(("letter", "digit") if cast_to else ()), *AFTER_SELECT_FIELD)
        return SelectField(field, alias, cast_to)
    source.at = aggregate.end()
    return _read_field_end(source, field, alias, cast_to, cast(AggregateName, aggregate[1]))


def _read_field_end(
    source: _Text, field: FieldRef, alias: str | None, cast_to: str | None, aggregate: AggregateName
) -> SelectField:
    aggregate_cast = _read_cast(source)
    _expect_end_of_item(source, *(("letter", "digit") if aggregate_cast else ('"::"',)), '")"', '","', END)
    return SelectField(field, alias, cast_to, aggregate, aggregate_cast)


def _fail_aggregate(source: _Text) -> NoReturn:
    source.at += 1
    for name in ("sum", "avg", "count", "max", "min"):
        if source.has(name):
            source.at += len(name)
            source.fail_word(("()",))
    source.fail_word(("sum", "avg", "count", "max", "min"))


def _read_cast(source: _Text) -> str | None:
    if not source.take("::"):
        return None
    found = _TYPE.match(source.text, source.at)
    if found is None:
        source.fail("letter", "digit")
    source.at = found.end()
    return found[0].strip()


def _expect_end_of_item(source: _Text, *expecting: str) -> None:
    source.skip_spaces()
    if source.at < len(source.text) and source.text[source.at] not in ",)":
        source.fail(*expecting)


def _read_embed(source: _Text, alias: str | None, relation: str, *, spread: bool) -> SelectEmbed | None:
    """None when no parenthesis follows: then it is no embed."""
    hint: str | None = None
    join: JoinType | None = None
    for _ in range(2):  # a hint and a join, in either order
        if not source.take("!"):
            break
        word = _read_name(source)
        if word in ("inner", "left"):
            join = join or cast(JoinType, word)
        else:
            hint = hint or word
    if not source.take("("):
        return None
    source.enter()
    source.embeds += 1
    if source.embeds > MAX_EMBEDS:
        raise _over_limit(source.what, f"has more than {MAX_EMBEDS} embeds")
    source.skip_spaces()
    items = () if source.has(")") else _read_items(source)
    if not source.take(")"):
        source.fail('","', '")"')
    source.depth -= 1
    return SelectEmbed(relation, items, alias, hint, join, spread)


# Filters


def _read_whole_operation(source: _Text) -> tuple[Operation, bool]:
    return _read_operation(source, _read_rest)


def _read_operation(source: _Text, read_value: Callable[[_Text], str]) -> tuple[Operation, bool]:
    found = _OPERATION.match(source.text, source.at)
    if found is None:
        _fail_operation(source)
    source.at = found.end()
    negated, compare, quantifier, plain, word, fts, config = found.groups()
    operation: Operation
    if compare:
        operation = Compare(
            cast(FilterOperator, compare), read_value(source), cast(Quantifier | None, quantifier)
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


def _fail_operation(source: _Text) -> NoReturn:
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
            config = _TYPE.match(source.text, source.at)
            source.at = config.end() if config else source.at
            source.at += config is not None and source.has(")")
        else:
            if source.has("any)") or source.has("all)"):
                source.at += len("any)")
            source.fail_word(("any",), OPERATOR)
    source.fail(OPERATOR)


def _read_rest(source: _Text) -> str:
    value = source.text[source.at :]
    source.at = len(source.text)
    return value


def _read_is(source: _Text) -> Is:
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


def _read_list(source: _Text) -> tuple[str, ...]:
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


def _read_list_value(source: _Text) -> str:
    text = source.text
    if source.has('"'):
        quoted = _QUOTED.match(text, source.at)
        # `"a"b` is no quoted value but one with quotes in it
        if quoted is not None and text[quoted.end() : quoted.end() + 1] in ("", ",", ")"):
            source.at = quoted.end()
            return _unescaped(quoted[1])
    found = _BARE_VALUE.match(text, source.at)
    assert found is not None
    source.at = found.end()
    return found[0]


def _read_logic_value(source: _Text) -> str:
    if source.has("{"):
        array = _ARRAY.match(source.text, source.at)
        if array is not None:
            source.at = array.end()
            return array[0]
    return _read_list_value(source)


# Logic


def _read_tree(source: _Text) -> LogicTree:
    found = _LOGIC.match(source.text, source.at)
    if found is None:
        return _read_condition(source)
    source.at = found.end()
    source.enter()
    children = [_read_tree(source)]
    while (comma := _COMMA.match(source.text, source.at)) is not None:
        source.count()
        source.at = comma.end()
        children.append(_read_tree(source))
    close = _CLOSE.match(source.text, source.at)
    if close is None:
        source.skip_spaces()
        source.fail('","', '")"')
    source.at = close.end()
    source.depth -= 1
    return Logic(cast(Literal["and", "or"], found[2]), tuple(children), found[1] is not None)


def _read_condition(source: _Text) -> Filter:
    start = source.at
    if _NAME.match(source.text, start) is None and not source.has('"'):
        source.skip_spaces()
        source.fail(FIELD_NAME, "negation operator (not)", "logic operator (and, or)")
    try:
        field = _read_field(source)
        if not source.take("."):
            _fail_after_field(source, source.at, DELIMITER)
        operation, negated = _read_operation(source, _read_logic_value)
    except RestError:
        _fail_tree(source, start)
        raise
    return Filter(field, operation, negated)


def _fail_tree(source: _Text, start: int) -> None:
    """What is no condition but begins like a logic tree is blamed for not being one."""
    found = _LOGIC_START.match(source.text, start)
    assert found is not None
    source.at = found.end()
    if found[2] is not None:
        source.skip_spaces()
        source.fail('"("')
    if found[1] is not None:
        source.fail_word(("and", "or"), "logic operator (and, or)")


# Order


def _read_terms(source: _Text) -> tuple[OrderTerm, ...]:
    terms = [_read_term(source)]
    while source.take(","):
        source.count()
        terms.append(_read_term(source))
    return tuple(terms)


def _read_term(source: _Text) -> OrderTerm:
    source.skip_spaces()
    name = _read_name(source)
    name_end, relation = source.at, None
    if source.has("("):
        field = _read_related_field(source, name)
        relation = name
    else:
        field = FieldRef(name, _read_json_path(source) if source.has("->") else ())
    source.skip_spaces()
    found = _ORDER_WORDS.match(source.text, source.at)
    assert found is not None
    direction, nulls = found.groups()
    if found.end() > source.at:
        source.at = found.end()
        source.skip_spaces()
    if source.at < len(source.text) and source.text[source.at] != ",":
        _fail_term(source, name_end, direction, nulls, is_related=relation is not None)
    return OrderTerm(
        field,
        cast(Literal["asc", "desc"] | None, direction),
        cast(Literal["first", "last"] | None, nulls),
        relation,
    )


def _read_related_field(source: _Text, relation: str) -> FieldRef:
    opening = source.at
    source.at += 1
    try:
        field = _read_field(source)
    except RestError:
        field = None
    if field is None or not source.take(")"):
        source.at = opening
        _fail_after_field(source, opening, *AFTER_ORDER_FIELD)
    return field


def _fail_term(
    source: _Text, name_end: int, direction: str | None, nulls: str | None, *, is_related: bool
) -> NoReturn:
    if nulls is not None:
        source.fail('","', END)
    if source.take("."):
        source.fail_word(
            ("nullsfirst", "nullslast") if direction else ("asc", "desc", "nullsfirst", "nullslast")
        )
    if direction is not None or is_related:
        source.fail(*AFTER_ORDER_FIELD)
    _fail_after_field(source, name_end, *AFTER_ORDER_FIELD)
