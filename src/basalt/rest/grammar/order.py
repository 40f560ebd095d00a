"""The value of `order`: fields, also of embeds to one row, with their directions."""

import re
from functools import lru_cache
from typing import NoReturn, cast

from basalt.rest.errors import RestError
from basalt.rest.grammar.names import DELIMITER, fail_after_field, read_field, read_json_path, read_name
from basalt.rest.grammar.text import CACHED_TEXTS, END, MAX_CACHED_LENGTH, Text, read_text
from basalt.rest.query import Direction, FieldRef, NullsPlace, OrderTerm

_ORDER_WORDS = re.compile(r"(?:\.(asc|desc))?(?:\.nulls(first|last))?")

AFTER_ORDER_FIELD = (DELIMITER, '","', END)


@lru_cache(maxsize=CACHED_TEXTS)
def _parse_short_order(text: str) -> tuple[OrderTerm, ...]:
    return read_text(text, "order", _read_terms)


def parse_order(text: str) -> tuple[OrderTerm, ...]:
    """The value of `order`.

    >>> parse_order("name.desc.nullslast,id")[0].nulls
    'last'
    >>> parse_order("clients(data->a).asc")[0].relation
    'clients'
    """
    if len(text) <= MAX_CACHED_LENGTH:
        return _parse_short_order(text)
    return read_text(text, "order", _read_terms)


def _read_terms(source: Text) -> tuple[OrderTerm, ...]:
    terms = [_read_term(source)]
    while source.take(","):
        source.count()
        terms.append(_read_term(source))
    return tuple(terms)


def _read_term(source: Text) -> OrderTerm:
    source.skip_spaces()
    name = read_name(source)
    name_end, relation = source.at, None
    if source.has("("):
        field = _read_related_field(source, name)
        relation = name
    else:
        field = FieldRef(name, read_json_path(source))
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
        cast("Direction | None", direction),
        cast("NullsPlace | None", nulls),
        relation,
    )


def _read_related_field(source: Text, relation: str) -> FieldRef:
    opening = source.at
    source.at += 1
    try:
        field = read_field(source)
    except RestError:
        field = None
    if field is None or not source.take(")"):
        source.at = opening
        fail_after_field(source, opening, *AFTER_ORDER_FIELD)
    return field


def _fail_term(
    source: Text, name_end: int, direction: str | None, nulls: str | None, *, is_related: bool
) -> NoReturn:
    if nulls is not None:
        source.fail('","', END)
    if source.take("."):
        source.fail_word(
            ("nullsfirst", "nullslast") if direction else ("asc", "desc", "nullsfirst", "nullslast")
        )
    if direction is not None or is_related:
        source.fail(*AFTER_ORDER_FIELD)
    fail_after_field(source, name_end, *AFTER_ORDER_FIELD)
