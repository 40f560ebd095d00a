"""`GET` and `PUT /user`: what signed-in users see and change of themselves (GoTrue user.go)."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from basalt.auth.addresses import normalise_email, normalise_phone
from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.confirm import change_email, change_phone
from basalt.auth.errors import AuthError
from basalt.auth.issue import check_channel, send_email_change, send_phone_code
from basalt.auth.messages import Channel
from basalt.auth.notices import notify
from basalt.auth.one_time import clear_tokens, count_wrong_code, hash_code, use_token
from basalt.auth.pkce import check_challenge, keep_flow
from basalt.auth.provider_codes import use_provider_code
from basalt.auth.render import render_user
from basalt.auth.sessions import end_sessions
from basalt.auth.users import (
    REPLACE_HASH,
    Transaction,
    User,
    find_owner_of_email,
    find_user_by_phone,
    load_user,
    lock_user,
    merge_user_metadata,
    reload_user,
)
from basalt.http import Response, json_response

FRESH_SIGN_IN: Final = timedelta(hours=24)

# Without a proof, where addresses count as confirmed at once.
PREPARE_EMAIL_CHANGE: Final = (
    "update auth.users set email_change = %(address)s, updated_at = now() where id = %(id)s"
)
PREPARE_PHONE_CHANGE: Final = (
    "update auth.users set phone_change = %(address)s, updated_at = now() where id = %(id)s"
)


class Parameters(msgspec.Struct):
    email: str = ""
    phone: str = ""
    password: str | None = None
    current_password: str = ""
    nonce: str = ""
    data: dict[str, Any] | None = None
    app_metadata: dict[str, Any] | None = None
    channel: str = ""
    code_challenge: str = ""
    code_challenge_method: str = ""


async def get_user(call: Call) -> Response:
    audience = call.claims.get("aud")
    named = audience[0] if isinstance(audience, list) and audience else audience
    if named != call.audience:
        raise AuthError("validation_failed", "Token audience doesn't match request audience")
    return json_response(render_user(call.user))


async def update_user(call: Call) -> Response:
    """Raises AuthError email_exists, phone_exists, same_password, weak_password, reauthentication_needed,
    reauthentication_not_valid, not_admin, insufficient_aal, user_sso_managed, validation_failed,
    current_password_required, current_password_invalid, over_…_send_rate_limit."""
    await call.auth.limits.check("otp", call.request)
    parameters = _checked(await call.parameters(Parameters))
    if parameters.password is not None:
        await call.auth.password_rules.check(parameters.password)
    user = call.user
    _check_allowed(call, user, parameters)
    new_hash = await _new_password_hash(call, user, parameters)
    channel = check_channel(call, parameters.channel)
    async with call.auth.transaction() as tx:
        await _check_free(call, tx, user, parameters)
        outcome = await _prove_again(call, tx, user, parameters)
        if outcome is None:
            await _apply(call, tx, user, parameters, new_hash, channel)
            shown = render_user(await reload_user(tx, user))
    if outcome is not None:  # the wrong nonce stays counted
        raise outcome
    return json_response(shown)


async def _apply(
    call: Call, tx: Transaction, user: User, parameters: Parameters, new_hash: str | None, channel: Channel
) -> None:
    if new_hash is not None:
        # Sessions before users: the order in which every flow locks them.
        await end_sessions(tx, user, besides=call.session.id if call.session else None)
        await tx.execute(REPLACE_HASH, {"id": user.id, "password_hash": new_hash or None})
        await clear_tokens(tx, user)
        await record(tx, user, "user_updated_password")
    if parameters.data is not None:
        await merge_user_metadata(tx, user, parameters.data)
    user = await lock_user(tx, user)
    if parameters.email and parameters.email != user.email:
        await _change_email(call, tx, user, parameters)
    if parameters.phone and parameters.phone != user.phone:
        await _change_phone(call, tx, user, parameters.phone, channel)
    if new_hash is not None:
        await notify(call, tx, user, "password_changed")
    await record(tx, user, "user_modified")


async def _change_email(call: Call, tx: Transaction, user: User, parameters: Parameters) -> None:
    if user.is_anonymous and not call.settings.email.enable_confirmations:
        # Like a sign-up with auto-confirmation; a permanent user always proves a new address.
        await tx.execute(PREPARE_EMAIL_CHANGE, {"id": user.id, "address": parameters.email})
        await change_email(call, tx, await reload_user(tx, user))
        return
    is_pkce = bool(parameters.code_challenge)
    if is_pkce:
        await keep_flow(
            tx,
            user,
            "email_change",
            parameters.code_challenge,
            parameters.code_challenge_method,
            provider_type="email_change",
        )
    await send_email_change(call, tx, user, parameters.email, is_pkce=is_pkce)


async def _change_phone(call: Call, tx: Transaction, user: User, phone: str, channel: Channel) -> None:
    if not call.settings.sms.enable_confirmations:
        await tx.execute(PREPARE_PHONE_CHANGE, {"id": user.id, "address": phone})
        await change_phone(call, tx, await reload_user(tx, user))
        return
    await send_phone_code(call, tx, user, phone, "phone_change", channel)


async def _new_password_hash(call: Call, user: User, parameters: Parameters) -> str | None:
    """None: the password stays. Empty: it is taken away. Raises AuthError same_password, current_password_…."""
    if parameters.password is None:
        return None
    if not parameters.password:
        return ""
    if user.password_hash:
        await _check_current_password(call, user, parameters)
    if user.password_hash and await call.auth.passwords.verify(parameters.password, user.password_hash):
        raise AuthError("same_password")
    return await call.auth.passwords.hash(parameters.password)


async def _check_current_password(call: Call, user: User, parameters: Parameters) -> None:
    """With `require_current_password`, but for whoever came by a recovery or other code."""
    if not call.settings.email.require_current_password:
        return
    if call.session is not None and call.session.is_recovery:
        return
    if not parameters.current_password:
        raise AuthError("current_password_required")
    guesses = call.auth.limits.passwords
    async with guesses.turn(user.email or user.phone, call.request):
        if not await call.auth.passwords.verify(parameters.current_password, user.password_hash):
            await guesses.count_wrong(user.email or user.phone, call.request)
            raise AuthError("current_password_invalid")


async def _prove_again(call: Call, tx: Transaction, user: User, parameters: Parameters) -> AuthError | None:
    """With `secure_password_change`, a sign-in of the last day or the nonce of `/reauthenticate`."""
    if parameters.password is None or not call.settings.email.secure_password_change:
        return None
    if call.session is not None and datetime.now(UTC) <= call.session.created_at + FRESH_SIGN_IN:
        return None
    if not parameters.nonce:
        return AuthError("reauthentication_needed")
    address = user.email or user.phone
    section = call.settings.email if user.email else call.settings.sms
    current = await load_user(tx, user.id) or user
    if not user.email and call.auth.messages.checks_codes_elsewhere:
        used = await use_provider_code(call, tx, user, ("reauthentication_token",), address, parameters.nonce)
    else:
        used = await use_token(
            tx,
            current,
            ("reauthentication_token",),
            hash_code(address, parameters.nonce),
            expiry_s=section.otp_expiry_s,
        )
    if used is None:
        await count_wrong_code(tx, user, ("reauthentication_token",))
        return AuthError("reauthentication_not_valid")
    return None


async def _check_free(call: Call, tx: Transaction, user: User, parameters: Parameters) -> None:
    takes_email = parameters.email and parameters.email != user.email
    takes_phone = parameters.phone and parameters.phone != user.phone
    if takes_email and await find_owner_of_email(tx, parameters.email, call.audience, besides=user):
        raise AuthError("email_exists")
    if takes_phone and await find_user_by_phone(tx, parameters.phone, call.audience):
        raise AuthError("phone_exists")


def _checked(parameters: Parameters) -> Parameters:
    email = normalise_email(parameters.email) if parameters.email else ""
    phone = normalise_phone(parameters.phone) if parameters.phone else ""
    check_challenge(parameters.code_challenge, parameters.code_challenge_method)
    return msgspec.structs.replace(parameters, email=email, phone=phone)


def _check_allowed(call: Call, user: User, parameters: Parameters) -> None:
    changes_email = bool(parameters.email) and parameters.email != user.email
    changes_phone = bool(parameters.phone) and parameters.phone != user.phone
    if parameters.app_metadata is not None:
        raise AuthError("not_admin", "Updating app_metadata requires admin privileges")
    changes_sign_in = bool(parameters.password) or changes_email or changes_phone
    is_client = call.session is not None and call.session.grant is not None
    if is_client and (changes_sign_in or parameters.password is not None):
        # An application that a user lets in must not be able to take the account over; GoTrue lets it.
        message = "Tokens of OAuth clients are not allowed to change how a user signs in"
        raise AuthError("no_authorization", message, status=403)
    if user.has_verified_factor and changes_sign_in and (call.session is None or call.session.aal == "aal1"):
        raise AuthError("insufficient_aal")
    if user.is_anonymous and parameters.password and not (parameters.email or parameters.phone):
        raise AuthError(
            "validation_failed",
            "Updating password of an anonymous user without an email or phone is not allowed",
            status=422,
        )
    if user.is_sso_user and (changes_sign_in or parameters.nonce):
        raise AuthError("user_sso_managed")
