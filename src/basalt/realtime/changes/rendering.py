"""A change as clients get it (protocol §9.3): rendered once for all who may see the same columns."""

from collections.abc import Sequence
from datetime import datetime

import orjson

from basalt.realtime.changes.log.change import Change, Value
from basalt.realtime.changes.policies.role_access import RoleAccess
from basalt.realtime.changes.tables.table import Table
from basalt.realtime.frames import Version, build_message

MAX_CHANGE_BYTES = 1024 * 1024
MAX_KEPT_BYTES = 64  # of a value in a change that is larger than that

NO_PRIMARY_KEY = "Error 400: Bad Request, no primary key"
UNAUTHORIZED = "Error 401: Unauthorized"
TOO_LARGE = "Error 413: Payload Too Large"

Fields = Sequence[bytes | None]
"""`"name":value` of each column; None where the value is not known."""


class RenderedChange:
    """One change of one table and the data object in its variations. `new` and `old` are the values as JSON."""

    def __init__(
        self,
        table: Table,
        change: Change,
        committed_at: datetime,
        position: str,
        *,
        new: Fields | None,
        old: Fields | None,
    ) -> None:
        self.table = table
        self.change = change
        self._committed_at = (
            committed_at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{committed_at.microsecond // 1000:03}Z"
        )
        self._position = position
        self._new = new
        self._old = old
        self._data: dict[tuple[frozenset[str], tuple[str, ...] | None, bool, bool], bytes] = {}
        self._frames: dict[tuple[str, Version, tuple[int, ...], int], bytes] = {}
        self._refusals: dict[str, bytes] = {}

    def refuse(self, error: str) -> bytes:
        """The data object for those who may not even know the row: only that something happened."""
        if error not in self._refusals:
            refused: dict[str, object] = {
                "schema": self.table.schema,
                "table": self.table.name,
                "type": self.change.operation,
                "commit_timestamp": None,
                "columns": [],
                "record": {},
                "old_record": {},
                "errors": [error],
            }
            self._refusals[error] = orjson.dumps(refused)
        return self._refusals[error]

    def data(
        self,
        access: RoleAccess,
        select: tuple[str, ...] | None,
        *,
        with_position: bool,
        hides_old: bool = False,
    ) -> bytes:
        """The data object for a role, of the selected columns and the primary key. `hides_old`: for those who might not
        see the row before; they are told its primary key at most."""
        key = (access.selectable, select, with_position, hides_old)
        if key not in self._data:
            self._data[key] = self._render(
                access.selectable, select, with_position=with_position, hides_old=hides_old
            )
        return self._data[key]

    def frame(self, topic: str, version: Version, ids: tuple[int, ...], data: bytes) -> bytes:
        """The WebSocket frame with that data (an object that `data` or `refuse` gave) for all channels of a topic."""
        key = (topic, version, ids, id(data))
        if key not in self._frames:
            payload = b'{"ids":[%b],"data":%b}' % (b",".join(b"%d" % each for each in ids), data)
            self._frames[key] = build_message(version, topic, b"postgres_changes", payload)
        return self._frames[key]

    def old_frame(self, topic: str, version: Version, data: bytes) -> bytes:
        """For the interface from before `postgres_changes`: the operation is the event."""
        return build_message(version, topic, self.change.operation.encode(), data)

    def _render(
        self,
        selectable: frozenset[str],
        select: tuple[str, ...] | None,
        *,
        with_position: bool,
        hides_old: bool,
    ) -> bytes:
        table, change = self.table, self.change
        shown = [
            position
            for position, column in enumerate(table.columns)
            if column.name in selectable
            and (select is None or column.name in select or column.is_primary_key)
        ]
        is_large = _size(change) > MAX_CHANGE_BYTES
        parts = [
            b'"schema":%b,"table":%b,"type":"%b","commit_timestamp":"%b"'
            % (
                orjson.dumps(table.schema),
                orjson.dumps(table.name),
                change.operation.encode(),
                self._committed_at.encode(),
            ),
            b'"columns":' + _render_columns(table, shown),
        ]
        if self._new is not None:
            parts.append(b'"record":' + _render_row(table, self._new, shown, is_large=is_large))
        if change.operation != "INSERT":
            tells = self._told(hides_old=hides_old)
            told = [position for position in shown if position in tells]
            old = self._old if self._old is not None else self._new
            assert old is not None
            parts.append(b'"old_record":' + _render_row(table, old, told, is_large=is_large))
        parts.append(b'"errors":' + (orjson.dumps([TOO_LARGE]) if is_large else b"null"))
        if with_position:
            parts.append(b'"position":' + orjson.dumps(self._position))
        return b"{%b}" % b",".join(parts)

    def _told(self, *, hides_old: bool) -> frozenset[int]:
        """What of the old row is told: the replica identity, or after a delete under row-level security, when no policy
        can be asked any more, the primary key at most."""
        told = frozenset(self.table.identity)
        if hides_old or (self.change.operation == "DELETE" and self.table.has_row_security):
            return told & frozenset(self.table.primary_key)
        return told


def _render_columns(table: Table, shown: Sequence[int]) -> bytes:
    columns = [table.columns[position] for position in shown]
    return orjson.dumps([{"name": column.name, "type": column.type.name} for column in columns])


def _render_row(table: Table, fields_of: Fields, shown: Sequence[int], *, is_large: bool) -> bytes:
    fields = [
        field
        for position in shown
        if (field := fields_of[position]) is not None
        and not (is_large and len(field) > MAX_KEPT_BYTES + len(table.columns[position].name) + 5)
    ]
    return b"{%b}" % b",".join(fields)


def _size(change: Change) -> int:
    values: tuple[Value, ...] = (*(change.new or ()), *(change.old or ()))
    return sum(_size_of_text(value) for value in values if isinstance(value, str))


def _size_of_text(value: str) -> int:
    return len(value) if value.isascii() else len(value.encode())
