"""The value of `select`: fields with aliases, casts and aggregates, and embeds of such items."""

import re
from functools import lru_cache
from typing import NoReturn, cast

from basalt.rest.grammar.names import (
    NAME_GOES_ON,
    TYPE,
    fail_after_field,
    read_json_path,
    read_name,
)
from basalt.rest.grammar.text import (
    CACHED_TEXTS,
    END,
    MAX_CACHED_LENGTH,
    Text,
    over_limit,
    read_text,
)
from basalt.rest.query import AggregateName, FieldRef, JoinType, SelectEmbed, SelectField, SelectItem

MAX_EMBEDS = 100

_AGGREGATE = re.compile(r"\.(sum|avg|count|max|min)\(\)")

AFTER_SELECT_FIELD = ('"::"', '"."', '")"', '","', END)


@lru_cache(maxsize=CACHED_TEXTS)
def _parse_short_select(text: str) -> tuple[SelectItem, ...]:
    return read_text(text, "select parameter", _read_items)


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
    return read_text(text, "select parameter", _read_items)


def _read_items(source: Text) -> tuple[SelectItem, ...]:
    items = [_read_item(source)]
    while source.take_comma():
        items.append(_read_item(source))
    return tuple(items)


def _read_item(source: Text) -> SelectItem:
    source.skip_spaces()
    if source.take("..."):
        embed = _read_embed(source, None, read_name(source), spread=True)
        if embed is None:
            source.fail(*NAME_GOES_ON, '"!"', '"("')
        return embed
    if source.take("*"):
        _expect_end_of_item(source, '")"', '","', END)
        return SelectField(FieldRef("*"))
    alias = None
    start = source.at
    name = read_name(source)
    if source.has(":") and not source.has("::"):
        source.at += 1
        alias, start, name = name, source.at, read_name(source)
    if name == "count" and source.text.startswith("count()", start):
        source.at = start + len("count()")
        return _read_field_end(source, FieldRef("*"), alias, None, "count")
    if name != "count" and (source.has("(") or source.has("!")):
        name_end = source.at
        embed = _read_embed(source, alias, name, spread=False)
        if embed is None:
            source.at = name_end
            fail_after_field(source, name_end, *AFTER_SELECT_FIELD)
        return embed
    return _read_select_field(source, alias, name)


def _read_select_field(source: Text, alias: str | None, name: str) -> SelectField:
    name_end = source.at
    field = FieldRef(name, read_json_path(source))
    source.skip_spaces()
    if source.at == len(source.text) or source.text[source.at] in ",)":
        return SelectField(field, alias)
    if source.text[source.at] not in ":.":
        fail_after_field(source, name_end, *AFTER_SELECT_FIELD)
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
    source: Text, field: FieldRef, alias: str | None, cast_to: str | None, aggregate: AggregateName
) -> SelectField:
    aggregate_cast = _read_cast(source)
    _expect_end_of_item(source, *(("letter", "digit") if aggregate_cast else ('"::"',)), '")"', '","', END)
    return SelectField(field, alias, cast_to, aggregate, aggregate_cast)


def _fail_aggregate(source: Text) -> NoReturn:
    source.at += 1
    for name in ("sum", "avg", "count", "max", "min"):
        if source.has(name):
            source.at += len(name)
            source.fail_word(("()",))
    source.fail_word(("sum", "avg", "count", "max", "min"))


def _read_cast(source: Text) -> str | None:
    if not source.take("::"):
        return None
    found = TYPE.match(source.text, source.at)
    if found is None:
        source.fail("letter", "digit")
    source.at = found.end()
    return found[0].strip()


def _expect_end_of_item(source: Text, *expecting: str) -> None:
    source.skip_spaces()
    if source.at < len(source.text) and source.text[source.at] not in ",)":
        source.fail(*expecting)


def _read_embed(source: Text, alias: str | None, relation: str, *, spread: bool) -> SelectEmbed | None:
    """None when no parenthesis follows: then it is no embed."""
    hint: str | None = None
    join: JoinType | None = None
    for _ in range(2):  # a hint and a join, in either order
        if not source.take("!"):
            break
        word = read_name(source)
        if word in ("inner", "left"):
            join = join or cast(JoinType, word)
        else:
            hint = hint or word
    if not source.take("("):
        return None
    source.enter()
    source.embeds += 1
    if source.embeds > MAX_EMBEDS:
        raise over_limit(source.what, f"has more than {MAX_EMBEDS} embeds")
    source.skip_spaces()
    items = () if source.has(")") else _read_items(source)
    if not source.take(")"):
        source.fail('","', '")"')
    source.depth -= 1
    return SelectEmbed(relation, items, alias, hint, join, spread)
