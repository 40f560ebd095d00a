"""What single values of the notification engine's settings cannot tell: a provider that is configured by half. It is
not replaced by another one, nor by the Inbox, where messages to real users would be read by whoever opens the console.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from email.utils import parseaddr
from typing import Any, Final

from basalt.config.auth_settings import SmtpSettings
from basalt.config.notify_settings import NotifySettings, ProviderSettings

# Of each provider: what must be set together. The names are those of the fields.
REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "resend": ("api_key", "sender"),
    "sendgrid": ("api_key", "sender"),
    "smtp": ("host", "sender"),
    "twilio": ("account_sid", "auth_token", "sender"),
    "fcm": ("service_account",),
    "apns": ("key", "key_id", "team_id", "topic"),
    "expo": ("enabled",),
    "onesignal": ("app_id", "api_key"),
    "webpush": ("private_key", "subject"),
    "mixpanel": ("token",),
}
# Of each provider: what is sent in a header. Secrets that come from files like to end with a line break.
IN_HEADERS: Final[Mapping[str, tuple[str, ...]]] = {
    "resend": ("api_key",),
    "sendgrid": ("api_key",),
    "twilio": ("account_sid", "auth_token"),
    "expo": ("access_token",),
    "onesignal": ("api_key",),
    "mixpanel": ("token",),
}
MAIL_PROVIDERS: Final = ("resend", "sendgrid", "smtp")


def find_notify_problems(notify: NotifySettings, smtp: SmtpSettings) -> Iterator[tuple[str, str]]:
    """Keys below `notify` with what is wrong with them. Only the credentials of the environment count; in production
    `smtp`, which is Auth's, sends mails where nobody else does."""
    if notify.environment == "inbox":
        return
    place = "providers" if notify.environment == "production" else "sandbox"
    for name in REQUIRED:
        for key, reason in _find_provider_problems(name, getattr(notify.credentials, name)):
            yield f"{place}.{name}.{key}", reason
    has_smtp = notify.environment == "production" and has_server(smtp)
    yield from _find_choice_problems(notify, place, has_smtp=has_smtp)


def has_server(smtp: SmtpSettings) -> bool:
    return smtp.enabled and bool(smtp.host)


def find_configured(credentials: ProviderSettings) -> frozenset[str]:
    """Providers with all that they need."""
    return frozenset(
        name
        for name, needs in REQUIRED.items()
        if all(getattr(getattr(credentials, name), one) for one in needs)
    )


def idle_sections(environment: str) -> tuple[str, ...]:
    """Credentials that do not count: the variables that they name need not be set."""
    sections = {"production": "notify.providers.", "sandbox": "notify.sandbox."}
    return tuple(prefix for name, prefix in sections.items() if name != environment)


def _find_provider_problems(name: str, section: Any) -> Iterator[tuple[str, str]]:
    missing = [one for one in REQUIRED[name] if not getattr(section, one)]
    if missing and len(missing) < len(REQUIRED[name]):
        for one in missing:
            yield _key_of(section, one), f"it is missing, and {name} is configured otherwise"
    elif not missing and name in MAIL_PROVIDERS and not _is_sender(section.sender):
        yield "from", "this is no address"
    for one in IN_HEADERS.get(name, ()):
        value: str = getattr(section, one)
        if not (value.isascii() and value.isprintable() and value == value.strip()):
            yield _key_of(section, one), "it holds a line break, a space at its end, or what is not ASCII"


def _find_choice_problems(notify: NotifySettings, place: str, *, has_smtp: bool) -> Iterator[tuple[str, str]]:
    configured = find_configured(notify.credentials)
    mail = [name for name in MAIL_PROVIDERS if name in configured]
    if not notify.email_provider:
        if len(mail) > 1:
            yield "email_provider", f"{' and '.join(mail)} are configured: say which one sends mails"
    elif notify.email_provider not in configured and not (notify.email_provider == "smtp" and has_smtp):
        yield "email_provider", f"{place}.{notify.email_provider} is not configured"


def _is_sender(text: str) -> bool:
    _, address = parseaddr(text)
    local, at, domain = address.rpartition("@")
    return bool(local and at and domain) and text.isprintable() and address.isascii()


def _key_of(section: Any, name: str) -> str:
    return next(spec.metadata["key"] or spec.name for spec in fields(section) if spec.name == name)
