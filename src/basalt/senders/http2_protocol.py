"""The client's side of one HTTP/2 connection (RFC 9113), without a socket and without a clock: requests and bytes in,
bytes and events out. `http2_client.py` moves them.

For many small requests to one provider: nothing is pushed, answers are small, and a stream's window is never made
larger. Whatever the server does wrong ends the connection, as §5.4.1 allows where a stream alone is concerned.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from basalt.senders.http2_frames import (
    ACK,
    CANCEL,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_BYTES,
    FRAME_HEAD,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEAD_BYTES,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LAST_STREAM,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    NO_ERROR,
    NUMBER,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTING,
    SETTINGS,
    WINDOW_UPDATE,
    Http2Error,
    parse_number,
    render_frame,
    render_head,
    render_header_block,
    without_padding,
)
from basalt.senders.http2_headers import Head, HeaderDecoder, HeaderEncoder, HeaderList, encode_literal

WINDOW: Final = 65_535
LARGEST_WINDOW: Final = 2**31 - 1
OWN_WINDOW: Final = 2**24  # for all answers of a connection together
ANSWER_BYTES: Final = 32 * 1024  # of one answer's body: below a stream's window
BLOCK_BYTES: Final = 32 * 1024  # of an answer's headers, as they come
UNREAD_REPLIES: Final = 10_000


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


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The server takes no more requests. `words` are for the log."""

    code: int
    words: bytes


Event = Answered | Failed | Goodbye


@dataclass(slots=True)  # not frozen: that costs a microsecond a message
class Http2Request:
    """`pseudo` and `headers` are those that many requests have in common. `path`, unless it is among them, and
    `varying` are this request's own and are remembered by neither side."""

    pseudo: HeaderList
    headers: HeaderList
    body: bytes
    path: bytes = b""
    varying: HeaderList = ()


@dataclass(slots=True)
class _Stream:
    """`unsent` is what is left of the request's body, for which the server's `window` has no room; `head` and `body`
    are of the answer."""

    number: int
    window: int = 0
    unsent: bytes = b""
    head: Head | None = None
    body: bytes = b""


