"""What changes from request to request while plan and statement stay: the literals of filters and arguments, the
window of rows, the body.

`split_query` takes the literals out of a query string without parsing it, so that a request of a known shape
costs no more than that; `number_literals` gives the literals of a parsed query their numbers. Both list them in one
order: filters, logic trees, arguments. A shape is trusted only when both found the same (`shape.is_trusted`).
"""

import re
from dataclasses import dataclass, replace
from itertools import count
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from basalt.rest.query import (
    Compare,
    Filter,
    FullText,
    InList,
    IsDistinct,
    LiteralValue,
    Logic,
    LogicTree,
    ParsedQuery,
)

MAX_DIGITS = 18  # of a limit or offset that needs no closer look


@dataclass(frozen=True, slots=True)
class Values:
    """`limit` and `offset` are those of the root; `payload` the body as PostgreSQL is to read it."""

    literals: tuple[LiteralValue, ...] = ()
    limit: int | None = None
    offset: int = 0
    payload: bytes | None = None


# From a parsed query


def number_literals(query: ParsedQuery) -> tuple[ParsedQuery, tuple[LiteralValue, ...]]:
    """The query with every literal's number in its operation, and the literals.

    >>> from basalt.rest.parameters import parse_parameters
    >>> query = parse_parameters(b"or=(a.eq.1,b.in.(2,3))&c=gt.4", takes_arguments=False).query
    >>> number_literals(query)[1]
    ('4', '1', ('2', '3'))
    """
    found: list[LiteralValue] = []
    where = tuple((path, _number_tree(tree, found)) for path, tree in query.where)
    found.extend(value for _, value in query.parameters)
    return replace(query, where=where), tuple(found)


def _number_tree(tree: LogicTree, found: list[LiteralValue]) -> LogicTree:
    if isinstance(tree, Logic):
        return replace(tree, children=tuple(_number_tree(child, found) for child in tree.children))
    operation = tree.operation
    if isinstance(operation, InList):
        found.append(operation.values)
    elif isinstance(operation, (Compare, IsDistinct, FullText)):
        found.append(operation.value)
    else:
        return tree
    return Filter(tree.field, replace(operation, slot=len(found) - 1), tree.negated)


# From the bytes


class Split(NamedTuple):
    """`shape` is the query string with a NUL in place of each literal; `limit` and `offset` are None where they are not
    given. A limit or offset of 0 is part of the shape: it is written into the statement as none, or refused."""

    shape: tuple[str, ...]
    literals: tuple[LiteralValue, ...]
    limit: int | None
    offset: int | None


_FILTER = re.compile(
    r"(?P<head>(?:not\.)?(?:"
    r"(?:eq|gte|gt|lte|lt|like|ilike|match|imatch)(?:\((?:any|all)\))?"
    r"|neq|cs|cd|ov|sl|sr|nxr|nxl|adj|isdistinct|(?:fts|plfts|phfts|wfts)(?:\([A-Za-z0-9_]+\))?"
    r")\.)|(?P<list>(?:not\.)?in\.\()"
)
_LIST_BODY = re.compile(r"(?![ \t])[^\"()]*\)\Z")
_CONDITION = re.compile(
    r"(?<=[(,])(?P<head>[A-Za-z0-9_]+(?:->>?[A-Za-z0-9_]+)*\.(?:not\.)?)"
    r"(?:(?P<operator>(?:eq|neq|gte|gt|lte|lt|like|ilike|match|imatch)\.)(?P<value>[^,()\"{}\\]*)(?=[,)])"
    r"|in\.\((?P<list>[^\"()\\]*)\))"
)
_EXOTIC = re.compile(r"[\"\\{}]")  # in a logic tree: quoted values and arrays are left to the parser
_KEPT = frozenset({"select", "order", "columns", "on_conflict"})


