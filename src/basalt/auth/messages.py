"""Mails and text messages of the flows: subjects, bodies, links, and the way to the sender.

The variables are GoTrue's (mailer/templatemailer): ConfirmationURL, Token, TokenHash, SiteURL, RedirectTo,
Email, NewEmail, SendingTo, Data; text messages have Code. The words of the default templates are our own.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

from basalt import observe
from basalt.auth.errors import AuthError
from basalt.auth.hooks import Hooks
from basalt.auth.redirects import verification_link
from basalt.auth.templates import Template, TemplateError, parse_template
from basalt.auth.users import Transaction, User
from basalt.config import AuthSettings
from basalt.http import Request
from basalt.senders import Mail, Sender, TextMessage

MailKind = Literal["confirmation", "recovery", "invite", "magic_link", "email_change", "reauthentication"]
Channel = Literal["sms", "whatsapp"]

LINK_AND_CODE: Final = """<p><a href="{{ .ConfirmationURL }}">%s</a></p>
<p>Or enter this code: <strong>{{ .Token }}</strong></p>
"""

# kind: (subject, HTML, text)
DEFAULTS: Final[dict[MailKind, tuple[str, str, str]]] = {
    "confirmation": (
        "Please confirm your e-mail address",
        "<h2>Welcome</h2>\n<p>One step is left: confirm that this address is yours.</p>\n"
        + LINK_AND_CODE % "Confirm my address",
        "Confirm that this address is yours:\n{{ .ConfirmationURL }}\n\nOr enter this code: {{ .Token }}\n",
    ),
    "recovery": (
        "Choose a new password",
        "<h2>New password</h2>\n<p>Somebody, hopefully you, asked for a new password.</p>\n"
        + LINK_AND_CODE % "Choose a new password"
        + "<p>If it was not you, nothing has changed and this mail can be deleted.</p>\n",
        "Choose a new password:\n{{ .ConfirmationURL }}\n\nOr enter this code: {{ .Token }}\n\n"
        "If it was not you who asked, nothing has changed.\n",
    ),
    "invite": (
        "You are invited",
        "<h2>You are invited</h2>\n<p>An account at {{ .SiteURL }} is waiting for you.</p>\n"
        + LINK_AND_CODE % "Accept the invitation",
        "An account at {{ .SiteURL }} is waiting for you:\n{{ .ConfirmationURL }}\n\n"
        "Or enter this code: {{ .Token }}\n",
    ),
    "magic_link": (
        "Your link to sign in",
        "<h2>Sign in</h2>\n<p>This link works once and not for long.</p>\n" + LINK_AND_CODE % "Sign in",
        "Sign in:\n{{ .ConfirmationURL }}\n\nOr enter this code: {{ .Token }}\n",
    ),
    "email_change": (
        "Confirm the change of your e-mail address",
        "<h2>Change of address</h2>\n"
        "<p>Your account is to use {{ .NewEmail }}{{ if .Email }} instead of {{ .Email }}{{ end }}.</p>\n"
        + LINK_AND_CODE % "Confirm the change"
        + "<p>If you did not ask for this, change your password.</p>\n",
        "Your account is to use {{ .NewEmail }}. Confirm the change:\n{{ .ConfirmationURL }}\n\n"
        "Or enter this code: {{ .Token }}\n",
    ),
    "reauthentication": (
        "{{ .Token }} is your code",
        "<h2>Your code</h2>\n<p>Enter it to go on: <strong>{{ .Token }}</strong></p>\n",
        "Enter this code to go on: {{ .Token }}\n",
    ),
}


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a mail hands over: a code, its stored form, and the type under which `/verify` takes them."""

    code: str
    token_hash: str
    verify_as: str


class Messenger:
    """Renders and sends. Raises AuthError when the sender fails, so that the flow undoes what it did."""

    def __init__(self, settings: AuthSettings, base_url: str, sender: Sender, hooks: Hooks) -> None:
        self._site_url = settings.site_url
        self._base_url = base_url
        self._sender = sender
        self._hooks = hooks
        self._templates = {
            kind: tuple(parse_template(part) for part in parts) for kind, parts in DEFAULTS.items()
        }
        self._sms = _parse_sms(settings.sms.template)

    def link(self, ticket: Ticket, redirect_to: str) -> str:
        return verification_link(self._base_url, ticket.token_hash, ticket.verify_as, redirect_to)

    async def mail(
        self,
        request: Request,
        tx: Transaction,
        kind: MailKind,
        user: User,
        to: str,
        ticket: Ticket,
        redirect_to: str,
    ) -> None:
        """Raises AuthError unexpected_failure."""
        values: dict[str, Any] = {
            "SiteURL": self._site_url,
            "Email": user.email,
            "NewEmail": user.email_change,
            "SendingTo": to,
            "Token": ticket.code,
            "Data": user.user_metadata,
        }
        if kind != "reauthentication":
            link = self.link(ticket, redirect_to)
            values |= {"TokenHash": ticket.token_hash, "RedirectTo": redirect_to, "ConfirmationURL": link}
        subject, body, text = self._templates[kind]
        message = Mail(
            to=to,
            # A line break in a subject would start a header of its own; user metadata may hold one.
            subject=" ".join(subject.render(values, as_html=False).split()),
            html=body.render(values, as_html=True),
            text=text.render(values, as_html=False),
            kind=kind,
            data={
                "token": ticket.code,
                "token_hash": ticket.token_hash,
                "confirmation_url": values.get("ConfirmationURL"),
                "redirect_to": values.get("RedirectTo"),
            },
        )
        try:
            await self._sender.send(message)
        except Exception as exc:
            observe.event("mail_not_sent", level="error", kind=kind, error=exc)
            raise AuthError("unexpected_failure", f"Error sending {kind.replace('_', ' ')} email") from exc

    async def text(
        self,
        request: Request,
        tx: Transaction,
        kind: str,
        user: User,
        to: str,
        code: str,
        channel: Channel,
        *,
        template: str | None = None,
    ) -> None:
        """Raises AuthError sms_send_failed."""
        body = self._sms.render({"Code": code, "Token": code}, as_html=False)
        message = TextMessage(to=to, body=body, kind=kind, channel=channel, data={"token": code})
        try:
            await self._sender.send(message)
        except Exception as exc:
            observe.event("text_not_sent", level="error", kind=kind, error=exc)
            raise AuthError("sms_send_failed", f"Error sending {kind} OTP to provider") from exc


def _parse_sms(source: str) -> Template:
    try:
        return parse_template(source)
    except TemplateError as exc:
        raise ValueError(f"auth.sms.template: {exc}") from exc
