"""An invitation that is accepted by signing in through a provider (GoTrue external.go `processInvite`)."""

import psycopg

from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.external_identity import (
    ExternalProfile,
    add_identity,
    confirm_owner,
    remove_unproven,
)
from basalt.auth.one_time import find_owner, use_token
from basalt.auth.sessions import end_sessions
from basalt.auth.users import Transaction, User, load_user, lock_user, reload_user


async def accept_invitation(
    call: Call, tx: Transaction, profile: ExternalProfile, provider: str, token: str
) -> User:
    """The invited user, now with the provider's identity and nothing else. Raises AuthError invite_not_found,
    validation_failed, identity_already_exists."""
    owner = await find_owner(tx, token, ("confirmation_token",))
    invited = await load_user(tx, owner) if owner else None
    if invited is None:
        raise AuthError("invite_not_found")
    await end_sessions(tx, invited)  # sessions before users: the order in which every flow locks them
    user = await lock_user(tx, invited)
    expiry_s = call.settings.email.otp_expiry_s
    if await use_token(tx, user, ("confirmation_token",), token, expiry_s=expiry_s) is None:
        raise AuthError("invite_not_found")
    if user.email.lower() not in {email.email.lower() for email in profile.emails}:
        message = "Invited email does not match emails from external provider"
        raise AuthError("validation_failed", message)
    try:
        identity_id = await add_identity(tx, user, provider, profile)
    except psycopg.errors.UniqueViolation as exc:
        raise AuthError("identity_already_exists") from exc
    await record(tx, user, "invite_accepted", {"provider": provider})
    await remove_unproven(tx, user, profile, identity_id)
    await confirm_owner(tx, user)
    return await reload_user(tx, user)