def split_query(query_string: bytes, *, takes_arguments: bool) -> Split | None:
    r"""None for what only the parser can tell apart. A name that comes twice keeps its order, so that the shape says
    everything that the parser would make of it.

    >>> split_query(b"id=eq.5&tag=in.(a,b)&limit=10", takes_arguments=False)
    Split(shape=('id=eq.\x00', 'tag=in.(\x00)', 'limit=\x00'), literals=('5', ('a', 'b')), limit=10, offset=None)
    """
    if not query_string:
        return _NOTHING
    if b";" in query_string or b"\0" in query_string or b"apikey" in query_string:
        return None
    shape: list[str] = []
    filters: list[LiteralValue] = []
    logic: list[LiteralValue] = []
    arguments: list[LiteralValue] = []
    limit = offset = None
    try:
        text = query_string.decode("ascii")
    except UnicodeDecodeError:
        return None
    is_plain = "%" not in text and "+" not in text
    for part in text.split("&"):
        name, equals, value = part.partition("=")
        if not is_plain and ("%" in part or "+" in part):
            try:
                name, value = _decode(name), _decode(value)
            except UnicodeDecodeError:
                return None
            if "\0" in value or "\0" in name or "=" in name:
                return None
        last = name.rpartition(".")[2] if "." in name else name
        if not equals or last in _KEPT:
            shape.append(f"{name}{equals}{value}")
        elif last in ("limit", "offset"):
            if name != last:
                shape.append(f"{name}={value}")
            elif not (value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS):
                return None
            elif (number := int(value)) == 0:
                shape.append(f"{name}=0")
            elif last == "limit":
                limit = number
                shape.append("limit=\0")
            else:
                offset = number
                shape.append("offset=\0")
        elif last in ("and", "or"):
            shape.append(f"{name}={_split_logic(value, logic)}")
        else:
            shape.append(
                f"{name}={_split_filter(value, filters, arguments, takes_arguments=takes_arguments)}"
            )
    return Split(tuple(shape), (*filters, *logic, *arguments), limit, offset)


_NOTHING = Split((), (), None, None)


def _decode(raw: str) -> str:
    return unquote_to_bytes(raw.replace("+", " ")).decode()


def _split_filter(
    value: str, filters: list[LiteralValue], arguments: list[LiteralValue], *, takes_arguments: bool
) -> str:
    """The part of a filter that belongs to the shape; its literal goes to `filters` or, without an operator in a
    call, to `arguments`."""
    found = _FILTER.match(value)
    if found is None:
        if takes_arguments and not value.startswith(("not.", "is.", "in.")):
            arguments.append(value)
            return "\0"
        return value
    if found["list"] is None:
        filters.append(value[found.end() :])
        return f"{found[0]}\0"
    if _LIST_BODY.match(value, found.end()) is None:
        return value
    body = value[found.end() : -1]
    filters.append(tuple(body.split(",")) if body else ())
    return f"{found[0]}\0)"


def _split_logic(value: str, logic: list[LiteralValue]) -> str:
    if _EXOTIC.search(value):
        return value

    def take(found: re.Match[str]) -> str:
        if found["operator"] is not None:
            logic.append(found["value"])
            return f"{found['head']}{found['operator']}\0"
        body = found["list"]
        if body[:1] in (" ", "\t"):
            return found[0]
        logic.append(tuple(body.split(",")) if body else ())
        return f"{found['head']}in.(\0)"

    return _CONDITION.sub(take, value)


def fill_shape(shape: tuple[str, ...]) -> bytes:
    r"""A query string of the shape whose literals can be told apart, from each other and from the rest: numbers.

    >>> fill_shape(("select=id", "id=eq.\0", "tag=in.(\0)", "year=is.2"))
    b'select=id&id=eq.1&tag=in.%283%29&year=is.2'
    """
    text = "&".join(shape)
    numbers = (number for number in map(str, count(1)) if number not in text)
    parts = []
    for part in shape:
        name, equals, value = part.partition("=")
        filled = re.sub("\0", lambda _: next(numbers), value)
        parts.append(quote(name, safe="") + equals + quote(filled, safe=""))
    return "&".join(parts).encode()
