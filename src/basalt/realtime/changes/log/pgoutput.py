"""Decodes what PostgreSQL's plugin `pgoutput` writes, one message at a time, into whole transactions.

Follows PostgreSQL 15, "Logical Replication Message Formats", protocol version 1: a transaction comes at once, after
its commit, so that there are never two open ones. Knows no socket and no clock.
"""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from struct import Struct, error
from typing import Final

import msgspec

from basalt.realtime.changes.log.change import (
    UNCHANGED,
    Change,
    Operation,
    Relation,
    RelationColumn,
    Transaction,
    Value,
)

MAX_TRANSACTION_BYTES: Final = 64 * 1024 * 1024
MARK_PREFIX: Final = b"basalt"  # of the logical message that says "tables, policies or privileges changed"
_published = msgspec.json.Decoder(list[tuple[str, str]]).decode
EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)

INSERT, UPDATE, DELETE, BEGIN, COMMIT, RELATION, MESSAGE = b"IUDBCRM"
OPERATIONS: Final[dict[int, Operation]] = {INSERT: "INSERT", UPDATE: "UPDATE", DELETE: "DELETE"}
IGNORED: Final = frozenset(b"YOT")  # names of types, replication origins, truncations
NEW, KEY, OLD = b"NKO"
TEXT, NULL, TOAST = b"tnu"

_length = Struct(">I").unpack_from
_count = Struct(">H").unpack_from
_begin = Struct(">QqI").unpack_from  # end of the transaction, commit time, xid
_commit = Struct(">BQQq").unpack_from  # flags, commit record, its end, commit time
_message = Struct(">BQ").unpack_from  # flags, position


class LogError(Exception):
    """What came is not a message of the protocol, or none that may come here."""


class Decoder:
    """One stream's decoder: it remembers the relations that were described and the transaction that is coming in.

    A transaction is held whole. Once its row messages exceed `max_bytes`, further changes are dropped and the
    transaction is marked `truncated`."""

    def __init__(self, *, max_bytes: int = MAX_TRANSACTION_BYTES) -> None:
        self._max_bytes = max_bytes
        self._relations: dict[int, Relation] = {}
        self._begun: tuple[int, datetime] | None = None
        self._changes: list[Change] = []
        self._bytes = 0
        self._altered = False
        self._published: list[tuple[str, str]] = []

    @property
    def is_inside(self) -> bool:
        """Whether a transaction has begun and its commit has not come yet."""
        return self._begun is not None

    def decode(self, message: memoryview | bytes) -> Transaction | None:
        """The transaction that this message completes. Raises LogError; the decoder is of no use after that."""
        data = bytes(message)
        try:
            kind = data[0]
            if kind in OPERATIONS:
                self._add_change(kind, data)
            elif kind == COMMIT:
                return self._finish(data)
            elif kind == BEGIN:
                self._start(data)
            elif kind == RELATION:
                relation = _read_relation(data)
                self._relations[relation.oid] = relation
            elif kind == MESSAGE:
                self._note_message(data)
            elif kind not in IGNORED:
                raise LogError(f"pgoutput message of unknown kind {chr(kind)!r}")
        except (IndexError, ValueError, OverflowError, error) as exc:
            raise LogError(f"pgoutput message {data[:1]!r} of {len(data)} bytes is malformed: {exc}") from exc
        return None

    def _start(self, data: bytes) -> None:
        if self._begun is not None:
            raise LogError("a transaction began inside another one")
        _, committed_us, xid = _begin(data, 1)
        self._begun = xid, EPOCH + timedelta(microseconds=committed_us)
        self._changes, self._bytes, self._altered, self._published = [], 0, False, []

    def _finish(self, data: bytes) -> Transaction:
        if self._begun is None:
            raise LogError("a transaction was committed that had not begun")
        xid, committed_at = self._begun
        _, _, end_lsn, _ = _commit(data, 1)
        transaction = Transaction(
            end_lsn,
            xid,
            committed_at,
            self._changes,
            self._altered,
            self._bytes > self._max_bytes,
            tuple(self._published),
        )
        self._begun = None
        self._changes = []
        return transaction

    def _note_message(self, data: bytes) -> None:
        flags, _ = _message(data, 1)
        end = data.index(0, 10)
        if flags & 1 and data[10:end] == MARK_PREFIX:
            self._altered = True
            content = data[end + 5 :]  # behind its length; it may not be ours
            with suppress(msgspec.DecodeError):
                self._published += _published(content)

    def _add_change(self, kind: int, data: bytes) -> None:
        if self._begun is None:
            raise LogError("a row changed outside a transaction")
        self._bytes += len(data)
        if self._bytes > self._max_bytes:
            return
        relation = self._relations.get(_length(data, 1)[0])
        if relation is None:
            raise LogError(f"a row of relation {_length(data, 1)[0]} changed, which was not described")
        columns = len(relation.columns)
        at, part = 6, data[5]
        old = new = None
        if part != NEW and kind != INSERT:
            if part != KEY and part != OLD:
                raise LogError(f"a row starts with {chr(part)!r}")
            old, at = _read_row(data, at, columns)
            if kind == UPDATE:
                part = data[at]
                at += 1
        if kind != DELETE:
            if part != NEW:
                raise LogError(f"a new row starts with {chr(part)!r}")
            new, at = _read_row(data, at, columns)
        elif old is None:
            raise LogError("a deletion does not tell the old row")
        if at != len(data):
            raise LogError(f"a row ends at byte {at} of a message of {len(data)}")
        self._changes.append(Change(relation, OPERATIONS[kind], new, old))


def _read_row(data: bytes, at: int, columns: int) -> tuple[tuple[Value, ...], int]:
    """TupleData, and where it ends; that is behind the end of `data` when its last value was cut."""
    (count,) = _count(data, at)
    if count != columns:
        raise LogError(f"a row has {count} values, its relation {columns} columns")
    at += 2
    values: list[Value] = []
    append = values.append
    for _ in range(count):
        kind = data[at]
        if kind == TEXT:
            start = at + 5
            at = start + _length(data, at + 1)[0]
            append(data[start:at].decode())
            continue
        at += 1
        if kind == NULL:
            append(None)
        elif kind == TOAST:
            append(UNCHANGED)
        else:
            raise LogError(f"a value of unknown kind {chr(kind)!r}")
    return tuple(values), at


def _read_relation(data: bytes) -> Relation:
    (oid,) = _length(data, 1)
    schema, at = _read_string(data, 5)
    name, at = _read_string(data, at)
    identity = chr(data[at])
    (count,) = _count(data, at + 1)
    at += 3
    columns: list[RelationColumn] = []
    for _ in range(count):
        flags = data[at]
        column, at = _read_string(data, at + 1)
        columns.append(RelationColumn(column, _length(data, at)[0], bool(flags & 1)))
        at += 8  # the type and its modifier
    if at != len(data):
        raise LogError(f"a relation ends at byte {at} of a message of {len(data)}")
    return Relation(oid, schema or "pg_catalog", name, identity, tuple(columns))


def _read_string(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(0, at)
    return data[at:end].decode(), end + 1
