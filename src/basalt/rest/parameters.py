"""The query string → `ParsedQuery`: which parameter is what, and what happens to repeated ones.

Part of the first step of a REST request. The rules are those of PostgREST's `QueryParams.hs`: the first
`select`, `columns` and `on_conflict` count, the first `order` of a level, the last `limit` and `offset`;
parameters without `=` are nothing; `;` separates like `&`.
"""

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

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
from basalt.rest.query import (
    EmbedPath,
    FieldRef,
    Filter,
    LogicTree,
    OrderTerm,
    ParsedQuery,
    RowRange,
    SelectField,
)

MAX_QUERY_BYTES = 64 * 1024
MAX_PARAMETERS = 1000
MAX_BIGINT = 2**63 - 1
CACHED_QUERIES = 4096
MAX_CACHED_BYTES = 1024
ALL_FIELDS = (SelectField(FieldRef("*")),)

_SEPARATOR = re.compile(b"[&;]")
_WHOLE_NUMBER = re.compile(r"\s*(-?[0-9]+)\s*\Z")


class Span(NamedTuple):
    """Rows from `lower` to `upper`, both included; `upper` None is open. Empty when `upper` is smaller."""

    lower: int = 0
    upper: int | None = None

    @property
    def is_empty(self) -> bool:
        return self.upper is not None and self.upper < self.lower

    def within(self, other: "Span") -> "Span":
        uppers = [upper for upper in (self.upper, other.upper) if upper is not None]
        return Span(max(self.lower, other.lower), min(uppers, default=None))

    def as_range(self) -> RowRange:
        if self.upper is None:
            return RowRange(self.lower)
        return RowRange(self.lower, min(self.upper - self.lower + 1, MAX_BIGINT))


class Parameters(NamedTuple):
    """The parsed query string, and the rows of the root that it asks for (`Range` may narrow them)."""

    query: ParsedQuery
    span: Span


def parse_parameters(query_string: bytes, *, takes_arguments: bool) -> Parameters:
    """`takes_arguments`: the request calls a routine by GET or HEAD, so that what is no filter is an argument.
    Raises RestError PGRST100.

    >>> parsed = parse_parameters(b"select=id&id=gt.5&limit=2", takes_arguments=False)
    >>> parsed.span
    Span(lower=0, upper=1)
    >>> parse_parameters(b"a=1&b=eq.2", takes_arguments=True).query.parameters
    (('a', '1'),)
    """
    if len(query_string) > MAX_QUERY_BYTES:
        raise RestError("PGRST100", problem=f"The query string is longer than {MAX_QUERY_BYTES} bytes")
    if len(query_string) <= MAX_CACHED_BYTES:
        return _parse_short(query_string, takes_arguments)
    return _parse(query_string, takes_arguments=takes_arguments)


@lru_cache(maxsize=CACHED_QUERIES)
def _parse_short(query_string: bytes, takes_arguments: bool) -> Parameters:
    return _parse(query_string, takes_arguments=takes_arguments)


def _parse(query_string: bytes, *, takes_arguments: bool) -> Parameters:
    pairs = split_pairs(query_string)
    sorted_out = _sort_out([(name, value) for name, value in pairs if value is not None])
    order = _parse_orders(sorted_out.orders)
    logic = [_parse_logic_pair(name, value) for name, value in sorted_out.logic]
    first = sorted_out.reserved
    columns = parse_names(first["columns"], "columns parameter") if "columns" in first else None
    select = parse_select(first["select"]) if "select" in first else ALL_FIELDS
    filters, arguments = _parse_filters(sorted_out.filters, takes_arguments=takes_arguments)
    on_conflict = (
        parse_names(first["on_conflict"], "on_conflict parameter") if "on_conflict" in first else None
    )
    spans = _parse_spans(sorted_out.limits, sorted_out.offsets)
    root = spans.pop((), Span())
    query = ParsedQuery(
        select=select,
        where=(*filters, *logic),
        order=order,
        ranges=tuple((path, span.as_range()) for path, span in spans.items()),
        columns=columns,
        on_conflict=on_conflict,
        parameters=arguments,
        has_select="select" in first,
    )
    return Parameters(query, root)


# Pairs


def split_pairs(query_string: bytes) -> list[tuple[str, str | None]]:
    """Names and values, decoded; the value is None where there is no `=`. Also reads a form.

    >>> split_pairs(b"a=1&b=x+y%2B;c")
    [('a', '1'), ('b', 'x y+'), ('c', None)]
    """
    if not query_string:
        return []
    parts = _SEPARATOR.split(query_string)
    if len(parts) > MAX_PARAMETERS:
        raise RestError("PGRST100", problem=f"There are more than {MAX_PARAMETERS} parameters")
    pairs: list[tuple[str, str | None]] = []
    for part in parts:
        name, equals, value = part.partition(b"=")
        pairs.append((_decode(name), _decode(value) if equals else None))
    return pairs


def _decode(raw: bytes) -> str:
    if b"+" in raw:
        raw = raw.replace(b"+", b" ")
    if b"%" in raw:
        raw = unquote_to_bytes(raw)
    try:
        text = raw.decode()
    except UnicodeDecodeError as exc:
        raise RestError("PGRST100", problem="The parameters are not valid UTF-8") from exc
    if "\0" in text:
        raise RestError("PGRST100", problem="The parameters hold a NUL character")
    return text


