"""Security keys as second factors: the WebAuthn part of challenge and verification (GoTrue mfa.go
challengeWebAuthnFactor, verifyWebAuthnFactor).

The first challenge of a factor creates its credential (`create`), later ones ask for an assertion (`request`) by any of
the user's keys, as in GoTrue. Which of the two a challenge is for is stored with it: an aal1 session must not answer a
`request` by creating a key of its own.
"""

import asyncio
import base64
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.mfa.factors import Factor
from basalt.auth.passkeys.ceremony import (
    KnownKey,
    MalformedCredentialError,
    NewKey,
    RefusedCredentialError,
    check_assertion,
    check_registration,
    creation_options,
    new_challenge,
    parse_assertion,
    parse_registration,
    relying_party,
    request_options,
    user_handle,
)
from basalt.auth.users import Transaction, User, as_jsonb

REFUSED: Final = "Invalid WebAuthn response"

SELECT_KEYS: Final = """
select id, web_authn_credential as credential from auth.mfa_factors
where user_id = %(user_id)s and factor_type = 'webauthn' and status = 'verified'
    and web_authn_credential is not null
order by created_at, id
"""
SAVE_KEY: Final = """
update auth.mfa_factors set web_authn_credential = %(credential)s, web_authn_aaguid = %(aaguid)s, updated_at = now()
where id = %(id)s
"""
# Of two assertions with one counter the second one is a copy.
COUNT_USE: Final = """
update auth.mfa_factors set updated_at = now(),
    web_authn_credential = jsonb_set(web_authn_credential, '{authenticator,signCount}', to_jsonb(%(count)s::bigint))
where id = %(id)s and (%(count)s::bigint = 0
    or coalesce((web_authn_credential #>> '{authenticator,signCount}')::bigint, 0) < %(count)s::bigint)
returning id
"""
NOTE_CHALLENGE: Final = """
update auth.mfa_factors set last_webauthn_challenge_data = %(data)s, updated_at = now() where id = %(id)s
"""

Keys = Mapping[UUID, KnownKey]


async def begin_ceremony(
    call: Call, tx: Transaction, factor: Factor
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is stored of the ceremony, and the options for the browser."""
    party, challenge = relying_party(call.settings), new_challenge()
    keys = list((await load_keys(tx, call.user)).values())
    kind = "request" if factor.is_verified else "create"
    if kind == "request":
        options = request_options(party, challenge, keys)
    else:
        options = creation_options(
            party,
            challenge,
            user_id=call.user.id,
            name=call.user.email,  # supabase-js puts the factor's name where this is empty
            display_name=call.user.email,
            exclude=keys,
            is_passkey=False,
        )
    stored = {"challenge": challenge, "rpId": party.id, "userVerification": "preferred", "type": kind}
    return stored, {"type": kind, "credential_options": {"publicKey": options}}


async def load_keys(tx: Transaction, user: User) -> Keys:
    """The user's proven keys by their factors."""
    rows = await (await tx.execute(SELECT_KEYS, {"user_id": user.id})).fetchall()
    return {row["id"]: _known_key(row["credential"]) for row in rows}


async def check_new_key(call: Call, ceremony: Mapping[str, Any], response: object) -> NewKey | AuthError:
    try:
        credential = parse_registration(response)
    except MalformedCredentialError:
        return _malformed()
    try:
        party = relying_party(call.settings)
        return await asyncio.to_thread(check_registration, party, ceremony["challenge"], credential)
    except RefusedCredentialError:
        return AuthError("mfa_verification_failed", REFUSED)


async def check_key(
    call: Call, ceremony: Mapping[str, Any], response: object, keys: Keys
) -> tuple[UUID, int] | AuthError:
    """The factor whose key has answered, and the key's counter."""
    try:
        credential = parse_assertion(response)
    except MalformedCredentialError:
        return _malformed()
    found = next(((owner, key) for owner, key in keys.items() if key.id == credential.raw_id), None)
    handle = credential.response.user_handle
    if found is None or (handle and handle != user_handle(call.user.id)):
        return AuthError("mfa_verification_failed", REFUSED)
    try:
        party = relying_party(call.settings)
        assertion = await asyncio.to_thread(
            check_assertion, party, ceremony["challenge"], credential, found[1]
        )
    except RefusedCredentialError:
        return AuthError("mfa_verification_failed", REFUSED)
    return found[0], assertion.sign_count


async def save_key(tx: Transaction, user: User, factor: Factor, key: NewKey) -> AuthError | None:
    if any(known.id == key.id for known in (await load_keys(tx, user)).values()):
        return AuthError("webauthn_credential_exists", "This credential is already registered")
    row = {"id": factor.id, "credential": as_jsonb(_credential(key)), "aaguid": key.aaguid}
    await tx.execute(SAVE_KEY, row)
    return None


async def count_use(tx: Transaction, factor_id: UUID, sign_count: int) -> AuthError | None:
    counted = await tx.execute(COUNT_USE, {"id": factor_id, "count": sign_count})
    return None if await counted.fetchone() else AuthError("mfa_verification_failed", REFUSED)


async def note_challenge(
    tx: Transaction, factor: Factor, challenge_id: UUID, ceremony: Mapping[str, Any], response: object
) -> None:
    """Kept with the factor, so that a project may look into the attestation itself (GoTrue
    UpdateLastWebAuthnChallenge)."""
    data = {
        "challenge": {
            "challenge_id": str(challenge_id),
            "factor_id": str(factor.id),
            "web_authn_session_data": dict(ceremony),
        },
        "type": ceremony["type"],
        "credential_response": response,
    }
    await tx.execute(NOTE_CHALLENGE, {"id": factor.id, "data": as_jsonb(data)})


def _malformed() -> AuthError:
    return AuthError("validation_failed", "Invalid credential_response")


def _credential(key: NewKey) -> dict[str, Any]:
    """go-webauthn's `Credential` as JSON, so that a GoTrue could go on with the row."""
    return {
        "id": base64.b64encode(key.id).decode(),
        "publicKey": base64.b64encode(key.public_key).decode(),
        "attestationType": key.attestation,
        "transport": list(key.transports),
        "flags": {
            "userPresent": True,
            "userVerified": key.user_verified,
            "backupEligible": key.backup_eligible,
            "backupState": key.backed_up,
        },
        "authenticator": {
            "AAGUID": base64.b64encode((key.aaguid or UUID(int=0)).bytes).decode(),
            "signCount": key.sign_count,
            "cloneWarning": False,
        },
    }


def _known_key(credential: Mapping[str, Any]) -> KnownKey:
    return KnownKey(
        id=base64.b64decode(credential["id"]),
        public_key=base64.b64decode(credential["publicKey"]),
        sign_count=int((credential.get("authenticator") or {}).get("signCount") or 0),
        transports=tuple(credential.get("transport") or ()),
        backup_eligible=(credential.get("flags") or {}).get("backupEligible"),
    )
