"""Mails and text messages of the flows on their way out: to the project's hook where it has one, else rendered and
given to the sender.

The variables are GoTrue's (mailer/templatemailer): ConfirmationURL, Token, TokenHash, SiteURL, RedirectTo, Email,
NewEmail, SendingTo, Data; notices have OldEmail, OldPhone, Phone, Provider and FactorType; text messages Code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from basalt import observe
from basalt.auth.default_mails import MailKind as MailKind
from basalt.auth.default_mails import NoticeKind
from basalt.auth.errors import AuthError
from basalt.auth.hooks import Hooks
from basalt.auth.mail_templates import MailTemplate, MailTemplates
from basalt.auth.redirects import verification_link
from basalt.auth.render import render_user
from basalt.auth.send_slots import SendSlots
from basalt.auth.templates import Template, parse_template
from basalt.auth.users import Transaction, User
from basalt.http import Request
from basalt.senders import Channel as Channel
from basalt.senders import CodeChecker, Mail, MailSender, TextMessage, TextSender

# Variable of a notice → field of the hook's email_data.
HOOK_FIELDS: Final = {
    "OldEmail": "old_email",
    "OldPhone": "old_phone",
    "Provider": "provider",
    "FactorType": "factor_type",
}


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a mail hands over: a code, its stored form, and the type under which `/verify` takes them."""

    code: str
    token_hash: str
    verify_as: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """Who carries the messages. `checker` is there where the provider of text messages makes the codes itself."""

    mails: MailSender
    texts: TextSender
    checker: CodeChecker | None
    slots: SendSlots


class Messenger:
    """Renders and sends. Raises AuthError when the sender fails, so that the flow undoes what it did."""

    def __init__(
        self,
        site_url: str,
        base_url: str,
        templates: MailTemplates,
        sms_template: Template,
        delivery: Delivery,
        hooks: Hooks,
    ) -> None:
        self._site_url = site_url
        self._base_url = base_url
        self._templates = templates
        self._sms_template = sms_template
        self._delivery = delivery
        self._hooks = hooks

    @property
    def checks_codes_elsewhere(self) -> bool:
        """Whether texted codes are made and checked by the provider; stored ones are then never seen by users."""
        return self._delivery.checker is not None and not self._hooks.is_enabled("send_sms")

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
        *,
        current: Ticket | None = None,
    ) -> None:
        """`current` is the ticket of the present mailbox in a change of address that both confirm. Raises AuthError
        unexpected_failure, request_timeout, over_email_send_rate_limit, and what a hook refuses."""
        async with self._delivery.slots.take("email"):
            if self._hooks.is_enabled("send_email"):
                data = self._hook_data(ticket.verify_as, redirect_to, ticket, current)
                payload = {"user": render_user(user), "email_data": data}
                await self._hooks.run(request, tx, "send_email", payload)
                return
            await self._mail(kind, user, to, ticket, redirect_to)
            if current is not None:
                await self._mail(kind, user, user.email, current, redirect_to)

    async def notice(
        self,
        request: Request,
        tx: Transaction,
        kind: NoticeKind,
        user: User,
        to: str,
        values: Mapping[str, str],
        redirect_to: str,
    ) -> None:
        """Nothing happens where the project does not want such notices. Raises AuthError like `mail`."""
        template = self._templates.find_notice(kind, user.user_metadata)
        if template is None:
            return
        async with self._delivery.slots.take("email"):
            if self._hooks.is_enabled("send_email"):
                data = self._hook_data(f"{kind}_notification", redirect_to, Ticket("", "", ""), None)
                data |= {HOOK_FIELDS[name]: value for name, value in values.items() if name in HOOK_FIELDS}
                payload = {"user": render_user(user), "email_data": data}
                await self._hooks.run(request, tx, "send_email", payload)
                return
            known = {"SiteURL": self._site_url, "Email": user.email, "Data": user.user_metadata}
            await self._send(template, known | dict(values), f"{kind}_notification", to, dict(values))

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
        """`template` is the text where it is not `auth.sms.template`; `kind` "mfa" is told to the hook. Raises
        AuthError sms_send_failed, request_timeout, over_sms_send_rate_limit, and what a hook refuses."""
        async with self._delivery.slots.take("sms"):
            if self._hooks.is_enabled("send_sms"):
                sms = {"otp": code, "phone": to} | ({"sms_type": "mfa"} if kind == "mfa" else {})
                payload = {"user": render_user(user), "sms": sms}
                await self._hooks.run(request, tx, "send_sms", payload)
                return
            try:
                words = self._sms_template if template is None else parse_template(template)
                body = words.render({"Code": code, "Token": code})
                await self._delivery.texts.send(
                    TextMessage(to=to, body=body, kind=kind, channel=channel, code=code, data={"token": code})
                )
            except Exception as exc:
                observe.event("text_not_sent", level="error", kind=kind, error=exc)
                raise AuthError("sms_send_failed", f"Error sending {kind} OTP to provider") from exc

    async def check_code(self, to: str, code: str) -> bool:
        """Whether the provider made this code for the number, where `checks_codes_elsewhere`. One that cannot be asked
        proves nothing."""
        assert self._delivery.checker is not None
        async with self._delivery.slots.take("sms"):
            try:
                return await self._delivery.checker.check_code(to, code)
            except Exception as exc:
                observe.event("code_not_checked", level="error", error=exc)
                return False

    async def _mail(self, kind: MailKind, user: User, to: str, ticket: Ticket, redirect_to: str) -> None:
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
        data = {
            "token": ticket.code,
            "token_hash": ticket.token_hash,
            "confirmation_url": values.get("ConfirmationURL"),
            "redirect_to": values.get("RedirectTo"),
        }
        await self._send(self._templates.find(kind, user.user_metadata), values, kind, to, data)

    async def _send(
        self, template: MailTemplate, values: Mapping[str, Any], kind: str, to: str, data: Mapping[str, Any]
    ) -> None:
        try:
            mail = template.render(values)
            message = Mail(to=to, subject=mail.subject, html=mail.html, text=mail.text, kind=kind, data=data)
            await self._delivery.mails.send(message)
        except Exception as exc:
            observe.event("mail_not_sent", level="error", kind=kind, error=exc)
            raise AuthError("unexpected_failure", f"Error sending {kind.replace('_', ' ')} email") from exc

    def _hook_data(
        self, action: str, redirect_to: str, ticket: Ticket, current: Ticket | None
    ) -> dict[str, str]:
        """GoTrue's `email_data`. In a change of address that both mailboxes confirm, each hash stands beside the
        other one's code there (mail.go sendEmail); hooks in use rely on it."""
        data = {
            "token": ticket.code,
            "token_hash": ticket.token_hash,
            "redirect_to": redirect_to,
            "email_action_type": action,
            "site_url": f"{self._base_url}/auth/v1",
            **dict.fromkeys(("token_new", "token_hash_new", *HOOK_FIELDS.values()), ""),
        }
        if current is not None:
            data |= {"token": current.code, "token_new": ticket.code, "token_hash_new": current.token_hash}
        return data
