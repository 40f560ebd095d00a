"""Somebody whom another provider has identified comes in: OAuth, ID tokens, SAML and wallets all end here (GoTrue
external.go `createAccountFromExternalIdentity`).

An account whose address nobody has proven may have been laid out by somebody else, to wait for the address's owner.
When the owner arrives by a provider that proves the address, whatever gave access before is removed: password,
other identities, and (further than GoTrue) sessions, phone number, second factors and passkeys.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

import psycopg

from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.issue import send_confirmation
from basalt.auth.linking import SSO_PREFIX, Decision, ProviderEmail, decide_linking
from basalt.auth.new_users import admit_user
from basalt.auth.one_time import clear_tokens
from basalt.auth.sessions import end_sessions
from basalt.auth.users import (
    CONFIRM_EMAIL,
    INSERT_IDENTITY,
    SET_PERMANENT,
    Transaction,
    User,
    as_jsonb,
    lock_user,
    merge_user_metadata,
    reload_user,
    set_providers,
)

__all__ = ["ExternalProfile", "ProviderEmail", "admit_external"]

ATTEMPTS: Final = 4
REFRESH_IDENTITY: Final = """
update auth.identities set identity_data = %(data)s, last_sign_in_at = now(), updated_at = now()
where id = %(id)s
"""
DELETE_OTHER_IDENTITIES: Final = (
    "delete from auth.identities where user_id = %(user_id)s and id <> %(identity_id)s"
)
# The metadata may have been written by whoever laid the account out.
FORGET_UNPROVEN: Final = """
update auth.users set encrypted_password = null, raw_user_meta_data = %(data)s, updated_at = now()
where id = %(id)s
"""
FORGET_ADDRESSES: Final = """
update auth.users set phone = null, phone_confirmed_at = null, phone_change = '', email_change = '',
    email_change_confirm_status = 0, updated_at = now()
where id = %(id)s
"""
DELETE_FACTORS: Final = "delete from auth.mfa_factors where user_id = %(id)s"
DELETE_PASSKEYS: Final = "delete from auth.webauthn_credentials where user_id = %(id)s"


@dataclass(frozen=True, slots=True)
class ExternalProfile:
    """What a provider says of its user. `subject` is who it is there, for ever; `claims` become the identity's data
    and the user's metadata (GoTrue provider.Claims: name, picture, custom_claims, …). `sub`, `email` and
    `email_verified` need not be among them: they follow from the subject and the primary address."""

    subject: str
    claims: Mapping[str, Any]
    emails: tuple[ProviderEmail, ...] = ()

    @property
    def email(self) -> ProviderEmail:
        """The primary address, else the last one."""
        primary = [email for email in self.emails if email.primary]
        return (primary[:1] or list(self.emails[-1:]) or [ProviderEmail("")])[0]

    @property
    def identity_data(self) -> dict[str, Any]:
        data = {"phone_verified": False, **self.claims, "sub": self.subject, "email_verified": False}
        if self.email.email:
            data |= {"email": self.email.email.lower(), "email_verified": self.email.verified}
        return data


async def admit_external(
    call: Call, tx: Transaction, profile: ExternalProfile, provider: str, *, email_optional: bool = False
) -> User:
    """The profile's user: found, joined by a verified address, or new. Raises AuthError signup_disabled, user_banned,
    unexpected_failure, the refusal of a hook, and provider_email_needs_verification: before that one the transaction
    is committed, so that the account waits for its confirmation. Call it outside of savepoints."""
    decision, user = await _admit(call, tx, profile, provider)
    if user.is_banned or user.is_deleted:
        raise AuthError("user_banned")
    has_address = provider != "web3" and not (email_optional and not decision.email)
    if not has_address or user.has_confirmed_email:
        await record(tx, user, "login", {"provider": provider})
    else:
        assert decision.identity_id is not None
        await _prove(call, tx, user, profile, provider, decision)
    return await reload_user(tx, user)


async def add_identity(tx: Transaction, user: User, provider: str, profile: ExternalProfile) -> UUID:
    """Raises psycopg's UniqueViolation when somebody has the identity."""
    identity_id = uuid4()
    parameters = {
        "id": identity_id,
        "provider_id": profile.subject,
        "user_id": user.id,
        "data": as_jsonb(profile.identity_data),
        "provider": provider,
    }
    await tx.execute(INSERT_IDENTITY, parameters)
    return identity_id


def identity_traits(identity_id: UUID, provider: str, subject: str) -> dict[str, str]:
    """What the audit log says of a linked or unlinked identity."""
    return {"identity_id": str(identity_id), "provider": provider, "provider_id": subject}


