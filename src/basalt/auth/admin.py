"""`/admin/users` and `/invite`: users managed by the project's own back end, service_role or secret key only
(GoTrue admin.go, invite.go)."""

import base64
import hashlib
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

import msgspec
import psycopg

from basalt.auth.addresses import normalise_email, normalise_phone
from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.issue import send_invitation
from basalt.auth.one_time import clear_tokens
from basalt.auth.passwords import check_password, is_known_hash
from basalt.auth.sessions import end_sessions
from basalt.auth.signup import SignUp, register
from basalt.auth.users import (
    CONFIRM_EMAIL,
    CONFIRM_PHONE,
    REPLACE_HASH,
    SELECT_USER,
    SET_PERMANENT,
    SET_ROLE,
    Transaction,
    User,
    create_identity,
    create_user,
    ensure_identity,
    find_owner_of_email,
    find_user_by_email,
    find_user_by_phone,
    load_user,
    lock_user,
    merge_app_metadata,
    merge_user_metadata,
    reload_user,
    render_user,
    user_of_row,
)
from basalt.http import Response, json_response

DEFAULT_PER_PAGE: Final = 50
MAX_PER_PAGE: Final = 10_000
MAX_PAGE: Final = 10**9
DURATION: Final = re.compile(r"([+-]?)((?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h))+")
DURATION_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
UNIT_S: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
MAX_BAN_S: Final = 290 * 365 * 86400.0  # what a Go duration can hold

COUNT_USERS: Final = """
select count(*) as count from auth.users as u
where coalesce(nullif(u.aud, ''), 'authenticated') = %(audience)s
    and (%(filter)s = '' or u.email like %(pattern)s
        or u.raw_user_meta_data ->> 'full_name' ilike %(pattern)s)
"""
LIST_USERS: Final = (
    SELECT_USER
    + """where coalesce(nullif(u.aud, ''), 'authenticated') = %(audience)s
    and (%(filter)s = '' or u.email like %(pattern)s
        or u.raw_user_meta_data ->> 'full_name' ilike %(pattern)s)
order by case when %(ascending)s then u.created_at end asc,
    case when not %(ascending)s then u.created_at end desc, u.id
limit %(limit)s offset %(offset)s"""
)
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


class InviteParameters(msgspec.Struct):
    email: str = ""
    data: dict[str, Any] = {}


async def list_users(call: Call) -> Response:
    """Pages by number, with GoTrue's `Link` and `x-total-count` headers that clients page by."""
    page, per_page = _page_number(call, "page", 1), _page_number(call, "per_page", DEFAULT_PER_PAGE)
    per_page = min(per_page, MAX_PER_PAGE)
    asked = call.query.get("filter", "").replace("\x00", "")
    parameters = {
        "audience": call.audience,
        "filter": asked,
        "pattern": f"%{asked}%",
        "ascending": _is_ascending(call),
        "limit": per_page,
        "offset": (page - 1) * per_page,
    }
    async with call.auth.transaction() as tx:
        counted = await (await tx.execute(COUNT_USERS, parameters)).fetchone()
        rows = await (await tx.execute(LIST_USERS, parameters)).fetchall()
    total = counted["count"] if counted else 0
    shown = {"users": [render_user(user_of_row(row)) for row in rows], "aud": call.audience}
    headers = [("x-total-count", str(total)), ("link", _page_links(call, page, per_page, total))]
    return json_response(shown, headers=headers)


async def get_user(call: Call, user_id: str) -> Response:
    async with call.auth.transaction() as tx:
        return json_response(render_user(await _named_user(tx, user_id)))


