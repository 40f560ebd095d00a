"""`POST /factors/{factor_id}/challenge`: what a factor is then verified against (GoTrue mfa.go ChallengeFactor).

A challenge is bound to the client's address and lives for `auth.mfa.challenge_expiry`. For a phone it sends a code, of
which the hash is stored; for a security key it holds the ceremony.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

import msgspec
import psycopg

from basalt.auth.audit import record
from basalt.auth.call import Call, require_not_anonymous
from basalt.auth.errors import AuthError
from basalt.auth.issue import check_channel
from basalt.auth.messages import Channel
from basalt.auth.mfa.attempts import expired
from basalt.auth.mfa.factors import Factor, check_verify_enabled, client_address, load_factor
from basalt.auth.one_time import hash_code, new_code
from basalt.auth.parameters import MAX_BODY_BYTES, parse_parameters
from basalt.auth.users import Transaction, as_jsonb
from basalt.http import Response, json_response
from basalt.late import LateModule

if TYPE_CHECKING:
    from basalt.auth.mfa import security_key
else:
    security_key = LateModule("basalt.auth.mfa.security_key")

INSERT_CHALLENGE: Final = """
insert into auth.mfa_challenges (id, factor_id, created_at, ip_address, otp_code, web_authn_session_data)
values (%(id)s, %(factor_id)s, now(), %(ip)s, %(otp_code)s, %(ceremony)s)
returning created_at
"""
TOUCH_FACTOR: Final = "update auth.mfa_factors set last_challenged_at = clock_timestamp() where id = %(id)s"
FIND_CHALLENGE: Final = """
select c.id, c.otp_code, c.web_authn_session_data as ceremony, c.verified_at is not null as is_used,
    c.ip_address = %(ip)s::inet as is_same_address,
    c.created_at + make_interval(secs => %(expiry_s)s) < clock_timestamp() as is_expired
from auth.mfa_challenges as c
where c.id = %(id)s and c.factor_id = %(factor_id)s
"""
USE_ONCE: Final = """
update auth.mfa_challenges set verified_at = clock_timestamp()
where id = %(id)s and verified_at is null returning id
"""
DELETE_CHALLENGE: Final = "delete from auth.mfa_challenges where id = %(id)s returning id"
MISMATCH: Final = "Challenge and verify IP addresses mismatch."


class Parameters(msgspec.Struct):
    channel: str = ""


@dataclass(frozen=True, slots=True)
class Challenge:
    id: UUID
    code_hash: str
    ceremony: Mapping[str, Any]


async def challenge(call: Call, factor_id: str) -> Response:
    """Raises AuthError mfa_factor_not_found, mfa_…_verify_not_enabled, over_sms_send_rate_limit, sms_send_failed,
    over_request_rate_limit, validation_failed."""
    require_not_anonymous(call)
    await call.auth.limits.check("factor", call.request)
    body = await call.request.body(MAX_BODY_BYTES)  # now: a slow client must not keep a connection waiting
    async with call.auth.transaction() as tx:
        factor = await load_factor(tx, call.user, factor_id, lock=True)
        check_verify_enabled(call.settings, factor.type)
        match factor.type:
            case "totp":
                shown = await _insert(call, tx, factor, uuid4())
            case "phone":
                channel = check_channel(call, parse_parameters(body, Parameters).channel)
                shown = await _challenge_phone(call, tx, factor, channel)
            case "webauthn":
                parse_parameters(body, Parameters)  # rpId and rpOrigins in it count for nothing, as in GoTrue
                ceremony, options = await security_key.begin_ceremony(call, tx, factor)
                shown = await _insert(call, tx, factor, uuid4(), ceremony=ceremony) | {"webauthn": options}
    return json_response(shown)


async def find_challenge(
    call: Call, tx: Transaction, factor: Factor, challenge_id: UUID
) -> Challenge | AuthError:
    """The challenge if it can still be answered, else why not; an expired one is deleted (GoTrue
    validateChallenge)."""
    parameters = {
        "id": challenge_id,
        "factor_id": factor.id,
        "ip": client_address(call),
        "expiry_s": call.settings.mfa.challenge_expiry_s,
    }
    row = await (await tx.execute(FIND_CHALLENGE, parameters)).fetchone()
    if row is None:
        message = "MFA factor with the provided challenge ID not found"
        return AuthError("mfa_factor_not_found", message, status=422)
    if row["is_used"] or not row["is_same_address"]:
        return AuthError("mfa_ip_address_mismatch", MISMATCH)
    if row["is_expired"]:
        await tx.execute(DELETE_CHALLENGE, {"id": challenge_id})
        return expired(challenge_id)
    return Challenge(challenge_id, row["otp_code"] or "", row["ceremony"] or {})


async def use_challenge(tx: Transaction, factor: Factor, challenge_id: UUID) -> AuthError | None:
    """Of several verifications at once one uses the challenge. That of a security key is deleted, as in GoTrue."""
    statement = DELETE_CHALLENGE if factor.type == "webauthn" else USE_ONCE
    used = await (await tx.execute(statement, {"id": challenge_id})).fetchone()
    return AuthError("mfa_ip_address_mismatch", MISMATCH) if used is None else None


async def _challenge_phone(call: Call, tx: Transaction, factor: Factor, channel: Channel) -> dict[str, Any]:
    settings = call.settings.mfa.phone
    last, now = factor.last_challenged_at, datetime.now(UTC)
    if last is not None and (again_at := last + timedelta(seconds=settings.max_frequency_s)) > now:
        left_s = int((again_at - now).total_seconds())
        message = f"For security purposes, you can only request this after {left_s} seconds."
        raise AuthError("over_sms_send_rate_limit", message)
    challenge_id, code = uuid4(), new_code(settings.otp_length)
    shown = await _insert(call, tx, factor, challenge_id, code_hash=hash_code(str(challenge_id), code))
    await call.auth.messages.text(
        call.request, tx, "mfa", call.user, factor.phone, code, channel, template=settings.template
    )
    return shown


async def _insert(
    call: Call,
    tx: Transaction,
    factor: Factor,
    challenge_id: UUID,
    *,
    code_hash: str | None = None,
    ceremony: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    row = {
        "id": challenge_id,
        "factor_id": factor.id,
        "ip": client_address(call),
        "otp_code": code_hash,
        "ceremony": as_jsonb(ceremony) if ceremony is not None else None,
    }
    created = await (await tx.execute(INSERT_CHALLENGE, row)).fetchone()
    assert created is not None
    await _touch(tx, factor)
    status = "verified" if factor.is_verified else "unverified"
    await record(tx, call.user, "challenge_created", {"factor_id": str(factor.id), "factor_status": status})
    expires_at = created["created_at"] + timedelta(seconds=call.settings.mfa.challenge_expiry_s)
    return {"id": str(challenge_id), "type": factor.type, "expires_at": int(expires_at.timestamp())}


async def _touch(tx: Transaction, factor: Factor) -> None:
    """`last_challenged_at` is unique over all factors in GoTrue's table, so two requests of one microsecond collide."""
    for _ in range(3):
        try:
            async with tx.transaction():
                await tx.execute(TOUCH_FACTOR, {"id": factor.id})
        except psycopg.errors.UniqueViolation:
            continue
        return
    raise AuthError("unavailable")
