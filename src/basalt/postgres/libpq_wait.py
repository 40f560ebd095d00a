"""libpq's nonblocking connect and cancel, driven by asyncio: libpq says what it waits for, the loop waits."""

import asyncio
import ipaddress
from collections.abc import Callable

from psycopg import OperationalError, pq
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import ConnStatus, PollingStatus
from psycopg.pq.abc import PGconn


async def connect(conninfo: str, *, timeout_s: float) -> PGconn:
    """A nonblocking connection. Raises psycopg.OperationalError with libpq's message, or TimeoutError."""
    async with asyncio.timeout(timeout_s):
        if _is_host_name(conninfo):
            conn = await asyncio.to_thread(pq.PGconn.connect_start, conninfo.encode())  # it asks the resolver
        else:
            conn = pq.PGconn.connect_start(conninfo.encode())
        try:
            if conn.status != ConnStatus.BAD:
                await _poll(conn.connect_poll, lambda: conn.socket)
            if conn.status != ConnStatus.OK:
                raise OperationalError(conn.get_error_message())
            conn.nonblocking = 1
        except BaseException:
            conn.finish()
            raise
        return conn


async def cancel(conn: PGconn, *, timeout_s: float) -> None:
    """Ask PostgreSQL to cancel what `conn` is running. On return the signal has reached the backend: the
    postmaster's child closes the cancel connection only after it sent the signal, and a signal is handled
    before the backend reads its next message. Raises psycopg.OperationalError or TimeoutError when that is
    not sure."""
    request = conn.cancel_conn()
    try:
        request.start()
        async with asyncio.timeout(timeout_s):
            if not await _poll(request.poll, lambda: request.socket):
                raise OperationalError(request.get_error_message())
    finally:
        request.finish()


async def _poll(poll: Callable[[], int], socket: Callable[[], int]) -> bool:
    state: int = PollingStatus.WRITING  # "behave as if it last returned PGRES_POLLING_WRITING"
    while state not in (PollingStatus.OK, PollingStatus.FAILED):
        await wait_for_socket(socket(), writing=state == PollingStatus.WRITING)  # it may change between polls
        state = poll()
    return state == PollingStatus.OK


async def wait_for_socket(fileno: int, *, writing: bool) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    add, remove = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
    add(fileno, _wake, ready)
    try:
        await ready
    finally:
        remove(fileno)


def _wake(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


def _is_host_name(conninfo: str) -> bool:
    """
    >>> _is_host_name("host=127.0.0.1"), _is_host_name("host=/run/db"), _is_host_name("host=db.example.org")
    (False, False, True)
    """
    keywords = conninfo_to_dict(conninfo)
    host = str(keywords.get("host") or "")
    if not host or host.startswith(("/", "@")) or keywords.get("hostaddr"):
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False
