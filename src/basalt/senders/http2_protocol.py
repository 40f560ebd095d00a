"""The client's side of one HTTP/2 connection (RFC 9113), without a socket and without a clock: requests and bytes in,
bytes and answers out. `http2_client.py` moves them.

For many small requests to one provider. Most header blocks are the same as one before: what HPACK makes of those is
kept, which is where its cost goes (`hpack` alone decides what stands in its tables). Server push is off, answers are
small.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from struct import Struct
from typing import Final, Literal

import hpack
from hpack.table import HeaderTable

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE = 0, 1, 3, 4, 5
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 1, 2, 3, 4, 5
NO_ERROR, PROTOCOL_ERROR, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL = 0x0, 0x1, 0x6, 0x7, 0x8
COMPRESSION_ERROR, FLOW_CONTROL_ERROR = 0x9, 0x3

WINDOW: Final = 65_535
LARGEST_WINDOW: Final = 2**31 - 1
OWN_WINDOW: Final = 2**24  # for all answers of a connection together
FRAME_BYTES: Final = 16_384
HEADER_BLOCK_BYTES: Final = 32 * 1024
ANSWER_BYTES: Final = 32 * 1024  # below a stream's window: none of them is ever made larger
STREAMS_UNTIL_TOLD: Final = 100  # RFC 9113 §6.5.2 recommends no fewer; the server says what it takes
LAST_STREAM: Final = 2**31 - 1
MEMOS: Final = 256

FRAME = Struct(">HBBBL")  # length in 16 + 8 bits, type, flags, stream
SETTING = Struct(">HL")
NUMBER = Struct(">L")

HeaderList = tuple[tuple[bytes, bytes], ...]


class Http2Error(Exception):
    """The other side breaks the protocol; the connection is over."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class Answered:
    stream: int
    status: int
    headers: Mapping[bytes, bytes]
    body: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer on this stream. `is_untouched`: the server says, or it follows, that it has not begun with it."""

    stream: int
    is_untouched: bool
    reason: Literal["refused", "goaway", "reset", "too_large", "lost"]


Event = Answered | Failed


@dataclass(slots=True)  # not frozen: that costs a microsecond a message
class Http2Request:
    """`pseudo` and `headers` are those that many requests have in common. `path`, unless it is among them, and
    `varying` are this request's own and are not remembered by either side (RFC 7541 §6.2.2)."""

    pseudo: HeaderList
    headers: HeaderList
    body: bytes
    path: bytes = b""
    varying: HeaderList = ()


@dataclass(slots=True)
class _Stream:
    """`unsent` is what is left of the body, for which the server's window had no room."""

    number: int
    window: int
    unsent: bytes = b""
    status: int = 0
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""


