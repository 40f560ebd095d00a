"""What is sent, and what a sender is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class Mail:
    """`kind` is the occasion (`confirmation`, `recovery`); `data` holds what a reader of the Inbox wants
    apart (token, links)."""

    to: str
    subject: str
    html: str
    text: str
    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TextMessage:
    """`to` is a number in E.164 digits."""

    to: str
    body: str
    kind: str
    channel: Literal["sms", "whatsapp"] = "sms"
    data: Mapping[str, Any] = field(default_factory=dict)


class Sender(Protocol):
    async def send(self, message: Mail | TextMessage) -> None:
        """Hand the message over for good, or raise."""
