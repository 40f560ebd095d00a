"""`POST /admin/generate_link`: the link and code of a mail, for a back end that sends its own mails (GoTrue
mail.go adminGenerateLink)."""

from typing import Any, Final

import msgspec

from basalt.auth.addresses import normalise_email
from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.messages import Ticket
from basalt.auth.one_time import Purpose, TokenType, hash_code, new_code, store_code, store_token
from basalt.auth.render import render_user
from basalt.auth.signup import SignUp, register_for_admin
from basalt.auth.users import (
    Transaction,
    User,
    find_owner_of_email,
    find_user_by_email,
    merge_user_metadata,
    reload_user,
)
from basalt.http import Response, json_response

# type: (what is stored, token type, type that /verify takes)
LINKS: Final[dict[str, tuple[Purpose, TokenType, str]]] = {
    "signup": ("confirmation", "confirmation_token", "signup"),
    "invite": ("invitation", "confirmation_token", "invite"),
    "magiclink": ("recovery", "recovery_token", "magiclink"),
    "recovery": ("recovery", "recovery_token", "recovery"),
    "email_change_current": ("email_change", "email_change_token_current", "email_change"),
    "email_change_new": ("email_change", "email_change_token_new", "email_change"),
}
# The other mailbox's link of the same change stays valid.
PREPARE_CURRENT: Final = """
update auth.users set email_change = %(address)s, email_change_token_current = %(token_hash)s,
    email_change_sent_at = now(),
    email_change_confirm_status = 0, updated_at = now()
where id = %(id)s
"""
PREPARE_NEW: Final = """
update auth.users set email_change = %(address)s, email_change_token_new = %(token_hash)s,
    email_change_sent_at = now(),
    email_change_confirm_status = 0, updated_at = now()
where id = %(id)s
"""


class Parameters(msgspec.Struct):
    type: str = ""
    email: str = ""
    new_email: str = ""
    password: str = ""
    data: dict[str, Any] = {}
    redirect_to: str = ""


async def generate_link(call: Call) -> Response:
    """The user with `action_link`, `email_otp`, `hashed_token`, `verification_type`, `redirect_to`. Raises
    AuthError user_not_found, email_exists, weak_password, validation_failed."""
    parameters = await call.parameters(Parameters)
    if parameters.type not in LINKS:
        message = f"Invalid email action link type requested: {parameters.type[:40]}"
        raise AuthError("validation_failed", message)
    email = normalise_email(parameters.email)
    redirect_to = call.auth.redirects.choose((parameters.redirect_to, call.redirect_to))
    password_hash = await _password_hash(call, parameters)
    async with call.auth.transaction() as tx:
        user, link_type = await _find_or_create(call, tx, parameters, email, password_hash)
        code = new_code(call.settings.email.otp_length)
        ticket = await _store(call, tx, user, link_type, code, parameters)
        user = await reload_user(tx, user)
    return json_response(
        render_user(user)
        | {
            "action_link": call.auth.messages.link(ticket, redirect_to),
            "email_otp": code,
            "hashed_token": ticket.token_hash,
            "verification_type": link_type,
            "redirect_to": redirect_to,
        }
    )


async def _find_or_create(
    call: Call, tx: Transaction, parameters: Parameters, email: str, password_hash: str
) -> tuple[User, str]:
    """The user, and the type its link has: a magic link for nobody yet is a sign-up."""
    user = await find_user_by_email(tx, email, call.audience)
    link_type = parameters.type
    if user is None and link_type == "magiclink":
        link_type = "signup"
    if link_type in ("signup", "invite"):
        if user is not None and user.has_confirmed_email:
            raise AuthError("email_exists")
        if user is None:
            user = await register_for_admin(tx, call, SignUp("email", email, password_hash, parameters.data))
        elif parameters.data:
            await merge_user_metadata(tx, user, parameters.data)
        if link_type == "invite":
            await record(tx, call.admin, "user_invited", {"user_id": str(user.id), "user_email": user.email})
        return user, link_type
    if user is None:
        raise AuthError("user_not_found", "User with this email not found")
    if link_type in ("magiclink", "recovery"):
        await record(tx, user, "user_recovery_requested")
    return user, link_type


async def _store(
    call: Call, tx: Transaction, user: User, link_type: str, code: str, parameters: Parameters
) -> Ticket:
    purpose, token_type, verify_as = LINKS[link_type]
    if purpose != "email_change":
        token_hash = hash_code(user.email, code)
        await store_code(tx, user, purpose, {token_type: (user.email, token_hash)})
        return Ticket(code, token_hash, verify_as)
    new_email = await _checked_new_email(call, tx, user, link_type, parameters)
    is_current = link_type == "email_change_current"
    address = user.email if is_current else new_email
    token_hash = hash_code(address, code)
    prepare = PREPARE_CURRENT if is_current else PREPARE_NEW
    await tx.execute(prepare, {"id": user.id, "address": new_email, "token_hash": token_hash})
    await store_token(tx, user, token_type, address, token_hash)
    return Ticket(code, token_hash, verify_as)


async def _checked_new_email(
    call: Call, tx: Transaction, user: User, link_type: str, parameters: Parameters
) -> str:
    if link_type == "email_change_current" and not call.settings.email.double_confirm_changes:
        message = "Enable secure email change to generate link for current email"
        raise AuthError("validation_failed", message)
    new_email = normalise_email(parameters.new_email)
    if await find_owner_of_email(tx, new_email, user.audience, besides=user) is not None:
        raise AuthError("email_exists")
    return new_email


async def _password_hash(call: Call, parameters: Parameters) -> str:
    """Of the user that a sign-up link makes; it must be given then, as for a sign-up."""
    if parameters.type != "signup":
        return ""
    if not parameters.password:
        raise AuthError("validation_failed", "Signup requires a valid password")
    await call.auth.password_rules.check(parameters.password)
    return await call.auth.passwords.hash(parameters.password)
