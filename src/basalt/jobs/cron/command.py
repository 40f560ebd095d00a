"""Performs the command of a run: its own connection, all statements of the text as `psql -c` would, one outcome.

The outcome's words are pg_cron's: the last statement's tag (`DELETE 3`) or number of rows (`1 row`), else the error.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

from basalt.jobs.cron.board import Run
from basalt.jobs.cron.logins import connect_as
from basalt.postgres import DatabaseAccess, cancel, wait_for_socket

# A command goes on when its worker was killed, unless PostgreSQL looks whether anybody still waits for it.
WATCH_CLIENT = "set client_connection_check_interval = '1s'"
CANCEL_LIMIT_S = 2.0
CHUNK_ROWS = 1000
LONGEST_MESSAGE = 10_000

ROWS = (ExecStatus.TUPLES_OK, ExecStatus.SINGLE_TUPLE, ExecStatus.TUPLES_CHUNK, ExecStatus.EMPTY_QUERY)
COPIES = (ExecStatus.COPY_IN, ExecStatus.COPY_OUT, ExecStatus.COPY_BOTH)


@dataclass(frozen=True, slots=True)
class Outcome:
    is_success: bool
    message: str


async def perform(access: DatabaseAccess, run: Run, show: Callable[[int], Awaitable[None]]) -> Outcome:
    """Connect as the run's user, tell `show` the number of the backend, perform. Cancelled, it cancels the command."""
    try:
        conn, role = await connect_as(access, run)
    except (psycopg.Error, OSError) as error:
        return Outcome(False, f"connection failed: {str(error).strip()}")
    try:
        await show(conn.backend_pid)
        try:
            await _execute(conn, WATCH_CLIENT)
            if role is not None:
                taken = await _execute(
                    conn, sql.SQL("set role {}").format(sql.Identifier(role)).as_string(None)
                )
                if not taken.is_success:
                    return taken
            return await _execute(conn, run.command)
        except (psycopg.OperationalError, OSError) as error:
            return Outcome(False, f"connection lost: {str(error).strip()}")
    finally:
        if conn.transaction_status == TransactionStatus.ACTIVE:
            with contextlib.suppress(psycopg.Error, OSError):
                await cancel(conn, timeout_s=CANCEL_LIMIT_S)
        conn.finish()


async def _execute(conn: PGconn, text: str) -> Outcome:
    conn.send_query(text.encode())
    try:
        conn.set_chunked_rows_mode(CHUNK_ROWS)  # rows are counted, not kept
    except psycopg.NotSupportedError:  # libpq before 17
        conn.set_single_row_mode()
    await _flush(conn)
    outcome = Outcome(True, "0 rows")
    row_count = 0
    while (result := await _next_result(conn)) is not None:
        if result.status in ROWS:
            row_count += result.ntuples
            outcome = Outcome(True, f"{row_count} row" if row_count == 1 else f"{row_count} rows")
            if result.status in (ExecStatus.TUPLES_OK, ExecStatus.EMPTY_QUERY):
                row_count = 0
        elif result.status == ExecStatus.COMMAND_OK:
            outcome = Outcome(True, (result.command_status or b"").decode())
        elif result.status in COPIES:
            return Outcome(False, "COPY not supported")
        else:
            outcome = Outcome(False, _read_error(result))
        await asyncio.sleep(0)  # a long answer must not hold up the others
    return outcome


def _read_error(result: PGresult) -> str:
    return result.error_message.decode("utf-8", "replace").strip()[:LONGEST_MESSAGE]


async def _next_result(conn: PGconn) -> PGresult | None:
    while conn.is_busy():
        await wait_for_socket(conn.socket, writing=False)
        conn.consume_input()
    return conn.get_result()


async def _flush(conn: PGconn) -> None:
    """Send all of it, and take what comes meanwhile, lest both sides wait."""
    while conn.flush():
        await wait_for_socket(conn.socket, writing=True)
        conn.consume_input()
