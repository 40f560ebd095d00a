"""The database's log as it is written: a temporary logical slot of this process, read through libpq without blocking.

Follows PostgreSQL 15, "Streaming Replication Protocol" and "Logical Streaming Replication Parameters". The slot lives
and dies with its connection, so that a gateway that is gone makes nobody keep the log for it.
"""

import asyncio
import os
import secrets
import socket
import time
from contextlib import suppress
from struct import Struct
from typing import Final

from psycopg import Error
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

from basalt.postgres import cancel, connect
from basalt.realtime.changes.log.change import Transaction
from basalt.realtime.changes.log.pgoutput import EPOCH, Decoder, LogError
from basalt.realtime.changes.tables.values import SESSION_FORMS

PUBLICATION: Final = "supabase_realtime"

CONNECT_TIMEOUT_S: Final = 10.0
SLOT_TIMEOUT_S: Final = 60.0  # a slot begins only when all transactions have ended that wrote before it
CLOSE_TIMEOUT_S: Final = 2.0
STATUS_S: Final = 10.0
CONFIRM_S: Final = 0.5  # a confirmation may cost the server an fsync
SILENCE_S: Final = (
    120.0  # the server answers each status; in the middle of a huge transaction after 30 s only
)
MAX_MESSAGES: Final = 1_000  # between two turns of the event loop: some 8 ms

# The second one is missing on a server that refused it to the bootstrap: then nothing is broadcast from the database.
FIND_PUBLICATIONS = """
select pubname
from pg_catalog.pg_publication
where pubname in ('supabase_realtime', 'supabase_realtime_messages_publication')
"""

# By a word of PostgreSQL's message; names of settings are the same in every language.
ADVICE: Final = {
    "wal_level": "set wal_level = logical on the server and restart it",
    "max_replication_slots": "raise max_replication_slots on the server and restart it",
    "replication role": "let the role replicate: `alter role NAME replication`, on RDS `grant rds_replication to NAME`",
    "max_wal_senders": "raise max_wal_senders on the server and restart it",
}

DATA, KEEPALIVE = b"wk"
DATA_HEADER_BYTES: Final = 25
_keepalive = Struct(">QqB").unpack_from  # end of what was decoded, time, whether an answer is due
_status = Struct(">cQQQqB").pack  # read, flushed, applied, time, whether an answer is wanted


class StreamLost(Exception):  # noqa: N818  # a state of the house, like LanesUnavailable
    """The stream cannot begin or has ended: the message says why and what somebody can do about it."""


