"""Mails that tell a user what was changed in the account (GoTrue mail.go, `…Notification`)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from basalt.auth.call import Call
from basalt.auth.users import Transaction, User

NoticeKind = Literal[
    "password_changed",
    "email_changed",
    "phone_changed",
    "identity_linked",
    "identity_unlinked",
    "mfa_factor_enrolled",
    "mfa_factor_unenrolled",
]


async def notify(
    call: Call,
    tx: Transaction,
    user: User,
    kind: NoticeKind,
    values: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Send the notice where `[auth.email.notification.KIND]` is enabled and the user has an address. `values` are the
    template's variables beside Email: OldEmail, OldPhone, Phone, Provider, FactorType. A notice that cannot be sent is
    logged and undoes nothing."""
