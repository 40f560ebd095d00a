"""`POST /factors` and `DELETE /factors/{factor_id}`: factors come and go (GoTrue mfa.go EnrollFactor, UnenrollFactor).

The user's row is locked while factors are counted, so that requests at once do not go over the limit.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import msgspec

from basalt.auth.addresses import normalise_phone
from basalt.auth.audit import record
from basalt.auth.call import Call, require_not_anonymous
from basalt.auth.errors import AuthError
from basalt.auth.mfa.factors import FactorType, check_name, load_factor
from basalt.auth.mfa.step_up import lock_sessions, lower_sessions
from basalt.auth.mfa.totp import new_secret, provisioning_uri, render_qr_code
from basalt.auth.notices import notify
from basalt.auth.users import Transaction, User, lock_user
from basalt.http import Response, json_response

INSERT_FACTOR: Final = """
insert into auth.mfa_factors (id, user_id, friendly_name, factor_type, status, secret, phone, created_at, updated_at)
values (%(id)s, %(user_id)s, %(friendly_name)s, %(type)s, 'unverified', %(secret)s, %(phone)s, now(), now())
"""
# One that was challenged is kept, as in GoTrue: somebody may be typing its code.
DELETE_EXPIRED: Final = """
delete from auth.mfa_factors as f
where f.user_id = %(user_id)s and f.status <> 'verified'
    and f.created_at < now() - make_interval(secs => %(expiry_s)s)
    and not exists (select from auth.mfa_challenges as c where c.factor_id = f.id)
