"""Notifications by an SMTP server: one try per attempt, and what the server says decides (RFC 5321 §4.2, RFC 3463).

A mail has the same `Message-ID` in every attempt, by which mailboxes recognise a repeated one.
"""

import asyncio
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.utils import parseaddr
from typing import Final

import aiosmtplib
from aiosmtplib import (
    SMTPAuthenticationError,
    SMTPDataError,
    SMTPRecipientRefused,
    SMTPResponseException,
)

from basalt.senders.delivery import Delivery, Outcome, deliver_each
from basalt.senders.mail_content import render_mail
from basalt.senders.mail_headers import list_headers
from basalt.senders.pacing import Pace, Reading
from basalt.senders.provider_answer import KEPT_CHARS, note_failure
from basalt.senders.provider_client import Turns
from basalt.senders.smtp_connections import (
    MAX_CONNECTIONS,
    SERVICE_CLOSING,
    Envelope,
    LostMailError,
    MailServer,
    NoPrivacyError,
    SmtpConnections,
)

ENHANCED: Final = re.compile(r"\s*5\.(\d{1,3}\.\d{1,3})\b")
NO_SUCH_ADDRESS: Final = frozenset({550, 551, 553})
# No such mailbox, no such domain, no address, moved away, a domain without mail, a disabled mailbox. (1.7 and 1.8 are
# about the sender's address.)
DEAD_DETAILS: Final = frozenset({"1.1", "1.2", "1.3", "1.6", "1.10", "2.1"})
# Servers without such codes say 550 for whatever they do not like, first of all for a relay that is not set up.
DEAD_WORDS: Final = re.compile(
    r"(?:no such|unknown|invalid|unrouteable|non-?existent) (?:\w+ )?(?:user|mailbox|recipient|address|account)"
    r"|(?:user|mailbox|recipient|address|account)\b.{0,80}"
    r"(?:(?:not|n't) (?:found|exist|known)|unknown|disabled|no longer)",
    re.IGNORECASE | re.DOTALL,
)
UNSAFE_IN_ID: Final = re.compile(r"[^A-Za-z0-9!#$%&'*+/=?^_{|}~.-]")


@dataclass(frozen=True, slots=True)
class _Failure:
    """What a mail that was not taken means for it, and for the server's pace."""

    outcome: Outcome
    reading: Reading


