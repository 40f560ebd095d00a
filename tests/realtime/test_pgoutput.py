"""The decoder of the log: messages in, whole transactions out, and only LogError for bytes that make no sense."""

import struct
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basalt.realtime.changes.log.change import UNCHANGED, Change, Transaction, Value
from basalt.realtime.changes.log.pgoutput import Decoder, LogError

pytestmark = pytest.mark.req("P7")

BEGIN = b"B" + struct.pack(">QqI", 90, 1_000_000, 7)
COMMIT = b"C" + struct.pack(">BQQq", 0, 90, 100, 1_000_000)
TODOS = 16_400


def string(text: str) -> bytes:
    return text.encode() + b"\0"


def relation(*columns: str, identity: bytes = b"d") -> bytes:
    described = b"".join(
        bytes([number == 0]) + string(name) + struct.pack(">Ii", 25, -1)
        for number, name in enumerate(columns)
    )
    head = b"R" + struct.pack(">I", TODOS) + string("public") + string("todos") + identity
    return head + struct.pack(">H", len(columns)) + described


def row(*values: Value) -> bytes:
    parts = [
        b"t" + struct.pack(">I", len(value.encode())) + value.encode()
        if isinstance(value, str)
        else b"n"
        if value is None
        else b"u"
        for value in values
    ]
    return struct.pack(">H", len(values)) + b"".join(parts)


def change(kind: bytes, *parts: bytes) -> bytes:
    return kind + struct.pack(">I", TODOS) + b"".join(parts)


def mark(prefix: str, *, flags: int = 1) -> bytes:
    return b"M" + struct.pack(">BQ", flags, 80) + string(prefix) + struct.pack(">I", 7) + b"altered"


def decode(*messages: bytes, max_bytes: int = 1_000_000) -> list[Transaction]:
    decoder = Decoder(max_bytes=max_bytes)
    return [transaction for message in messages if (transaction := decoder.decode(message))]


def test_a_transaction_comes_with_its_commit_and_not_before() -> None:
    decoder = Decoder()
    for message in (BEGIN, relation("id", "title"), change(b"I", b"N", row("1", "é"))):
        assert decoder.decode(message) is None
    assert decoder.is_inside
    transaction = decoder.decode(memoryview(COMMIT))
    assert transaction is not None
    assert not decoder.is_inside
    assert (transaction.lsn, transaction.xid) == (100, 7)
    assert transaction.committed_at == datetime(2000, 1, 1, 0, 0, 1, tzinfo=UTC)
    (inserted,) = transaction.changes
    assert (inserted.operation, inserted.new, inserted.old) == ("INSERT", ("1", "é"), None)
    described = inserted.relation
    assert (described.oid, described.schema, described.name, described.identity) == (
        TODOS, "public", "todos", "d",
    )  # fmt: skip
    assert [(column.name, column.is_identity) for column in described.columns] == [
        ("id", True),
        ("title", False),
    ]


def test_updates_and_deletions_tell_the_old_row_as_the_identity_allows() -> None:
    (transaction,) = decode(
        BEGIN,
        relation("id", "title"),
        change(b"U", b"N", row("1", UNCHANGED)),
        change(b"U", b"K", row("1", None), b"N", row("2", "b")),
        change(b"U", b"O", row("2", "b"), b"N", row("2", "")),
        change(b"D", b"K", row("2", None)),
        change(b"D", b"O", row("2", "b")),
        COMMIT,
    )
    assert [(each.operation, each.old, each.new) for each in transaction.changes] == [
        ("UPDATE", None, ("1", UNCHANGED)),
        ("UPDATE", ("1", None), ("2", "b")),
        ("UPDATE", ("2", "b"), ("2", "")),
        ("DELETE", ("2", None), None),
        ("DELETE", ("2", "b"), None),
    ]


def test_a_table_that_is_described_again_is_another_object() -> None:
    insert = change(b"I", b"N", row("1"))
    first, second = decode(
        BEGIN, relation("id"), insert, COMMIT, BEGIN, relation("id"), insert, insert, COMMIT
    )
    assert first.changes[0].relation is not second.changes[0].relation
    assert second.changes[0].relation is second.changes[1].relation


