"""A client that stops reading is closed with a reason; everybody else gets everything, and memory stays bounded."""

import asyncio
import json
import os
import struct
from pathlib import Path

import pytest

from tests.realtime.conftest import Harbour
from tests.realtime.phoenix import Phoenix

pytestmark = pytest.mark.req("P7", "S9")

BUFFER_BYTES = 8 * 1024 * 1024
ROUNDS = 100
PAYLOAD = "x" * 400_000  # forty megabytes in all


def children_of(pid: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        if parent == pid:
            found.append(int(status.parent.name))
    return found


def resident_bytes(pid: int) -> int:
    """Of the process and all below it that are Python."""
    own = 0
    if b"python" in Path(f"/proc/{pid}/cmdline").read_bytes():
        own = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return own + sum(resident_bytes(child) for child in children_of(pid))


class Sleeper:
    """Joins a channel by hand and then never reads again, as a process that hangs."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def join(self, host: str, key: str, topic: str) -> None:
        self.writer.write(
            f"GET /realtime/v1/websocket?apikey={key}&vsn=2.0.0 HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        await self.reader.readuntil(b"\r\n\r\n")
        join = json.dumps(["1", "1", topic, "phx_join", {"config": {}}]).encode()
        self.writer.write(struct.pack("!BBL", 0x81, 0x80 | len(join), 0) + join)  # masked with zeros
        await self.reader.readuntil(b"phx_reply")
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]

    async def read_to_the_end(self) -> bytes:
        """The last bytes that the server sent."""
        self.writer.transport.resume_reading()  # type: ignore[attr-defined]
        last = b""
        try:
            while more := await self.reader.read(1 << 20):
                last = (last + more)[-1000:]
        except ConnectionResetError:
            pass
        return last


async def test_who_stops_reading_is_closed_and_costs_the_others_nothing(harbour: Harbour, name: str) -> None:
    host, port = harbour.server.url.removeprefix("http://").split(":")
    topic = f"realtime:{name}"
    sleeper = Sleeper(*await asyncio.open_connection(host, int(port), limit=1 << 16))
    await sleeper.join(host, harbour.server.anon_key, topic)
    sender, reader = await harbour.socket(), await harbour.socket("1.0.0")
    await sender.join(name, {"broadcast": {"ack": True}})
    await reader.join(name)
    before = resident_bytes(harbour.server.process.pid)
    for number in range(ROUNDS):
        await sender.broadcast(topic, "e", {"n": number, "fill": PAYLOAD})
        assert (await sender.next()).payload["status"] == "ok"
        assert (await reader.next()).payload["payload"]["n"] == number
    grown = resident_bytes(harbour.server.process.pid) - before
    assert grown < 3 * BUFFER_BYTES
    async with asyncio.timeout(20):
        last = await sleeper.read_to_the_end()
    sleeper.writer.close()
    # either it was closed with 1013 and a reason, or, since it did not read that either, dropped
    assert b"Too slow" not in last or struct.pack("!H", 1013) in last
    await is_forgotten(harbour, sender, reader, name)


async def is_forgotten(harbour: Harbour, sender: Phoenix, reader: Phoenix, name: str) -> None:
    """Its place in the room is free, and the room goes on."""
    await sender.broadcast(f"realtime:{name}", "after", {})
    assert (await reader.next()).payload["event"] == "after"
    assert "socket_too_slow" in harbour.server.log.read_text()
