"""The Messenger of a project, put together from its settings: templates, senders, bounds.

Everything that can be wrong with them is found here, before the first message.
"""

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from basalt.auth.hooks import Hooks
from basalt.auth.mail_templates import MailTemplates
from basalt.auth.messages import Delivery, Messenger
from basalt.auth.send_slots import SendSlots
from basalt.auth.templates import Template, TemplateError, parse_template
from basalt.config import ConfigError, Problem, Settings
from basalt.http import OutgoingClient
from basalt.senders import (
    Inbox,
    Sender,
    SmtpSender,
    TextSender,
    TwilioVerifySender,
    build_text_sender,
    check_text_settings,
    choose_mail_sender,
)

# Of the pool's 16 connections; the others are for requests that send nothing.
SENDS_AT_ONCE: Final = 8
SENDS_WAITING: Final = 4


def build_messenger(
    settings: Settings, hooks: Hooks, http: OutgoingClient, inbox: Inbox, sender: Sender | None
) -> tuple[Messenger, SmtpSender | None]:
    """The messenger, and what is to be closed with it. `sender` carries everything where it is given, whatever the
    settings say. Raises ConfigError."""
    auth = settings.auth
    smtp = None if sender else _choose_mail_sender(settings)
    texts: TextSender | None = sender
    if sender is None and check_text_settings(auth.sms, config_file=_config_file(settings)):
        texts = build_text_sender(auth.sms, http)
    delivery = Delivery(
        mails=sender or smtp or inbox,
        texts=texts or inbox,
        checker=texts if isinstance(texts, TwilioVerifySender) else None,
        slots=SendSlots(at_once=SENDS_AT_ONCE, waiting=SENDS_WAITING, wait_s=auth.email.smtp.timeout_s),
    )
    messenger = Messenger(
        auth.site_url,
        settings.api_url,
        MailTemplates(auth, settings.project_dir),
        _parse_text_templates(settings),
        delivery,
        hooks,
    )
    return messenger, smtp


def check_message_settings(settings: Settings) -> None:
    """What a start checks before anything is started. Raises ConfigError for templates and senders that will not
    do."""
    if settings.auth.enabled:
        MailTemplates(settings.auth, settings.project_dir)
        _parse_text_templates(settings)
        _choose_mail_sender(settings)
        check_text_settings(settings.auth.sms, config_file=_config_file(settings))


def _choose_mail_sender(settings: Settings) -> SmtpSender | None:
    local_name = urlsplit(settings.api_url).hostname or "localhost"
    return choose_mail_sender(
        settings.auth.email.smtp, local_name=local_name, config_file=_config_file(settings)
    )


def _parse_text_templates(settings: Settings) -> Template:
    """The text of codes; that of second factors is only checked."""
    _parse(settings, "auth.mfa.phone.template", settings.auth.mfa.phone.template)
    return _parse(settings, "auth.sms.template", settings.auth.sms.template)


def _parse(settings: Settings, key: str, source: str) -> Template:
    try:
        return parse_template(source)
    except TemplateError as exc:
        raise ConfigError([Problem(str(_config_file(settings)), key, str(exc))]) from exc


def _config_file(settings: Settings) -> Path:
    return settings.project_dir / "supabase" / "config.toml"
