"""Mails by an SMTP server (RFC 5321), over a few kept connections.

What the server refuses for now (4xx) and what fails before the message was handed over is tried again within
`timeout_s`. Once the message is on its way there is no second try: it might arrive twice.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from ipaddress import ip_address
from typing import Final
from uuid import uuid4

import aiosmtplib
from aiosmtplib import SMTPResponseException, SMTPServerDisconnected, SMTPTimeoutError

from basalt.config import SmtpSettings
from basalt.senders.message import Mail, SendError

MAX_CONNECTIONS: Final = 4
IDLE_S: Final = 20.0
PAUSES_S: Final = (0.2, 0.6, 1.5, 3.0)
TLS_PORT: Final = 465
SERVICE_CLOSING: Final = 421


@dataclass(frozen=True, slots=True)
class _Envelope:
    sender: str
    to: str
    content: bytes


class SmtpSender:
    """`local_name` is how we introduce ourselves. `tls_context` is for servers with a certificate of their own."""

    def __init__(
        self, settings: SmtpSettings, *, local_name: str, tls_context: ssl.SSLContext | None = None
    ) -> None:
        assert settings.host
        self._settings = settings
        self._host = settings.host
        self._local_name = local_name
        self._tls_context = tls_context
        self._connections = asyncio.Semaphore(MAX_CONNECTIONS)
        self._idle: list[tuple[float, aiosmtplib.SMTP]] = []

    async def send(self, message: Mail) -> None:
        """Raises SendError."""
        try:
            envelope = self._build(message)
            async with asyncio.timeout(self._settings.timeout_s):
                await self._deliver(envelope)
        except TimeoutError as exc:
            raise SendError(f"The mail was not taken within {self._settings.timeout_s:g} seconds") from exc
        except (aiosmtplib.SMTPException, HeaderParseError, OSError, ValueError) as exc:
            raise SendError(f"The mail was not taken: {exc}") from exc

    async def close(self) -> None:
        for _, client in self._idle:
            client.close()
        self._idle.clear()

    def _build(self, mail: Mail) -> _Envelope:
        sender = self._settings.admin_email
        message = EmailMessage(policy=SMTP_POLICY)
        # The header classes refuse line breaks; templates have none left by then.
        message["From"] = Address(self._settings.sender_name, addr_spec=sender)
        message["To"] = Address(addr_spec=mail.to)
        message["Subject"] = mail.subject
        message["Date"] = format_datetime(datetime.now(UTC))
        message["Message-ID"] = f"<{uuid4()}@{sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday replies
        if mail.text or not mail.html:
            message.set_content(mail.text, cte="quoted-printable")
        if mail.html:  # with a text before it an alternative to that, else the whole
            add = message.add_alternative if mail.text else message.set_content
            add(mail.html, subtype="html", cte="quoted-printable")
        return _Envelope(sender, mail.to, message.as_bytes())

    async def _deliver(self, envelope: _Envelope) -> None:
        pauses = iter(PAUSES_S)
        while True:
            try:
                return await self._try(envelope)
            except _StaleConnectionError:
                continue  # the server had closed it; each is taken from the idle ones at most once
            except (aiosmtplib.SMTPException, OSError) as exc:
                pause_s = next(pauses, None)
                if pause_s is None or not _may_pass(exc):
                    raise
            await asyncio.sleep(pause_s)

    async def _try(self, envelope: _Envelope) -> None:
        async with self._connection() as (client, is_fresh):
            try:
                await client.mail(envelope.sender)
                await client.rcpt(envelope.to)
            except (aiosmtplib.SMTPException, OSError) as exc:
                if not is_fresh and _says_goodbye(exc):
                    raise _StaleConnectionError from exc
                raise
            try:
                await client.data(envelope.content)
            except (SMTPServerDisconnected, SMTPTimeoutError, OSError) as exc:
                raise SendError("The connection was lost while the mail was handed over") from exc

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
            hostname=self._host,
            port=self._settings.port,
            timeout=self._settings.timeout_s,
            local_hostname=self._local_name,
            use_tls=self._settings.port == TLS_PORT,
            tls_context=self._tls_context,
        )
        try:
            await client.connect()
            if self._settings.user:
                self._check_private(client)
                await client.login(self._settings.user, self._settings.password or "")
        except BaseException:
            client.close()
            raise
        return client

    def _check_private(self, client: aiosmtplib.SMTP) -> None:
        """STARTTLS is used where it is offered; whoever hides the offer does not get the password (gomail's rule)."""
        if client.get_transport_info("sslcontext") is None and not _is_loopback(self._host):
            raise SendError("The server offers no TLS, and the password is not sent without")


class _StaleConnectionError(Exception):
    """A kept connection that the server has given up."""


def _says_goodbye(exc: Exception) -> bool:
    return isinstance(exc, SMTPServerDisconnected | OSError) or (
        isinstance(exc, SMTPResponseException) and exc.code == SERVICE_CLOSING
    )


def _may_pass(exc: BaseException) -> bool:
    """Whether another try may succeed: 4xx, and connections that failed for any reason but a certificate."""
    if isinstance(exc, SMTPResponseException):
        return 400 <= exc.code < 500
    if isinstance(exc, ssl.SSLError) or isinstance(exc.__cause__, ssl.SSLError):
        return False
    return isinstance(exc, SMTPServerDisconnected | SMTPTimeoutError | OSError)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
