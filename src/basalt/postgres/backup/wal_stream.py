"""PostgreSQL's log as it is written, over a physical replication connection, as pg_receivewal reads it.

Follows PostgreSQL 15, "Streaming Replication Protocol". A slot makes the server keep what has not been confirmed; the
caller confirms what is at the target. Blocking: it runs in a thread of its own.
"""

import select
import time
from dataclasses import dataclass
from struct import Struct
from typing import Final

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from basalt.errors import BasaltError
from basalt.postgres.backup.lsn import parse_lsn, render_lsn

REMOVED: Final = (
    "has already been removed",
    "can no longer access replication slot",  # from PostgreSQL 18 on
)
EPOCH_S: Final = 946_684_800  # 2000-01-01
# A target that is slow is no reason to end a stream: the server sees by the socket when its reader dies.
OPTIONS: Final = "-c wal_sender_timeout=0"
STATUS_S: Final = 10.0
DATA, KEEPALIVE = b"wk"
_data_header = Struct(">Q").unpack_from
_keepalive = Struct(">QqB").unpack_from
_status = Struct(">cQQQqB").pack
DATA_HEADER_BYTES: Final = 25


class WalStreamError(BasaltError):
    """The stream cannot begin or has ended, for PostgreSQL's `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__("wal_stream_failed", 500, f"PostgreSQL's log cannot be read: {reason}")


class WalRemovedError(WalStreamError):
    """The server has let go of the log at the wanted position."""


@dataclass(frozen=True)
class SystemIdentity:
    """`position` is the end of the log when it was asked for."""

    system_id: str
    timeline: int
    position: int


class WalStream:
    """One connection. `conninfo`: of a role with `replication`."""

    def __init__(self, conninfo: str) -> None:
        self._conn: PGconn = pq.PGconn.connect(
            make_conninfo(
                conninfo,
                replication="true",
                application_name="basalt/backup",
                connect_timeout=10,
                options=OPTIONS,
            ).encode()
        )
        if self._conn.status != ConnStatus.OK:
            message = self._conn.get_error_message().strip()
            self._conn.finish()
            raise WalStreamError(message)
        self._readable = select.poll()  # `select.select` takes no descriptor above 1023
        self._readable.register(self._conn.socket, select.POLLIN)
        self._received = self._confirmed = 0
        self._status_due = 0.0

    def close(self) -> None:
        self._conn.finish()

    def identify(self) -> SystemIdentity:
        found = self._run("IDENTIFY_SYSTEM")
        return SystemIdentity(_cell(found, 0), int(_cell(found, 1)), parse_lsn(_cell(found, 2)))

    def ensure_slot(self, name: str, *, temporary: bool = False) -> None:
        """A slot that keeps the log from now on; one that is there stays as it is."""
        kind = "TEMPORARY " if temporary else ""
        try:
            self._run(f"CREATE_REPLICATION_SLOT {name} {kind}PHYSICAL (RESERVE_WAL)")
        except WalStreamError as exc:
            if "already exists" not in str(exc):
                raise

    def read_history(self, timeline: int) -> bytes:
        """The history file of a timeline above the first."""
        return self._run(f"TIMELINE_HISTORY {timeline}").get_value(0, 1) or b""

    def start(self, position: int, timeline: int, slot: str) -> None:
        """From `position` on. Raises WalRemovedError."""
        self._run(f"START_REPLICATION SLOT {slot} PHYSICAL {render_lsn(position)} TIMELINE {timeline}")
        self._received = self._confirmed = position

    @property
    def received(self) -> int:
        return self._received

    def read(self, limit_s: float) -> bytes | None:
        """The next bytes of the log; None when none come in time. Raises WalStreamError when the server ends."""
        deadline = time.monotonic() + limit_s
        while True:
            size, message = self._next()
            if size < 0:
                raise _error(self._conn.get_result(), self._conn)
            if size == 0:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return None
                self._report_in_time()
                self._readable.poll(min(left_s, STATUS_S) * 1000)
                continue
            if message[0] == DATA:
                (start,) = _data_header(message, 1)
                data = bytes(message[DATA_HEADER_BYTES:])
                if start != self._received:
                    raise WalStreamError(f"The log jumped from {self._received:X} to {start:X}")
                self._received += len(data)
                return data
            if message[0] == KEEPALIVE:
                *_, wants_answer = _keepalive(message, 1)
                if wants_answer:
                    self._report()

    def confirm(self, position: int) -> None:
        """The server may let go of the log up to here."""
        self._confirmed = position
        self._report()

    def _next(self) -> tuple[int, memoryview]:
        try:
            size, message = self._conn.get_copy_data(1)
            if size == 0:
                self._conn.consume_input()
                size, message = self._conn.get_copy_data(1)
        except psycopg.Error as exc:
            raise WalStreamError(str(exc)) from exc
        return size, message

    def _report_in_time(self) -> None:
        if time.monotonic() >= self._status_due:
            self._report()

    def _report(self) -> None:
        now_us = int((time.time() - EPOCH_S) * 1_000_000)
        try:
            self._conn.put_copy_data(_status(b"r", self._received, self._confirmed, 0, now_us, 0))
            self._conn.flush()
        except psycopg.Error as exc:
            raise WalStreamError(str(exc)) from exc
        self._status_due = time.monotonic() + STATUS_S

    def _run(self, command: str) -> PGresult:
        result = self._conn.exec_(command.encode())
        if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COPY_BOTH, ExecStatus.COMMAND_OK):
            raise _error(result, self._conn)
        return result


def _error(result: PGresult | None, conn: PGconn) -> WalStreamError:
    message = (result.get_error_message() if result is not None else conn.get_error_message()).strip()
    if any(words in message for words in REMOVED):
        return WalRemovedError(message)
    return WalStreamError(message or "The server has ended the stream")


def _cell(result: PGresult, column: int) -> str:
    return (result.get_value(0, column) or b"").decode()
