"""An SMTP server on loopback that keeps what it is given, and misbehaves when told to."""

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as default_policy
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

USER, PASSWORD = "mailer", "s3cret-mail-password"


@dataclass
class FakeSmtp:
    """`answers["MAIL" | "RCPT" | "DATA"]` are given once each, in order: a reply line, `drop` cuts the connection
    (after DATA: with the mail already kept), `hang` never answers."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[tuple[str, list[str]]] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0
    most_open: int = 0
    logins: list[str] = field(default_factory=list)
    over_tls: list[bool] = field(default_factory=list)
    answers: dict[str, list[str]] = field(default_factory=dict)
    pause_s: float = 0.0
    servers: list[Any] = field(default_factory=list)

    async def reply(self, server: SMTP, command: str, usual: str) -> str:
        scripted = self.answers.get(command) or []
        answer = scripted.pop(0) if scripted else usual
        if answer == "hang":
            await asyncio.sleep(3600)
        if answer == "drop":
            assert server.transport is not None
            server.transport.abort()
            return usual
        return answer

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        answer = await self.reply(server, "MAIL", "250 OK")
        if answer.startswith("250"):
            envelope.mail_from = address
        return answer

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        answer = await self.reply(server, "RCPT", "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        await asyncio.sleep(self.pause_s)
        if not (self.answers.get("DATA") or [""])[0].startswith(("4", "5")):
            mail = message_from_bytes(envelope.content, policy=default_policy)
            self.mails.append(cast(EmailMessage, mail))
            self.envelopes.append((envelope.mail_from, list(envelope.rcpt_tos)))
            self.over_tls.append(
                session.ssl is not None or server.transport.get_extra_info("sslcontext") is not None
            )
        return await self.reply(server, "DATA", "250 Queued")

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.logins.append(mechanism)
        right = isinstance(data, LoginPassword) and (data.login, data.password) == (
            USER.encode(),
            PASSWORD.encode(),
        )
        return AuthResult(success=right, handled=False)


class _Connection(SMTP):
    """aiosmtpd's server side of one connection, counted."""

    def connection_made(self, transport: Any) -> None:
        fake = cast(FakeSmtp, self.event_handler)
        if not getattr(self, "_is_counted", False):  # STARTTLS calls it a second time
            self._is_counted = True
            fake.servers.append(self)
            fake.connections += 1
            fake.open_connections += 1
            fake.most_open = max(fake.most_open, fake.open_connections)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        cast(FakeSmtp, self.event_handler).open_connections -= 1
        super().connection_lost(error)


@asynccontextmanager
async def fake_smtp(
    *,
    implicit_tls: ssl.SSLContext | None = None,
    start_tls: ssl.SSLContext | None = None,
    auth_required: bool = False,
) -> AsyncIterator[FakeSmtp]:
    fake = FakeSmtp()
    options: dict[str, Any] = {
        "enable_SMTPUTF8": True,
        "tls_context": start_tls,
        "authenticator": fake.authenticate,
        "auth_require_tls": start_tls is not None,
        "auth_required": auth_required,
    }
    loop = asyncio.get_running_loop()

    def connection() -> SMTP:
        with warnings.catch_warnings():  # it does not like AUTH without TLS
            warnings.simplefilter("ignore")
            return _Connection(fake, loop=loop, **options)

    server = await loop.create_server(connection, "127.0.0.1", 0, ssl=implicit_tls)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        server.close()
        for connection in fake.servers:
            if connection.transport is not None:
                connection.transport.abort()
            if connection._handler_coroutine is not None:
                connection._handler_coroutine.cancel()
        await asyncio.sleep(0)


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's context with a fresh certificate for 127.0.0.1, and a client's that trusts it alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(pem + private)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(folder / "server.pem")
    return server, ssl.create_default_context(cadata=pem.decode())
