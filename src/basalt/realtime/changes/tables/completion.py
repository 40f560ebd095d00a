"""What the log leaves out of a changed row: large values that an update did not touch, and columns that it never tells.

The old row has them where the replica identity is full. Otherwise the row is looked up by its primary key, as it is
now, and is believed only while all its other columns are what the change says: a newer version's content must not be
told under an older one's name, and of that newer version a change of its own follows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

from basalt.postgres import LanePool, PostgresError, Query
from basalt.realtime.changes.literals import quote_name
from basalt.realtime.changes.log.change import UNCHANGED, Change, Unchanged, Value
from basalt.realtime.changes.tables.table import Table
from basalt.realtime.changes.tables.values import SET_SESSION_FORMS

Row = tuple[str | None, ...]

MAX_KEYS: Final = 500  # in one statement
LOOKUP_TIMEOUT_S: Final = 2

# Somebody else's lock on the table must not hold up the stream.
SET_TIMEOUTS: Final = Query(
    "select set_config('lock_timeout', $1, true), set_config('statement_timeout', $1, true)",
    (b"%ds" % LOOKUP_TIMEOUT_S,),
)

# The table is not what the log described any more, or cannot be read in time: then its rows are not either.
NOT_FOUND: Final = frozenset(
    {
        "3F000",  # no such schema
        "42P01",  # no such table
        "42703",  # no such column
        "42883",  # no such operator: a key of another type
        "22P02",  # the same: it does not take this key
        "22003",
        "55P03",  # locked
        "57014",  # too slow
    }
)


async def complete_changes(lanes: LanePool, table: Table, changes: Sequence[Change]) -> list[Change]:
    """The changes of one table with unchanged large values filled in, where that can be done; else they stay as they
    are and are left out of the record. `lanes` must be of a role that reads every row. Raises PostgresError,
    LanesUnavailable."""
    completed = [_fill_from_old(change) for change in changes]
    open_ = [at for at, change in enumerate(completed) if change.new is not None and UNCHANGED in change.new]
    rows = await _load_rows(lanes, table, [completed[at] for at in open_], ())
    for at, row in zip(open_, rows, strict=True):
        if row is not None:
            completed[at] = replace(completed[at], new=row)
    return completed


async def load_missing(
    lanes: LanePool, table: Table, changes: Sequence[Change]
) -> list[Mapping[str, str | None] | None]:
    """The values of `table.missing` for each change, None where its new row is not there any more. Same terms as
    `complete_changes`."""
    rows = await _load_rows(lanes, table, changes, table.missing)
    told = len(table.columns)
    return [None if row is None else dict(zip(table.missing, row[told:], strict=True)) for row in rows]


def _fill_from_old(change: Change) -> Change:
    """A large value is never null, so that a null in the old row only says that it is not told."""
    new, old = change.new, change.old
    if new is None or old is None or UNCHANGED not in new:
        return change
    filled = tuple(
        before if isinstance(now, Unchanged) and before is not None else now
        for now, before in zip(new, old, strict=True)
    )
    return replace(change, new=filled)


async def _load_rows(
    lanes: LanePool, table: Table, changes: Sequence[Change], more: Sequence[str]
) -> list[Row | None]:
    """The row of each change as it is now, told columns first and then `more`; None when it is another one by now."""
    keys = [_key(table, change) for change in changes]
    found: dict[Row, Row] = {}
    for batch in _batches(dict.fromkeys(key for key in keys if key is not None)):
        for row in await _look_up(lanes, table, batch, more):
            found[tuple(row[at] for at in table.primary_key)] = row
    rows = [None if key is None else found.get(key) for key in keys]
    return [
        row if row is not None and _is_same(change.new, row) else None
        for change, row in zip(changes, rows, strict=True)
    ]


def _key(table: Table, change: Change) -> Row | None:
    """The primary key of the new row; None without one, or when the log left a part of it out."""
    if change.new is None or not table.primary_key:
        return None
    key = tuple(part for at in table.primary_key if not isinstance(part := change.new[at], Unchanged))
    return key if len(key) == len(table.primary_key) else None


def _is_same(new: tuple[Value, ...] | None, row: Row) -> bool:
    return new is not None and all(
        isinstance(value, Unchanged) or value == now for value, now in zip(new, row, strict=False)
    )


def _batches(keys: Mapping[Row, None]) -> Iterator[list[Row]]:
    rest = iter(keys)
    while batch := list(islice(rest, MAX_KEYS)):
        yield batch


async def _look_up(lanes: LanePool, table: Table, keys: Sequence[Row], more: Sequence[str]) -> list[Row]:
    query = Query(
        _build_look_up(table, len(keys), more),
        tuple(None if part is None else part.encode() for key in keys for part in key),
        prepare=len(keys) == 1,
    )
    try:
        *_, result = await lanes.execute([SET_SESSION_FORMS, SET_TIMEOUTS, query], read_only=True)
    except PostgresError as exc:
        if exc.sqlstate in NOT_FOUND:
            return []
        raise
    return [tuple(None if cell is None else cell.decode() for cell in row) for row in result.rows]


def _build_look_up(table: Table, count: int, more: Sequence[str]) -> str:
    """`select "id", "body" from "public"."todos" where ("id") in (($1), ($2))`: so the parameters have the types of
    the key's columns, and its index is used. Names come from the catalog."""
    names = [column.name for column in table.columns]
    key = ", ".join(quote_name(names[at]) for at in table.primary_key)
    width = len(table.primary_key)
    wanted = ", ".join(
        "(" + ", ".join(f"${number * width + part}" for part in range(1, width + 1)) + ")"
        for number in range(count)
    )
    selected = ", ".join(quote_name(name) for name in [*names, *more])
    source = f"{quote_name(table.schema)}.{quote_name(table.name)}"
    return f"select {selected} from {source} where ({key}) in ({wanted})"  # noqa: S608  # quoted names, no values