async def remove_unproven(tx: Transaction, user: User, profile: ExternalProfile, identity_id: UUID) -> None:
    """Only the identity that has just been used keeps giving access (GoTrue RemoveUnconfirmedIdentities)."""
    await tx.execute(FORGET_UNPROVEN, {"id": user.id, "data": as_jsonb(profile.identity_data)})
    await tx.execute(DELETE_OTHER_IDENTITIES, {"user_id": user.id, "identity_id": identity_id})
    await set_providers(tx, user)


async def confirm_owner(tx: Transaction, user: User) -> None:
    """The address is proven: nothing that was set up before is left."""
    for statement in (FORGET_ADDRESSES, DELETE_FACTORS, DELETE_PASSKEYS, CONFIRM_EMAIL, SET_PERMANENT):
        await tx.execute(statement, {"id": user.id})
    await clear_tokens(tx, user)


async def _admit(
    call: Call, tx: Transaction, profile: ExternalProfile, provider: str
) -> tuple[Decision, User]:
    """The decision carried out; its `identity_id` is set. Where the same person came or signed up at the same moment,
    it is decided again with who is there now."""
    for attempt in range(ATTEMPTS):
        try:
            async with tx.transaction():
                return await _carry_out(call, tx, profile, provider)
        except psycopg.errors.UniqueViolation as exc:
            if attempt == ATTEMPTS - 1:
                raise AuthError("unexpected_failure", "Database error saving new user") from exc
    raise AssertionError


async def _carry_out(
    call: Call, tx: Transaction, profile: ExternalProfile, provider: str
) -> tuple[Decision, User]:
    decision = await decide_linking(call, tx, provider, profile.subject, profile.emails)
    if decision.user is None:
        return await _create(call, tx, profile, provider, decision)
    if not decision.user.has_confirmed_email and _is_proven(call, decision):
        await end_sessions(
            tx, decision.user
        )  # sessions before users: the order in which every flow locks them
    user = await lock_user(tx, decision.user)
    if decision.kind == "link":
        decision = await _link(tx, user, profile, provider, decision)
    else:
        parameters = {"id": decision.identity_id, "data": as_jsonb(profile.identity_data)}
        await tx.execute(REFRESH_IDENTITY, parameters)
    await merge_user_metadata(tx, user, profile.identity_data)
    await set_providers(tx, user)
    return decision, await reload_user(tx, user)


async def _link(
    tx: Transaction, user: User, profile: ExternalProfile, provider: str, decision: Decision
) -> Decision:
    identity_id = await add_identity(tx, user, provider, profile)
    await record(tx, user, "identity_linked", identity_traits(identity_id, provider, profile.subject))
    return Decision("link", decision.email, decision.is_verified, user, identity_id)


async def _create(
    call: Call, tx: Transaction, profile: ExternalProfile, provider: str, decision: Decision
) -> tuple[Decision, User]:
    if not call.settings.enable_signup:
        raise AuthError("signup_disabled")
    try:
        user = await admit_user(
            call,
            tx,
            email=decision.email,
            password_hash=None,
            app_metadata={"provider": provider, "providers": [provider]},
            user_metadata=profile.identity_data,
            is_sso_user=provider.startswith(SSO_PREFIX),
        )
        identity_id = await add_identity(tx, user, provider, profile)
    except psycopg.errors.UniqueViolation:
        raise
    except (psycopg.errors.IntegrityError, psycopg.errors.RaiseException) as exc:
        raise AuthError("unexpected_failure", "Database error saving new user") from exc
    created = Decision("create", decision.email, decision.is_verified, user, identity_id)
    return created, await reload_user(tx, user)


async def _prove(
    call: Call, tx: Transaction, user: User, profile: ExternalProfile, provider: str, decision: Decision
) -> None:
    """The address was never confirmed: the provider does it, or a mail has to."""
    assert decision.identity_id is not None
    await remove_unproven(tx, user, profile, decision.identity_id)
    if _is_proven(call, decision):
        await record(tx, user, "user_signedup", {"provider": provider})
        await confirm_owner(tx, user)
        return
    if decision.email:
        await send_confirmation(call, tx, user)
    if call.settings.email.allow_unverified_sign_ins:
        return
    await tx.commit()
    what_next = (
        f"A confirmation email has been sent to your {provider} email"
        if decision.email
        else f"Verify the email with {provider} in order to sign in"
    )
    message = f"Unverified email with {provider}. {what_next}"
    raise AuthError("provider_email_needs_verification", message)


def _is_proven(call: Call, decision: Decision) -> bool:
    return decision.is_verified or not call.settings.email.enable_confirmations
