"""Which senders a project's settings ask for. What is enabled but incomplete stops the start; it is not replaced by the
Inbox, where codes of real users would be read by whoever opens the console."""

from collections.abc import Callable, Mapping
from email.errors import HeaderParseError
from email.headerregistry import Address
from pathlib import Path
from typing import Any, Final

from basalt.config import ConfigError, Problem, SmsSettings, SmtpSettings
from basalt.http import OutgoingClient
from basalt.senders.message import TextSender
from basalt.senders.messagebird import MessageBirdSender
from basalt.senders.smtp import SmtpSender
from basalt.senders.textlocal import TextLocalSender
from basalt.senders.twilio import TwilioSender, TwilioVerifySender
from basalt.senders.vonage import VonageSender

# provider, which is its section's name: (what must be set, sender)
TEXT_PROVIDERS: Final[Mapping[str, tuple[tuple[str, ...], Callable[[Any, OutgoingClient], TextSender]]]] = {
    "twilio": (("account_sid", "auth_token", "message_service_sid"), TwilioSender),
    "twilio_verify": (("account_sid", "auth_token", "message_service_sid"), TwilioVerifySender),
    "messagebird": (("access_key", "originator"), MessageBirdSender),
    "textlocal": (("api_key", "sender"), TextLocalSender),
    "vonage": (("api_key", "api_secret", "sender"), VonageSender),
}
WHATSAPP_PROVIDERS: Final = frozenset({"twilio", "twilio_verify"})
KEYS: Final = {("vonage", "sender"): "from"}  # where a key in the file has another name than here


def choose_mail_sender(settings: SmtpSettings, *, local_name: str, config_file: Path) -> SmtpSender | None:
    """None where no server is configured. Raises ConfigError."""
    if not (settings.enabled and settings.host):
        return None
    if not _is_address(settings.admin_email):
        raise _config_error(config_file, "auth.email.smtp.admin_email", "this is no address")
    if not settings.sender_name.isprintable():
        raise _config_error(config_file, "auth.email.smtp.sender_name", "it holds a control character")
    return SmtpSender(settings, local_name=local_name)


def check_text_settings(settings: SmsSettings, *, config_file: Path) -> str:
    """The name of the one provider that is enabled; empty where none is. Raises ConfigError."""
    enabled = _enabled(settings)
    if not enabled:
        return ""
    if len(enabled) > 1:
        reason = f"{enabled[0]} is enabled too; only one provider can be"
        raise _config_error(config_file, f"auth.sms.{enabled[1]}.enabled", reason)
    [name] = enabled
    section = getattr(settings, name)
    reason = "it is missing, and the provider is enabled"
    missing = [
        Problem(str(config_file), f"auth.sms.{name}.{KEYS.get((name, field), field)}", reason)
        for field in TEXT_PROVIDERS[name][0]
        if not getattr(section, field)
    ]
    if missing:
        raise ConfigError(missing)
    return name


def build_text_sender(settings: SmsSettings, http: OutgoingClient) -> TextSender:
    """The sender of checked settings with a provider."""
    [name] = _enabled(settings)
    return TEXT_PROVIDERS[name][1](getattr(settings, name), http)


def find_text_provider(settings: SmsSettings) -> str:
    """Its name; empty where messages go to the Inbox."""
    return next(iter(_enabled(settings)), "")


def takes_whatsapp(settings: SmsSettings) -> bool:
    """The Inbox does, too."""
    provider = find_text_provider(settings)
    return not provider or provider in WHATSAPP_PROVIDERS


def _is_address(text: str) -> bool:
    try:
        return text.isascii() and text.isprintable() and bool(Address(addr_spec=text).domain)
    except (HeaderParseError, ValueError, IndexError):
        return False


def _enabled(settings: SmsSettings) -> list[str]:
    return [name for name in TEXT_PROVIDERS if getattr(settings, name).enabled]


def _config_error(file: Path, key: str, reason: str) -> ConfigError:
    return ConfigError([Problem(str(file), key, reason)])
