"""`/passkeys/authentication/…`: sign-in by a discoverable credential (GoTrue passkey_authentication.go).

Nobody says who they are: the browser offers the passkeys of the relying party, and the chosen one brings the user's id
as its user handle.
"""

import asyncio
from uuid import UUID

from webauthn.helpers.structs import AuthenticationCredential

from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.passkeys.ceremony import (
    Assertion,
    MalformedCredentialError,
    RefusedCredentialError,
    check_assertion,
    new_challenge,
    parse_assertion,
    relying_party,
    request_options,
    user_handle,
)
from basalt.auth.passkeys.challenges import (
    Answer,
    keep_challenge,
    malformed_credential,
    refused_credential,
    use_challenge,
)
from basalt.auth.passkeys.credentials import Passkey, check_enabled, count_use, load_passkeys
from basalt.auth.tokens import issue_session, session_response
from basalt.auth.users import User, load_user
from basalt.http import Response, json_response


async def begin(call: Call) -> Response:
    """Options for `navigator.credentials.get()`. Raises AuthError passkey_disabled, over_request_rate_limit."""
    check_enabled(call)
    await call.auth.limits.check("passkey", call.request)
    party, challenge = relying_party(call.settings), new_challenge()
    async with call.auth.transaction() as tx:
        kept = await keep_challenge(call, tx, "authentication", party, challenge, None)
    return json_response(kept | {"options": request_options(party, challenge, ())})


async def finish(call: Call) -> Response:
    """A session. Raises AuthError passkey_disabled, webauthn_challenge_not_found, webauthn_challenge_expired,
    webauthn_verification_failed, email_not_confirmed, phone_not_confirmed, user_banned, validation_failed."""
    check_enabled(call)
    await call.auth.limits.check("passkey", call.request)
    answer = await call.parameters(Answer)
    challenge = await use_challenge(call, "authentication", answer, None)
    try:
        credential = parse_assertion(answer.credential)
    except MalformedCredentialError as exc:
        raise malformed_credential() from exc
    user, passkey = await _find(call, credential)
    assertion = await _checked(call, challenge, credential, passkey)
    # Told to the holder of the passkey alone.
    if user.email and not user.has_confirmed_email:
        raise AuthError("email_not_confirmed", status=403)
    if user.phone and not user.has_confirmed_phone:
        raise AuthError("phone_not_confirmed", status=403)
    async with call.auth.transaction() as tx:
        if not await count_use(tx, passkey, assertion):
            raise refused_credential()
        await record(tx, user, "login", {"passkey_id": str(passkey.id)})
        session = await issue_session(call, tx, user, "passkey")
    return session_response(session)


async def _find(call: Call, credential: AuthenticationCredential) -> tuple[User, Passkey]:
    """The user of the handle, and which of their passkeys it is."""
    handle = credential.response.user_handle or b""
    try:
        user_id = UUID(handle.decode("ascii"))
    except ValueError as exc:
        raise refused_credential() from exc
    async with call.auth.transaction() as tx:
        user = await load_user(tx, user_id)
        passkeys = await load_passkeys(tx, user_id)
    for passkey in passkeys:
        if user is not None and passkey.key.id == credential.raw_id and handle == user_handle(user.id):
            return user, passkey
    raise refused_credential()


async def _checked(
    call: Call, challenge: str, credential: AuthenticationCredential, passkey: Passkey
) -> Assertion:
    party = relying_party(call.settings)
    try:
        return await asyncio.to_thread(check_assertion, party, challenge, credential, passkey.key)
    except RefusedCredentialError as exc:
        raise refused_credential() from exc
