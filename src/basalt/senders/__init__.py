"""Mail, text messages and push: one module per way out, behind one `Sender`.

In development everything goes to the Inbox, a table that the console shows and tests read. `choice` finds the sender
that a project's settings ask for.
"""

from basalt.senders.choice import (
    build_text_sender,
    check_text_settings,
    choose_mail_sender,
    find_text_provider,
    takes_whatsapp,
)
from basalt.senders.inbox import Inbox, InboxMessage, load_inbox
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
from basalt.senders.smtp import SmtpSender
from basalt.senders.twilio import TwilioVerifySender

__all__ = [
    "Channel",
    "CodeChecker",
    "Inbox",
    "InboxMessage",
    "Mail",
    "MailSender",
    "SendError",
    "Sender",
    "SmtpSender",
    "TextMessage",
    "TextSender",
    "TwilioVerifySender",
    "build_text_sender",
    "check_text_settings",
    "choose_mail_sender",
    "find_text_provider",
    "load_inbox",
    "takes_whatsapp",
]
