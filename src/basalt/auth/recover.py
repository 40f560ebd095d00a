"""`POST /recover`, `POST /resend` and `GET /reauthenticate`: mails and texts that somebody asks for again or
on purpose.

An unknown address is answered like a known one (GoTrue recover.go, resend.go, reauthenticate.go).
"""

from typing import Final

import msgspec

from basalt.auth.addresses import normalise_email, normalise_phone
from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.issue import (
    send_confirmation,
    send_email_change,
    send_phone_code,
    send_reauthentication,
    send_recovery,
)
from basalt.auth.limits import Way
from basalt.auth.pkce import check_challenge, keep_flow
from basalt.auth.users import Transaction, User, find_user_by_email, find_user_by_phone
from basalt.http import Response, json_response

RESENDABLE: Final = ("signup", "email_change", "sms", "phone_change")


class RecoverParameters(msgspec.Struct):
    email: str = ""
    code_challenge: str = ""
    code_challenge_method: str = ""


class ResendParameters(msgspec.Struct):
    type: str = ""
    email: str = ""
    phone: str = ""
    code_challenge: str = ""
    code_challenge_method: str = ""


async def send_recovery_mail(call: Call) -> Response:
    """Raises AuthError validation_failed, email_provider_disabled, over_email_send_rate_limit."""
    await call.auth.limits.check("otp", call.request)
    if not call.settings.email.enable_signup:
        raise AuthError("email_provider_disabled", status=400)
    parameters = await call.parameters(RecoverParameters)
    if not parameters.email:
        raise AuthError("validation_failed", "Password recovery requires an email")
    email = normalise_email(parameters.email)
    is_pkce = check_challenge(parameters.code_challenge, parameters.code_challenge_method)
    async with call.auth.pace.keep("recover") as work, call.auth.transaction() as tx:
        user = await find_user_by_email(tx, email, call.audience)
        if user is None:
            work.is_decoy = True
            frequency_s = call.settings.email.max_frequency_s
            await call.auth.limits.pretend_sending("email", email, "recovery", frequency_s)
        else:
            if is_pkce:
                await keep_flow(
                    tx,
                    user,
                    "recovery",
                    parameters.code_challenge,
                    parameters.code_challenge_method,
                    provider_type="recovery",
                )
            await record(tx, user, "user_recovery_requested")
            await send_recovery(call, tx, user, "recovery", is_pkce=is_pkce)
    return json_response({})


async def resend(call: Call) -> Response:
    """Raises AuthError validation_failed, …_provider_disabled, over_…_send_rate_limit."""
    await call.auth.limits.check("otp", call.request)
    parameters = _checked(call, await call.parameters(ResendParameters))
    message_id = None
    way: Way = "email" if parameters.email else "sms"
    async with call.auth.pace.keep(f"resend:{parameters.type}") as work, call.auth.transaction() as tx:
        user = await _find(call, tx, parameters)
        if user is not None and _is_open(user, parameters.type):
            message_id = await _send_again(call, tx, user, parameters)
        else:
            work.is_decoy = True
            section = call.settings.email if parameters.email else call.settings.sms
            address = parameters.email or parameters.phone
            await call.auth.limits.pretend_sending(way, address, parameters.type, section.max_frequency_s)
    return json_response({"message_id": message_id} if message_id else {})


async def reauthenticate(call: Call) -> Response:
    """A code to the signed-in user, to be given as `nonce` with a new password. Raises AuthError
    email_not_confirmed, phone_not_confirmed, validation_failed."""
    user = call.user
    if not user.email and not user.phone:
        message = "Reauthentication requires the user to have an email or a phone number"
        raise AuthError("validation_failed", message)
    if user.email and not user.has_confirmed_email:
        raise AuthError("email_not_confirmed", "Please verify your email first.", status=422)
    if not user.email and not user.has_confirmed_phone:
        raise AuthError("phone_not_confirmed", "Please verify your phone first.", status=422)
    message_id = None
    async with call.auth.transaction() as tx:
        await record(tx, user, "user_reauthenticate_requested")
        if user.email:
            await send_reauthentication(call, tx, user)
        else:
            message_id = await send_phone_code(call, tx, user, user.phone, "reauthentication")
    return json_response({"message_id": message_id} if message_id else {})


async def _send_again(call: Call, tx: Transaction, user: User, parameters: ResendParameters) -> str | None:
    is_pkce = bool(parameters.code_challenge)
    challenge = (parameters.code_challenge, parameters.code_challenge_method)
    match parameters.type:
        case "signup":
            await record(tx, user, "user_confirmation_requested")
            if is_pkce:
                await keep_flow(tx, user, "email/signup", *challenge, provider_type="email/signup")
            await send_confirmation(call, tx, user, is_pkce=is_pkce)
        case "email_change":
            if is_pkce:
                await keep_flow(tx, user, "email_change", *challenge, provider_type="email_change")
            await send_email_change(call, tx, user, user.email_change, is_pkce=is_pkce)
        case "sms":
            await record(tx, user, "user_recovery_requested")
            return await send_phone_code(call, tx, user, user.phone, "confirmation")
        case _:
            return await send_phone_code(call, tx, user, user.phone_change, "phone_change")
    return None


def _checked(call: Call, parameters: ResendParameters) -> ResendParameters:
    if parameters.type not in RESENDABLE:
        message = "Missing one of these types: signup, email_change, sms, phone_change"
        raise AuthError("validation_failed", message)
    if parameters.type in ("signup", "email_change"):
        check_challenge(parameters.code_challenge, parameters.code_challenge_method)
    if parameters.type == "signup" and not parameters.email:
        raise AuthError("validation_failed", "Type provided requires an email address")
    if parameters.type == "sms" and not parameters.phone:
        raise AuthError("validation_failed", "Type provided requires a phone number")
    if parameters.email and parameters.phone:
        message = "Only an email address or phone number should be provided."
        raise AuthError("validation_failed", message)
    if parameters.email:
        if not call.settings.email.enable_signup:
            raise AuthError("email_provider_disabled", status=400)
        return msgspec.structs.replace(parameters, email=normalise_email(parameters.email))
    if parameters.phone:
        if not call.settings.sms.enable_signup:
            raise AuthError("phone_provider_disabled", status=400)
        return msgspec.structs.replace(parameters, phone=normalise_phone(parameters.phone))
    raise AuthError("validation_failed", "Missing email address or phone number")


async def _find(call: Call, tx: Transaction, parameters: ResendParameters) -> User | None:
    if parameters.email:
        return await find_user_by_email(tx, parameters.email, call.audience)
    return await find_user_by_phone(tx, parameters.phone, call.audience)


def _is_open(user: User, occasion: str) -> bool:
    """Whether there is still something to confirm."""
    match occasion:
        case "signup":
            return bool(user.email) and not user.has_confirmed_email
        case "sms":
            return bool(user.phone) and not user.has_confirmed_phone
        case "email_change":
            return bool(user.email_change)
        case _:
            return bool(user.phone_change)
