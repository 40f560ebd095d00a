"""Codes and links on their way out: make one, store its hash, send it.

All inside the flow's transaction and sent last, so that a sender that fails leaves nothing behind (GoTrue
mail.go, phone.go).
"""

from typing import Literal

from basalt.auth.addresses import phone_digits
from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.messages import Channel, MailKind, Ticket
from basalt.auth.one_time import PKCE_PREFIX, TokenType, hash_code, new_code, store_code
from basalt.auth.users import Transaction, User, reload_user
from basalt.senders import takes_whatsapp


async def send_confirmation(call: Call, tx: Transaction, user: User, *, is_pkce: bool = False) -> None:
    """The mail that confirms a new address. Raises AuthError over_email_send_rate_limit."""
    ticket = _ticket(call, user.email, "signup", is_pkce=is_pkce)
    await store_code(
        tx,
        user,
        "confirmation",
        {"confirmation_token": (user.email, ticket.token_hash)},
        max_frequency_s=call.settings.email.max_frequency_s,
    )
    await _mail(call, tx, "confirmation", user, user.email, ticket)


async def send_invitation(call: Call, tx: Transaction, user: User) -> None:
    ticket = _ticket(call, user.email, "invite")
    await store_code(tx, user, "invitation", {"confirmation_token": (user.email, ticket.token_hash)})
    await _mail(call, tx, "invite", user, user.email, ticket)


async def send_recovery(
    call: Call,
    tx: Transaction,
    user: User,
    kind: Literal["recovery", "magic_link"],
    *,
    is_pkce: bool = False,
) -> None:
    """The mail to choose a new password or to sign in; both use the recovery token and share its
    frequency."""
    ticket = _ticket(call, user.email, "recovery" if kind == "recovery" else "magiclink", is_pkce=is_pkce)
    await store_code(
        tx,
        user,
        "recovery",
        {"recovery_token": (user.email, ticket.token_hash)},
        max_frequency_s=call.settings.email.max_frequency_s,
    )
    await _mail(call, tx, kind, user, user.email, ticket)


async def send_reauthentication(call: Call, tx: Transaction, user: User) -> None:
    ticket = _ticket(call, user.email, "reauthentication")
    await store_code(
        tx,
        user,
        "reauthentication",
        {"reauthentication_token": (user.email, ticket.token_hash)},
        max_frequency_s=call.settings.email.max_frequency_s,
    )
    await _mail(call, tx, "reauthentication", user, user.email, ticket)


async def send_email_change(
    call: Call, tx: Transaction, user: User, email: str, *, is_pkce: bool = False
) -> None:
    """Mails to the new address and, with `double_confirm_changes`, to the present one; each has a code of its
    own."""
    new = _ticket(call, email, "email_change", is_pkce=is_pkce)
    tokens: dict[TokenType, tuple[str, str]] = {"email_change_token_new": (email, new.token_hash)}
    current = None
    if call.settings.email.double_confirm_changes and user.email:
        current = _ticket(call, user.email, "email_change", is_pkce=is_pkce)
        tokens["email_change_token_current"] = (user.email, current.token_hash)
    await store_code(
        tx,
        user,
        "email_change",
        tokens,
        max_frequency_s=call.settings.email.max_frequency_s,
        address=email,
        current_hash=current.token_hash if current else "",
    )
    changing = await reload_user(tx, user)
    await _mail(call, tx, "email_change", changing, email, new, current=current)


async def send_phone_code(
    call: Call,
    tx: Transaction,
    user: User,
    phone: str,
    purpose: Literal["confirmation", "phone_change", "reauthentication"],
    channel: Channel = "sms",
) -> str | None:
    """A code by text message. Returns the message id where there is one: numbers under test get their fixed
    code and no message. Raises AuthError over_sms_send_rate_limit, sms_send_failed."""
    fixed = test_code(call, phone)
    code = fixed or new_code(call.settings.sms.otp_length)
    token_type: TokenType = (
        "confirmation_token"
        if purpose == "confirmation"
        else "phone_change_token"
        if purpose == "phone_change"
        else "reauthentication_token"
    )
    try:
        await store_code(
            tx,
            user,
            purpose,
            {token_type: (phone, hash_code(phone, code))},
            max_frequency_s=call.settings.sms.max_frequency_s,
            address=phone,
        )
    except AuthError as error:
        if error.code == "over_email_send_rate_limit":
            raise AuthError("over_sms_send_rate_limit", error.message) from None
        raise
    if fixed is not None:
        return "test-otp"
    await call.auth.limits.check_sending("sms", phone)
    await call.auth.messages.text(call.request, tx, purpose, user, phone, code, channel)
    return None


def test_code(call: Call, phone: str) -> str | None:
    """The fixed code of a number in `auth.sms.test_otp`."""
    for number, code in call.settings.sms.test_otp.items():
        if phone_digits(number) == phone:
            return code
    return None


def check_channel(call: Call, channel: str) -> Channel:
    """Raises AuthError validation_failed. No channel means text message; a hook for text messages is not told the
    channel and takes any (GoTrue sms_provider.go IsValidMessageChannel)."""
    if channel in ("", "sms"):
        return "sms"
    if channel == "whatsapp" and takes_whatsapp(call.settings.sms):
        return "whatsapp"
    if call.auth.hooks.is_enabled("send_sms"):
        return "sms"
    raise AuthError("validation_failed", "Invalid channel, supported values are 'sms' or 'whatsapp'.")


async def _mail(
    call: Call,
    tx: Transaction,
    kind: MailKind,
    user: User,
    to: str,
    ticket: Ticket,
    *,
    current: Ticket | None = None,
) -> None:
    """Every mail with a code or link leaves here; `send_phone_code` is the same for text messages. Only what is
    really sent counts against the limits: the code is stored by now, so it was not too soon."""
    await call.auth.limits.check_sending("email", to)
    if current is not None:
        await call.auth.limits.check_sending("email", user.email)
    await call.auth.messages.mail(call.request, tx, kind, user, to, ticket, call.redirect_to, current=current)


def _ticket(call: Call, address: str, verify_as: str, *, is_pkce: bool = False) -> Ticket:
    code = new_code(call.settings.email.otp_length)
    prefix = PKCE_PREFIX if is_pkce else ""
    return Ticket(code, prefix + hash_code(address, code), verify_as)
