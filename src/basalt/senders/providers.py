"""Which providers a project has by its settings, each a `DeliverySender` of its own, and whose webhooks it reads.

The environment decides: in the Inbox nothing leaves the machine; sandbox and production have credentials of their own,
and what one lacks is not taken from the other. A provider's module is imported when the settings name the provider.
"""

from collections.abc import Callable, Iterator, Mapping
from email.utils import formataddr
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from basalt.config import (
    MAIL_PROVIDERS,
    Settings,
    TwilioMessageSettings,
    find_configured,
    has_server,
)
from basalt.http import OutgoingClient
from basalt.late import LateModule
from basalt.senders.choice import build_text_sender, check_text_settings
from basalt.senders.delivery import DeliverySender, ReportReader
from basalt.senders.inbox import InboxDeliverySender, Pool
from basalt.senders.provider_keys import build_with_key
from basalt.senders.push import PUSH_BUILDERS, check_push_keys

if TYPE_CHECKING:
    from basalt.senders import (
        resend,
        resend_reports,
        sendgrid,
        sendgrid_reports,
        smtp_connections,
        smtp_delivery,
        text_delivery,
        twilio_messages,
        twilio_reports,
    )
else:
    resend = LateModule("basalt.senders.resend")
    resend_reports = LateModule("basalt.senders.resend_reports")
    sendgrid = LateModule("basalt.senders.sendgrid")
    sendgrid_reports = LateModule("basalt.senders.sendgrid_reports")
    smtp_connections = LateModule("basalt.senders.smtp_connections")
    smtp_delivery = LateModule("basalt.senders.smtp_delivery")
    text_delivery = LateModule("basalt.senders.text_delivery")
    twilio_messages = LateModule("basalt.senders.twilio_messages")
    twilio_reports = LateModule("basalt.senders.twilio_reports")

TEXT_PROVIDERS: Final = ("twilio", "messagebird", "textlocal", "vonage")


def check_provider_keys(settings: Settings) -> None:
    """What a start checks before anything is started. Raises ConfigError for keys and webhook secrets that are none."""
    if settings.notify.enabled:
        check_push_keys(settings)
        report_readers(settings)


def build_delivery_senders(settings: Settings, pool: Pool) -> Mapping[str, DeliverySender]:
    """By the provider's name; close each. `pool` is for the Inbox: it logs in as a role that may insert. Raises
    ConfigError."""
    if settings.notify.environment == "inbox":
        return {"inbox": InboxDeliverySender(pool)}
    chosen = settings.notify.email_provider
    wanted = {
        name
        for name in find_configured(settings.notify.credentials)
        if not chosen or name == chosen or name not in MAIL_PROVIDERS
    }
    senders = {name: build(settings) for name, build in BUILDERS.items() if name in wanted}
    if not senders.keys() & set(MAIL_PROVIDERS) and _may_use_auth(settings):
        senders |= _mails_by_auth(settings)
    if "twilio" not in senders and _may_use_auth(settings):
        senders |= _texts_by_auth(settings)
    return senders


def choose_provider(
    channel: str, address_provider: str | None, senders: Mapping[str, DeliverySender]
) -> str | None:
    """Who takes messages of a channel; None where nobody does. An address for push belongs to one provider.

    >>> choose_provider("push", "apns", {"fcm": ...}), choose_provider("push", "apns", {"inbox": ...})
    (None, 'inbox')
    """
    if "inbox" in senders:
        return "inbox"
    candidates = {"email": MAIL_PROVIDERS, "sms": TEXT_PROVIDERS, "push": (address_provider,)}
    return next((name for name in candidates.get(channel, ()) if name in senders), None)


def report_readers(settings: Settings) -> Mapping[str, ReportReader]:
    """Of providers whose webhooks can be checked. Raises ConfigError for a secret or key that is none."""
    credentials = settings.notify.credentials
    readers: dict[str, ReportReader] = {}
    if secret := credentials.resend.webhook_secret:
        readers["resend"] = build_with_key(
            settings, "resend.webhook_secret", lambda: resend_reports.ResendReportReader(secret)
        )
    if key := credentials.sendgrid.webhook_public_key:
        readers["sendgrid"] = build_with_key(
            settings, "sendgrid.webhook_public_key", lambda: sendgrid_reports.SendGridReportReader(key)
        )
    if token := credentials.twilio.auth_token or _twilio_of_auth(settings).auth_token:
        readers["twilio"] = twilio_reports.TwilioReportReader(token)
    return readers


def _build_resend(settings: Settings) -> DeliverySender:
    return resend.ResendSender(settings.notify.credentials.resend, OutgoingClient())


def _build_sendgrid(settings: Settings) -> DeliverySender:
    is_sandbox = settings.notify.environment == "sandbox"
    section = settings.notify.credentials.sendgrid
    return sendgrid.SendGridSender(section, OutgoingClient(), is_sandbox=is_sandbox)


def _build_smtp(settings: Settings) -> DeliverySender:
    section = settings.notify.credentials.smtp
    server = smtp_connections.MailServer(section.host, section.port, section.user, section.password)
    return smtp_delivery.SmtpDeliverySender(
        server, section.sender, local_name=_local_name(settings), rate_per_s=section.rate_per_s
    )


def _build_twilio(settings: Settings) -> DeliverySender:
    return _twilio_by(settings, settings.notify.credentials.twilio)


BUILDERS: Final[Mapping[str, Callable[[Settings], DeliverySender]]] = {
    "resend": _build_resend,
    "sendgrid": _build_sendgrid,
    "smtp": _build_smtp,
    "twilio": _build_twilio,
    **PUSH_BUILDERS,
}


def _may_use_auth(settings: Settings) -> bool:
    """Auth's own credentials are those of production."""
    return settings.notify.environment == "production"


def _mails_by_auth(settings: Settings) -> Iterator[tuple[str, DeliverySender]]:
    smtp = settings.auth.email.smtp
    if not has_server(smtp):
        return
    assert smtp.host
    server = smtp_connections.MailServer(
        smtp.host, smtp.port, smtp.user or "", smtp.password or "", smtp.timeout_s
    )
    sender = formataddr((smtp.sender_name, smtp.admin_email))
    yield "smtp", smtp_delivery.SmtpDeliverySender(server, sender, local_name=_local_name(settings))


def _texts_by_auth(settings: Settings) -> Iterator[tuple[str, DeliverySender]]:
    sms = settings.auth.sms
    name = check_text_settings(sms, config_file=settings.supabase_dir / "config.toml")
    if name == "twilio":
        yield name, _twilio_by(settings, _twilio_of_auth(settings))
    elif name in TEXT_PROVIDERS:  # not `twilio_verify`, which words its messages itself
        http = OutgoingClient()
        yield name, text_delivery.TextDeliverySender(name, build_text_sender(sms, http), http)


def _twilio_of_auth(settings: Settings) -> TwilioMessageSettings:
    twilio = settings.auth.sms.twilio
    if not (_may_use_auth(settings) and twilio.enabled):
        return TwilioMessageSettings()
    return TwilioMessageSettings(
        account_sid=twilio.account_sid,
        auth_token=twilio.auth_token or "",
        sender=twilio.message_service_sid,
        api_url=twilio.api_url or "",
    )


def _twilio_by(settings: Settings, section: TwilioMessageSettings) -> DeliverySender:
    status_url = twilio_messages.find_status_url(settings.api_url)
    return twilio_messages.TwilioMessageSender(section, OutgoingClient(), status_url=status_url)


def _local_name(settings: Settings) -> str:
    return urlsplit(settings.api_url).hostname or "localhost"