@pytest.mark.parametrize(
    ("message", "altered"),
    [
        (mark("basalt"), True),
        (mark("other"), False),
        (mark("basalt", flags=0), False),
        (b"T" + struct.pack(">IBI", 1, 0, TODOS), False),
        (b"Y" + struct.pack(">I", 9) + string("public") + string("mood"), False),
        (b"O" + struct.pack(">Q", 1) + string("elsewhere"), False),
    ],
)
def test_only_basalts_own_transactional_mark_says_altered(message: bytes, altered: bool) -> None:
    (transaction,) = decode(BEGIN, message, COMMIT)
    assert (transaction.altered, transaction.changes) == (altered, [])
    (following,) = decode(BEGIN, COMMIT)
    assert not following.altered


def test_a_transaction_beyond_the_bound_keeps_its_first_changes_and_says_so() -> None:
    insert = change(b"I", b"N", row("1"))
    many = [BEGIN, relation("id"), *[insert] * 10, mark("basalt"), COMMIT, BEGIN, insert, COMMIT]
    large, small = decode(*many, max_bytes=len(insert) * 3)
    assert (len(large.changes), large.truncated, large.altered) == (3, True, True)
    assert (len(small.changes), small.truncated) == (1, False)


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([b""], "of 0 bytes is malformed"),
        ([b"?"], "unknown kind '?'"),
        ([COMMIT], "committed that had not begun"),
        ([BEGIN, BEGIN], "inside another one"),
        ([relation("id"), change(b"I", b"N", row("1"))], "outside a transaction"),
        ([BEGIN, change(b"I", b"N", row("1"))], "was not described"),
        ([BEGIN, relation("id"), change(b"I", b"N", row("1", "2"))], "2 values, its relation 1"),
        ([BEGIN, relation("id"), change(b"I", b"N", row("abc"))[:-1]], "a row ends at byte"),
        ([BEGIN, relation("id"), change(b"I", b"N", row("abc")) + b"x"], "a row ends at byte"),
        ([BEGIN, relation("id"), change(b"I", b"K", row("1"))], "a new row starts with 'K'"),
        ([BEGIN, relation("id"), change(b"D", b"N", row("1"))], "does not tell the old row"),
        ([BEGIN, relation("id"), change(b"U", b"?", row("1"))], "a row starts with '?'"),
        ([BEGIN, relation("id"), change(b"I", b"N", b"\0\1b\0\0\0\1x")], "unknown kind 'b'"),
        ([BEGIN, relation("id"), change(b"I", b"N", b"\0\1t\0\0\0\1\xff")], "malformed"),
        ([relation("id")[:-2]], "a relation ends at byte"),
        ([b"B" + struct.pack(">QqI", 1, 2**62, 1)], "malformed"),
    ],
)
def test_what_makes_no_sense_is_refused_precisely(messages: list[bytes], complaint: str) -> None:
    with pytest.raises(LogError, match=complaint.replace("?", r"\?")):
        decode(*messages)


kinds = st.sampled_from([bytes([kind]) for kind in b"BCRIUDMTYOX"])
fragments = st.one_of(
    st.binary(max_size=60),
    st.builds(lambda kind, rest: kind + rest, kinds, st.binary(max_size=60)),
    st.sampled_from([BEGIN, COMMIT, relation("id", "title"), mark("basalt")]),
    st.builds(
        lambda kind, rest: change(kind, rest), st.sampled_from([b"I", b"U", b"D"]), st.binary(max_size=40)
    ),
)


@given(st.lists(fragments, max_size=12))
def test_no_bytes_raise_anything_but_log_error(messages: list[bytes]) -> None:
    decoder = Decoder()
    for message in messages:
        with suppress(LogError):
            decoder.decode(message)


values = st.one_of(st.text(), st.none(), st.just(UNCHANGED))


@given(st.lists(st.tuples(values, values), max_size=8))
def test_rows_come_out_as_they_went_in(rows: list[tuple[Value, Value]]) -> None:
    (transaction,) = decode(
        BEGIN, relation("a", "b"), *(change(b"I", b"N", row(*values)) for values in rows), COMMIT
    )
    described = transaction.changes[0].relation if rows else None
    assert described is None or transaction.changes == [
        Change(described, "INSERT", new, None) for new in rows
    ]