@lru_cache(maxsize=CACHED_QUERIES)
def render_canonical(query_string: bytes) -> str:
    """The query string for `Content-Location`: sorted by name, every value behind its name, values of the same name
    joined by commas.

    >>> render_canonical(b"b=2&a=x+y&b=1"), render_canonical(b"select=id,name&id=gt.1")
    ('a=x%20y&b=2,1', 'id=gt.1&select=id%2Cname')
    """
    text = query_string.decode("latin-1")
    if text and not _UNUSUAL.search(text):
        pairs = dict(sorted(part.partition("=")[::2] for part in text.split("&")))
        if len(pairs) == text.count("&") + 1:
            return "&".join([f"{name}={value}" for name, value in pairs.items()]).translate(_ENCODED)
    values: dict[str, list[str]] = {}
    for name, value in sorted(split_pairs(query_string), key=lambda pair: pair[0].encode()):
        values.setdefault(name, []).append(_quote(value) if value else "")
    return "&".join(f"{_quote(name)}={','.join(found)}" for name, found in values.items())


# What must be decoded, what separates otherwise, and a second `=` in one pair.
_UNUSUAL = re.compile(r"[%+;\x00\x80-\xff]|=[^&]*=")
_ENCODED = {code: f"%{code:02X}" for code in range(128) if not (chr(code).isalnum() or chr(code) in "_.~-=&")}
_RESERVED = re.compile(rb"[^A-Za-z0-9_.~-]")


def _quote(text: str) -> str:
    """As `urllib.parse.quote` without safe characters, at a third of its cost: this runs for every parameter."""
    return _RESERVED.sub(lambda found: b"%%%02X" % found[0][0], text.encode()).decode("ascii")


class _Sorted(NamedTuple):
    reserved: dict[str, str]
    orders: list[tuple[str, str]]
    limits: list[tuple[str, str]]
    offsets: list[tuple[str, str]]
    logic: list[tuple[str, str]]
    filters: list[tuple[str, str]]


def _sort_out(pairs: list[tuple[str, str]]) -> _Sorted:
    found = _Sorted({}, [], [], [], [], [])
    for name, value in pairs:
        match name.rpartition(".")[2]:
            case "order":
                found.orders.append((name, value))
            case "limit":
                found.limits.append((name, value))
            case "offset":
                found.offsets.append((name, value))
            case "and" | "or":
                found.logic.append((name, value))
            case _ if name in ("select", "columns", "on_conflict"):
                found.reserved.setdefault(name, value)
            case "apikey" if name == "apikey" and not is_operation(value):
                continue  # the gateway's: clients that cannot send headers put the key here
            case _:
                found.filters.append((name, value))
    return found


# What they say


def _parse_orders(pairs: list[tuple[str, str]]) -> tuple[tuple[EmbedPath, tuple[OrderTerm, ...]], ...]:
    orders: dict[EmbedPath, tuple[OrderTerm, ...]] = {}
    for name, value in pairs:
        path, _ = parse_path(name)
        orders.setdefault(path, parse_order(value))
    return tuple(orders.items())


def _parse_logic_pair(name: str, value: str) -> tuple[EmbedPath, LogicTree]:
    path, operator, negated = parse_logic_path(name)
    return path, parse_logic(value, operator, negated=negated)


def _parse_filters(
    pairs: list[tuple[str, str]], *, takes_arguments: bool
) -> tuple[list[tuple[EmbedPath, LogicTree]], tuple[tuple[str, str], ...]]:
    filters: list[tuple[EmbedPath, LogicTree]] = []
    arguments = []
    for name, value in pairs:
        path, field = parse_path(name)
        if takes_arguments and not is_operation(value):
            arguments.append((field.name, value))
        else:
            operation, negated = parse_filter(value)
            filters.append((path, Filter(field, operation, negated)))
    return filters, tuple(arguments)


def _parse_spans(limits: list[tuple[str, str]], offsets: list[tuple[str, str]]) -> dict[EmbedPath, Span]:
    spans: dict[EmbedPath, Span] = {}
    for name, value in limits:
        path, _ = parse_path(name)
        spans[path] = Span(0, _parse_whole_number(name, value) - 1)
    starts = {parse_path(name)[0]: _parse_whole_number(name, value) for name, value in offsets}
    for path, start in starts.items():
        limited = spans.get(path)
        if limited is None or limited.upper is None:
            spans[path] = Span(start)
        else:
            spans[path] = Span(start, start + limited.upper)
    return spans


def _parse_whole_number(name: str, value: str) -> int:
    """PostgREST takes no notice of a limit that is no number; a caller who mistyped it wants to know."""
    found = _WHOLE_NUMBER.match(value)
    if found is None or len(found[1]) > 20 or abs(int(found[1])) > MAX_BIGINT:
        raise RestError(
            "PGRST100",
            problem=f'"failed to parse {name} ({value[:100]})" (line 1, column 1)',
            details="A whole number of at most 63 bits was expected",
        )
    return int(found[1])
