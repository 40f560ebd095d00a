"""The bus over PostgreSQL's LISTEN and NOTIFY: nothing to install for a small installation of several gateways.

A transaction that notifies holds a lock that all notifying transactions of the whole cluster wait for, until it has
committed. So what comes together within some milliseconds is one transaction of few notifications, and its commit does
not wait for the disk.
"""

import base64
import binascii
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import psycopg
from psycopg import sql

from basalt.bus.remote import CONNECT_LIMIT_S, Receive

# A payload is text of less than 8000 bytes in the encoding of the server; 7996 of base64 hold these.
PIECE_BYTES = 7996 // 4 * 3

# Nobody needs these commits after a crash: without it the lock is held until the disk has written.
RELAX_COMMIT = "set synchronous_commit = off"
NOTIFY = "select pg_catalog.pg_notify(%s, piece) from unnest(%s::text[]) as piece"

Connection = psycopg.AsyncConnection[tuple[object, ...]]


class PostgresEngine:
    """`conninfo` must lead to PostgreSQL itself, not through a transaction pooler."""

    name = "postgres"
    pause_s = 0.01

    def __init__(self, conninfo: str, channel: str) -> None:
        self._conninfo = conninfo
        self._channel = channel

    @asynccontextmanager
    async def connect(self, receive: Receive) -> AsyncIterator["PostgresSession"]:
        # Two: a connection that waits for notifications cannot send any.
        async with (
            await self._connect("bus-listener") as listener,
            await self._connect("bus-sender") as sender,
        ):
            await listener.execute(sql.SQL("listen {}").format(sql.Identifier(self._channel)))
            await sender.execute(RELAX_COMMIT)
            yield PostgresSession(listener, sender, self._channel, receive)

    async def _connect(self, purpose: str) -> Connection:
        return await psycopg.AsyncConnection.connect(
            self._conninfo,
            autocommit=True,
            application_name=f"basalt/{purpose}",
            connect_timeout=int(CONNECT_LIMIT_S),
        )


class PostgresSession:
    piece_bytes = PIECE_BYTES

    def __init__(self, listener: Connection, sender: Connection, channel: str, receive: Receive) -> None:
        self._listener = listener
        self._sender = sender
        self._channel = channel
        self._receive = receive

    async def send(self, pieces: Sequence[bytes]) -> None:
        await self._sender.execute(
            NOTIFY, [self._channel, [base64.b64encode(piece).decode() for piece in pieces]]
        )

    async def listen(self) -> None:
        async for notification in self._listener.notifies():
            self._receive(_decode(notification.payload))


def _decode(payload: str) -> bytes:
    try:
        return base64.b64decode(payload, validate=True)
    except (
        binascii.Error,
        ValueError,
    ):  # somebody else's; what is no piece is reported where pieces are read
        return b""
