"""`POST /otp` and `/magiclink`: a code or link instead of a password (GoTrue otp.go, magic_link.go).

Who has no account yet gets one, unconfirmed, unless `create_user` is false. Unlike GoTrue no password is made
up for it and a number or address never counts as confirmed before its code was entered, whatever
auto-confirmation says.
"""

from typing import Any

import msgspec
import psycopg

from basalt.auth.addresses import normalise_email, normalise_phone
from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.issue import check_channel, send_confirmation, send_phone_code, send_recovery
from basalt.auth.pkce import check_challenge, keep_flow
from basalt.auth.signup import SignUp, register
from basalt.auth.users import find_owner_of_email, find_user_by_email, find_user_by_phone
from basalt.http import Response, json_response


class Parameters(msgspec.Struct):
    email: str = ""
    phone: str = ""
    create_user: bool = True
    data: dict[str, Any] = {}
    channel: str = ""
    code_challenge: str = ""
    code_challenge_method: str = ""


async def send_otp(call: Call) -> Response:
    """Raises AuthError otp_disabled, validation_failed, signup_disabled, …_provider_disabled,
    over_…_send_rate_limit."""
    await call.auth.limits.check("otp", call.request)
    parameters = await call.parameters(Parameters)
    if parameters.email and parameters.phone:
        message = "Only an email address or phone number should be provided"
        raise AuthError("validation_failed", message)
    if parameters.email and parameters.channel:
        raise AuthError("validation_failed", "Channel should only be specified with Phone OTP")
    check_challenge(parameters.code_challenge, parameters.code_challenge_method)
    if parameters.email:
        return await _again_if_raced(call, parameters, _send_mail)
    if parameters.phone:
        return await _again_if_raced(call, parameters, _send_text)
    raise AuthError("validation_failed", "One of email or phone must be set")


async def send_magic_link(call: Call) -> Response:
    """The older endpoint of e-mail links. Raises AuthError like `send_otp`."""
    await call.auth.limits.check("otp", call.request)
    parameters = await call.parameters(Parameters)
    if not parameters.email:
        raise AuthError("validation_failed", "Password recovery requires an email", status=422)
    check_challenge(parameters.code_challenge, parameters.code_challenge_method)
    return await _again_if_raced(call, parameters, _send_mail)


async def _again_if_raced(call: Call, parameters: Parameters, send: Any) -> Response:
    try:
        response: Response = await send(call, parameters)
    except AuthError as error:
        if not isinstance(error.__cause__, psycopg.errors.UniqueViolation):
            raise
        response = await send(call, parameters)
    return response


async def _send_mail(call: Call, parameters: Parameters) -> Response:
    if not call.settings.email.enable_signup:
        raise AuthError("email_provider_disabled")
    email = normalise_email(parameters.email)
    is_pkce = bool(parameters.code_challenge)
    asks_to_confirm = call.settings.email.enable_confirmations
    async with call.auth.transaction() as tx:
        user = await find_user_by_email(tx, email, call.audience)
        is_known = user is not None and user.has_confirmed_email
        if user is None:
            _check_creates_user(call, parameters)
            if await find_owner_of_email(tx, email, call.audience) is not None:
                return json_response({})  # another account's identity: nothing is sent, and nothing is told
            user = await register(tx, call, SignUp("email", email, "", parameters.data))
        confirms = asks_to_confirm and not is_known
        if is_pkce:
            await keep_flow(
                tx,
                user,
                "email/signup" if confirms else "magiclink",
                parameters.code_challenge,
                parameters.code_challenge_method,
                provider_type="email" if confirms else "magiclink",
            )
        if confirms:
            await record(tx, user, "user_confirmation_requested", {"provider": "email"})
            await send_confirmation(call, tx, user, is_pkce=is_pkce)
        else:
            await record(tx, user, "user_recovery_requested")
            await send_recovery(call, tx, user, "magic_link", is_pkce=is_pkce)
    return json_response({})


async def _send_text(call: Call, parameters: Parameters) -> Response:
    if not call.settings.sms.enable_signup:
        raise AuthError("phone_provider_disabled", "Unsupported phone provider", status=400)
    phone = normalise_phone(parameters.phone)
    channel = check_channel(call, parameters.channel)
    async with call.auth.transaction() as tx:
        user = await find_user_by_phone(tx, phone, call.audience)
        if user is not None and user.has_confirmed_phone:
            await record(tx, user, "user_recovery_requested", {"channel": channel})
        else:
            if user is None:
                _check_creates_user(call, parameters)
                user = await register(tx, call, SignUp("phone", phone, "", parameters.data, channel))
            await record(tx, user, "user_confirmation_requested", {"provider": "phone"})
        message_id = await send_phone_code(call, tx, user, phone, "confirmation", channel)
    return json_response({"message_id": message_id} if message_id else {})


def _check_creates_user(call: Call, parameters: Parameters) -> None:
    if not parameters.create_user:
        raise AuthError("otp_disabled")
    if not call.settings.enable_signup:
        raise AuthError("signup_disabled")
