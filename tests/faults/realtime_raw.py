"""WebSocket clients as small as can be: for those that read as fast as the network, that do not read, or that flood."""

import asyncio
import base64
import os
import socket
import struct
from urllib.parse import urlsplit

from tests.faults.realtime_client import socket_url

HANDSHAKE = (
    "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {nonce}\r\n\r\n"
)
TEXT, BINARY = 0x81, 0x82


def mask_frame(payload: bytes, kind: int = TEXT) -> bytes:
    """A client's frame, with a mask that changes nothing (RFC 6455 §5.3)."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", kind, 0x80 | size)
    elif size < 65_536:
        head = struct.pack("!BBH", kind, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", kind, 0x80 | 127, size)
    return head + bytes(4) + payload


def join_frame(topic: str) -> bytes:
    return mask_frame(f'["1","1","realtime:{topic}","phx_join",{{"config":{{}}}}]'.encode())


def open_raw(url: str, key: str) -> socket.socket:
    """A blocking socket behind its handshake."""
    parts = urlsplit(socket_url(url, key))
    raw = socket.socket()
    raw.settimeout(20)
    raw.connect((parts.hostname, parts.port))
    nonce = base64.b64encode(os.urandom(16)).decode()
    raw.sendall(
        HANDSHAKE.format(target=f"{parts.path}?{parts.query}", host=parts.netloc, nonce=nonce).encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += raw.recv(1)
    assert head.startswith(b"HTTP/1.1 101"), head
    return raw


class Counter(asyncio.Protocol):
    """Joins, and counts the bytes of what comes after the reply to the join."""

    def __init__(self) -> None:
        self.is_joined = asyncio.Event()
        self.is_lost = False
        self.byte_count = 0
        self.tail = b""

    def data_received(self, data: bytes) -> None:
        if not self.is_joined.is_set():
            self.tail += data
            if self.tail.endswith(b"}}]"):
                self.tail = b""
                self.is_joined.set()
            return
        self.byte_count += len(data)
        self.tail = (self.tail + data)[-1000:]

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True


async def join_counting(url: str, key: str, topic: str) -> tuple[asyncio.Transport, Counter]:
    raw = await asyncio.to_thread(open_raw, url, key)
    raw.setblocking(False)
    transport, counter = await asyncio.get_running_loop().create_connection(Counter, sock=raw)
    transport.write(join_frame(topic))
    await asyncio.wait_for(counter.is_joined.wait(), 20)
    return transport, counter
