"""Mail, text messages and push: one module per way out, behind one `Sender`.

In development everything goes to the Inbox, a table that the console shows and tests read.
"""

from basalt.senders.inbox import Inbox, InboxMessage, load_inbox
from basalt.senders.message import Mail, Sender, TextMessage

__all__ = ["Inbox", "InboxMessage", "Mail", "Sender", "TextMessage", "load_inbox"]
