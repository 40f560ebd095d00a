"""Passkey ceremonies under way: kept in `auth.webauthn_challenges`, used once, over after
`auth.webauthn.challenge_expiry`."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, Literal
from uuid import UUID, uuid4

import msgspec

from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.passkeys.ceremony import RelyingParty
from basalt.auth.users import Transaction, as_jsonb

Kind = Literal["registration", "authentication"]

INSERT: Final = """
insert into auth.webauthn_challenges (id, user_id, challenge_type, session_data, created_at, expires_at)
values (%(id)s, %(user_id)s, %(kind)s, %(ceremony)s, now(), now() + %(life)s)
returning expires_at
"""
# A ceremony belongs to the user who began it, a sign-in to nobody yet.
USE_ONCE: Final = """
delete from auth.webauthn_challenges
where id = %(id)s and challenge_type = %(kind)s and user_id is not distinct from %(user_id)s
returning session_data, expires_at < clock_timestamp() as is_expired
"""
# A few at a time, so that unfinished ceremonies do not pile up (GoTrue models/cleanup.go).
DELETE_EXPIRED: Final = """
delete from auth.webauthn_challenges where id in (
    select id from auth.webauthn_challenges where expires_at < now() limit 10 for update skip locked)
"""


class Answer(msgspec.Struct):
    """The body that ends a ceremony."""

    challenge_id: str = ""
    credential: Any = None


async def keep_challenge(
    call: Call, tx: Transaction, kind: Kind, party: RelyingParty, challenge: str, user_id: UUID | None
) -> dict[str, Any]:
    """`{"challenge_id", "expires_at"}` for the client."""
    await tx.execute(DELETE_EXPIRED)
    ceremony = {"challenge": challenge, "rpId": party.id, "userVerification": "preferred"}
    row = {
        "id": uuid4(),
        "user_id": user_id,
        "kind": kind,
        "ceremony": as_jsonb(ceremony),
        "life": timedelta(seconds=call.settings.webauthn.challenge_expiry_s),
    }
    stored = await (await tx.execute(INSERT, row)).fetchone()
    assert stored is not None
    return {"challenge_id": str(row["id"]), "expires_at": int(stored["expires_at"].timestamp())}


async def use_challenge(call: Call, kind: Kind, answer: Answer, user_id: UUID | None) -> str:
    """The challenge that is answered, used up by this whatever comes of it. Raises AuthError
    webauthn_challenge_not_found, webauthn_challenge_expired, validation_failed."""
    parameters = {"id": _parsed_id(answer), "kind": kind, "user_id": user_id}
    async with call.auth.transaction() as tx:
        row = await (await tx.execute(USE_ONCE, parameters)).fetchone()
    if row is None:
        message = "Challenge not found or already used"
        raise AuthError("webauthn_challenge_not_found", message, status=400)
    if row["is_expired"]:
        raise AuthError("webauthn_challenge_expired", "Challenge has expired", status=400)
    ceremony: Mapping[str, Any] = row["session_data"]
    return str(ceremony["challenge"])


def malformed_credential() -> AuthError:
    return AuthError("webauthn_verification_failed", "Invalid credential response", status=400)


def refused_credential() -> AuthError:
    return AuthError("webauthn_verification_failed", "Credential verification failed", status=400)


def _parsed_id(answer: Answer) -> UUID:
    if not answer.challenge_id:
        raise AuthError("validation_failed", "challenge_id is required")
    if answer.credential is None:
        raise AuthError("validation_failed", "credential is required")
    try:
        return UUID(answer.challenge_id)
    except ValueError as exc:
        raise AuthError("validation_failed", "challenge_id must be a valid UUID") from exc
