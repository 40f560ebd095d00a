"""Mail, text messages and push: one module per way out, behind one `Sender`.

In development everything goes to the Inbox, a table that the console shows and tests read. `choice` finds the sender
that a project's settings ask for.
"""

import importlib
from typing import TYPE_CHECKING

from basalt.senders.choice import (
    build_text_sender,
    check_text_settings,
    choose_mail_sender,
    find_text_provider,
    takes_whatsapp,
)
from basalt.senders.delivery import (
    Delivery,
    DeliverySender,
    ForgedReportError,
    Outcome,
    ReceiptSource,
    ReportReader,
    ReportRequest,
    ReportStatus,
    StatusReport,
    Verdict,
)
from basalt.senders.inbox import Inbox, InboxDeliverySender
from basalt.senders.inbox_reading import (
    INBOX_CHANNELS,
    InboxMessage,
    InboxPage,
    InboxPlace,
    load_inbox,
    load_message_html,
    parse_place,
)
from basalt.senders.message import (
    Channel,
    CodeChecker,
    Mail,
    MailSender,
    Sender,
    SendError,
    TextMessage,
    TextSender,
)
from basalt.senders.pacing import LONGEST_PAUSE_S
from basalt.senders.providers import (
    build_delivery_senders,
    check_provider_keys,
    choose_provider,
    report_readers,
)
from basalt.senders.smtp import SmtpSender
from basalt.senders.twilio import TwilioVerifySender

if TYPE_CHECKING:
    from basalt.senders.mixpanel import MixpanelSender, TrackedEvent

__all__ = [
    "INBOX_CHANNELS",
    "LONGEST_PAUSE_S",
    "Channel",
    "CodeChecker",
    "Delivery",
    "DeliverySender",
    "ForgedReportError",
    "Inbox",
    "InboxDeliverySender",
    "InboxMessage",
    "InboxPage",
    "InboxPlace",
    "Mail",
    "MailSender",
    "MixpanelSender",
    "Outcome",
    "ReceiptSource",
    "ReportReader",
    "ReportRequest",
    "ReportStatus",
    "SendError",
    "Sender",
    "SmtpSender",
    "StatusReport",
    "TextMessage",
    "TextSender",
    "TrackedEvent",
    "TwilioVerifySender",
    "Verdict",
    "build_delivery_senders",
    "build_text_sender",
    "check_provider_keys",
    "check_text_settings",
    "choose_mail_sender",
    "choose_provider",
    "find_text_provider",
    "load_inbox",
    "load_message_html",
    "parse_place",
    "report_readers",
    "takes_whatsapp",
]

_LATE = {"MixpanelSender": "basalt.senders.mixpanel", "TrackedEvent": "basalt.senders.mixpanel"}


def __getattr__(name: str) -> object:
    # The worker's alone.
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LATE[name]), name)