class Http2Protocol:
    """Bytes to send gather in `output`; whoever has sent them sets `unread_replies` to 0. `begin` only while
    `free_streams` is positive. After an `error` the connection is to be closed."""

    def __init__(self, *, max_streams: int) -> None:
        self.output = [
            PREFACE,
            render_frame(SETTINGS, 0, 0, SETTING.pack(ENABLE_PUSH, 0)),
            render_frame(WINDOW_UPDATE, 0, 0, NUMBER.pack(OWN_WINDOW - WINDOW)),
        ]
        self.error: Http2Error | None = None
        self.has_settings = False
        self.is_draining = False
        self.pings_answered = 0
        self.unread_replies = 0
        self._own_limit = max_streams
        self._limit = 0
        self._next_stream = 1
        self._streams: dict[int, _Stream] = {}
        self._stalled: dict[int, _Stream] = {}  # those that are not sent to their end
        self._window = WINDOW
        self._stream_window = WINDOW
        self._unacknowledged = 0
        self._input = b""
        self._block: tuple[int, int, bytes] | None = None  # header block whose end is still to come
        self._encoder = HeaderEncoder()
        self._decoder = HeaderDecoder()

    @property
    def open_streams(self) -> int:
        return len(self._streams)

    @property
    def free_streams(self) -> int:
        """None before the server has told how many it takes: it would refuse the others, and APNs takes one until it
        has seen a valid token."""
        return 0 if self.is_draining else self._limit - len(self._streams)

    def begin(self, request: Http2Request) -> int:
        """Send a request and return its stream."""
        block = self._encoder.encode(request.pseudo)
        if request.path:
            block += encode_literal(b":path", request.path)
        block += self._encoder.encode(request.headers)
        for name, value in request.varying:
            block += encode_literal(name, value)
        number, body = self._next_stream, request.body
        self._next_stream += 2
        if self._next_stream > LAST_STREAM:
            self.is_draining = True
        stream = self._streams[number] = _Stream(number)
        size = len(body)
        if size <= self._window and size <= self._stream_window and size <= FRAME_BYTES:
            self._window -= size
            self.output.append(
                render_header_block(number, block) + render_head(size, DATA, END_STREAM, number) + body
            )
        else:
            self.output.append(render_header_block(number, block))
            stream.unsent, stream.window = body, self._stream_window
            self._stalled[number] = stream
            self._send_rest(stream)
        return number

    def cancel(self, number: int) -> bool:
        """Give up a request. Whether the server cannot have served it."""
        self._reset(number)
        return self._drop(self._streams[number])

    def ping(self) -> None:
        """Its answer is counted in `pings_answered`."""
        self.output.append(render_frame(PING, 0, 0, bytes(8)))

    def close(self, code: int = NO_ERROR) -> list[Event]:
        """Say goodbye, or note that the connection is lost: what is open will not be answered."""
        self.output.append(render_frame(GOAWAY, 0, 0, NUMBER.pack(0) + NUMBER.pack(code)))
        self.is_draining = True
        return [Failed(stream.number, self._drop(stream), "lost") for stream in [*self._streams.values()]]

    def receive(self, data: bytes) -> list[Event]:
        """What became of which requests. Where the server breaks the protocol, `error` says how, and the last events
        are what that means for all that were open."""
        events: list[Event] = []
        if self.error is None:
            try:
                self._take_frames(data, events)
            except Http2Error as exc:
                self.error = exc
                events += self.close(exc.code)
        return events

    def _take_frames(self, data: bytes, events: list[Event]) -> None:
        data = self._input + data if self._input else data
        position, end = 0, len(data)
        while end - position >= HEAD_BYTES:
            high, low, kind, flags, number = FRAME_HEAD.unpack_from(data, position)
            size = high << 8 | low
            if size > FRAME_BYTES:
                raise Http2Error(FRAME_SIZE_ERROR, "a frame is larger than allowed")
            if end - position - HEAD_BYTES < size:
                break
            position += HEAD_BYTES
            payload = data[position : position + size]
            position += size
            self._take_frame(kind, flags, number & LAST_STREAM, payload, events)
        self._input = data[position:] if position < end else b""

    def _take_frame(self, kind: int, flags: int, number: int, payload: bytes, events: list[Event]) -> None:
        if not self.has_settings and kind != SETTINGS:  # RFC 9113 §3.4
            raise Http2Error(PROTOCOL_ERROR, "a server that does not begin with its settings")
        if self._block is not None and kind != CONTINUATION:
            raise Http2Error(PROTOCOL_ERROR, "a header block is interrupted")
        if kind == HEADERS:
            self._take_headers(flags, number, payload, events)
        elif kind == DATA:
            self._take_data(flags, number, payload, events)
        elif kind == WINDOW_UPDATE:
            self._take_window_update(number, payload)
        elif kind == RST_STREAM:
            self._take_reset(number, payload, events)
        elif kind == CONTINUATION:
            self._take_continuation(flags, number, payload, events)
        elif kind in (SETTINGS, PING, GOAWAY):
            if number:
                raise Http2Error(PROTOCOL_ERROR, "a frame of the connection on a stream")
            if kind == SETTINGS:
                self._take_settings(flags, payload)
            elif kind == PING:
                self._take_ping(flags, payload)
            else:
                self._take_goaway(payload, events)
        elif kind == PUSH_PROMISE:
            raise Http2Error(PROTOCOL_ERROR, "the server pushes, which is off")
        # Others are priorities, which §5.3.2 does away with, and what is not known yet, §5.5.

    def _take_headers(self, flags: int, number: int, payload: bytes, events: list[Event]) -> None:
        if flags & PADDED:
            payload = without_padding(payload)
        if flags & PRIORITY:
            if len(payload) < 5:
                raise Http2Error(FRAME_SIZE_ERROR, "a priority that is cut off")
            payload = payload[5:]
        if flags & END_HEADERS:
            self._take_block(flags, number, payload, events)
        else:
            self._block = flags, number, payload

    def _take_continuation(self, flags: int, number: int, payload: bytes, events: list[Event]) -> None:
        if self._block is None or self._block[1] != number:
            raise Http2Error(PROTOCOL_ERROR, "a continuation of nothing")
        first_flags, _, block = self._block
        block += payload
        if len(block) > BLOCK_BYTES:
            raise Http2Error(ENHANCE_YOUR_CALM, "the headers of an answer are too large")
        if flags & END_HEADERS:
            self._block = None
            self._take_block(first_flags, number, block, events)
        else:
            self._block = first_flags, number, block

    def _take_block(self, flags: int, number: int, block: bytes, events: list[Event]) -> None:
        """RFC 9113 §8.1: headers of any number of interim answers, of the answer, and trailers."""
        head = self._decoder.decode(block)  # of streams given up, too: it changes the tables
        status, stream = head[0], self._streams.get(number)
        if stream is None:
            self._check_ended(number)
        elif stream.head is not None:
            if status or not flags & END_STREAM:
                raise Http2Error(PROTOCOL_ERROR, "trailers that are none")
            self._end(stream, stream.head, events)
        elif not status:
            raise Http2Error(PROTOCOL_ERROR, "an answer without a status")
        elif status >= 200:
            stream.head = head
            if flags & END_STREAM:
                self._end(stream, head, events)
        elif flags & END_STREAM:
            raise Http2Error(PROTOCOL_ERROR, "an answer ends before it begins")

    def _take_data(self, flags: int, number: int, payload: bytes, events: list[Event]) -> None:
        self._acknowledge(len(payload))
        if flags & PADDED:
            payload = without_padding(payload)
        stream = self._streams.get(number)
        if stream is None:
            self._check_ended(number)
            return
        if stream.head is None:
            raise Http2Error(PROTOCOL_ERROR, "data before headers")
        stream.body = stream.body + payload if stream.body else payload
        if len(stream.body) > ANSWER_BYTES:
            self._reset(number)
            self._drop(stream)
            events.append(Failed(number, is_untouched=False, reason="too_large"))
        elif flags & END_STREAM:
            self._end(stream, stream.head, events)

    def _end(self, stream: _Stream, head: Head, events: list[Event]) -> None:
        if self._drop(stream):
            self._reset(stream.number)  # answered before it was asked to the end
        events.append(Answered(stream.number, *head, stream.body))

    def _take_reset(self, number: int, payload: bytes, events: list[Event]) -> None:
        code = parse_number(payload, "reset")
        stream = self._streams.get(number)
        if stream is None:
            self._check_ended(number)
            return
        is_refused = code == REFUSED_STREAM  # RFC 9113 §8.7: nothing was processed
        is_untouched = self._drop(stream) or is_refused
        events.append(Failed(number, is_untouched, "refused" if is_refused else "reset"))

    def _take_settings(self, flags: int, payload: bytes) -> None:
        if len(payload) % SETTING.size or (flags & ACK and payload):
            raise Http2Error(FRAME_SIZE_ERROR, "settings of a wrong length")
        if flags & ACK:
            return
        settings = dict(
            SETTING.iter_unpack(payload)
        )  # of a name that is there twice the last one counts, §6.5.3
        if settings.get(ENABLE_PUSH):
            raise Http2Error(PROTOCOL_ERROR, "the server wants to be pushed to")
        if not FRAME_BYTES <= settings.get(MAX_FRAME_SIZE, FRAME_BYTES) < 2**24:
            raise Http2Error(PROTOCOL_ERROR, "a frame size that is not allowed")
        if not self.has_settings:
            self.has_settings, self._limit = True, self._own_limit
        if (streams := settings.get(MAX_CONCURRENT_STREAMS)) is not None:
            self._limit = min(self._own_limit, streams)
        if (size := settings.get(HEADER_TABLE_SIZE)) is not None:
            self._encoder.resize(size)
        if (window := settings.get(INITIAL_WINDOW_SIZE)) is not None:
            self._change_windows(window)
        self._reply(SETTINGS, b"")
        self._send_rests()

    def _change_windows(self, window: int) -> None:
        """RFC 9113 §6.9.2: also of the streams that are open, whose windows may become negative by it."""
        more, self._stream_window = window - self._stream_window, window
        for stream in self._stalled.values():
            stream.window += more
        if max([window, *(stream.window for stream in self._stalled.values())]) > LARGEST_WINDOW:
            raise Http2Error(FLOW_CONTROL_ERROR, "a window larger than allowed")

    def _take_ping(self, flags: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise Http2Error(FRAME_SIZE_ERROR, "a ping of a wrong length")
        if flags & ACK:
            self.pings_answered += 1
        else:
            self._reply(PING, payload)

    def _take_goaway(self, payload: bytes, events: list[Event]) -> None:
        """The server has not begun with the requests after `last`, RFC 9113 §6.8. It may say so again, with fewer."""
        if len(payload) < 8:
            raise Http2Error(FRAME_SIZE_ERROR, "a goodbye of a wrong length")
        last, code = NUMBER.unpack_from(payload)[0] & LAST_STREAM, NUMBER.unpack_from(payload, 4)[0]
        if not self.is_draining:
            events.append(Goodbye(code, payload[8:]))
        self.is_draining = True
        for stream in [stream for number, stream in self._streams.items() if number > last]:
            self._drop(stream)
            events.append(Failed(stream.number, is_untouched=True, reason="goaway"))

    def _take_window_update(self, number: int, payload: bytes) -> None:
        more = parse_number(payload, "window update") & LAST_STREAM
        if not more:
            raise Http2Error(PROTOCOL_ERROR, "a window update by nothing")
        if not number:
            self._window += more
            if self._window > LARGEST_WINDOW:
                raise Http2Error(FLOW_CONTROL_ERROR, "a window larger than allowed")
            self._send_rests()
        elif (stream := self._stalled.get(number)) is not None:
            stream.window += more
            if stream.window > LARGEST_WINDOW:
                raise Http2Error(FLOW_CONTROL_ERROR, "a window larger than allowed")
            self._send_rest(stream)
        elif number not in self._streams:  # of those that are there all is sent, whatever their windows are
            self._check_ended(number)

    def _send_rests(self) -> None:
        for stream in [*self._stalled.values()]:
            if not self._window:
                return
            self._send_rest(stream)

    def _send_rest(self, stream: _Stream) -> None:
        while (size := min(len(stream.unsent), self._window, stream.window, FRAME_BYTES)) > 0:
            chunk, stream.unsent = stream.unsent[:size], stream.unsent[size:]
            self._window -= size
            stream.window -= size
            flags = 0 if stream.unsent else END_STREAM
            self.output.append(render_frame(DATA, flags, stream.number, chunk))
        if not stream.unsent:
            del self._stalled[stream.number]

    def _check_ended(self, number: int) -> None:
        """What comes for a stream that is over, or was given up, means nothing any more. Raises Http2Error for one that
        was never begun."""
        if not number & 1 or number >= self._next_stream:
            raise Http2Error(PROTOCOL_ERROR, "a frame for no request")

    def _drop(self, stream: _Stream) -> bool:
        """Whether it was not sent to its end, so that the server cannot have served it."""
        del self._streams[stream.number]
        return self._stalled.pop(stream.number, None) is not None

    def _reply(self, kind: int, payload: bytes) -> None:
        self.unread_replies += 1
        if self.unread_replies > UNREAD_REPLIES:
            raise Http2Error(ENHANCE_YOUR_CALM, "the server wants more replies than it reads")
        self.output.append(render_frame(kind, ACK, 0, payload))

    def _acknowledge(self, size: int) -> None:
        self._unacknowledged += size
        if self._unacknowledged > OWN_WINDOW // 2:
            self.output.append(render_frame(WINDOW_UPDATE, 0, 0, NUMBER.pack(self._unacknowledged)))
            self._unacknowledged = 0

    def _reset(self, number: int) -> None:
        self.output.append(render_frame(RST_STREAM, 0, number, NUMBER.pack(CANCEL)))
