"""What is sent, and what a sender is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Channel = Literal["sms", "whatsapp"]
Fate = Literal["refused", "retry", "unknown"]


class SendError(Exception):
    """The message did not leave, as far as is known. What it says is for the log. `fate` and `code`: what became of it,
    as in an `Outcome`."""

    def __init__(self, reason: str, *, fate: Fate = "refused", code: str = "not_taken") -> None:
        super().__init__(reason)
        self.fate = fate
        self.code = code


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
    """`to` is a number in E.164 digits; `code` is the code in the body, for providers with templates of their own."""

    to: str
    body: str
    kind: str
    channel: Channel = "sms"
    code: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


class MailSender(Protocol):
    async def send(self, message: Mail) -> None:
        """Hand the message over for good, or raise."""


class TextSender(Protocol):
    async def send(self, message: TextMessage) -> None:
        """Hand the message over for good, or raise."""


class Sender(Protocol):
    """Takes both."""

    async def send(self, message: Mail | TextMessage) -> None:
        """Hand the message over for good, or raise."""


class CodeChecker(Protocol):
    async def check_code(self, to: str, code: str) -> bool:
        """Whether `code` is the one that the provider made and sent to `to`. Raises SendError when it cannot be
        asked."""
