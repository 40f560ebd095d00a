"""`/admin/users`: users made, changed and deleted by the project's own back end, with service_role or a
secret key only (GoTrue admin.go)."""

import base64
import hashlib
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
import psycopg

from basalt.auth.addresses import normalise_email, normalise_phone
from basalt.auth.audit import record
from basalt.auth.bans import banned_until
from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.one_time import clear_tokens
from basalt.auth.passwords import is_known_hash
from basalt.auth.render import render_user
from basalt.auth.sessions import end_sessions
from basalt.auth.users import (
    CONFIRM_EMAIL,
    CONFIRM_PHONE,
    REPLACE_HASH,
    SET_PERMANENT,
    SET_ROLE,
    Transaction,
    User,
    create_identity,
    create_user,
    ensure_identity,
    find_owner_of_email,
    find_user_by_phone,
    load_user,
    lock_user,
    merge_app_metadata,
    merge_user_metadata,
    new_user,
    reload_user,
)
from basalt.http import Response, json_response

SET_EMAIL: Final = "update auth.users set email = %(email)s, updated_at = now() where id = %(id)s"
SET_PHONE: Final = "update auth.users set phone = %(phone)s, updated_at = now() where id = %(id)s"
SET_BAN: Final = "update auth.users set banned_until = %(until)s, updated_at = now() where id = %(id)s"
DELETE_USER: Final = "delete from auth.users where id = %(id)s"
# Nothing of the person stays readable, the id does, for rows that refer to it.
SOFT_DELETE_USER: Final = """
update auth.users set email = %(email)s, phone = %(phone)s, email_change = %(email_change)s,
    phone_change = %(phone_change)s,
    encrypted_password = null, raw_user_meta_data = '{}', raw_app_meta_data = '{}', deleted_at = now(),
    updated_at = now()
where id = %(id)s
"""
SOFT_DELETE_IDENTITY: Final = """
update auth.identities set identity_data = '{}', provider_id = %(provider_id)s, updated_at = now()
where id = %(id)s
"""
DELETE_FACTORS: Final = "delete from auth.mfa_factors where user_id = %(id)s"
DELETE_PASSKEYS: Final = "delete from auth.webauthn_credentials where user_id = %(id)s"


class Parameters(msgspec.Struct):
    id: str = ""
    aud: str = ""
    role: str = ""
    email: str = ""
    phone: str = ""
    password: str | None = None
    password_hash: str = ""
    email_confirm: bool = False
    phone_confirm: bool = False
    user_metadata: dict[str, Any] | None = None
    app_metadata: dict[str, Any] | None = None
    ban_duration: str = ""


class DeleteParameters(msgspec.Struct):
    should_soft_delete: bool = False


async def get_user(call: Call, user_id: str) -> Response:
    async with call.auth.transaction() as tx:
        return json_response(render_user(await named_user(tx, user_id)))


async def create(call: Call) -> Response:
    """Raises AuthError email_exists, phone_exists, validation_failed."""
    parameters = _checked(await call.parameters(Parameters))
    if not parameters.email and not parameters.phone:
        message = "Cannot create a user without either an email or phone"
        raise AuthError("validation_failed", message)
    user_id = _new_id(parameters.id)
    until = banned_until(parameters.ban_duration)
    password_hash = await _password_hash(call, parameters)
    audience = parameters.aud or call.audience
    providers = [name for name in ("email", "phone") if getattr(parameters, name)]
    async with call.auth.transaction() as tx:
        await _check_free(tx, parameters, audience)
        try:
            user = await create_user(
                tx,
                new_user(
                    user_id=user_id,
                    audience=audience,
                    email=parameters.email,
                    phone=parameters.phone,
                    password_hash=password_hash,
                    app_metadata={"provider": providers[0], "providers": providers},
                    user_metadata=parameters.user_metadata or {},
                    role=parameters.role or "authenticated",
                ),
            )
            for provider in providers:
                await create_identity(tx, user, provider, {provider: getattr(parameters, provider)})
        except (psycopg.errors.IntegrityError, psycopg.errors.RaiseException) as exc:
            raise _database_error(exc, "Database error creating new user") from exc
        traits = _traits(user) | {"provider": providers[0]}
        await record(tx, call.admin, "user_signedup", traits)
        await _confirm(tx, user, parameters)
        if parameters.app_metadata:
            await merge_app_metadata(tx, user, parameters.app_metadata)
        if until is not None:
            await tx.execute(SET_BAN, {"id": user.id, "until": until or None})
        shown = render_user(await reload_user(tx, user))
    return json_response(shown)


