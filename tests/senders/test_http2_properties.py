"""What a server says to open requests, generated: however its bytes are cut, and whatever they are."""

from dataclasses import dataclass
from struct import pack

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basalt.senders.http2_protocol import (
    ANSWER_BYTES,
    BLOCK_BYTES,
    Answered,
    Event,
    Failed,
    Goodbye,
    Http2Protocol,
    Http2Request,
)

pytestmark = pytest.mark.req("P13")

PSEUDO = ((b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"push.example"), (b":path", b"/"))
BODIES = (
    b"",
    b"{}",
    b"x" * 20_000,
    b"y" * 60_000,
    b"z",
)  # the fourth does not fit into the window, nor the fifth
STREAMS = range(1, 2 * len(BODIES), 2)
BODY_BYTES = sum(map(len, BODIES))
FRAME_BYTES = 9 + 16_384


def frame(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + pack(">BBL", kind, flags, number) + payload


names = st.sampled_from(["date", "content-type", "apns-id", "retry-after"])
fields = st.dictionaries(names, st.sampled_from(["", "0", "a", "some text"]), max_size=3)
asides = st.one_of(
    st.integers(1, 100).map(lambda more: frame(8, 0, 0, pack(">L", more))),
    st.sampled_from(
        [frame(6, 0, 0, b"12345678"), frame(6, 1, 0, b"12345678"), frame(4, 0, 0), frame(4, 1, 0)]
    ),
    st.integers(0, 80_000).map(lambda size: frame(4, 0, 0, pack(">HL", 4, size))),
    st.integers(0, 5_000).map(lambda size: frame(4, 0, 0, pack(">HL", 1, size))),
    st.integers(0, 5).map(lambda most: frame(4, 0, 0, pack(">HL", 3, most))),
    st.binary(max_size=20).map(lambda payload: frame(0xBE, 0xFF, 7, payload)),
)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[Event]]:
    """What a server may say, and what it means."""
    encoder = hpack.Encoder()
    said: list[bytes] = []
    events: list[Event] = []

    def say_head(number: int, status: str | None, flags: int) -> dict[bytes, bytes]:
        """HEADERS, padded perhaps, and CONTINUATION behind them."""
        found = draw(fields)
        pairs = [(":status", status), *found.items()] if status else [*found.items()]
        block = encoder.encode(pairs, huffman=draw(st.booleans()))
        first, *rest = cut(block, draw(st.lists(st.integers(0, 100), max_size=2)))
        padding = draw(st.sampled_from([None, 0, 3]))
        if padding is not None:
            first, flags = bytes([padding]) + first + bytes(padding), flags | 0x8
        said.append(frame(1, flags if rest else flags | 0x4, number, first))
        for left, piece in zip(range(len(rest) - 1, -1, -1), rest, strict=True):
            said.append(frame(9, 0 if left else 0x4, number, piece))
        return {name.encode(): value.encode() for name, value in found.items()}

    for number in draw(st.permutations(STREAMS)):
        said += draw(st.lists(asides, max_size=2))
        match draw(st.sampled_from(["answer", "answer", "bare", "reset", "refused", "silence"])):
            case "reset":
                said.append(frame(3, 0, number, pack(">L", 2)))
            case "refused":
                said.append(frame(3, 0, number, pack(">L", 7)))
                events.append(Failed(number, is_untouched=True, reason="refused"))
            case "bare":
                events.append(Answered(number, 404, say_head(number, "404", 0x1), b""))
            case "answer":
                if draw(st.booleans()):
                    say_head(number, "103", 0)
                headers = say_head(number, "200", 0)
                pieces = draw(st.lists(st.binary(max_size=50), max_size=3))
                said += [frame(0, 0x8, number, b"\x02" + piece + b"\0\0") for piece in pieces]
                if draw(st.booleans()):
                    say_head(number, None, 0x1)
                else:
                    said.append(frame(0, 0x1, number))
                events.append(Answered(number, 200, headers, b"".join(pieces)))
    return b"".join(said), events