async def create(call: Call) -> Response:
    """Raises AuthError email_exists, phone_exists, validation_failed."""
    parameters = _checked(await call.parameters(Parameters))
    if not parameters.email and not parameters.phone:
        message = "Cannot create a user without either an email or phone"
        raise AuthError("validation_failed", message)
    user_id = _new_id(parameters.id)
    banned_until = _banned_until(parameters.ban_duration)
    password_hash = await _password_hash(call, parameters)
    audience = parameters.aud or call.audience
    providers = [name for name in ("email", "phone") if getattr(parameters, name)]
    async with call.auth.transaction() as tx:
        await _check_free(tx, parameters, audience)
        try:
            user = await create_user(
                tx,
                audience=audience,
                email=parameters.email,
                phone=parameters.phone,
                password_hash=password_hash,
                app_metadata={"provider": providers[0], "providers": providers},
                user_metadata=parameters.user_metadata or {},
                role=parameters.role or "authenticated",
                user_id=user_id,
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
        if banned_until is not None:
            await tx.execute(SET_BAN, {"id": user.id, "until": banned_until or None})
        shown = render_user(await reload_user(tx, user))
    return json_response(shown)


async def update(call: Call, user_id: str) -> Response:
    """Raises AuthError user_not_found, email_exists, phone_exists, weak_password, validation_failed."""
    parameters = _checked(await call.parameters(Parameters))
    banned_until = _banned_until(parameters.ban_duration)
    new_hash = None
    if parameters.password is not None:
        check_password(parameters.password, call.settings)
        new_hash = await call.auth.passwords.hash(parameters.password)
    async with call.auth.transaction() as tx:
        user = await _named_user(tx, user_id)
        await _check_free(tx, parameters, user.audience, besides=user)
        if new_hash is not None or banned_until:
            await end_sessions(tx, user)  # before the user's row is locked, as everywhere
        user = await lock_user(tx, user)
        try:
            await _apply(tx, user, parameters, new_hash)
        except (psycopg.errors.IntegrityError, psycopg.errors.RaiseException) as exc:
            raise _database_error(exc, "Error updating user") from exc
        if banned_until is not None:
            await tx.execute(SET_BAN, {"id": user.id, "until": banned_until or None})
        await record(tx, call.admin, "user_modified", _traits(user))
        shown = render_user(await reload_user(tx, user))
    return json_response(shown)


async def delete(call: Call, user_id: str) -> Response:
    """For good, or with `should_soft_delete` so that only the id is left."""
    is_soft = False
    if await call.request.body():
        is_soft = (await call.parameters(DeleteParameters)).should_soft_delete
    async with call.auth.transaction() as tx:
        user = await _named_user(tx, user_id)
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


async def invite(call: Call) -> Response:
    """A user without a password, and a mail to accept. Raises AuthError email_exists, validation_failed."""
    parameters = await call.parameters(InviteParameters)
    email = normalise_email(parameters.email)
    async with call.auth.transaction() as tx:
        user = await find_user_by_email(tx, email, call.audience)
        if user is not None and user.has_confirmed_email:
            raise AuthError("email_exists")
        if user is None:
            user = await register(tx, call, SignUp("email", email, "", parameters.data))
        await record(tx, call.admin, "user_invited", {"user_id": str(user.id), "user_email": user.email})
        await send_invitation(call, tx, user)
        shown = render_user(await reload_user(tx, user))
    return json_response(shown)


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
        )  # what was sent to the old address or under the old password (auth #2642)
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
            raise AuthError("validation_failed", "The password hash must be a bcrypt or argon2 hash")
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


async def _named_user(tx: Transaction, user_id: str) -> User:
    user = await load_user(tx, parse_id(user_id, "user_id must be an UUID", status=404))
    if user is None:
        raise AuthError("user_not_found")
    return user


def parse_id(text: str, message: str, *, status: int = 400) -> UUID:
    try:
        return UUID(text)
    except ValueError as exc:
        raise AuthError("validation_failed", message, status=status) from exc


def _new_id(text: str) -> UUID | None:
    if not text:
        return None
    identifier = parse_id(text, "ID must conform to the uuid v4 format")
    if identifier.int == 0:
        raise AuthError("validation_failed", "ID cannot be a nil uuid")
    return identifier


def _banned_until(duration: str) -> datetime | str | None:
    """The end of a ban of a Go duration ("24h", "1h30m"); "" lifts it ("none"), None leaves it as it is."""
    if not duration:
        return None
    if duration == "none":
        return ""
    seconds = parse_duration_s(duration)
    return datetime.now(UTC) + timedelta(seconds=seconds) if seconds else ""


def parse_duration_s(duration: str) -> float:
    """
    >>> parse_duration_s("1h30m"), parse_duration_s("300ms")
    (5400.0, 0.3)
    """
    if duration == "0":
        return 0.0
    if len(duration) > 100 or DURATION.fullmatch(duration) is None:
        raise AuthError(
            "validation_failed", f'invalid format for ban duration: time: invalid duration "{duration[:40]}"'
        )
    seconds = sum(float(number) * UNIT_S[unit] for number, unit in DURATION_PART.findall(duration))
    if seconds > MAX_BAN_S:
        raise AuthError("validation_failed", "invalid format for ban duration: the duration is too long")
    return -seconds if duration.startswith("-") else seconds


def _page_number(call: Call, name: str, default: int) -> int:
    text = call.query.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdecimal() or len(text) > 10 or int(text) > MAX_PAGE:
        message = f'Bad Pagination Parameters: {name} is not a number: "{text[:40]}"'
        raise AuthError("validation_failed", message)
    return max(int(text), 1) if name == "page" else int(text) or default


def _is_ascending(call: Call) -> bool:
    order = call.query.get("sort", "")
    if not order:
        return False
    field, _, direction = order.partition(" ")
    if field != "created_at":
        raise AuthError("validation_failed", f"Bad Sort Parameters: bad field for sort '{field[:40]}'")
    if direction.lower() not in ("", "asc", "desc"):
        message = (
            f"Bad Sort Parameters: bad direction for sort '{direction[:40]}', only 'asc' and 'desc' allowed"
        )
        raise AuthError("validation_failed", message)
    return direction.lower() == "asc"


def _page_links(call: Call, page: int, per_page: int, total: int) -> str:
    """`</admin/users?page=2&per_page=50>; rel="next", </admin/users?page=3…>; rel="last"`"""
    pages = -(-total // per_page)

    def link(number: int, relation: str) -> str:
        query = urlencode(sorted({**call.query, "page": str(number)}.items()))
        return f'<{call.request.path}?{query}>; rel="{relation}"'

    links = [link(page + 1, "next")] if pages > page else []
    return ", ".join([*links, link(pages, "last")])


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