async def update(call: Call, user_id: str) -> Response:
    """Raises AuthError user_not_found, email_exists, phone_exists, weak_password, validation_failed."""
    parameters = _checked(await call.parameters(Parameters))
    until = banned_until(parameters.ban_duration)
    new_hash = None
    if parameters.password is not None:
        await call.auth.password_rules.check(parameters.password)
        new_hash = await call.auth.passwords.hash(parameters.password)
    async with call.auth.transaction() as tx:
        user = await named_user(tx, user_id)
        await _check_free(tx, parameters, user.audience, besides=user)
        if new_hash is not None or until:
            await end_sessions(tx, user)  # before the user's row is locked, as everywhere
        user = await lock_user(tx, user)
        try:
            await _apply(tx, user, parameters, new_hash)
        except (psycopg.errors.IntegrityError, psycopg.errors.RaiseException) as exc:
            raise _database_error(exc, "Error updating user") from exc
        if until is not None:
            await tx.execute(SET_BAN, {"id": user.id, "until": until or None})
        await record(tx, call.admin, "user_modified", _traits(user))
        shown = render_user(await reload_user(tx, user))
    return json_response(shown)


async def delete(call: Call, user_id: str) -> Response:
    """For good, or with `should_soft_delete` so that only the id is left."""
    is_soft = False
    if await call.request.body():
        is_soft = (await call.parameters(DeleteParameters)).should_soft_delete
    async with call.auth.transaction() as tx:
        user = await named_user(tx, user_id)
        await record(tx, call.admin, "user_deleted", _traits(user))
        await end_sessions(tx, user)
        if not is_soft:
            try:
                await tx.execute(DELETE_USER, {"id": user.id})
            except psycopg.errors.IntegrityError as exc:
                raise AuthError("unexpected_failure", "Database error deleting user") from exc
        elif not user.is_deleted:
            await _soft_delete(tx, user)
    return json_response({})


async def _apply(tx: Transaction, user: User, parameters: Parameters, new_hash: str | None) -> None:
    if parameters.role:
        await tx.execute(SET_ROLE, {"id": user.id, "role": parameters.role.strip()})
    if new_hash is not None:
        await tx.execute(REPLACE_HASH, {"id": user.id, "password_hash": new_hash})
    changes_address = False
    if parameters.email:
        claims: dict[str, Any] = {"email": parameters.email, "email_verified": parameters.email_confirm}
        await ensure_identity(tx, user, "email", claims)
        await tx.execute(SET_EMAIL, {"id": user.id, "email": parameters.email})
        changes_address = parameters.email != user.email
    if parameters.phone:
        claims = {"phone": parameters.phone, "phone_verified": parameters.phone_confirm}
        await ensure_identity(tx, user, "phone", claims)
        await tx.execute(SET_PHONE, {"id": user.id, "phone": parameters.phone})
        changes_address = changes_address or parameters.phone != user.phone
    if changes_address or new_hash is not None:
        await clear_tokens(
            tx, user
        )  # what was sent to the old address or under the old password (auth #2757)
    await _confirm(tx, user, parameters)
    if (parameters.email and parameters.email_confirm) or (parameters.phone and parameters.phone_confirm):
        await tx.execute(SET_PERMANENT, {"id": user.id})
    if parameters.app_metadata is not None:
        await merge_app_metadata(tx, user, parameters.app_metadata)
    if parameters.user_metadata is not None:
        await merge_user_metadata(tx, user, parameters.user_metadata)


async def _confirm(tx: Transaction, user: User, parameters: Parameters) -> None:
    if parameters.email_confirm:
        await tx.execute(CONFIRM_EMAIL, {"id": user.id})
    if parameters.phone_confirm:
        await tx.execute(CONFIRM_PHONE, {"id": user.id})
    if parameters.email_confirm or parameters.phone_confirm:
        await clear_tokens(tx, user)


