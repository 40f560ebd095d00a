"""`POST /token`: sign-in by password, and the exchange that ends a PKCE flow (GoTrue token.go).

The password is checked between two transactions, so that no connection is held while a hash is computed. Unknown
users, users without a password and wrong passwords go the same way and take as long.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from basalt.auth.addresses import phone_digits
from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.hooks import HookName
from basalt.auth.oauth.grant import sign_in_with_id_token
from basalt.auth.pkce import exchange_auth_code
from basalt.auth.queries import as_json, load_json
from basalt.auth.refresh import refresh
from basalt.auth.sessions import end_sessions
from basalt.auth.sso.session_end import take_session_end
from basalt.auth.tokens import issue_session, session_response
from basalt.auth.users import BY_EMAIL, BY_PHONE, Transaction, User, load_user, user_of_json
from basalt.http import Response
from basalt.late import LateFunction
from basalt.postgres import Query

DEFAULT_REJECTION: Final = "Further password verification attempts will be rejected."
# A password that was changed meanwhile stays changed.
FIND_BY_EMAIL: Final = as_json(BY_EMAIL, "email", "audience")
FIND_BY_PHONE: Final = as_json(BY_PHONE, "phone", "audience")
RENEW_HASH: Final = """
update auth.users set encrypted_password = %(renewed)s
where id = %(id)s and encrypted_password = %(stored)s
"""


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
    await call.auth.limits.check("sign_in", call.request)
    parameters = await call.parameters(PasswordParameters)
    if parameters.email and parameters.phone:
        message = "Only an email address or phone number should be provided on login."
        raise AuthError("validation_failed", message)
    user, is_right = await _check_password(call, parameters)
    await _ask_hook(call, user, is_right=is_right)
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
    weakness = await _weakness(call, parameters.password)
    renewed = await _renewed_hash(call, user, parameters.password)
    async with call.auth.transaction() as tx:
        await record(tx, user, "login", {"provider": "email" if parameters.email else "phone"})
        session = await issue_session(call, tx, user, "password")
        if renewed is not None:
            await _renew_hash(tx, user, renewed)
    return session_response(session | weakness)


async def exchange_code(call: Call) -> Response:
    """Raises AuthError flow_state_not_found, flow_state_expired, bad_code_verifier, validation_failed."""
    await call.auth.limits.check("sign_in", call.request)
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


async def _check_password(call: Call, parameters: PasswordParameters) -> tuple[User | None, bool]:
    """The account, if there is one, and whether the password is its own. Raises AuthError over_request_rate_limit
    after too many wrong ones."""
    guesses = call.auth.limits.passwords
    account = parameters.email.lower() or phone_digits(parameters.phone)
    async with guesses.turn(account, call.request):
        user = await _find(call, parameters)
        stored = user.password_hash if user else None
        is_right = await call.auth.passwords.verify(parameters.password, stored)
        if not is_right:
            await guesses.count_wrong(account, call.request)
    return user, is_right


async def _ask_hook(call: Call, user: User | None, *, is_right: bool) -> None:
    """`password_verification_attempt` hears of every try at an account that has a password and may be used. Raises
    AuthError invalid_credentials with the hook's message."""
    if user is None or not user.password_hash or user.is_banned:
        return
    payload = {"user_id": str(user.id), "valid": is_right}
    hooks = call.auth.hooks
    name: HookName = "password_verification_attempt"
    answer = await hooks.run_apart(call.request, call.auth.transaction, name, payload)
    if answer is None or answer.get("decision") != "reject":
        return
    if answer.get("should_logout_user") is True:
        async with call.auth.transaction() as tx:
            await end_sessions(tx, user)
    raise AuthError("invalid_credentials", str(answer.get("message") or DEFAULT_REJECTION))


async def _renewed_hash(call: Call, user: User, password: str) -> str | None:
    """A hash of our own in place of one that costs more, less or is of another kind."""
    if user.password_hash and call.auth.passwords.is_outdated(password, user.password_hash):
        return await call.auth.passwords.hash(password)
    return None


async def _renew_hash(tx: Transaction, user: User, renewed: str) -> None:
    await tx.execute(RENEW_HASH, {"id": user.id, "stored": user.password_hash, "renewed": renewed})


async def _find(call: Call, parameters: PasswordParameters) -> User | None:
    if parameters.email:
        if not call.settings.email.enable_signup:
            raise AuthError("email_provider_disabled")
        return await _look_up(call, FIND_BY_EMAIL, parameters.email.lower())
    if parameters.phone:
        if not call.settings.sms.enable_signup:
            raise AuthError("phone_provider_disabled")
        return await _look_up(call, FIND_BY_PHONE, phone_digits(parameters.phone))
    raise AuthError("validation_failed", "missing email or phone")


async def _look_up(call: Call, statement: str, address: str) -> User | None:
    """In one round trip: beside the hash, the database is what a sign-in costs."""
    [rows] = await call.auth.run([Query(statement, (address.encode(), call.audience.encode()))])
    return user_of_json(load_json(rows[0][0])) if rows else None


async def _weakness(call: Call, password: str) -> dict[str, Any]:
    """A right password that today's rules would refuse still signs in; the client is told, to ask for a
    better one."""
    try:
        await call.auth.password_rules.check(password)
    except AuthError as error:
        if error.code == "weak_password":
            return {"weak_password": {"message": error.message, "reasons": list(error.reasons)}}
    return {}


GRANTS: Final[Mapping[str, Callable[[Call], Awaitable[Response]]]] = {
    "password": sign_in_with_password,
    "refresh_token": refresh,
    "pkce": exchange_code,
    "id_token": sign_in_with_id_token,
    "web3": LateFunction("basalt.auth.web3.grant", "grant_by_wallet"),
}