class Http2Protocol:
    """Bytes to send gather in `output`. `begin` only while `free_streams` is positive."""

    def __init__(self, *, max_streams: int) -> None:
        self.output = [
            PREFACE,
            _frame(SETTINGS, 0, 0, SETTING.pack(ENABLE_PUSH, 0) + SETTING.pack(INITIAL_WINDOW_SIZE, WINDOW)),
            _frame(WINDOW_UPDATE, 0, 0, NUMBER.pack(OWN_WINDOW - WINDOW)),
        ]
        self.is_draining = False
        self.goodbye = b""
        self.pings_answered = 0
        self._own_limit = max_streams
        self._limit = min(max_streams, STREAMS_UNTIL_TOLD)
        self._next_stream = 1
        self._streams: dict[int, _Stream] = {}
        self._window = WINDOW
        self._stream_window = WINDOW
        self._frame_bytes = FRAME_BYTES
        self._unacknowledged = 0
        self._input = b""
        self._block: tuple[int, int, bytes] | None = None  # header block whose end is still to come
        self._encoder = hpack.Encoder()
        self._encoded: dict[HeaderList, bytes] = {}
        self._decoder = hpack.Decoder(max_header_list_size=HEADER_BLOCK_BYTES)
        self._decoded: dict[bytes, tuple[int, dict[bytes, bytes]]] = {}

    @property
    def open_streams(self) -> int:
        return len(self._streams)

    @property
    def free_streams(self) -> int:
        return 0 if self.is_draining else self._limit - len(self._streams)

    def begin(self, request: Http2Request) -> int:
        """Send a request and return its stream. Raises ValueError for headers that do not fit into a frame."""
        block = self._encode(request.pseudo)
        if request.path:
            block += _encode_literal(b":path", request.path)
        block += self._encode(request.headers)
        for name, value in request.varying:
            block += _encode_literal(name, value)
        if len(block) > FRAME_BYTES:
            raise ValueError("the headers do not fit into a frame")
        body = request.body
        number = self._next_stream
        self._next_stream += 2
        if self._next_stream > LAST_STREAM:
            self.is_draining = True
        stream = self._streams[number] = _Stream(number, self._stream_window)
        size = len(body)
        if size <= self._window and size <= stream.window and size <= self._frame_bytes:
            self._window -= size
            self.output.append(
                _head(len(block), HEADERS, END_HEADERS, number)
                + block
                + _head(size, DATA, END_STREAM, number)
                + body
            )
        else:
            self.output.append(_head(len(block), HEADERS, END_HEADERS, number) + block)
            stream.unsent = body
            self._send_rest(stream)
        return number

    def cancel(self, number: int) -> bool:
        """Give up a request. Whether the server cannot have served it, because its end has not been sent."""
        stream = self._streams.pop(number)
        self._reset(number, CANCEL)
        return bool(stream.unsent)

    def ping(self) -> None:
        """Its answer is counted in `pings_answered`."""
        self.output.append(_frame(PING, 0, 0, b"\0" * 8))

    def close(self, code: int = NO_ERROR) -> list[Event]:
        """Say goodbye, or note that the connection is lost: what is open will not be answered."""
        self.output.append(_frame(GOAWAY, 0, 0, NUMBER.pack(0) + NUMBER.pack(code)))
        self.is_draining = True
        failed = [Failed(stream.number, bool(stream.unsent), "lost") for stream in self._streams.values()]
        self._streams.clear()
        return list(failed)

    def receive(self, data: bytes) -> list[Event]:
        """What became of which requests. Raises Http2Error; the connection is to be closed then."""
        events: list[Event] = []
        data = self._input + data if self._input else data
        position, end = 0, len(data)
        while end - position >= 9:
            high, low, kind, flags, number = FRAME.unpack_from(data, position)
            size = high << 8 | low
            if size > FRAME_BYTES:
                raise Http2Error(FRAME_SIZE_ERROR, "a frame is larger than allowed")
            if end - position - 9 < size:
                break
            position += 9
            payload = data[position : position + size]
            position += size
            self._take_frame(kind, flags, number & LAST_STREAM, payload, events)
        self._input = data[position:] if position < end else b""
        return events

    def _take_frame(self, kind: int, flags: int, number: int, payload: bytes, events: list[Event]) -> None:
        if self._block is not None and kind != CONTINUATION:
            raise Http2Error(PROTOCOL_ERROR, "a header block is interrupted")
        if kind == HEADERS:
            self._take_headers(flags, number, payload, events)
        elif kind == DATA:
            self._take_data(flags, number, payload, events)
        elif kind == WINDOW_UPDATE:
            self._take_window_update(number, payload, events)
        elif kind == SETTINGS:
            self._take_settings(flags, payload)
        elif kind == PING:
            self._take_ping(flags, payload)
        elif kind == RST_STREAM:
            self._take_reset(number, payload, events)
        elif kind == GOAWAY:
            self._take_goaway(payload, events)
        elif kind == CONTINUATION:
            self._take_continuation(flags, number, payload, events)
        elif kind == PUSH_PROMISE:
            raise Http2Error(PROTOCOL_ERROR, "the server pushes, which is off")
        # Others are priorities and what is not known yet, RFC 9113 §4.1.

    def _take_headers(self, flags: int, number: int, payload: bytes, events: list[Event]) -> None:
        if flags & PADDED:
            payload = _without_padding(payload)
        if flags & PRIORITY:
            payload = payload[5:]
        if flags & END_HEADERS:
            self._take_block(flags, number, payload, events)
        else:
            self._block = (flags, number, payload)

    def _take_continuation(self, flags: int, number: int, payload: bytes, events: list[Event]) -> None:
        if self._block is None or self._block[1] != number:
            raise Http2Error(PROTOCOL_ERROR, "a continuation of nothing")
        first_flags, _, block = self._block
        block += payload
        if len(block) > HEADER_BLOCK_BYTES:
            raise Http2Error(PROTOCOL_ERROR, "the headers of an answer are too large")
        if flags & END_HEADERS:
            self._block = None
            self._take_block(first_flags, number, block, events)
        else:
            self._block = (first_flags, number, block)

    def _take_block(self, flags: int, number: int, block: bytes, events: list[Event]) -> None:
        status, headers = self._decode(block)  # of streams given up, too: it changes the tables
        stream = self._streams.get(number)
        if stream is None:
            if number & 1 and number < self._next_stream:
                return
            raise Http2Error(PROTOCOL_ERROR, "an answer to no request")
        if not stream.status and not 100 <= status < 200:
            if not status:
                raise Http2Error(PROTOCOL_ERROR, "an answer without a status")
            stream.status, stream.headers = status, headers
        if flags & END_STREAM:
            self._end(stream, events)

    def _take_data(self, flags: int, number: int, payload: bytes, events: list[Event]) -> None:
        self._acknowledge(len(payload))
        if flags & PADDED:
            payload = _without_padding(payload)
        stream = self._streams.get(number)
        if stream is None:
            if number & 1 and number < self._next_stream:
                return
            raise Http2Error(PROTOCOL_ERROR, "data for no request")
        if not stream.status:
            raise Http2Error(PROTOCOL_ERROR, "data before headers")
        stream.body = stream.body + payload if stream.body else payload
        if len(stream.body) > ANSWER_BYTES:
            del self._streams[number]
            self._reset(number, CANCEL)
            events.append(Failed(number, is_untouched=False, reason="too_large"))
        elif flags & END_STREAM:
            self._end(stream, events)

    def _end(self, stream: _Stream, events: list[Event]) -> None:
        if not stream.status:
            raise Http2Error(PROTOCOL_ERROR, "an answer ends before it begins")
        del self._streams[stream.number]
        if stream.unsent:
            self._reset(stream.number, NO_ERROR)  # answered before it was asked to the end
        events.append(Answered(stream.number, stream.status, stream.headers, stream.body))

    def _take_reset(self, number: int, payload: bytes, events: list[Event]) -> None:
        if len(payload) != 4 or not number:
            raise Http2Error(FRAME_SIZE_ERROR, "a reset that is none")
        stream = self._streams.pop(number, None)
        if stream is not None:
            is_refused = NUMBER.unpack(payload)[0] == REFUSED_STREAM  # RFC 9113 §8.7: nothing was processed
            events.append(
                Failed(number, is_refused or bool(stream.unsent), "refused" if is_refused else "reset")
            )

    def _take_settings(self, flags: int, payload: bytes) -> None:
        if flags & ACK:
            return
        if len(payload) % 6:
            raise Http2Error(FRAME_SIZE_ERROR, "settings of a wrong length")
        for name, value in SETTING.iter_unpack(payload):
            if name == MAX_CONCURRENT_STREAMS:
                self._limit = min(self._own_limit, value)
            elif name == INITIAL_WINDOW_SIZE:
                if value > LARGEST_WINDOW:
                    raise Http2Error(FLOW_CONTROL_ERROR, "a window larger than allowed")
                for stream in self._streams.values():
                    stream.window += value - self._stream_window
                self._stream_window = value
            elif name == MAX_FRAME_SIZE:
                if not FRAME_BYTES <= value < 2**24:
                    raise Http2Error(PROTOCOL_ERROR, "a frame size that is not allowed")
            elif name == HEADER_TABLE_SIZE:
                self._encoder.header_table_size = min(value, 4096)
                self._encoded.clear()
        self.output.append(_frame(SETTINGS, ACK, 0, b""))
        self._send_all_rests()

    def _take_ping(self, flags: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise Http2Error(FRAME_SIZE_ERROR, "a ping of a wrong length")
        if flags & ACK:
            self.pings_answered += 1
        else:
            self.output.append(_frame(PING, ACK, 0, payload))

    def _take_goaway(self, payload: bytes, events: list[Event]) -> None:
        """The server takes no more, and has not begun with the requests after `last`, RFC 9113 §6.8."""
        if len(payload) < 8:
            raise Http2Error(FRAME_SIZE_ERROR, "a goodbye of a wrong length")
        last = NUMBER.unpack_from(payload)[0] & LAST_STREAM
        self.is_draining = True
        self.goodbye = payload[8:]
        for number in [number for number in self._streams if number > last]:
            del self._streams[number]
            events.append(Failed(number, is_untouched=True, reason="goaway"))

    def _take_window_update(self, number: int, payload: bytes, events: list[Event]) -> None:
        if len(payload) != 4:
            raise Http2Error(FRAME_SIZE_ERROR, "a window update of a wrong length")
        more = NUMBER.unpack(payload)[0] & LAST_STREAM
        if not number:
            self._window += more
            if self._window > LARGEST_WINDOW or not more:
                raise Http2Error(FLOW_CONTROL_ERROR, "a window larger than allowed")
            self._send_all_rests()
        elif (stream := self._streams.get(number)) is not None:
            stream.window += more
            if stream.window > LARGEST_WINDOW or not more:
                del self._streams[number]
                self._reset(number, FLOW_CONTROL_ERROR)
                events.append(Failed(number, is_untouched=False, reason="reset"))
            else:
                self._send_rest(stream)

    def _send_all_rests(self) -> None:
        for stream in self._streams.values():
            if self._window <= 0:
                return
            self._send_rest(stream)

    def _send_rest(self, stream: _Stream) -> None:
        while stream.unsent:
            size = min(len(stream.unsent), self._window, stream.window, self._frame_bytes)
            if size <= 0:
                return
            chunk, stream.unsent = stream.unsent[:size], stream.unsent[size:]
            self._window -= size
            stream.window -= size
            self.output.append(_frame(DATA, 0 if stream.unsent else END_STREAM, stream.number, chunk))

    def _acknowledge(self, size: int) -> None:
        self._unacknowledged += size
        if self._unacknowledged > OWN_WINDOW // 2:
            self.output.append(_frame(WINDOW_UPDATE, 0, 0, NUMBER.pack(self._unacknowledged)))
            self._unacknowledged = 0

    def _reset(self, number: int, code: int) -> None:
        self.output.append(_frame(RST_STREAM, 0, number, NUMBER.pack(code)))

    def _encode(self, headers: HeaderList) -> bytes:
        """HPACK's block; kept once the encoder's table knows all of it and does not change any more."""
        if (known := self._encoded.get(headers)) is not None:
            return known
        table = self._encoder.header_table
        newest, is_resized = _newest(table), table.resized
        block: bytes = self._encoder.encode(headers)
        if newest is not _newest(table) or is_resized:
            self._encoded.clear()
        else:
            self._encoded[headers] = block
        return block

    def _decode(self, block: bytes) -> tuple[int, dict[bytes, bytes]]:
        if (known := self._decoded.get(block)) is not None:
            return known
        table = self._decoder.header_table
        newest, size = _newest(table), table.maxsize
        try:
            headers = dict(reversed([*self._decoder.decode(block, raw=True)]))
            status = int(headers.pop(b":status", b"0"))
        except (hpack.HPACKError, ValueError) as exc:
            raise Http2Error(COMPRESSION_ERROR, "headers that cannot be read") from exc
        if newest is not _newest(table) or size != table.maxsize or len(self._decoded) >= MEMOS:
            self._decoded.clear()
        if newest is _newest(table) and size == table.maxsize:
            self._decoded[block] = status, headers
        return status, headers


def _newest(table: HeaderTable) -> object:
    """Another object whenever something was added to the table."""
    return table.dynamic_entries[0] if table.dynamic_entries else None


def _encode_literal(name: bytes, value: bytes) -> bytes:
    """A header without indexing, whose name is shorter than 127 bytes.

    >>> _encode_literal(b":path", b"/").hex(" ")
    '00 05 3a 70 61 74 68 01 2f'
    """
    size = len(value)
    if size < 127:
        return b"\0" + bytes((len(name),)) + name + bytes((size,)) + value
    rest, digits = size - 127, bytearray((127,))
    while rest >= 128:
        digits.append(rest & 127 | 128)
        rest >>= 7
    digits.append(rest)
    return b"\0" + bytes((len(name),)) + name + bytes(digits) + value


def _head(size: int, kind: int, flags: int, number: int) -> bytes:
    return FRAME.pack(size >> 8, size & 255, kind, flags, number)


def _frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    return FRAME.pack(len(payload) >> 8, len(payload) & 255, kind, flags, number) + payload


def _without_padding(payload: bytes) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise Http2Error(PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]
