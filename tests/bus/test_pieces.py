"""Messages in pieces: what is lost, repeated or foreign never disturbs what follows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basalt.bus.outbox import Outbox
from basalt.bus.pieces import HEAD, Assembler, Batch, Heard, cut

SENDER = "AAAAAAAAAAA"
PAYLOADS = st.lists(st.binary(max_size=200), max_size=8)


@pytest.mark.req("P7")
@given(st.lists(PAYLOADS, max_size=8), st.integers(HEAD.size + 1, 300))
def test_batches_come_out_as_they_went_in(batches: list[list[bytes]], piece_bytes: int) -> None:
    assembler, first = Assembler(), 1
    for payloads in batches:
        pieces = list(cut(SENDER, Batch(first, payloads), piece_bytes))
        assert all(len(piece) <= piece_bytes for piece in pieces)
        *earlier, last = [assembler.add(piece) for piece in pieces]
        assert earlier == [None] * len(earlier)
        assert last == Heard(payloads, is_gap=False)
        first += len(payloads)


@pytest.mark.req("P7")
@given(st.data())
def test_after_losses_and_repetitions_messages_are_in_order_once_and_gaps_are_told(
    data: st.DataObject,
) -> None:
    assembler = Assembler()
    sent = [b"%d" % number + bytes(data.draw(st.integers(0, 100))) for number in range(1, 20)]
    heard: list[bytes] = []
    position = 0
    while position < len(sent):
        count = data.draw(st.integers(1, 4))
        pieces = list(cut(SENDER, Batch(position + 1, sent[position : position + count]), 60))
        fate = data.draw(st.sampled_from(["whole", "twice", "lost", "partly"]))
        hole = data.draw(st.integers(0, len(pieces) - 1))
        travelling = {
            "whole": pieces,
            "twice": pieces[: hole + 1] + pieces,
            "lost": [],
            "partly": pieces[:hole] + pieces[hole + 1 :],
        }
        for piece in travelling[fate]:
            if (result := assembler.add(piece)) is not None:
                missing = heard and result.payloads and sent[position - 1] != heard[-1]
                assert result.is_gap == bool(missing)
                heard += result.payloads
        position += count
    numbers = [sent.index(payload) for payload in heard]
    assert numbers == sorted(set(numbers))


@pytest.mark.req("P7")
@given(
    st.lists(
        st.one_of(st.binary(max_size=80), st.binary(max_size=40).map(lambda tail: SENDER.encode() + tail))
    )
)
def test_bytes_of_others_do_no_harm(pieces: list[bytes]) -> None:
    assembler = Assembler()
    for piece in pieces:
        try:
            assembler.add(piece)
        except ValueError:
            continue
    other = "BBBBBBBBBBB"
    for piece in cut(other, Batch(7, [b"fine"]), 1000):
        assert assembler.add(piece) == Heard([b"fine"], is_gap=False)


@pytest.mark.req("P7")
async def test_a_full_outbox_drops_the_oldest_and_its_numbers_tell(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outbox = Outbox(max_waiting=3, max_bytes=100)
    for number in range(1, 6):
        outbox.put(b"%d" % number)
    assert outbox.take() == Batch(3, [b"3", b"4", b"5"])
    outbox.put(bytes(60))
    outbox.put(bytes(60))
    assert outbox.take() == Batch(7, [bytes(60)])
    assert outbox.take() == Batch(8, [])
    assert outbox.dropped == 3
    assert capsys.readouterr().err.count("bus_overflow") == 2