places = st.lists(st.integers(0, 2**16), max_size=8)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = sorted(place % (len(data) + 1) for place in at)
    return [data[start:end] for start, end in zip([0, *edges], [*edges, len(data)], strict=True)]


@dataclass(frozen=True)
class Heard:
    events: list[Event]
    output: bytes
    error: str
    open_streams: int
    free_streams: int
    pings_answered: int


def listen(pieces: list[bytes]) -> Heard:
    """What a client makes of it that has begun all its requests. Its memory is bounded, and each request ends once."""
    protocol = Http2Protocol(max_streams=100)
    protocol.receive(frame(4, 0, 0))
    for body in BODIES:
        protocol.begin(Http2Request(PSEUDO, (), body))
    most = len(b"".join(protocol.output)) + BODY_BYTES + 100 + 6 * sum(map(len, pieces))
    events: list[Event] = []
    for piece in pieces:
        events += protocol.receive(piece)
        assert held_bytes(protocol) <= FRAME_BYTES + BLOCK_BYTES + BODY_BYTES + len(BODIES) * ANSWER_BYTES
    ended = [event.stream for event in events if not isinstance(event, Goodbye)]
    assert sorted([*ended, *protocol._streams]) == [*STREAMS]
    assert protocol.error is None or not protocol.open_streams
    output = b"".join(protocol.output)
    assert len(output) <= most
    return Heard(
        events,
        output,
        str(protocol.error),
        protocol.open_streams,
        protocol.free_streams,
        protocol.pings_answered,
    )


def held_bytes(protocol: Http2Protocol) -> int:
    block = protocol._block[2] if protocol._block is not None else b""
    bodies = sum(len(stream.body) + len(stream.unsent) for stream in protocol._streams.values())
    return len(protocol._input) + len(block) + bodies


@given(conversations(), places)
def test_what_a_server_says_means_the_same_however_it_is_cut(
    conversation: tuple[bytes, list[Event]], at: list[int]
) -> None:
    data, events = conversation
    whole = listen([data])
    assert whole.error == "None"
    told = [event for event in whole.events if not (isinstance(event, Failed) and event.reason == "reset")]
    assert told == events
    assert listen(cut(data, at)) == whole
    assert listen([data[place : place + 1] for place in range(len(data))]) == whole


@given(
    conversations(),
    st.lists(st.tuples(st.integers(0, 2**16), st.binary(max_size=12), st.integers(0, 12))),
    places,
)
def test_whatever_is_changed_in_it_each_request_ends_once_or_stays_open(
    conversation: tuple[bytes, list[Event]], changes: list[tuple[int, bytes, int]], at: list[int]
) -> None:
    data, _ = conversation
    for place, put, taken in changes:
        start = place % (len(data) + 1)
        data = data[:start] + put + data[start + taken :]
    assert listen(cut(data, at)) == listen([data])


heads = st.builds(
    frame,
    st.integers(0, 10),
    st.integers(0, 255),
    st.integers(0, 12),
    st.one_of(st.binary(max_size=40), st.integers(0, 2**32 - 1).map(lambda number: pack(">L", number))),
)


@settings(max_examples=200)
@given(st.lists(heads | st.binary(max_size=30), max_size=12).map(b"".join), places)
def test_no_bytes_raise_or_are_remembered_without_end(data: bytes, at: list[int]) -> None:
    assert listen(cut(data, at)) == listen([data])


@given(st.lists(st.integers(0, 16_384), max_size=6), places)
def test_an_answer_that_does_not_end_is_given_up(sizes: list[int], at: list[int]) -> None:
    data = frame(1, 0x4, 1, b"\x88") + b"".join(frame(0, 0, 1, bytes(size)) for size in sizes)
    heard = listen(cut(data, at))
    is_too_large = sum(sizes) > ANSWER_BYTES
    assert heard.events == [Failed(1, is_untouched=False, reason="too_large")] * is_too_large
