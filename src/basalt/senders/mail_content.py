"""A mail as bytes (RFC 5322, RFC 2045): what every SMTP server is handed.

Written by hand where that is simple. `email.message` parses and folds each header anew and encodes bodies in Python,
which made a mail cost several times what it costs to hand it over.
"""

import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.headerregistry import Address
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from functools import lru_cache
from secrets import token_hex
from types import MappingProxyType
from typing import Final

LINE_CHARS: Final = 78
LINE_BREAK: Final = re.compile(r"\r\n|\r|\n")


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
    fields = {
        "From": str(sender),
        "To": str(Address(addr_spec=to)),
        "Subject": subject,
        "Date": format_datetime(datetime.now(UTC)),
        "Message-ID": f"<{message_id}>",
        "Auto-Submitted": "auto-generated",  # RFC 3834: no holiday replies
        **headers,
        "MIME-Version": "1.0",
    }
    head = b"".join(_render_field(name, value) for name, value in fields.items())
    parts = [_render_part(kind, body) for kind, body in (("plain", text), ("html", html)) if body]
    if len(parts) < 2:
        return head + (parts[0] if parts else _render_part("plain", ""))
    # What is quoted-printable holds no `=_`: the boundary cannot occur in a part.
    boundary = b"=_" + token_hex(12).encode()
    alternatives = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
    return b'%bContent-Type: multipart/alternative; boundary="%b"\r\n\r\n%b--%b--\r\n' % (
        head, boundary, alternatives, boundary
    )  # fmt: skip


def _render_field(name: str, value: str) -> bytes:
    if value.isascii() and value.isprintable() and len(name) + len(value) + 2 <= LINE_CHARS:
        return f"{name}: {value}\r\n".encode()
    return _fold_field(name, value)


@lru_cache(maxsize=64)
def _fold_field(name: str, value: str) -> bytes:
    """Encoded words and several lines, as the standard library makes them. Of a campaign most mails have the same."""
    if LINE_BREAK.search(value):
        raise ValueError(f"{name} holds a line break")
    folded: str = SMTP_POLICY.fold(name, SMTP_POLICY.header_factory(name, value))
    return folded.encode("ascii")


def _render_part(kind: str, body: str) -> bytes:
    lines = LINE_BREAK.sub("\r\n", body if body.endswith("\n") else f"{body}\n")
    return (
        b'Content-Type: text/%b; charset="utf-8"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n%b'
        % (
            kind.encode(),
            binascii.b2a_qp(lines.encode(), istext=True),
        )
    )
