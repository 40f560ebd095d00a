"""A random request as a URL: path and query string of PostgREST's grammar."""

import re
from collections.abc import Iterator
from urllib.parse import quote

from tests.rest.differential_requests import (
    Aggregate,
    Condition,
    Embed,
    Field,
    Group,
    HasRows,
    Level,
    Order,
    Shown,
)

BARE_NAME = re.compile(r"[a-z0-9_]+")
BARE_VALUE = re.compile(r"[A-Za-z0-9_*.%-]+")


def render_url(level: Level) -> str:
    pairs = [("select", render_select(level)), *_parameters(level, "")]
    return f"/{level.table}?" + "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs
    )


def render_select(level: Level) -> str:
    shown = ["*"] if level.shown is None else [_render_shown(one) for one in level.shown]
    aggregates = map(_render_aggregate, level.aggregates)
    return ",".join([*shown, *aggregates, *(_render_embed(one) for one in level.embeds)])


def _render_aggregate(one: Aggregate) -> str:
    alias = f"{_name(one.alias)}:" if one.alias else ""
    column = f"{_name(one.column)}." if one.column else ""
    return f"{alias}{column}{one.function}()" + (f"::{one.cast}" if one.cast else "")


def _render_shown(one: Shown) -> str:
    alias = f"{_name(one.alias)}:" if one.alias else ""
    return alias + _render_field(one.field) + (f"::{one.cast}" if one.cast else "")


def _render_embed(one: Embed) -> str:
    start = "..." if one.is_spread else f"{_name(one.alias)}:" if one.alias else ""
    return f"{start}{one.link.written}{'!inner' if one.is_inner else ''}({render_select(one.level)})"


def _render_field(one: Field) -> str:
    steps = (("->>" if step.as_text else "->") + str(step.key) for step in one.path)
    return _name(one.column) + "".join(steps)


def _name(name: str) -> str:
    return name if BARE_NAME.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _parameters(level: Level, prefix: str) -> Iterator[tuple[str, str]]:
    for one in level.where:
        match one:
            case Group():
                yield f"{prefix}{'not.' if one.negated else ''}{one.operator}", _render_children(one)
            case HasRows():
                yield prefix + _name(one.label), "not.is.null" if one.has else "is.null"
            case Condition():
                yield prefix + _render_field(one.field), _render_operation(one, inside=False)
    if level.order:
        yield f"{prefix}order", ",".join(map(_render_order, level.order))
    if level.limit is not None:
        yield f"{prefix}limit", str(level.limit)
    if level.offset is not None:
        yield f"{prefix}offset", str(level.offset)
    for embed in level.embeds:
        yield from _parameters(embed.level, f"{prefix}{_name(embed.label)}.")


def _render_children(group: Group) -> str:
    return f"({','.join(map(_render_child, group.children))})"


def _render_child(one: Condition | Group | HasRows) -> str:
    match one:
        case Group():
            return f"{'not.' if one.negated else ''}{one.operator}{_render_children(one)}"
        case HasRows():
            return f"{_name(one.label)}.{'not.is.null' if one.has else 'is.null'}"
        case Condition():
            return f"{_render_field(one.field)}.{_render_operation(one, inside=True)}"


def _render_operation(one: Condition, *, inside: bool) -> str:
    """`inside` a logic tree a value must be quoted that holds one of its signs."""
    text = ("not." if one.negated else "") + one.operator
    if one.value is None:
        return text
    if isinstance(one.value, tuple):
        return f"{text}.({','.join(map(_value, one.value))})"
    if one.quantifier or one.config:
        text += f"({one.quantifier or one.config})"
    return f"{text}.{_value(one.value) if inside else one.value}"


def _value(text: str) -> str:
    return text if BARE_VALUE.fullmatch(text) else _quoted(text)


def _render_order(one: Order) -> str:
    field = _render_field(one.field)
    text = f"{_name(one.embed)}({field})" if one.embed else field
    return text + (f".{one.direction}" if one.direction else "") + (f".nulls{one.nulls}" if one.nulls else "")