async def _soft_delete(tx: Transaction, user: User) -> None:
    await clear_tokens(tx, user)
    row = {
        "id": user.id,
        "email": _veiled(user.id, user.email),
        "phone": _veiled(user.id, user.phone)[:15],
        "email_change": _veiled(user.id, user.email_change),
        "phone_change": _veiled(user.id, user.phone_change)[:15],
    }
    await tx.execute(SOFT_DELETE_USER, row)
    for identity in user.identities:
        veiled = _veiled(user.id, f"{identity['provider']}:{identity['provider_id']}")
        await tx.execute(SOFT_DELETE_IDENTITY, {"id": identity["id"], "provider_id": veiled})
    await tx.execute(DELETE_FACTORS, {"id": user.id})
    await tx.execute(DELETE_PASSKEYS, {"id": user.id})


async def _check_free(
    tx: Transaction, parameters: Parameters, audience: str, *, besides: User | None = None
) -> None:
    takes_email = parameters.email and (besides is None or parameters.email != besides.email)
    takes_phone = parameters.phone and (besides is None or parameters.phone != besides.phone)
    if takes_email and await find_owner_of_email(tx, parameters.email, audience, besides=besides):
        raise AuthError("email_exists")
    if takes_phone and await find_user_by_phone(tx, parameters.phone, audience):
        raise AuthError("phone_exists", "Phone number already registered by another user")


async def _password_hash(call: Call, parameters: Parameters) -> str:
    """Of a new user: imported, made from the password, or none. GoTrue makes a password up where none is
    given; nobody knows it, so we make none."""
    if parameters.password is not None and parameters.password_hash:
        raise AuthError("validation_failed", "Only a password or a password hash should be provided")
    if parameters.password_hash:
        if not is_known_hash(parameters.password_hash):
            raise AuthError(
                "validation_failed", "The password hash must be a bcrypt, argon2 or Firebase scrypt hash"
            )
        return parameters.password_hash
    if not parameters.password:
        return ""
    if len(parameters.password.encode()) > 72:
        raise AuthError("validation_failed", "bcrypt: password length exceeds 72 bytes")
    return await call.auth.passwords.hash(parameters.password)


def _checked(parameters: Parameters) -> Parameters:
    email = normalise_email(parameters.email) if parameters.email else ""
    phone = normalise_phone(parameters.phone) if parameters.phone else ""
    for name in ("role", "aud", "password_hash"):
        if len(getattr(parameters, name)) > 255:
            raise AuthError("validation_failed", f"{name} is longer than 255 characters")
    return msgspec.structs.replace(parameters, email=email, phone=phone)


async def named_user(tx: Transaction, user_id: str) -> User:
    user = await load_user(tx, parse_id(user_id, "user_id must be an UUID", status=404))
    if user is None:
        raise AuthError("user_not_found")
    return user


def parse_id(text: str, message: str, *, status: int = 400) -> UUID:
    try:
        return UUID(text)
    except ValueError as exc:
        raise AuthError("validation_failed", message, status=status) from exc


def _new_id(text: str) -> UUID:
    if not text:
        return uuid4()
    identifier = parse_id(text, "ID must conform to the uuid v4 format")
    if identifier.int == 0:
        raise AuthError("validation_failed", "ID cannot be a nil uuid")
    return identifier


def _database_error(exc: psycopg.Error, message: str) -> AuthError:
    if isinstance(exc, psycopg.errors.UniqueViolation):
        constraint = exc.diag.constraint_name or ""
        if constraint == "users_email_partial_key":
            return AuthError("email_exists")
        if constraint == "users_phone_key":
            return AuthError("phone_exists")
        if constraint == "users_pkey":
            return AuthError("conflict", "A user with this ID already exists")
    return AuthError("unexpected_failure", message)


def _traits(user: User) -> dict[str, Any]:
    return {"user_id": str(user.id), "user_email": user.email, "user_phone": user.phone}


def _veiled(user_id: UUID, value: str) -> str:
    digest = hashlib.sha256(f"{user_id}{value}".encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
