"""The `filter` of a subscription to the changes of a table: `column=operator.value`, several joined by commas
(protocol §9.4, after Supabase Realtime `subscriptions.ex`)."""

import re
from dataclasses import dataclass
from typing import Literal, TypeGuard, get_args

from basalt.realtime.changes.filters.terms import render_term

Operator = Literal[
    "eq", "neq", "lt", "lte", "gt", "gte", "in", "like", "ilike", "match", "imatch", "is", "isdistinct"
]
OPERATORS = frozenset(get_args(Operator))
EMPTY_SEGMENT = "filter must not contain empty segments (check for extra commas)"
NO_PARENTHESES = "`in` filter value must be wrapped by parentheses"

QUOTE_OPENERS = frozenset(".(,")
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class FilterError(ValueError):
    """What is wrong with a filter, in Supabase's words."""


@dataclass(frozen=True, slots=True)
class Condition:
    """`value` is text still without a type; that of `in` is PostgreSQL's array literal `{a,"b,c"}`, which has the
    same quotes and is what Supabase makes of it, so that PostgreSQL is the one that takes it apart."""

    column: str
    operator: Operator
    value: str
    negated: bool = False


def parse_filter(text: str) -> tuple[Condition, ...]:
    r"""All of the conditions must hold; a blank text has none. Raises FilterError.

    >>> for condition in parse_filter("priority=not.in.(1,2),title=like.a%"): print(condition)
    Condition(column='priority', operator='in', value='{1,2}', negated=True)
    Condition(column='title', operator='like', value='a%', negated=False)
    >>> parse_filter('name=eq."Smith, \\"J.\\""')
    (Condition(column='name', operator='eq', value='Smith, "J."', negated=False),)

    The first `=` and the first `.` separate; a quote in the middle is an ordinary character:

    >>> [condition.value for condition in parse_filter('url=eq.a.b?c=d,size=eq.5" tall')]
    ['a.b?c=d', '5" tall']
    >>> parse_filter("subject=foo.hey")
    Traceback (most recent call last):
    basalt.realtime.changes.filters.grammar.FilterError: ["foo", "hey"]
    >>> parse_filter("  ")
    ()
    """
    text = text.strip()
    return tuple(_parse_condition(segment.strip()) for segment in _split_segments(text)) if text else ()


def _split_segments(text: str) -> list[str]:
    """At the commas outside quotes and parentheses. A parenthesis that closes nothing is an ordinary character."""
    segments, start, depth, before = [], 0, 0, ""
    quoted = escaped = False
    for position, character in enumerate(text):
        if escaped:
            escaped = False
        elif quoted:
            escaped = character == "\\"
            quoted = character != '"'
        elif character == '"':
            quoted = before in QUOTE_OPENERS
        elif character == "(":
            depth += 1
        elif character == ")":
            depth = max(0, depth - 1)
        elif character == "," and depth == 0:
            segments.append(text[start:position])
            start, character = position + 1, ""  # nor does a quote open here
        before = character
    return [*segments, text[start:]]


def _parse_condition(segment: str) -> Condition:
    if not segment:
        raise FilterError(EMPTY_SEGMENT)
    column, equals, rest = segment.partition("=")
    if not equals:
        raise FilterError(render_term([segment]))
    operator, dot, value = rest.removeprefix("not.").partition(".")
    if not dot:
        raise FilterError(render_term([operator]))
    if not _is_operator(operator):
        raise FilterError(render_term([operator, value]))
    value = _parse_list(value) if operator == "in" else _unquote(value)
    return Condition(column, operator, value, rest.startswith("not."))


def _is_operator(text: str) -> TypeGuard[Operator]:
    return text in OPERATORS


def _parse_list(value: str) -> str:
    if len(value) < 2 or value[0] != "(" or value[-1] != ")":
        raise FilterError(NO_PARENTHESES)
    return f"{{{value[1:-1]}}}"


def _unquote(value: str) -> str:
    """Quotes that do not enclose the whole value belong to it, as in PostgREST."""
    quoted = QUOTED.fullmatch(value)
    return ESCAPED.sub(r"\1", quoted[1]) if quoted else value