"""
DELETE_SAME_PHONE: Final = """
delete from auth.mfa_factors where user_id = %(user_id)s and phone = %(phone)s and status = 'unverified'
"""
DELETE_FACTOR: Final = "delete from auth.mfa_factors where id = %(id)s"


class Parameters(msgspec.Struct):
    factor_type: str = ""
    friendly_name: str = ""
    issuer: str = ""
    phone: str = ""


async def enrol(call: Call) -> Response:
    """Raises AuthError mfa_…_enroll_not_enabled, mfa_factor_name_conflict, mfa_verified_factor_exists,
    too_many_enrolled_mfa_factors, insufficient_aal, validation_failed."""
    require_not_anonymous(call)
    if call.session is None:
        message = "A valid session and a registered user are required to enroll a factor"
        raise AuthError("session_not_found", message)
    parameters = await call.parameters(Parameters)
    check_name(parameters.friendly_name)
    enabled = call.settings.mfa
    match parameters.factor_type:
        case "totp":
            _check_enabled("totp", is_enabled=enabled.totp.enroll_enabled)
            shown = await _enrol_totp(call, parameters)
        case "phone":
            _check_enabled("phone", is_enabled=enabled.phone.enroll_enabled)
            shown = await _enrol_phone(call, parameters)
        case "webauthn":
            _check_enabled("webauthn", is_enabled=enabled.web_authn.enroll_enabled)
            shown = await _enrol_security_key(call, parameters)
        case _:
            raise AuthError("validation_failed", "factor_type needs to be totp, phone, or webauthn")
    return json_response(shown)


async def unenrol(call: Call, factor_id: str) -> Response:
    """Raises AuthError mfa_factor_not_found, insufficient_aal for a verified one in a session at `aal1`."""
    require_not_anonymous(call)
    async with call.auth.transaction() as tx:
        await lock_sessions(tx, call.user)
        factor = await load_factor(tx, call.user, factor_id, lock=True)
        if factor.is_verified and (call.session is None or call.session.aal == "aal1"):
            raise AuthError("insufficient_aal", "AAL2 required to unenroll verified factor", status=422)
        await tx.execute(DELETE_FACTOR, {"id": factor.id})
        traits = {
            "factor_id": str(factor.id),
            "factor_status": "verified" if factor.is_verified else "unverified",
            "session_id": str(call.session.id) if call.session else None,
        }
        await record(tx, call.user, "factor_unenrolled", traits)
        await lower_sessions(tx, call.user, factor)
        await notify(call, tx, call.user, "mfa_factor_unenrolled", {"FactorType": factor.type})
    return json_response({"id": str(factor.id)})


async def _enrol_totp(call: Call, parameters: Parameters) -> dict[str, Any]:
    secret = new_secret()
    issuer = parameters.issuer or urlsplit(call.settings.site_url).netloc
    # GoTrue fails for users without an e-mail address; an app needs some name for the account.
    account = call.user.email or call.user.phone or str(call.user.id)
    uri = provisioning_uri(secret, issuer, account)
    async with call.auth.transaction() as tx:
        user = await _checked_user(call, tx, parameters)
        factor_id = await _insert(tx, user, "totp", parameters, secret=secret)
    qr_code = await asyncio.to_thread(render_qr_code, uri)
    return _shown(factor_id, "totp", parameters) | {
        "totp": {"qr_code": qr_code, "secret": secret, "uri": uri}
    }


async def _enrol_phone(call: Call, parameters: Parameters) -> dict[str, Any]:
    if not parameters.phone:
        raise AuthError("validation_failed", "Phone number required to enroll Phone factor")
    phone = normalise_phone(parameters.phone)
    async with call.auth.transaction() as tx:
        user = await lock_user(tx, call.user)
        if any(factor["phone"] == phone and factor["status"] == "verified" for factor in user.factors):
            raise AuthError("mfa_verified_factor_exists")
        await tx.execute(DELETE_SAME_PHONE, {"user_id": user.id, "phone": phone})
        user = await _checked_user(call, tx, parameters)
        factor_id = await _insert(tx, user, "phone", parameters, phone=phone)
    return _shown(factor_id, "phone", parameters) | {"phone": parameters.phone}


async def _enrol_security_key(call: Call, parameters: Parameters) -> dict[str, Any]:
    async with call.auth.transaction() as tx:
        user = await _checked_user(call, tx, parameters)
        factor_id = await _insert(tx, user, "webauthn", parameters)
    return _shown(factor_id, "webauthn", parameters)


async def _checked_user(call: Call, tx: Transaction, parameters: Parameters) -> User:
    """The user, locked, who may have one factor more (GoTrue validateFactors)."""
    user = await lock_user(tx, call.user)
    expiry_s = call.settings.mfa.factor_expiry_s
    await tx.execute(DELETE_EXPIRED, {"user_id": user.id, "expiry_s": expiry_s})
    user = await lock_user(tx, user)
    if any((factor["friendly_name"] or "") == parameters.friendly_name for factor in user.factors):
        message = f'A factor with the friendly name "{parameters.friendly_name}" for this user already exists'
        raise AuthError("mfa_factor_name_conflict", message)
    if len(user.factors) >= call.settings.mfa.max_enrolled_factors:
        raise AuthError("too_many_enrolled_mfa_factors")
    if user.has_verified_factor and call.session is not None and call.session.aal == "aal1":
        raise AuthError("insufficient_aal", "AAL2 required to enroll a new factor", status=403)
    return user


async def _insert(
    tx: Transaction,
    user: User,
    factor_type: FactorType,
    parameters: Parameters,
    *,
    secret: str | None = None,
    phone: str | None = None,
) -> UUID:
    factor_id = uuid4()
    row: Mapping[str, Any] = {
        "id": factor_id,
        "user_id": user.id,
        "friendly_name": parameters.friendly_name,
        "type": factor_type,
        "secret": secret,
        "phone": phone,
    }
    await tx.execute(INSERT_FACTOR, row)
    await record(tx, user, "factor_in_progress", {"factor_id": str(factor_id), "factor_type": factor_type})
    return factor_id


def _check_enabled(factor_type: FactorType, *, is_enabled: bool) -> None:
    if not is_enabled:
        raise AuthError(f"mfa_{factor_type}_enroll_not_enabled")


def _shown(factor_id: UUID, factor_type: FactorType, parameters: Parameters) -> dict[str, Any]:
    return {"id": str(factor_id), "type": factor_type, "friendly_name": parameters.friendly_name}
