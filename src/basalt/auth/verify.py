"""`/verify`: a code that was typed in (POST) or a link that was followed (GET) proves an address (GoTrue
verify.go).

The user's row is locked first, so of two requests with one code the second finds it used. A wrong code is
counted; that count is kept although the request fails.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final

import msgspec

from basalt.auth.addresses import normalise_email, normalise_phone
from basalt.auth.call import Call
from basalt.auth.confirm import (
    confirm_email_change,
    confirm_phone,
    confirm_phone_change,
    confirm_sign_up,
    recover,
)
from basalt.auth.errors import AuthError
from basalt.auth.issue import test_code
from basalt.auth.one_time import (
    PKCE_PREFIX,
    TokenType,
    count_wrong_code,
    count_wrong_code_at,
    find_owner,
    hash_code,
    use_token,
)
from basalt.auth.pkce import METHOD_OF_TYPE, issue_auth_code
from basalt.auth.provider_codes import use_provider_code
from basalt.auth.redirects import with_fragment, with_query
from basalt.auth.tokens import issue_session, session_response
from basalt.auth.users import (
    Transaction,
    User,
    find_user_by_email,
    find_user_by_phone,
    find_user_by_phone_change,
    load_user,
    lock_user,
    reload_user,
    set_providers,
)
from basalt.http import Response, json_response

ONE_OF_TWO: Final = "Confirmation link accepted. Please proceed to confirm link sent to the other email"
STALE_LINK: Final = "Email link is invalid or has expired"

TOKENS_OF_TYPE: Final[Mapping[str, tuple[TokenType, ...]]] = {
    "email": ("confirmation_token", "recovery_token"),
    "signup": ("confirmation_token",),
    "invite": ("confirmation_token",),
    "recovery": ("recovery_token",),
    "magiclink": ("recovery_token",),
    "email_change": ("email_change_token_current", "email_change_token_new"),
    "sms": ("confirmation_token",),
    "phone_change": ("phone_change_token",),
}
PHONE_TYPES: Final = frozenset({"sms", "phone_change"})
# RFC 6749 §4.1.2.1: the `error` of a redirect
OAUTH_ERRORS: Final[Mapping[int, str]] = {
    400: "invalid_request",
    401: "unauthorized_client",
    403: "access_denied",
    500: "server_error",
    503: "temporarily_unavailable",
}

Confirm = Callable[[Call, Transaction, User, TokenType], Awaitable[User | None]]
CONFIRM: Final[Mapping[str, Confirm]] = {
    "signup": confirm_sign_up,
    "invite": confirm_sign_up,
    "recovery": recover,
    "magiclink": recover,
    "email_change": confirm_email_change,
    "sms": confirm_phone,
    "phone_change": confirm_phone_change,
}


class Parameters(msgspec.Struct):
    type: str = ""
    token: str = ""
    token_hash: str = ""
    email: str = ""
    phone: str = ""
    redirect_to: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """What was presented: a code with its address, or the hash out of a link."""

    type: str
    token_hash: str
    code: str = ""
    email: str = ""
    phone: str = ""

    @property
    def token_types(self) -> tuple[TokenType, ...]:
        return TOKENS_OF_TYPE[self.type]


async def verify(call: Call) -> Response:
    """POST: a session. Raises AuthError otp_expired, user_banned, validation_failed."""
    await call.auth.limits.check("verify", call.request)
    proof = _parse_proof(await call.parameters(Parameters))
    async with call.auth.transaction() as tx:
        outcome = await _verify(call, tx, proof)
        if isinstance(outcome, User):
            return session_response(await issue_session(call, tx, outcome, "otp"))
    if isinstance(outcome, AuthError):
        raise outcome
    return json_response({"msg": ONE_OF_TWO, "code": "200"})


async def follow_link(call: Call) -> Response:
    """GET: a redirect with the session in its fragment, or with a code for the PKCE exchange, or with the
    error. Raises AuthError validation_failed for what no mail of ours contains."""
    await call.auth.limits.check("verify", call.request)
    verification_type, token = call.query.get("type", ""), call.query.get("token", "")
    _check_type(verification_type)
    if not token:
        raise AuthError("validation_failed", "Verify requires a token or a token hash")
    is_pkce = token.startswith(PKCE_PREFIX)
    if is_pkce and verification_type not in METHOD_OF_TYPE:
        raise AuthError("validation_failed", "unsupported authentication method")
    try:
        target = await _follow(call, Proof(verification_type, token), is_pkce=is_pkce)
    except AuthError as error:
        target = _error_target(call.redirect_to, error, is_pkce=is_pkce)
    headers = [(b"location", target.encode()), (b"cache-control", b"no-store")]
    return Response(HTTPStatus.SEE_OTHER, headers)


async def _follow(call: Call, proof: Proof, *, is_pkce: bool) -> str:
    async with call.auth.transaction() as tx:
        outcome = await _verify(call, tx, proof)
        if isinstance(outcome, User):
            if is_pkce:
                code = await issue_auth_code(tx, outcome, proof.type)
                return with_query(call.redirect_to, {"code": code})
            return _session_target(call, proof, await issue_session(call, tx, outcome, "otp"))
    if isinstance(outcome, AuthError):
        raise outcome
    target = with_query(call.redirect_to, {"message": ONE_OF_TWO}) if is_pkce else call.redirect_to
    return with_fragment(target, {"message": ONE_OF_TWO, "sb": ""})


async def _verify(call: Call, tx: Transaction, proof: Proof) -> User | AuthError | None:
    """The proven user; an error whose traces are to be kept; None after the first of two confirmations."""
    user = await _find(call, tx, proof)
    if user is None:
        if proof.code:
            await count_wrong_code_at(tx, proof.email or proof.phone, proof.token_types)
        return AuthError("otp_expired", None if proof.code else STALE_LINK)
    user = await lock_user(tx, user)
    if user.is_banned or user.is_deleted:
        return AuthError("user_banned")
    is_test_code = bool(proof.phone) and proof.code == test_code(call, proof.phone)
    used = proof.token_types[0] if is_test_code else await _use(call, tx, user, proof)
    if used is None:
        if proof.code:
            await count_wrong_code(tx, user, proof.token_types)
        return AuthError("otp_expired", None if proof.code else STALE_LINK)
    confirm = CONFIRM[_resolved_type(proof.type, used)]
    confirmed = await confirm(call, tx, user, used)
    if confirmed is None:
        return None
    await set_providers(tx, confirmed)
    return await reload_user(tx, confirmed)


async def _find(call: Call, tx: Transaction, proof: Proof) -> User | None:
    if proof.phone:
        find = find_user_by_phone_change if proof.type == "phone_change" else find_user_by_phone
        return await find(tx, proof.phone, call.audience)
    if proof.email and proof.type != "email_change":
        return await find_user_by_email(tx, proof.email, call.audience)
    owner = await find_owner(tx, proof.token_hash, proof.token_types)
    return None if owner is None else await load_user(tx, owner)


async def _use(call: Call, tx: Transaction, user: User, proof: Proof) -> TokenType | None:
    if proof.phone and call.auth.messages.checks_codes_elsewhere:
        return await use_provider_code(call, tx, user, proof.token_types, proof.phone, proof.code)
    section = call.settings.sms if proof.type in PHONE_TYPES else call.settings.email
    return await use_token(tx, user, proof.token_types, proof.token_hash, expiry_s=section.otp_expiry_s)


def _resolved_type(verification_type: str, used: TokenType) -> str:
    """Type `email` stands for whichever token it was."""
    if verification_type != "email":
        return verification_type
    return "signup" if used == "confirmation_token" else "magiclink"


def _parse_proof(parameters: Parameters) -> Proof:
    _check_type(parameters.type)
    if bool(parameters.token) == bool(parameters.token_hash):
        raise AuthError("validation_failed", "Verify requires either a token or a token hash")
    if parameters.token_hash:
        if parameters.email or parameters.phone or parameters.redirect_to:
            raise AuthError("validation_failed", "Only the token_hash and type should be provided")
        if parameters.type in PHONE_TYPES:
            raise AuthError("validation_failed", "Invalid email verification type")
        return Proof(parameters.type, parameters.token_hash)
    if bool(parameters.phone) == bool(parameters.email):
        message = "Only an email address or phone number should be provided on verify"
        raise AuthError("validation_failed", message)
    proof = Proof(parameters.type, "", code=parameters.token)
    if parameters.phone:
        phone = normalise_phone(parameters.phone)
        return replace(proof, phone=phone, token_hash=hash_code(phone, parameters.token))
    try:
        email = normalise_email(parameters.email)
    except AuthError as exc:
        raise AuthError("validation_failed", "Invalid email format", status=422) from exc
    return replace(proof, email=email, token_hash=hash_code(email, parameters.token))


def _check_type(verification_type: str) -> None:
    if not verification_type:
        raise AuthError("validation_failed", "Verify requires a verification type")
    if verification_type not in TOKENS_OF_TYPE:
        raise AuthError("validation_failed", "Unsupported verification type")


def _session_target(call: Call, proof: Proof, session: Mapping[str, Any]) -> str:
    values = {
        "access_token": session["access_token"],
        "token_type": session["token_type"],
        "expires_in": str(session["expires_in"]),
        "expires_at": str(session["expires_at"]),
        "refresh_token": session["refresh_token"],
        "sb": "",
        "type": proof.type,
    }
    return with_fragment(call.redirect_to, values)


def _error_target(redirect_to: str, error: AuthError, *, is_pkce: bool) -> str:
    values = {"error_code": error.code, "error_description": error.message}
    if error.status in OAUTH_ERRORS:
        values["error"] = OAUTH_ERRORS[error.status]
    target = with_query(redirect_to, values) if is_pkce else redirect_to
    return with_fragment(target, values | {"sb": ""})
