"""Identities that a signed-in user adds and removes (GoTrue identity.go)."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import psycopg

from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.external_identity import ExternalProfile, add_identity, identity_traits
from basalt.auth.issue import send_confirmation
from basalt.auth.linking import find_identity
from basalt.auth.notices import notify
from basalt.auth.oauth.authorize import check_linking_enabled
from basalt.auth.one_time import clear_tokens
from basalt.auth.users import (
    CONFIRM_EMAIL,
    SET_PERMANENT,
    Transaction,
    User,
    find_owner_of_email,
    find_user_by_email,
    lock_user,
    merge_user_metadata,
    reload_user,
    set_providers,
)
from basalt.http import Response, json_response

DELETE_IDENTITY: Final = (
    "delete from auth.identities where id = %(id)s and user_id = %(user_id)s returning id"
)
SET_EMAIL: Final = """
update auth.users set email = nullif(%(email)s, ''), email_change = '', email_change_sent_at = null,
    email_change_confirm_status = 0, phone_change = '', phone_change_sent_at = null, confirmation_sent_at = null,
    recovery_sent_at = null, reauthentication_sent_at = null, updated_at = now()
where id = %(id)s
"""
UNCONFIRM_EMAIL: Final = """
update auth.users set email_confirmed_at = null, updated_at = now() where id = %(id)s
"""
FORGET_PHONE: Final = """
update auth.users set phone = null, phone_confirmed_at = null, updated_at = now() where id = %(id)s
"""


async def link_identity(
    call: Call, tx: Transaction, target: User, profile: ExternalProfile, provider: str
) -> User:
    """Raises AuthError identity_already_exists, email_exists, user_banned, and email_not_confirmed: before that one the
    transaction is committed, so that the account waits for its confirmation."""
    known = await find_identity(tx, provider, profile.subject)
    if known is not None:
        own = known["user_id"] == target.id
        message = "Identity is already linked" if own else "Identity is already linked to another user"
        raise AuthError("identity_already_exists", message)
    user = await lock_user(tx, target)
    if user.is_banned or user.is_deleted:
        raise AuthError("user_banned")
    try:
        identity_id = await add_identity(tx, user, provider, profile)
    except psycopg.errors.UniqueViolation as exc:
        raise AuthError("identity_already_exists") from exc
    await record(tx, user, "identity_linked", identity_traits(identity_id, provider, profile.subject))
    await set_providers(tx, user)
    if not user.email and profile.email.email:
        await _take_address(call, tx, user, profile, provider)
    elif user.is_anonymous:
        await tx.execute(SET_PERMANENT, {"id": user.id})
    user = await reload_user(tx, user)
    await notify(call, tx, user, "identity_linked", {"Provider": provider})
    return user


async def unlink(call: Call, identity_id: str) -> Response:
    """Raises AuthError manual_linking_disabled, single_identity_not_deletable, identity_not_found,
    email_conflict_identity_not_deletable, unexpected_audience, validation_failed."""
    check_linking_enabled(call)
    try:
        wanted = UUID(identity_id)
    except ValueError as exc:
        raise AuthError("validation_failed", "identity_id must be an UUID", status=404) from exc
    if call.audience != call.user.audience:
        message = "Token audience doesn't match request audience"
        raise AuthError("unexpected_audience", message, status=403)
    async with call.auth.transaction() as tx:
        user = await lock_user(tx, call.user)
        identity = _deletable(user, wanted)
        traits = identity_traits(wanted, identity["provider"], identity["provider_id"])
        await record(tx, user, "identity_unlinked", traits)
        await tx.execute(DELETE_IDENTITY, {"id": wanted, "user_id": user.id})
        if identity["provider"] == "phone":
            await tx.execute(FORGET_PHONE, {"id": user.id})
        else:
            await _follow_identities(call, tx, await reload_user(tx, user))
        await set_providers(tx, user)
        # To the address that the user had: the one after it may be somebody's who has just taken over.
        await notify(call, tx, user, "identity_unlinked", {"Provider": identity["provider"]})
    return json_response({})


def _deletable(user: User, identity_id: UUID) -> Mapping[str, Any]:
    if len(user.identities) <= 1:
        raise AuthError("single_identity_not_deletable")
    for identity in user.identities:
        if identity["id"] == str(identity_id):
            return identity
    raise AuthError("identity_not_found")


async def _take_address(
    call: Call, tx: Transaction, user: User, profile: ExternalProfile, provider: str
) -> None:
    """A user without an address gets the identity's; one that the provider does not prove waits for confirmation."""
    email = profile.email.email.lower()
    if await find_owner_of_email(tx, email, user.audience, besides=user) is not None:
        raise AuthError("email_exists", status=400)
    try:
        await tx.execute(SET_EMAIL, {"id": user.id, "email": email})
    except psycopg.errors.UniqueViolation as exc:
        raise AuthError("email_exists", status=400) from exc
    await clear_tokens(tx, user)
    if profile.email.verified:
        await tx.execute(CONFIRM_EMAIL, {"id": user.id})
        await tx.execute(SET_PERMANENT, {"id": user.id})
        return
    await send_confirmation(call, tx, await reload_user(tx, user))
    await tx.commit()
    message = f"Unverified email with {provider}. A confirmation email has been sent to your {provider} email"
    raise AuthError("email_not_confirmed", message, status=422)


async def _follow_identities(call: Call, tx: Transaction, user: User) -> None:
    """The user's address is always that of an identity: verified ones first, then the eldest (GoTrue user.go
    UpdateUserEmailFromIdentities)."""
    if any((identity["email"] or "") == user.email for identity in user.identities):
        return
    chosen = await _first_free(tx, user)
    email, verified = chosen["email"] or "", _is_verified(chosen)
    try:
        await tx.execute(SET_EMAIL, {"id": user.id, "email": email})
    except psycopg.errors.UniqueViolation as exc:
        raise AuthError("email_conflict_identity_not_deletable") from exc
    await clear_tokens(tx, user)
    if not email or not (verified or not call.settings.email.enable_confirmations):
        await tx.execute(UNCONFIRM_EMAIL, {"id": user.id})
        await merge_user_metadata(tx, user, {"email_verified": False})


async def _first_free(tx: Transaction, user: User) -> Mapping[str, Any]:
    for identity in sorted(user.identities, key=_rank):  # they come by age
        email = identity["email"]
        if not email or await find_user_by_email(tx, email, user.audience) is None:
            return identity
    raise AuthError("email_conflict_identity_not_deletable")


def _rank(identity: Mapping[str, Any]) -> int:
    if not identity["email"]:
        return 2
    return 0 if _is_verified(identity) else 1


def _is_verified(identity: Mapping[str, Any]) -> bool:
    return (identity["identity_data"] or {}).get("email_verified") is True
