"""Providers as cheap as Python can be them: `python -m bench.providers` is FCM (HTTP/2 in the clear) with Google's
token endpoint, Resend and Twilio (HTTP/1.1) on one port, and takes every message.

It is there to be faster than what is measured against it, so it checks nothing; what is sent is checked in
`tests/senders/`. Prints its port; a line on standard input asks for what it has seen, as JSON.
"""

import asyncio
import json
import re
import sys
import threading
import time
from dataclasses import dataclass, field
from struct import Struct
from typing import Any

import uvloop

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME = Struct(">HBBBL")
DATA, HEADERS, SETTINGS, PING = 0, 1, 4, 6
END_STREAM, END_HEADERS, ACK = 1, 4, 1
# `:status 200`, then `content-type: application/json` as a literal that is not indexed.
HEAD = b"\x88\x0f\x10\x10application/json"
WINDOW = 2**30
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
MAIL = re.compile(rb'"to":\["([^"]+)"')
NUMBER = re.compile(rb"\bTo=([^&]+)")
STREAMS = 100


@dataclass
class Seen:
    """`addresses` are devices, mail addresses, numbers: each once."""

    addresses: set[bytes] = field(default_factory=set)
    messages: int = 0
    first_at: float = 0.0
    last_at: float = 0.0

    def take(self, addresses: list[bytes]) -> int:
        if not self.messages:
            self.first_at = time.time()
        self.addresses.update(addresses)
        self.messages += len(addresses)
        self.last_at = time.time()
        return self.messages

    def report(self) -> dict[str, Any]:
        return {
            "messages": self.messages,
            "addresses": len(self.addresses),
            "first_at": self.first_at,
            "last_at": self.last_at,
        }


class Conversation(asyncio.Protocol):
    """Finds out by the first bytes whether it is HTTP/2."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._input = b""
        self._serve = self._greet
        self._received = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._input = self._serve(self._input + data if self._input else data)

    def _greet(self, data: bytes) -> bytes:
        if len(data) < len(PREFACE):
            return data
        if not data.startswith(PREFACE):
            self._serve = self._serve_http1
            return self._serve(data)
        settings = b"\x00\x03" + STREAMS.to_bytes(4)
        self._transport.write(frame(SETTINGS, 0, 0, settings) + frame(8, 0, 0, WINDOW.to_bytes(4)))
        self._serve = self._serve_http2
        return self._serve(data[len(PREFACE) :])

    def _serve_http1(self, data: bytes) -> bytes:
        while (end := data.find(b"\r\n\r\n")) >= 0:
            head = data[:end]
            found = LENGTH.search(head)
            size = int(found[1]) if found else 0
            if len(data) - end - 4 < size:
                break
            status, answer = self._answer(head.split(b" ", 2)[1], data[end + 4 : end + 4 + size])
            self._transport.write(
                b"HTTP/1.1 %d OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                % (status, len(answer), answer)
            )
            data = data[end + 4 + size :]
        return data

    def _answer(self, path: bytes, body: bytes) -> tuple[int, bytes]:
        if path == b"/token":
            return 200, b'{"access_token":"ya29.bench","expires_in":3599,"token_type":"Bearer"}'
        if path.startswith(b"/emails"):
            addresses = MAIL.findall(body)
            last = self._seen.take(addresses)
            ids = [b'{"id":"mail-%d"}' % number for number in range(last - len(addresses), last)]
            return 200, b'{"data":[%s]}' % b",".join(ids) if path.endswith(b"batch") else ids[0]
        number = self._seen.take(NUMBER.findall(body))
        return 201, b'{"sid":"SM%d","status":"queued"}' % number

    def _serve_http2(self, data: bytes) -> bytes:
        position, end = 0, len(data)
        output: list[bytes] = []
        while end - position >= 9:
            high, low, kind, flags, number = FRAME.unpack_from(data, position)
            size = high << 8 | low
            if end - position - 9 < size:
                break
            position += 9
            if kind == DATA:
                self._received += size
                if flags & END_STREAM:
                    output.append(self._take(number, data[position : position + size]))
            elif kind == SETTINGS and not flags & ACK:
                output.append(frame(SETTINGS, ACK, 0, b""))
            elif kind == PING and not flags & ACK:
                output.append(frame(PING, ACK, 0, data[position : position + size]))
            position += size
        if self._received > WINDOW // 2:
            output.append(frame(8, 0, 0, self._received.to_bytes(4)))
            self._received = 0
        if output:
            self._transport.write(b"".join(output))
        return data[position:]

    def _take(self, number: int, body: bytes) -> bytes:
        start = body.find(b'"token":"') + 9
        message = self._seen.take([body[start : body.find(b'"', start)]])
        answer = b'{"name":"projects/bench/messages/%d"}' % message
        size = len(answer)
        return (
            FRAME.pack(0, len(HEAD), HEADERS, END_HEADERS, number)
            + HEAD
            + FRAME.pack(0, size, DATA, END_STREAM, number)
            + answer
        )


def frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    return FRAME.pack(len(payload) >> 8, len(payload) & 255, kind, flags, number) + payload


async def main() -> None:
    loop = asyncio.get_running_loop()
    seen = Seen()
    server = await loop.create_server(lambda: Conversation(seen), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()

    def answer_lines() -> None:
        for line in sys.stdin:
            print(json.dumps(seen.report()), flush=True)
            if line.strip() == "reset":
                seen.__init__()  # type: ignore[misc]
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=answer_lines, daemon=True).start()
    await ended.wait()


if __name__ == "__main__":
    uvloop.run(main())
