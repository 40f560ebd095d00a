"""`/passkeys/registration/…`: a signed-in user adds a passkey (GoTrue passkey_registration.go)."""

import asyncio
from typing import Final

from basalt.auth.audit import record
from basalt.auth.call import Call, require_not_anonymous
from basalt.auth.errors import AuthError
from basalt.auth.passkeys.ceremony import (
    MalformedCredentialError,
    NewKey,
    RefusedCredentialError,
    check_registration,
    creation_options,
    new_challenge,
    parse_registration,
    relying_party,
)
from basalt.auth.passkeys.challenges import (
    Answer,
    keep_challenge,
    malformed_credential,
    refused_credential,
    use_challenge,
)
from basalt.auth.passkeys.credentials import (
    check_enabled,
    check_may_manage,
    create_passkey,
    load_passkeys,
    render_passkey,
)
from basalt.auth.users import Transaction, User, lock_user
from basalt.http import Response, json_response

MAX_NAME_LENGTH: Final = 64  # authenticators may cut longer ones (Level 3, §6.4.1)


async def begin(call: Call) -> Response:
    """Options for `navigator.credentials.create()`. Raises AuthError passkey_disabled, too_many_passkeys,
    insufficient_aal, validation_failed for users of single sign-on."""
    _check_allowed(call)
    party, challenge = relying_party(call.settings), new_challenge()
    name = call.user.email or call.user.phone or str(call.user.id)
    async with call.auth.transaction() as tx:
        passkeys = await load_passkeys(tx, call.user.id)
        _check_count(call, len(passkeys))
        kept = await keep_challenge(call, tx, "registration", party, challenge, call.user.id)
    options = creation_options(
        party,
        challenge,
        user_id=call.user.id,
        name=name,
        display_name=_display_name(call.user) or name,
        exclude=[passkey.key for passkey in passkeys],
        is_passkey=True,
    )
    return json_response(kept | {"options": options})


async def finish(call: Call) -> Response:
    """The new passkey. Raises AuthError passkey_disabled, webauthn_challenge_not_found, webauthn_challenge_expired,
    webauthn_verification_failed, webauthn_credential_exists, too_many_passkeys, insufficient_aal,
    validation_failed."""
    _check_allowed(call)
    answer = await call.parameters(Answer)
    challenge = await use_challenge(call, "registration", answer, call.user.id)
    key = await _checked(call, challenge, answer.credential)
    async with call.auth.transaction() as tx:
        user = await _locked_user(call, tx)
        passkey = await create_passkey(tx, user, key)
        await record(tx, user, "passkey_created", {"passkey_id": str(passkey.id)})
    return json_response(render_passkey(passkey))


async def _checked(call: Call, challenge: str, credential: object) -> NewKey:
    try:
        parsed = parse_registration(credential)
        return await asyncio.to_thread(check_registration, relying_party(call.settings), challenge, parsed)
    except MalformedCredentialError as exc:
        raise malformed_credential() from exc
    except RefusedCredentialError as exc:
        raise refused_credential() from exc


async def _locked_user(call: Call, tx: Transaction) -> User:
    """Locked while passkeys are counted, so that registrations at once do not go over the limit."""
    user = await lock_user(tx, call.user)
    _check_count(call, len(await load_passkeys(tx, user.id)))
    return user


def _check_allowed(call: Call) -> None:
    check_enabled(call)
    require_not_anonymous(call)
    if call.user.is_sso_user:
        raise AuthError("validation_failed", "SSO users cannot register passkeys", status=422)
    check_may_manage(call)


def _check_count(call: Call, count: int) -> None:
    if count >= call.settings.passkey.max_per_user:
        raise AuthError("too_many_passkeys")


def _display_name(user: User) -> str:
    name = user.user_metadata.get("name")
    return name[:MAX_NAME_LENGTH] if isinstance(name, str) else ""
