"""A mail as bytes: what every SMTP server is handed."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from types import MappingProxyType


def render_mail(
    *,
    sender: Address,
    to: str,
    subject: str,
    text: str,
    html: str,
    message_id: str,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """Raises HeaderParseError, ValueError or IndexError for what is no address or no header."""
    message = EmailMessage(policy=SMTP_POLICY)
    # The header classes refuse line breaks; templates have none left by then.
    message["From"] = sender
    message["To"] = Address(addr_spec=to)
    message["Subject"] = subject
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = f"<{message_id}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday replies
    for name, value in headers.items():
        message[name] = value
    if text or not html:
        message.set_content(text, cte="quoted-printable")
    if html:  # with a text before it an alternative to that, else the whole
        add = message.add_alternative if text else message.set_content
        add(html, subtype="html", cte="quoted-printable")
    return message.as_bytes()
