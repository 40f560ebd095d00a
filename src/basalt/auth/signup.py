"""`POST /signup`: by e-mail or phone with a password, or anonymously (GoTrue signup.go, anonymous.go).

An address that has a confirmed owner is answered like a new one, after the same work; only with
auto-confirmation, where the answer would be a session, is it refused by name, as GoTrue does.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

import msgspec
import psycopg

from basalt.auth.addresses import normalise_email, normalise_phone
from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.issue import check_channel, send_confirmation, send_phone_code
from basalt.auth.messages import Channel
from basalt.auth.new_users import admit_user
from basalt.auth.one_time import clear_tokens
from basalt.auth.pkce import check_challenge, keep_flow
from basalt.auth.render import render_user
from basalt.auth.tokens import issue_session, session_response
from basalt.auth.users import (
    CONFIRM_EMAIL,
    CONFIRM_PHONE,
    Transaction,
    User,
    create_identity,
    find_owner_of_email,
    find_user_by_phone,
    merge_user_metadata,
    new_user,
    reload_user,
    set_providers,
)
from basalt.http import Response, json_response

Provider = Literal["email", "phone"]


class Parameters(msgspec.Struct):
    email: str = ""
    phone: str = ""
    password: str = ""
    data: dict[str, Any] = {}
    channel: str = ""
    code_challenge: str = ""
    code_challenge_method: str = ""


@dataclass(frozen=True, slots=True)
class SignUp:
    """A checked sign-up. `password_hash` is empty for those who will sign in by codes."""

    provider: Provider
    address: str
    password_hash: str
    data: Mapping[str, Any]
    channel: Channel = "sms"
    challenge: str = ""
    challenge_method: str = ""


async def sign_up(call: Call) -> Response:
    """A session when confirmed at once, else the user. Raises AuthError signup_disabled, validation_failed,
    weak_password, user_already_exists, email_provider_disabled, phone_provider_disabled,
    anonymous_provider_disabled."""
    parameters = await call.parameters(Parameters)
    if not parameters.email and not parameters.phone:
        return await _sign_up_anonymously(call, parameters)
    await call.auth.limits.check("sign_in", call.request)
    _check_open(call)
    if not parameters.password:
        raise AuthError("validation_failed", "Signup requires a valid password")
    await call.auth.password_rules.check(parameters.password)
    wanted = _checked(call, parameters)
    # Hashed before the address is looked up: a known address must not answer sooner than a new one.
    wanted = replace(wanted, password_hash=await call.auth.passwords.hash(parameters.password))
    try:
        return await _carry_out(call, wanted)
    except AuthError as error:
        if not isinstance(error.__cause__, psycopg.errors.UniqueViolation):
            raise
        return await _carry_out(call, wanted)  # somebody signed up with the address at the same time


async def register(tx: Transaction, call: Call, wanted: SignUp) -> User:
    """A new, unconfirmed user with its identity. Raises AuthError unexpected_failure when a trigger or
    constraint objects."""
    with _database_errors():
        return await _ensure_identity(tx, await _admit_user(tx, call, wanted), wanted)


async def register_for_admin(tx: Transaction, call: Call, wanted: SignUp) -> User:
    """The same for an invitation or a generated link: the metadata is what the administrator gave and no more
    (GoTrue invite.go, mail.go). Raises like `register`."""
    with _database_errors():
        user = await _admit_user(tx, call, wanted)
        await create_identity(tx, user, wanted.provider, {"email": user.email})
        return await reload_user(tx, user)


async def _admit_user(tx: Transaction, call: Call, wanted: SignUp) -> User:
    is_email = wanted.provider == "email"
    return await admit_user(
        call,
        tx,
        email=wanted.address if is_email else "",
        phone="" if is_email else wanted.address,
        password_hash=wanted.password_hash,
        app_metadata={"provider": wanted.provider, "providers": [wanted.provider]},
        user_metadata=wanted.data,
    )


@contextmanager
def _database_errors() -> Iterator[None]:
    try:
        yield
    except (psycopg.errors.IntegrityError, psycopg.errors.RaiseException) as exc:
        raise AuthError("unexpected_failure", "Database error saving new user") from exc


async def _carry_out(call: Call, wanted: SignUp) -> Response:
    async with call.auth.pace.keep(f"signup:{wanted.provider}") as work, call.auth.transaction() as tx:
        user = await _find(tx, call, wanted)
        if user is None or not _is_confirmed(user, wanted.provider):
            return await _admit(call, tx, user, wanted)
        work.is_decoy = True
        await record(tx, user, "user_repeated_signup", {"provider": wanted.provider})
    if _confirms_at_once(call, wanted.provider):
        raise AuthError("user_already_exists")
    return json_response(_obfuscated(call, wanted))


async def _admit(call: Call, tx: Transaction, user: User | None, wanted: SignUp) -> Response:
    """A new user, or one that never proved the address: nothing of the latter is changed but its identity."""
    if user is None:
        user = await register(tx, call, wanted)
    else:
        user = await _ensure_identity(tx, user, wanted)
    confirms_now = _confirms_at_once(call, wanted.provider)
    traits: dict[str, Any] = {"provider": wanted.provider}
    await record(tx, user, "user_signedup" if confirms_now else "user_confirmation_requested", traits)
    if confirms_now:
        await tx.execute(CONFIRM_EMAIL if wanted.provider == "email" else CONFIRM_PHONE, {"id": user.id})
        await clear_tokens(tx, user)
        await record(tx, user, "login", traits)
        return session_response(await issue_session(call, tx, await reload_user(tx, user), "password"))
    await _ask_for_proof(call, tx, user, wanted)
    shown = render_user(await reload_user(tx, user))
    if user.times["invited_at"] is not None:
        # Whoever signs up has not proven to be the one invited.
        shown |= {"user_metadata": {}, "identities": []}
    return json_response(shown)


async def _ask_for_proof(call: Call, tx: Transaction, user: User, wanted: SignUp) -> None:
    if wanted.provider == "phone":
        await send_phone_code(call, tx, user, wanted.address, "confirmation", wanted.channel)
        return
    if wanted.challenge:
        await keep_flow(
            tx, user, "email/signup", wanted.challenge, wanted.challenge_method, provider_type="email"
        )
    await send_confirmation(call, tx, user, is_pkce=bool(wanted.challenge))


def _obfuscated(call: Call, wanted: SignUp) -> dict[str, Any]:
    """What a new user would look like, with nothing of the real one (GoTrue sanitizeUser)."""
    now = datetime.now(UTC)
    stranger = new_user(
        user_id=uuid4(),
        audience=call.audience,
        role="",
        email=wanted.address if wanted.provider == "email" else "",
        phone=wanted.address if wanted.provider == "phone" else "",
        app_metadata={"provider": wanted.provider, "providers": [wanted.provider]},
        user_metadata=wanted.data,
    )
    times = {**stranger.times, "created_at": now, "updated_at": now, "confirmation_sent_at": now}
    return render_user(replace(stranger, times=times))


async def _sign_up_anonymously(call: Call, parameters: Parameters) -> Response:
    if not call.settings.enable_anonymous_sign_ins:
        raise AuthError("anonymous_provider_disabled")
    await call.auth.limits.check("anonymous", call.request)
    _check_open(call)
    async with call.auth.transaction() as tx:
        try:
            user = await admit_user(
                call,
                tx,
                app_metadata={},
                user_metadata=parameters.data,
                is_anonymous=True,
            )
        except (psycopg.errors.IntegrityError, psycopg.errors.RaiseException) as exc:
            raise AuthError("unexpected_failure", "Database error creating anonymous user") from exc
        return session_response(await issue_session(call, tx, user, "anonymous"))


def _checked(call: Call, parameters: Parameters) -> SignUp:
    if parameters.email and parameters.phone:
        message = "Only an email address or phone number should be provided on signup."
        raise AuthError("validation_failed", message)
    if parameters.phone and parameters.code_challenge:
        raise AuthError("validation_failed", "PKCE not supported for phone signups")
    check_challenge(parameters.code_challenge, parameters.code_challenge_method)
    if parameters.email:
        if not call.settings.email.enable_signup:
            raise AuthError("email_provider_disabled", "Email signups are disabled", status=400)
        return SignUp(
            "email",
            normalise_email(parameters.email),
            "",
            parameters.data,
            challenge=parameters.code_challenge,
            challenge_method=parameters.code_challenge_method,
        )
    channel = check_channel(call, parameters.channel)
    if not call.settings.sms.enable_signup:
        raise AuthError("phone_provider_disabled", "Phone signups are disabled", status=400)
    return SignUp("phone", normalise_phone(parameters.phone), "", parameters.data, channel)


def _check_open(call: Call) -> None:
    if not call.settings.enable_signup:
        raise AuthError("signup_disabled")


async def _find(tx: Transaction, call: Call, wanted: SignUp) -> User | None:
    if wanted.provider == "email":
        return await find_owner_of_email(tx, wanted.address, call.audience)
    return await find_user_by_phone(tx, wanted.address, call.audience)


async def _ensure_identity(tx: Transaction, user: User, wanted: SignUp) -> User:
    """The identity of an unconfirmed user; its data become the user's metadata, as nothing else is proven
    yet."""
    if not user.has_identity(wanted.provider):
        claims = {"email": user.email} if user.email else {}
        data = await create_identity(tx, user, wanted.provider, {**wanted.data, **claims})
        await merge_user_metadata(tx, user, data)
        await set_providers(tx, user)
    return await reload_user(tx, user)


def _is_confirmed(user: User, provider: Provider) -> bool:
    return user.has_confirmed_email if provider == "email" else user.has_confirmed_phone


def _confirms_at_once(call: Call, provider: Provider) -> bool:
    section = call.settings.email if provider == "email" else call.settings.sms
    return not section.enable_confirmations
