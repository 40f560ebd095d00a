"""Mails that tell a user what was changed in the account (GoTrue mail.go, `…Notification`)."""

from collections.abc import Mapping
from types import MappingProxyType

import psycopg

from basalt import observe
from basalt.auth.call import Call
from basalt.auth.default_mails import NoticeKind as NoticeKind
from basalt.auth.errors import AuthError
from basalt.auth.users import Transaction, User


async def notify(
    call: Call,
    tx: Transaction,
    user: User,
    kind: NoticeKind,
    values: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Send the notice where `[auth.email.notification.KIND]` is enabled and the user has an address. `values` are the
    template's variables beside Email: OldEmail, OldPhone, Phone, Provider, FactorType. Of a changed address the old
    mailbox is told. A notice that cannot be sent is logged and undoes nothing."""
    to = values.get("OldEmail", "") if kind == "email_changed" else user.email
    if not to:
        return
    try:
        async with tx.transaction():  # a hook in the database may fail without the flow
            await call.auth.messages.notice(call.request, tx, kind, user, to, values, call.redirect_to)
    except (AuthError, psycopg.Error) as error:
        if tx.broken:
            raise
        observe.event("notice_not_sent", level="warning", kind=kind, error=error)
