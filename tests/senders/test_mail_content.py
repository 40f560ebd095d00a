"""A mail as bytes: whatever is in it, a reader of mails finds it again."""

from email import message_from_bytes
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import default
from typing import Any, cast

import pytest

from basalt.senders.mail_content import render_mail

pytestmark = pytest.mark.req("P13")

SENDER = Address("Habits", addr_spec="hi@habits.example")
BODIES = {
    "plain": "Go on\nAda\n",
    "letters": "Grüße, 你好 🎉\n",
    "long line": "x" * 5000 + "\n" + "ü" * 3000 + "\n",
    "dots": ".\n..\n.hidden\n",
    "spaces": "trailing   \n\ttabs\t\n \n",
    "equals": "a=b =3D =_boundary --=_ =\n",
    "from": "From me to you\n",
    "controls": "a\0b\x07\x0c\u2028\n",
}


def render(**changes: Any) -> tuple[bytes, EmailMessage]:
    given = {
        "sender": SENDER,
        "to": "ada@example.com",
        "subject": "Streak",
        "text": "Go on\n",
        "html": "",
        "message_id": "e.7@habits.example",
    }
    content = render_mail(**cast(Any, {**given, **changes}))
    return content, cast(EmailMessage, message_from_bytes(content, policy=default))


@pytest.mark.parametrize("name", BODIES)
def test_bodies_come_out_as_they_went_in(name: str) -> None:
    body = BODIES[name]
    content, mail = render(text=body, html=body)
    assert mail.defects == []
    assert content.isascii()
    assert max(map(len, content.split(b"\r\n"))) <= 998
    assert content.count(b"\r\n") == content.count(b"\n") == content.count(b"\r")
    for kind in ("plain", "html"):
        part = mail.get_body((kind,))
        assert part is not None
        assert part.get_content().replace("\r\n", "\n") == body
    assert render(text=body)[1].get_content().replace("\r\n", "\n") == body


@pytest.mark.parametrize(("text", "html"), [("a", ""), ("", "b"), ("", ""), ("a", "b")])
def test_there_are_as_many_parts_as_there_are_bodies(text: str, html: str) -> None:
    _, mail = render(text=text, html=html)
    kinds = [part.get_content_type() for part in mail.walk()]
    assert kinds == (
        ["multipart/alternative", "text/plain", "text/html"]
        if text and html
        else ["text/html" if html else "text/plain"]
    )
    assert [part.get_content().strip() for part in mail.walk() if not part.is_multipart()] == (
        [body for body in (text, html) if body] or [""]
    )


@pytest.mark.parametrize("subject", ["Streak", "", "Grüße, 你好", "long " * 60, "ü" * 200, "=?utf-8?q?x?="])
def test_subjects_come_out_as_they_went_in(subject: str) -> None:
    content, mail = render(subject=subject)
    assert content.isascii()
    assert max(map(len, content.split(b"\r\n"))) <= 998
    expected = (
        "x" if subject.startswith("=?") else subject.rstrip()
    )  # words that look encoded are read as such
    assert mail["Subject"].rstrip() == expected
    assert mail["To"] == "ada@example.com"


@pytest.mark.parametrize("name", ["Habits", "Agentwise, the Ägent", 'Ada "the" Countess', "x" * 100, ""])
def test_senders_come_out_as_they_went_in(name: str) -> None:
    _, mail = render(sender=Address(name, addr_spec="hi@habits.example"))
    [address] = mail["From"].addresses
    assert (address.display_name, address.addr_spec) == (name, "hi@habits.example")


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "Hello\r\nBcc: eve@example.com"},
        {"subject": "Hello\nBcc: eve@example.com"},
        {"subject": "Hello\rBcc: eve@example.com"},
        {"to": "ada@example.com\r\nBcc: eve@example.com"},
        {"to": "ada@example.com, eve@example.com"},
        {"message_id": "x>\r\nBcc: eve@example.com"},
        {"headers": {"X-Request-Id": "x\r\nBcc: eve@example.com"}},
        {"headers": {"List-Unsubscribe": "x" * 90 + "\nBcc: eve@example.com"}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_no_line_breaks_out_of_a_header(changes: dict[str, Any]) -> None:
    with pytest.raises((ValueError, IndexError)):
        render(**changes)
