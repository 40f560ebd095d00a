"""Values of the log as JSON, byte for byte ready to be sent: what `to_jsonb` makes of them (PostgreSQL, jsonb.c), with
one exception of the contract: a `bytea` is told without its `\\x`.

Numbers and JSON stay as PostgreSQL wrote them; only their meaning is that of `to_jsonb`. What only PostgreSQL can tell
(kind `database`) is asked of it, many values in one round trip.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import orjson

from basalt.postgres import LanePool, Query
from basalt.realtime.changes.log.change import Value
from basalt.realtime.changes.tables.table import Kind, Table, ValueType

Render = Callable[[str], bytes]

# The forms that values have in the log and have to have wherever they are compared with it, whatever a role or a
# database prefers: a timestamp with an offset of zero, an interval in words, bytes in hex.
SESSION_FORMS: Final = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
}

SET_SESSION_FORMS: Final = Query("""
select
    set_config('timezone', 'UTC', true),
    set_config('datestyle', 'ISO', true),
    set_config('intervalstyle', 'postgres', true),
    set_config('bytea_output', 'hex', true),
    set_config('extra_float_digits', '1', true)
""")


class RowRenderer:
    """Renders the rows of one table. `database` are the positions of the columns that only PostgreSQL can render."""

    def __init__(self, table: Table) -> None:
        self.types = tuple(column.type for column in table.columns)
        self.database = tuple(at for at, type_ in enumerate(self.types) if type_.kind == "database")
        keys = [orjson.dumps(column.name) + b":" for column in table.columns]
        self._columns = [
            (key, key + b"null", find_render(type_)) for key, type_ in zip(keys, self.types, strict=True)
        ]

    def render(
        self, values: Sequence[Value], by_database: Mapping[int, bytes] | None = None
    ) -> list[bytes | None]:
        """One `"name":value` per column, to be joined by commas; None where the log left a large value out.
        `by_database`: position → JSON; without it such a value is told as text."""
        fields = [
            key + render(value) if isinstance(value, str) else null if value is None else None
            for (key, null, render), value in zip(self._columns, values, strict=True)
        ]
        for at, rendered in (by_database or {}).items():
            fields[at] = self._columns[at][0] + rendered
        return fields


async def render_rows(
    lanes: LanePool, renderer: RowRenderer, rows: Sequence[Sequence[Value]]
) -> list[list[bytes | None]]:
    """As `renderer.render`, for rows of a table with columns that only PostgreSQL can render: one round trip for all
    of them. Raises PostgresError, LanesUnavailable."""
    wanted = [
        (number, at, value)
        for number, row in enumerate(rows)
        for at in renderer.database
        if isinstance(value := row[at], str)
    ]
    rendered = await render_by_database(lanes, [(renderer.types[at], value) for _, at, value in wanted])
    by_row: list[dict[int, bytes]] = [{} for _ in rows]
    for (number, at, _), json in zip(wanted, rendered, strict=True):
        by_row[number][at] = json
    return [renderer.render(row, found) for row, found in zip(rows, by_row, strict=True)]


BECOME_SERVICE = "select set_config('role', 'service_role', true)"
RENDER_VALUES = """
select realtime.render_value((pair ->> 0)::oid, pair ->> 1)
from jsonb_array_elements($1::jsonb) with ordinality as wanted (pair, number)
order by number
"""


async def render_by_database(lanes: LanePool, values: Sequence[tuple[ValueType, str]]) -> list[bytes]:
    """In the order of `values`. As `service_role`, because a project's own cast to json may run. Raises PostgresError,
    LanesUnavailable."""
    if not values:
        return []
    pairs = orjson.dumps([(type_.oid, text) for type_, text in values])
    *_, result = await lanes.execute(
        [SET_SESSION_FORMS, Query(BECOME_SERVICE), Query(RENDER_VALUES, (pairs,))], read_only=True
    )
    return [row[0] or b"null" for row in result.rows]


def render_value(value_type: ValueType, text: str) -> bytes:
    """One value from PostgreSQL's text format.

    >>> render_value(ValueType(20, "int8", "number"), "7"), render_value(ValueType(25, "text", "text"), "7")
    (b'7', b'"7"')
    >>> render_value(ValueType(1184, "timestamptz", "timestamp"), "2026-01-02 03:04:05.6+00")
    b'"2026-01-02T03:04:05.6+00:00"'
    """
    return find_render(value_type)(text)


def find_render(value_type: ValueType) -> Render:
    if value_type.kind == "array" and value_type.element is not None:
        return _build_array_render(value_type.element, value_type.delimiter)
    return RENDERS[value_type.kind]


def _render_number(text: str) -> bytes:
    return text.encode() if text[-1] in "0123456789" else _quote(text)  # NaN, Infinity


def _render_timestamp(text: str) -> bytes:
    return b'"%s"' % text.replace(" ", "T", 1).replace("+00", "+00:00").encode()  # the session is in UTC


def _render_bytes(text: str) -> bytes:
    return b'"%s"' % text[2:].encode()


def _quote(text: str) -> bytes:
    return b'"%s"' % text.encode()


BOOLEANS: Final = {"t": b"true", "f": b"false"}

RENDERS: Final[Mapping[Kind, Render]] = {
    "number": _render_number,
    "boolean": BOOLEANS.__getitem__,
    "json": str.encode,
    "text": orjson.dumps,
    "date": _quote,
    "timestamp": _render_timestamp,
    "bytes": _render_bytes,
    "database": orjson.dumps,
}

BRACKETS: Final = str.maketrans("{}", "[]")
ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


def _build_array_render(element: ValueType, delimiter: str) -> Render:
    """PostgreSQL, "Array Input and Output Syntax". Bytes inside an array keep their `\\x`."""
    render = orjson.dumps if element.kind == "bytes" else find_render(element)
    token = re.compile(
        rf'"([^"\\]*(?:\\.[^"\\]*)*)"|([^{{}}"{re.escape(delimiter)}]+)|([{{}}{re.escape(delimiter)}])',
        re.DOTALL,
    )
    signs = {"{": b"[", "}": b"]", delimiter: b","}

    def render_tokens(text: str) -> Iterator[bytes]:
        for quoted, bare, sign in token.findall(text):
            if sign:
                yield signs[sign]
            elif bare:
                yield b"null" if bare == "NULL" else render(bare)
            else:
                yield render(ESCAPED.sub(r"\1", quoted) if "\\" in quoted else quoted)

    def render_array(text: str) -> bytes:
        text = text[text.index("{") :]  # bounds other than 1 stand before it: [0:1]={…}
        if element.kind == "number" and "N" not in text and "I" not in text:
            return text.translate(BRACKETS).encode()
        return b"".join(render_tokens(text))

    return render_array
