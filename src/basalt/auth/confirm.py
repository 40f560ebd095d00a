"""What a proven address changes in the account, one function per occasion. All run under the lock of the
user's row."""

from typing import Final

import psycopg

from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.notices import notify
from basalt.auth.one_time import TokenType, clear_tokens
from basalt.auth.users import (
    CONFIRM_EMAIL,
    CONFIRM_PHONE,
    SET_PERMANENT,
    Transaction,
    User,
    ensure_identity,
    reload_user,
)

MARK_IDENTITY_EMAIL: Final = """
update auth.identities set identity_data = identity_data || '{"email_verified": true}', updated_at = now()
where user_id = %(id)s and email = %(email)s
"""
MARK_FIRST_OF_TWO: Final = """
update auth.users set email_change_confirm_status = 1, updated_at = now() where id = %(id)s
"""
APPLY_EMAIL_CHANGE: Final = """
update auth.users set email = email_change, email_change = '', email_change_confirm_status = 0,
    email_confirmed_at = coalesce(email_confirmed_at, now()), updated_at = now(),
    raw_user_meta_data = coalesce(raw_user_meta_data, '{}')
        || case when email_confirmed_at is null then '{"email_verified": true}'::jsonb else '{}' end
where id = %(id)s
"""
APPLY_PHONE_CHANGE: Final = """
update auth.users set phone = phone_change, phone_change = '', phone_confirmed_at = now(), updated_at = now()
where id = %(id)s
"""


async def confirm_sign_up(call: Call, tx: Transaction, user: User, used: TokenType) -> User:
    """The address of a sign-up or invitation is the user's own."""
    await record(tx, user, "user_signedup", {"provider": "email"})
    await tx.execute(CONFIRM_EMAIL, {"id": user.id})
    await tx.execute(MARK_IDENTITY_EMAIL, {"id": user.id, "email": user.email})
    await clear_tokens(tx, user)
    return user


async def recover(call: Call, tx: Transaction, user: User, used: TokenType) -> User:
    """A recovery or sign-in link; it also proves the address where that was still open."""
    if user.has_confirmed_email:
        await record(tx, user, "login")
    else:
        await record(tx, user, "user_signedup", {"provider": "email"})
        await tx.execute(CONFIRM_EMAIL, {"id": user.id})
        await tx.execute(MARK_IDENTITY_EMAIL, {"id": user.id, "email": user.email})
    await clear_tokens(tx, user)
    return user


async def confirm_phone(call: Call, tx: Transaction, user: User, used: TokenType) -> User:
    await record(tx, user, "user_signedup", {"provider": "phone"})
    await tx.execute(CONFIRM_PHONE, {"id": user.id})
    await clear_tokens(tx, user)
    await tx.execute(SET_PERMANENT, {"id": user.id})
    return user


async def confirm_email_change(call: Call, tx: Transaction, user: User, used: TokenType) -> User | None:
    """None after the first of two confirmations. Raises AuthError email_exists when the address was taken
    meanwhile."""
    is_first_of_two = (
        call.settings.email.enable_confirmations
        and call.settings.email.double_confirm_changes
        and user.email_change_confirm_status == 0
        and bool(user.email)
    )
    if is_first_of_two:
        await tx.execute(MARK_FIRST_OF_TWO, {"id": user.id})
        return None
    await change_email(call, tx, user)
    return user


async def change_email(call: Call, tx: Transaction, user: User) -> None:
    """The address in `email_change` becomes the user's; whatever else was outstanding is void, and the old mailbox is
    told."""
    await record(tx, user, "user_modified")
    claims = {"email": user.email_change, "email_verified": True}
    try:
        await ensure_identity(tx, user, "email", claims)
        await tx.execute(APPLY_EMAIL_CHANGE, {"id": user.id})
    except psycopg.errors.UniqueViolation as exc:
        raise AuthError("email_exists") from exc
    await clear_tokens(tx, user)
    await tx.execute(SET_PERMANENT, {"id": user.id})
    await notify(call, tx, await reload_user(tx, user), "email_changed", {"OldEmail": user.email})


async def confirm_phone_change(call: Call, tx: Transaction, user: User, used: TokenType) -> User:
    await change_phone(call, tx, user)
    return user


async def change_phone(call: Call, tx: Transaction, user: User) -> None:
    """The number in `phone_change` becomes the user's. Raises AuthError phone_exists when it was taken
    meanwhile."""
    await record(tx, user, "user_modified")
    claims = {"phone": user.phone_change, "phone_verified": True}
    try:
        await ensure_identity(tx, user, "phone", claims)
        await tx.execute(APPLY_PHONE_CHANGE, {"id": user.id})
    except psycopg.errors.UniqueViolation as exc:
        raise AuthError("phone_exists") from exc
    await clear_tokens(tx, user)
    await tx.execute(SET_PERMANENT, {"id": user.id})
    changed = await reload_user(tx, user)
    if changed.phone != user.phone:
        await notify(call, tx, changed, "phone_changed", {"OldPhone": user.phone, "Phone": changed.phone})
    if not user.has_identity("phone"):
        await notify(call, tx, changed, "identity_linked", {"Provider": "phone"})
