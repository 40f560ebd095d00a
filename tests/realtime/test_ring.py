"""What is kept for clients that come back: recent transactions, bounded by age and size."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basalt.realtime.changes.log.change import UNCHANGED, Change, Relation, Transaction
from basalt.realtime.changes.ring import OVERHEAD_BYTES, Ring

pytestmark = pytest.mark.req("P7")

RELATION = Relation(1, "public", "todos", "d", ())
WINDOW_S = 60.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def transaction(lsn: int, size: int = 0) -> Transaction:
    """Of one change, whose values take so many bytes."""
    change = Change(RELATION, "INSERT", ("x" * size, None, UNCHANGED), None)
    return Transaction(lsn, 1, datetime.now(UTC), [change])


def ring(clock: Clock, max_bytes: int = 10_000) -> Ring:
    made = Ring(window_s=WINDOW_S, max_bytes=max_bytes, clock=clock)
    made.restart(100)
    return made


def lsns(ring: Ring, since: int = 0) -> list[int]:
    return [each.lsn for each in ring.since(since)]


def test_what_was_committed_at_a_place_or_later_is_found_in_order() -> None:
    kept = ring(Clock())
    for lsn in (110, 120, 130):
        kept.add(transaction(lsn))
    assert lsns(kept) == lsns(kept, 110) == [110, 120, 130]
    assert lsns(kept, 111) == lsns(kept, 120) == [120, 130]
    assert lsns(kept, 131) == []
    assert kept.start == 100


def test_what_is_too_old_is_forgotten_and_the_start_says_so() -> None:
    clock = Clock()
    kept = ring(clock)
    kept.add(transaction(110))
    clock.now += WINDOW_S / 2
    kept.add(transaction(120))
    clock.now += WINDOW_S / 2
    kept.expire()
    assert (lsns(kept), kept.start) == ([110, 120], 100)
    clock.now += 1
    kept.expire()
    assert (lsns(kept), kept.start) == ([120], 110)
    clock.now += WINDOW_S
    kept.expire()
    assert (lsns(kept), kept.start) == ([], 120)


def test_what_is_too_much_is_forgotten() -> None:
    kept = ring(Clock(), max_bytes=3 * OVERHEAD_BYTES)
    for lsn in (110, 120, 130):
        kept.add(transaction(lsn))
    assert (lsns(kept), kept.start) == ([110, 120, 130], 100)
    kept.add(transaction(140))
    assert (lsns(kept), kept.start) == ([120, 130, 140], 110)


def test_a_transaction_larger_than_the_ring_empties_it() -> None:
    kept = ring(Clock(), max_bytes=1000)
    kept.add(transaction(110))
    kept.add(transaction(120, size=2000))
    assert (lsns(kept), kept.start) == ([], 120)
    kept.add(transaction(130))
    assert (lsns(kept), kept.start) == ([130], 120)


def test_a_truncated_transaction_cannot_be_told_again() -> None:
    kept = ring(Clock())
    kept.add(transaction(110))
    kept.add(Transaction(120, 1, datetime.now(UTC), [], truncated=True))
    kept.add(transaction(130))
    assert (lsns(kept), kept.start) == ([130], 120)


def test_a_restart_forgets_everything() -> None:
    kept = ring(Clock())
    kept.add(transaction(110))
    kept.restart(500)
    assert (lsns(kept), kept.start) == ([], 500)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 40), st.integers(0, 900)), max_size=30))
def test_the_bounds_hold_and_there_is_never_a_gap(steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    limit = 2000
    kept = ring(clock, max_bytes=limit)
    added: list[tuple[int, float, int]] = [(100, clock.now, 0)]
    for number, (pause, size) in enumerate(steps):
        clock.now += pause
        kept.add(transaction(101 + number, size))
        added.append((101 + number, clock.now, size + OVERHEAD_BYTES))
        found = lsns(kept)
        assert found == [lsn for lsn, _, _ in added if lsn > kept.start]
        assert sum(size for lsn, _, size in added if lsn in found) <= limit
        assert all(clock.now - at <= WINDOW_S for lsn, at, _ in added if lsn in found)