class SmtpDeliverySender:
    """A `DeliverySender`. `sender` is an address, also `Name <address>`."""

    name = "smtp"
    batch_size = 100

    def __init__(
        self,
        server: MailServer,
        sender: str,
        *,
        local_name: str,
        rate_per_s: float = 0.0,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        name, address = parseaddr(sender)
        self._sender = Address(name, addr_spec=address)
        self._timeout_s = server.timeout_s
        self._connections = SmtpConnections(server, local_name=local_name, tls_context=tls_context)
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._turns = Turns(self.name, Pace(rate_per_s=rate_per_s))

    async def deliver(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        return await deliver_each(self._deliver_one, deliveries)

    async def close(self) -> None:
        await self._connections.close()

    async def _deliver_one(self, delivery: Delivery) -> Outcome:
        message_id = f"{UNSAFE_IN_ID.sub('-', delivery.key)}@{self._sender.domain}"
        try:
            Address(addr_spec=delivery.address)
            delivery.address.encode("ascii")
        except (HeaderParseError, ValueError, IndexError):
            return Outcome("dead_address", error_code="invalid_address")
        try:
            envelope = self._build(delivery, message_id)
        except (HeaderParseError, ValueError):
            return Outcome("refused", error_code="invalid_message")
        async with self._slots:
            began_at = await self._turns.wait()
            if isinstance(began_at, Outcome):
                return began_at
            failure = await self._hand_over(envelope)
            self._turns.note("served" if failure is None else failure.reading, began_at)
        return Outcome("accepted", message_id=message_id) if failure is None else failure.outcome

    def _build(self, delivery: Delivery, message_id: str) -> Envelope:
        content = render_mail(
            sender=self._sender,
            to=delivery.address,
            subject=delivery.subject,
            text=delivery.body,
            html=delivery.html,
            message_id=message_id,
            headers=list_headers(delivery),
        )
        return Envelope(self._sender.addr_spec, delivery.address, content)

    async def _hand_over(self, envelope: Envelope) -> _Failure | None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._connections.hand_over(envelope)
        except SMTPResponseException as exc:
            return read_reply(exc)
        except LostMailError:
            return _Failure(Outcome("unknown", error_code="connection_lost"), "failed")
        except NoPrivacyError as exc:
            return _Failure(Outcome("retry", error_code="no_tls", response=_note_reason(exc)), "failed")
        except TimeoutError:
            verdict = Outcome("unknown" if envelope.was_sent else "retry", error_code="timeout")
            return _Failure(verdict, "failed")
        except (aiosmtplib.SMTPException, OSError) as exc:
            return _Failure(Outcome("retry", error_code="unreachable", response=_note_reason(exc)), "failed")
        return None


def read_reply(exc: SMTPResponseException) -> _Failure:
    """4xx is for now, 5xx for good; a 5xx to the recipient that is about the address ends the address.

    >>> read_reply(SMTPRecipientRefused(550, "5.1.1 No such user", "a@b.example")).outcome.verdict
    'dead_address'
    >>> read_reply(SMTPRecipientRefused(550, "5.7.1 Blocked", "a@b.example")).outcome.verdict
    'refused'
    >>> read_reply(SMTPRecipientRefused(450, "4.2.0 Greylisted", "a@b.example")).outcome.verdict
    'retry'

    What a server says to its greeting, to a login or to the sender is the operator's to mend, whatever its code.

    >>> from aiosmtplib import SMTPSenderRefused
    >>> read_reply(SMTPSenderRefused(550, "5.7.1 Not you", "hi@habits.example")).outcome.verdict
    'retry'
    """
    code, response = f"smtp_{exc.code}", note_failure(exc.code, exc.message)
    if isinstance(exc, SMTPAuthenticationError):
        return _Failure(Outcome("retry", error_code="smtp_auth", response={"status": exc.code}), "failed")
    is_of_all = exc.code == SERVICE_CLOSING or not isinstance(exc, SMTPRecipientRefused | SMTPDataError)
    if is_of_all or exc.code < 500:
        reading: Reading = "failed" if is_of_all else "served"
        return _Failure(Outcome("retry", error_code=code, response=response), reading)
    is_dead = isinstance(exc, SMTPRecipientRefused) and _is_about_address(exc)
    return _Failure(
        Outcome("dead_address" if is_dead else "refused", error_code=code, response=response), "served"
    )


def _is_about_address(exc: SMTPResponseException) -> bool:
    """By the enhanced status code where there is one (RFC 3463, RFC 7505), else by words.

    >>> said = ("Unknown user", "No such user here", "<a@b.example>: Recipient address rejected: User unknown",
    ...     "Mailbox not found", "Relay not permitted", "User unknown. Sender verify failed", "Mailbox unavailable")
    >>> [_is_about_address(SMTPRecipientRefused(550, text, "a@b.example")) for text in said]
    [True, True, True, True, False, False, False]
    """
    found = ENHANCED.match(exc.message)
    if found is not None:
        return found[1] in DEAD_DETAILS
    is_of_sender = "sender" in exc.message.lower()  # Exim tells what a call back to the sender's server said
    return exc.code in NO_SUCH_ADDRESS and not is_of_sender and DEAD_WORDS.search(exc.message) is not None


def _note_reason(exc: Exception) -> Mapping[str, str]:
    """For the operator: a name that does not resolve, a certificate that is not valid."""
    return {"message": f"{type(exc).__name__}: {exc}"[:KEPT_CHARS]}
