"""Mails and text messages as jobs: `basalt.mail` and `basalt.text`, delivered by the senders of the project's
settings.

Where no SMTP server or no provider is configured they go to the Inbox. Functions make these jobs through
`context.notify`.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from basalt.config import Settings
from basalt.http import OutgoingClient
from basalt.jobs.job import DiscardJob, Handler, Job
from basalt.postgres import DatabaseAccess, open_pool
from basalt.senders import (
    Inbox,
    Mail,
    MailSender,
    TextMessage,
    TextSender,
    build_text_sender,
    check_text_settings,
    choose_mail_sender,
)

INBOX_POOL_SIZE: Final = 2

Payload = TypeVar("Payload", bound=msgspec.Struct)


class MailPayload(msgspec.Struct, forbid_unknown_fields=True):
    """What a `basalt.mail` job carries."""

    to: Annotated[str, msgspec.Meta(min_length=3, max_length=320, pattern="^[^\\s@]+@[^\\s@]+$")]
    subject: Annotated[str, msgspec.Meta(max_length=998, pattern="^[^\\r\\n]*$")]
    html: str | None = None
    text: str | None = None
    kind: str = "message"


class TextPayload(msgspec.Struct, forbid_unknown_fields=True):
    """What a `basalt.text` job carries; `to` in E.164, with or without its plus."""

    to: Annotated[str, msgspec.Meta(pattern="^\\+?[1-9][0-9]{6,14}$")]
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=1600)]
    kind: str = "message"


class MessageJobs:
    """Open it before its handlers are called, and close it after."""

    def __init__(self, settings: Settings, access: DatabaseAccess) -> None:
        self._settings = settings
        self._pool = open_pool(
            access.conninfo("supabase_auth_admin"), max_size=INBOX_POOL_SIZE, name="worker-inbox"
        )
        self._http = OutgoingClient()
        self._stack = AsyncExitStack()
        self._mails: MailSender = Inbox(self._pool)
        self._texts: TextSender = Inbox(self._pool)

    @property
    def handlers(self) -> Mapping[str, Handler]:
        return {"basalt.mail": self._send_mail, "basalt.text": self._send_text}

    async def open(self) -> None:
        """Raises ConfigError for a sender that is enabled and incomplete."""
        auth = self._settings.auth
        config_file = self._settings.supabase_dir / "config.toml"
        local_name = urlsplit(self._settings.api_url).hostname or "localhost"
        self._stack.push_async_callback(self._pool.close)
        self._stack.push_async_callback(self._http.close)
        await self._pool.open()
        smtp = choose_mail_sender(auth.email.smtp, local_name=local_name, config_file=config_file)
        if smtp is not None:
            self._mails = smtp
            self._stack.push_async_callback(smtp.close)
        if check_text_settings(auth.sms, config_file=config_file):
            self._texts = build_text_sender(auth.sms, self._http)

    async def close(self) -> None:
        await self._stack.aclose()

    async def _send_mail(self, job: Job) -> object:
        mail = _read(MailPayload, job.payload)
        if not (mail.html or mail.text):
            raise DiscardJob("the payload is not valid: a mail has html, text or both")
        message = Mail(
            mail.to, mail.subject, mail.html or "", mail.text or "", mail.kind, data={"job": job.id}
        )
        await self._mails.send(message)
        return {"sent": True}

    async def _send_text(self, job: Job) -> object:
        text = _read(TextPayload, job.payload)
        await self._texts.send(
            TextMessage(text.to.removeprefix("+"), text.text, text.kind, data={"job": job.id})
        )
        return {"sent": True}


def _read(kind: type[Payload], value: Any) -> Payload:
    """Raises DiscardJob: what is wrong with a payload stays wrong."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        raise DiscardJob(f"the payload is not valid: {exc}") from exc