class ReplicationStream:
    """One connection and its slot, opened once and read by one task. `conninfo`: of a role with `replication`."""

    def __init__(self, conninfo: str) -> None:
        forms = " ".join(f"-c {name}={value}" for name, value in SESSION_FORMS.items())
        self._conninfo = make_conninfo(
            conninfo,
            replication="database",
            application_name="basalt/realtime",
            client_encoding="UTF8",
            options=f"{conninfo_to_dict(conninfo).get('options') or ''} {forms}",
        )
        self._decoder = Decoder()
        self._conn: PGconn | None = None
        self._ready: asyncio.Future[None] | None = None
        self._has_backlog = False
        self._failure: Exception | None = None
        self._position = 0
        self._returned = 0
        self._confirmed = 0
        self._status_timer: asyncio.TimerHandle | None = None
        self._confirm_timer: asyncio.TimerHandle | None = None

    # Life

    async def open(self) -> int:
        """The position in the log after which every commit is told. Raises StreamLost."""
        try:
            self._conn = await connect(self._conninfo, timeout_s=CONNECT_TIMEOUT_S)
            async with asyncio.timeout(SLOT_TIMEOUT_S):
                start = await self._start()
        except BaseException as exc:
            await self._give_up()
            if isinstance(exc, TimeoutError):
                message = "no answer in time; a slot also waits for every open transaction that has written"
                raise StreamLost(f"No replication slot could be made: {message}") from exc
            if isinstance(exc, Error):
                raise StreamLost(_explain(str(exc))) from exc
            raise
        self._position = self._confirmed = start
        self._status_timer = asyncio.get_running_loop().call_later(STATUS_S, self._report)
        return start

    async def close(self) -> None:
        """The slot goes with the connection, and is gone on return if the server answers in time. Whoever waits in
        `read` gets StreamLost."""
        for timer in (self._status_timer, self._confirm_timer):
            if timer is not None:
                timer.cancel()
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(StreamLost("The stream was closed"))
            await asyncio.sleep(
                0
            )  # the reader takes its hands off the socket before another one gets its number
        if self._conn is not None:
            conn, self._conn = self._conn, None
            await _finish(conn)

    async def _give_up(self) -> None:
        """A slot in the making does not notice that its connection is gone while it waits: each attempt would leave
        one behind until none is free."""
        if self._conn is not None and self._conn.transaction_status == TransactionStatus.ACTIVE:
            with suppress(Error, TimeoutError):
                await cancel(self._conn, timeout_s=CLOSE_TIMEOUT_S)
        await self.close()

    async def _start(self) -> int:
        found = await self._run(FIND_PUBLICATIONS)
        names = sorted(_cell(found, row, 0) for row in range(found.ntuples))
        if PUBLICATION not in names:
            statement = f"create publication {PUBLICATION}"
            raise StreamLost(f"The publication {PUBLICATION} is missing; make it with `{statement}`")
        slot = f"basalt_{secrets.token_hex(8)}"
        made = await self._run(
            f"CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL pgoutput (SNAPSHOT 'nothing')"
        )
        await self._run(
            f"START_REPLICATION SLOT {slot} LOGICAL 0/0 "
            f"(proto_version '1', publication_names '{','.join(names)}', messages 'true')"
        )
        return parse_lsn(_cell(made, 0, 1))

    async def _run(self, command: str) -> PGresult:
        conn = self._connection()
        conn.send_query(command.encode())
        conn.flush()  # short enough for any socket
        while conn.is_busy():
            await self._wait()
            conn.consume_input()
        result = conn.get_result()
        if result is None or result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COPY_BOTH):
            raise _lost(result)
        if result.status == ExecStatus.TUPLES_OK:
            while conn.get_result():
                pass
        return result

    # Reading

    @property
    def position(self) -> int:
        """Every transaction that was committed up to here has been returned by `read`."""
        return self._position

    async def read(self) -> list[Transaction]:
        """Waits until transactions are there, or until the position has moved without one, and returns what has come.
        Nothing is lost when it is cancelled. Raises StreamLost."""
        conn = self._connection()
        before = self._position
        try:
            while True:
                if self._has_backlog:
                    await asyncio.sleep(0)
                transactions = self._take(conn)
                if transactions or self._position > before:
                    return transactions
                if not self._has_backlog:
                    await self._wait()
        except TimeoutError as exc:
            raise StreamLost(f"The database has been silent for {SILENCE_S:.0f} s") from exc
        except (Error, LogError) as exc:
            raise StreamLost(_explain(str(exc))) from exc

    def _take(self, conn: PGconn) -> list[Transaction]:
        """What has arrived, without waiting. A failure behind complete transactions is raised the next time."""
        if self._failure is not None:
            raise self._failure
        transactions: list[Transaction] = []
        try:
            self._has_backlog = self._drain(conn, transactions)
        except (Error, LogError, StreamLost) as exc:
            if not transactions:
                raise
            self._failure = exc
        if transactions:
            self._returned = transactions[-1].lsn
        return transactions

    def _drain(self, conn: PGconn, transactions: list[Transaction]) -> bool:
        decode = self._decoder.decode
        for _ in range(MAX_MESSAGES):
            size, message = conn.get_copy_data(1)
            if size == 0:
                conn.consume_input()  # also right before waiting: TLS may hold bytes that the socket has given up
                size, message = conn.get_copy_data(1)
            if size == 0:
                return False
            if size < 0:
                raise _lost(conn.get_result())
            if message[0] == DATA:
                transaction = decode(message[DATA_HEADER_BYTES:])
                if transaction is not None:
                    transactions.append(transaction)
                    self._position = transaction.lsn
            elif message[0] == KEEPALIVE:
                self._note_keepalive(message)
        return True

    def _note_keepalive(self, message: memoryview) -> None:
        end, _, wants_answer = _keepalive(message, 1)
        if not self._decoder.is_inside:
            self._position = max(self._position, end)
        if wants_answer:
            self._send_status(wants_answer=False)

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        fileno = self._connection().socket
        self._ready = loop.create_future()
        loop.add_reader(fileno, _wake, self._ready)
        try:
            async with asyncio.timeout(SILENCE_S):
                await self._ready
        finally:
            loop.remove_reader(fileno)

    # Confirming

    def confirm(self, lsn: int) -> None:
        """The server may forget the log up to `lsn`. What no transaction came out of is confirmed by itself once all
        that were returned are."""
        self._confirmed = max(self._confirmed, lsn)
        if self._confirm_timer is None and self._conn is not None:
            self._confirm_timer = asyncio.get_running_loop().call_later(CONFIRM_S, self._report_confirmed)

    def _report(self) -> None:
        self._status_timer = asyncio.get_running_loop().call_later(STATUS_S, self._report)
        self._send_status(wants_answer=True)

    def _report_confirmed(self) -> None:
        self._confirm_timer = None
        self._send_status(wants_answer=False)

    def _send_status(self, *, wants_answer: bool) -> None:
        if self._conn is None:
            return
        flushed = self._position if self._confirmed >= self._returned else self._confirmed
        now_us = round((time.time() - EPOCH.timestamp()) * 1_000_000)
        with suppress(Error):  # a broken connection is told to the reader, by its end of file
            self._conn.put_copy_data(_status(b"r", self._position, flushed, flushed, now_us, wants_answer))
            self._conn.flush()

    def _connection(self) -> PGconn:
        if self._conn is None:
            raise StreamLost("The stream is closed")
        return self._conn


def parse_lsn(text: str) -> int:
    """
    >>> hex(parse_lsn("16/B374D848"))
    '0x16b374d848'
    """
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


async def _finish(conn: PGconn) -> None:
    """libpq says goodbye and closes its socket without waiting; a copy of it tells when the server has ended too."""
    if conn.status != ConnStatus.OK:
        conn.finish()
        return
    loop = asyncio.get_running_loop()
    with socket.socket(fileno=os.dup(conn.socket)) as rest, suppress(OSError, TimeoutError):
        rest.setblocking(False)
        conn.finish()
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            while await loop.sock_recv(rest, 65_536):
                pass


def _cell(result: PGresult, row: int, column: int) -> str:
    return (result.get_value(row, column) or b"").decode()


def _lost(result: PGresult | None) -> StreamLost:
    """By the result in which a command or the stream ended; a server that shuts down ends it without an error."""
    if result is None or result.status != ExecStatus.FATAL_ERROR:
        return StreamLost("The server has ended the stream")
    fields = (DiagnosticField.MESSAGE_PRIMARY, DiagnosticField.MESSAGE_DETAIL, DiagnosticField.MESSAGE_HINT)
    parts = [part.decode("utf-8", "replace") for field in fields if (part := result.error_field(field))]
    return StreamLost(_explain("; ".join(parts) or result.error_message.decode("utf-8", "replace")))


def _explain(message: str) -> str:
    advice = [advice for word, advice in ADVICE.items() if word in message]
    return ": ".join([message.strip(), *advice])


def _wake(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
