"""A few kept connections to one SMTP server (RFC 5321), over which envelopes are handed over one at a time."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

import aiosmtplib
from aiosmtplib import (
    SMTPRecipientRefused,
    SMTPResponseException,
    SMTPServerDisconnected,
    SMTPTimeoutError,
)

MAX_CONNECTIONS: Final = 4
IDLE_S: Final = 20.0
TLS_PORT: Final = 465
SERVICE_CLOSING: Final = 421


@dataclass(slots=True)
class Envelope:
    """`was_sent`: the content began to leave, so that the server may have taken it whatever it said then."""

    sender: str
    to: str
    content: bytes
    was_sent: bool = False


@dataclass(frozen=True, slots=True)
class MailServer:
    host: str
    port: int
    user: str = ""
    password: str = ""
    timeout_s: float = 10.0


class LostMailError(Exception):
    """The connection was lost while a mail was handed over: it may have been taken."""


class NoPrivacyError(Exception):
    """The server offers no TLS, and the password is not sent without."""


class SmtpConnections:
    """`local_name` is how we introduce ourselves. `tls_context` is for servers with a certificate of their own."""

    def __init__(
        self, server: MailServer, *, local_name: str, tls_context: ssl.SSLContext | None = None
    ) -> None:
        self._server = server
        self._local_name = local_name
        self._tls_context = tls_context
        self._connections = asyncio.Semaphore(MAX_CONNECTIONS)
        self._idle: list[tuple[float, aiosmtplib.SMTP]] = []

    async def hand_over(self, envelope: Envelope) -> None:
        """Raises aiosmtplib's errors, OSError, LostMailError, NoPrivacyError."""
        while True:
            try:
                return await self._try(envelope)
            except _StaleConnectionError:
                continue  # the server had closed it; each is taken from the idle ones at most once

    async def close(self) -> None:
        for _, client in self._idle:
            client.close()
        self._idle.clear()

    async def _try(self, envelope: Envelope) -> None:
        async with self._connection() as (client, is_fresh):
            try:
                await client.mail(envelope.sender)
                refusal = await _name_recipient(client, envelope.to)
            except (aiosmtplib.SMTPException, OSError) as exc:
                if not is_fresh and _says_goodbye(exc):
                    raise _StaleConnectionError from exc
                raise
            if refusal is None:
                await self._send_content(client, envelope)
        if refusal is not None:
            raise refusal

    async def _send_content(self, client: aiosmtplib.SMTP, envelope: Envelope) -> None:
        envelope.was_sent = True
        try:
            await client.data(envelope.content)
        except (SMTPServerDisconnected, SMTPTimeoutError, OSError) as exc:
            raise LostMailError("The connection was lost while the mail was handed over") from exc

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[aiosmtplib.SMTP, bool]]:
        """A connection, and whether it is a new one. It is kept unless something went wrong on it."""
        async with self._connections:
            client = self._take_idle()
            is_fresh = client is None
            client = client or await self._connect()
            try:
                yield client, is_fresh
            except BaseException:
                client.close()
                raise
            self._idle.append((time.monotonic(), client))
            asyncio.get_running_loop().call_later(IDLE_S + 0.1, self._close_old)

    def _take_idle(self) -> aiosmtplib.SMTP | None:
        self._close_old()
        while self._idle:
            _, client = self._idle.pop()
            if client.is_connected:
                return client
        return None

    def _close_old(self) -> None:
        oldest = time.monotonic() - IDLE_S
        for since, client in self._idle:
            if since < oldest:
                client.close()
        self._idle = [(since, client) for since, client in self._idle if since >= oldest]

    async def _connect(self) -> aiosmtplib.SMTP:
        client = aiosmtplib.SMTP(
            hostname=self._server.host,
            port=self._server.port,
            timeout=self._server.timeout_s,
            local_hostname=self._local_name,
            use_tls=self._server.port == TLS_PORT,
            tls_context=self._tls_context,
        )
        try:
            await client.connect()
            if self._server.user:
                self._check_private(client)
                await client.login(self._server.user, self._server.password)
        except BaseException:
            client.close()
            raise
        return client

    def _check_private(self, client: aiosmtplib.SMTP) -> None:
        """STARTTLS is used where it is offered; whoever hides the offer does not get the password (gomail's rule)."""
        if client.get_transport_info("sslcontext") is None and not _is_loopback(self._server.host):
            raise NoPrivacyError("The server offers no TLS, and the password is not sent without")


class _StaleConnectionError(Exception):
    """A kept connection that the server has given up."""


async def _name_recipient(client: aiosmtplib.SMTP, to: str) -> SMTPRecipientRefused | None:
    """A recipient that is refused costs no connection: a list of dead addresses would open one for each."""
    try:
        await client.rcpt(to)
    except SMTPRecipientRefused as exc:
        if exc.code == SERVICE_CLOSING:
            raise
        await client.rset()
        return exc
    return None


def _says_goodbye(exc: Exception) -> bool:
    return isinstance(exc, SMTPServerDisconnected | OSError) or (
        isinstance(exc, SMTPResponseException) and exc.code == SERVICE_CLOSING
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
