"""Mails by an SMTP server, each handed over before whoever sends it goes on: Auth's.

What the server refuses for now (4xx) and what fails before the message was handed over is tried again within
`timeout_s`. Once the message is on its way there is no second try: it might arrive twice.
"""

import asyncio
import ssl
from email.errors import HeaderParseError
from email.headerregistry import Address
from typing import Final
from uuid import uuid4

import aiosmtplib
from aiosmtplib import SMTPResponseException, SMTPServerDisconnected, SMTPTimeoutError

from basalt.config import SmtpSettings
from basalt.senders.mail_content import render_mail
from basalt.senders.message import Mail, SendError
from basalt.senders.smtp_connections import (
    Envelope,
    LostMailError,
    MailServer,
    NoPrivacyError,
    SmtpConnections,
)

PAUSES_S: Final = (0.2, 0.6, 1.5, 3.0)


class SmtpSender:
    """`local_name` is how we introduce ourselves. `tls_context` is for servers with a certificate of their own."""

    def __init__(
        self, settings: SmtpSettings, *, local_name: str, tls_context: ssl.SSLContext | None = None
    ) -> None:
        assert settings.host
        self._settings = settings
        self._connections = SmtpConnections(
            MailServer(
                settings.host,
                settings.port,
                settings.user or "",
                settings.password or "",
                timeout_s=settings.timeout_s,
            ),
            local_name=local_name,
            tls_context=tls_context,
        )

    async def send(self, message: Mail) -> None:
        """Raises SendError."""
        try:
            envelope = self._build(message)
            async with asyncio.timeout(self._settings.timeout_s):
                await self._deliver(envelope)
        except TimeoutError as exc:
            raise SendError(f"The mail was not taken within {self._settings.timeout_s:g} seconds") from exc
        except (LostMailError, NoPrivacyError) as exc:
            raise SendError(str(exc)) from exc
        except (aiosmtplib.SMTPException, HeaderParseError, OSError, ValueError) as exc:
            raise SendError(f"The mail was not taken: {exc}") from exc

    async def close(self) -> None:
        await self._connections.close()

    def _build(self, mail: Mail) -> Envelope:
        sender = self._settings.admin_email
        content = render_mail(
            sender=Address(self._settings.sender_name, addr_spec=sender),
            to=mail.to,
            subject=mail.subject,
            text=mail.text,
            html=mail.html,
            message_id=f"{uuid4()}@{sender.rpartition('@')[2]}",
        )
        return Envelope(sender, mail.to, content)

    async def _deliver(self, envelope: Envelope) -> None:
        pauses = iter(PAUSES_S)
        while True:
            try:
                return await self._connections.hand_over(envelope)
            except (aiosmtplib.SMTPException, OSError) as exc:
                pause_s = next(pauses, None)
                if pause_s is None or not _may_pass(exc):
                    raise
            await asyncio.sleep(pause_s)


def _may_pass(exc: BaseException) -> bool:
    """Whether another try may succeed: 4xx, and connections that failed for any reason but a certificate."""
    if isinstance(exc, SMTPResponseException):
        return 400 <= exc.code < 500
    if isinstance(exc, ssl.SSLError) or isinstance(exc.__cause__, ssl.SSLError):
        return False
    return isinstance(exc, SMTPServerDisconnected | SMTPTimeoutError | OSError)
