"""`POST /token`: sign-in by password, and the exchange that ends a PKCE flow (GoTrue token.go).

The password is checked between two transactions, so that no connection is held while a hash is computed.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from basalt.auth.addresses import phone_digits
from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.oauth.grant import sign_in_with_id_token
from basalt.auth.passwords import check_password
from basalt.auth.pkce import exchange_auth_code
from basalt.auth.refresh import refresh
from basalt.auth.sso.session_end import take_session_end
from basalt.auth.tokens import issue_session, session_response
from basalt.auth.users import User, find_user_by_email, find_user_by_phone, load_user
from basalt.auth.web3 import grant_by_wallet
from basalt.http import Response


class PasswordParameters(msgspec.Struct):
    email: str = ""
    phone: str = ""
    password: str = ""


class PkceParameters(msgspec.Struct):
    auth_code: str = ""
    code_verifier: str = ""


async def grant_token(call: Call) -> Response:
    """By `grant_type` of the query. Raises AuthError invalid_credentials for one that is not known."""
    grant = GRANTS.get(call.query.get("grant_type", ""))
    if grant is None:
        raise AuthError("invalid_credentials", "unsupported_grant_type")
    return await grant(call)


async def sign_in_with_password(call: Call) -> Response:
    """Raises AuthError invalid_credentials, email_not_confirmed, phone_not_confirmed, user_banned,
    …_provider_disabled."""
    call.auth.limits.check("sign_in", call.request)
    parameters = await call.parameters(PasswordParameters)
    if parameters.email and parameters.phone:
        message = "Only an email address or phone number should be provided on login."
        raise AuthError("validation_failed", message)
    user = await _find(call, parameters)
    is_right = await call.auth.passwords.verify(parameters.password, user.password_hash if user else None)
    # Whether a user is banned or unconfirmed is told to nobody without the password; GoTrue tells of a ban
    # sooner.
    if user is None or not is_right:
        raise AuthError("invalid_credentials")
    if user.is_banned:
        raise AuthError("user_banned", status=400)
    if parameters.email and not user.has_confirmed_email:
        raise AuthError("email_not_confirmed")
    if parameters.phone and not user.has_confirmed_phone:
        raise AuthError("phone_not_confirmed")
    async with call.auth.transaction() as tx:
        await record(tx, user, "login", {"provider": "email" if parameters.email else "phone"})
        session = await issue_session(call, tx, user, "password")
    return session_response(session | _weakness(call, parameters.password))


async def exchange_code(call: Call) -> Response:
    """Raises AuthError flow_state_not_found, flow_state_expired, bad_code_verifier, validation_failed."""
    call.auth.limits.check("sign_in", call.request)
    parameters = await call.parameters(PkceParameters)
    if not parameters.auth_code or not parameters.code_verifier:
        message = "invalid request: both auth code and code verifier should be non-empty"
        raise AuthError("validation_failed", message)
    async with call.auth.transaction() as tx:
        flow = await exchange_auth_code(tx, parameters.auth_code, parameters.code_verifier)
        user = await load_user(tx, flow["user_id"])
        if user is None:
            raise AuthError("flow_state_not_found")
        await record(tx, user, "login", {"provider_type": flow["provider_type"]})
        not_after = await take_session_end(tx, flow["id"])
        session = await issue_session(call, tx, user, flow["authentication_method"], not_after=not_after)
    return session_response(session | _provider_tokens(flow))


def _provider_tokens(flow: Mapping[str, Any]) -> dict[str, str]:
    """What the application may call the provider with."""
    tokens = {
        "provider_token": flow["provider_access_token"],
        "provider_refresh_token": flow["provider_refresh_token"],
    }
    return {name: token for name, token in tokens.items() if token}


async def _find(call: Call, parameters: PasswordParameters) -> User | None:
    if parameters.email:
        if not call.settings.email.enable_signup:
            raise AuthError("email_provider_disabled")
        async with call.auth.transaction() as tx:
            return await find_user_by_email(tx, parameters.email, call.audience)
    if parameters.phone:
        if not call.settings.sms.enable_signup:
            raise AuthError("phone_provider_disabled")
        async with call.auth.transaction() as tx:
            return await find_user_by_phone(tx, phone_digits(parameters.phone), call.audience)
    raise AuthError("validation_failed", "missing email or phone")


def _weakness(call: Call, password: str) -> dict[str, Any]:
    """A right password that today's rules would refuse still signs in; the client is told, to ask for a
    better one."""
    try:
        check_password(password, call.settings)
    except AuthError as error:
        if error.code == "weak_password":
            return {"weak_password": {"message": error.message, "reasons": list(error.reasons)}}
    return {}


GRANTS: Final = {
    "password": sign_in_with_password,
    "refresh_token": refresh,
    "pkce": exchange_code,
    "id_token": sign_in_with_id_token,
    "web3": grant_by_wallet,
}
