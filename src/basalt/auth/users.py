"""Users and identities: how they are found, made, changed and shown.

Rows of seeds are taken as they come: token columns may be null, an identity row may be missing, `instance_id`
is not asked for. Every change is one statement that returns nothing of its own; flows load the user again,
because triggers may have changed it (GoTrue signup.go `signupNewUser`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

import orjson
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from basalt.auth.errors import AuthError

Transaction = AsyncConnection[dict[str, Any]]

SELECT_USER: Final = """
select u.id, u.aud, u.role, u.email, u.is_sso_user, u.encrypted_password, u.email_confirmed_at, u.invited_at,
    u.phone, u.phone_confirmed_at, u.confirmation_token, u.confirmation_sent_at, u.confirmed_at,
    u.recovery_token, u.recovery_sent_at, u.email_change_token_current, u.email_change_token_new,
    u.email_change, u.email_change_sent_at, u.email_change_confirm_status, u.phone_change_token,
    u.phone_change, u.phone_change_sent_at, u.reauthentication_token, u.reauthentication_sent_at,
    u.last_sign_in_at, u.raw_app_meta_data, u.raw_user_meta_data, u.created_at, u.updated_at,
    case when u.banned_until > '9999-12-31' then '9999-12-31 00:00:00+00' else u.banned_until end
        as banned_until,  -- no Python time can hold 'infinity'
    u.deleted_at, u.is_anonymous,
    (select jsonb_agg(to_jsonb(i) order by i.created_at, i.id)
        from auth.identities as i where i.user_id = u.id) as identities,
    (select jsonb_agg(jsonb_build_object(
            'id', f.id, 'created_at', f.created_at, 'updated_at', f.updated_at, 'status', f.status,
            'friendly_name', f.friendly_name, 'factor_type', f.factor_type, 'phone', f.phone,
            'last_challenged_at', f.last_challenged_at, 'web_authn_aaguid', f.web_authn_aaguid,
            'last_webauthn_challenge_data', f.last_webauthn_challenge_data) order by f.created_at)
        from auth.mfa_factors as f where f.user_id = u.id) as factors
from auth.users as u
"""
BY_ID: Final = SELECT_USER + "where u.id = %(id)s"
# Both spellings so that one of the two indexes serves: (instance_id, lower(email)) and the unique one on
# email.
BY_EMAIL: Final = (
    SELECT_USER
    + """where ((u.instance_id = '00000000-0000-0000-0000-000000000000'
    and lower(u.email) = %(email)s) or u.email = %(email)s)
    and u.is_sso_user = false and coalesce(nullif(u.aud, ''), 'authenticated') = %(audience)s
order by u.created_at limit 1"""
)
BY_PHONE: Final = (
    SELECT_USER
    + """where u.phone = %(phone)s and u.is_sso_user = false
    and coalesce(nullif(u.aud, ''), 'authenticated') = %(audience)s"""
)
BY_PHONE_CHANGE: Final = (
    SELECT_USER
    + """where u.phone_change = %(phone)s and u.is_sso_user = false
    and coalesce(nullif(u.aud, ''), 'authenticated') = %(audience)s
order by u.phone_change_sent_at desc nulls last limit 1"""
)
OWNER_OF_IDENTITY_EMAIL: Final = """
select i.user_id from auth.identities as i join auth.users as u on u.id = i.user_id
where i.email = %(email)s and i.provider not like 'sso:%%' and u.is_sso_user = false
    and u.id is distinct from %(except_id)s
    and coalesce(nullif(u.aud, ''), 'authenticated') = %(audience)s
limit 1
"""

INSERT_USER: Final = """
insert into auth.users (instance_id, id, aud, role, email, phone, encrypted_password, raw_app_meta_data,
    raw_user_meta_data, confirmation_token, recovery_token, email_change, email_change_token_new,
    email_change_token_current, phone_change, phone_change_token, reauthentication_token, is_anonymous,
    is_sso_user, created_at, updated_at)
values ('00000000-0000-0000-0000-000000000000', %(id)s, %(audience)s, %(role)s, nullif(%(email)s, ''),
    nullif(%(phone)s, ''), %(password_hash)s, %(app_metadata)s, %(user_metadata)s, '', '', '', '', '', '', '',
    '', %(is_anonymous)s, %(is_sso_user)s, now(), now())
"""
INSERT_IDENTITY: Final = """
insert into auth.identities (id, provider_id, user_id, identity_data, provider, last_sign_in_at, created_at,
    updated_at)
values (%(id)s, %(provider_id)s, %(user_id)s, %(data)s, %(provider)s, now(), now(), now())
"""
MERGE_IDENTITY: Final = """
update auth.identities set identity_data = identity_data || %(data)s, updated_at = now()
where user_id = %(user_id)s and provider = %(provider)s and provider_id = %(user_id)s::text
"""

# A null in the updates takes its key away; everything else replaces it (GoTrue user.go UpdateUserMetaData).
MERGE_USER_METADATA: Final = """
update auth.users set updated_at = now(), raw_user_meta_data =
    (coalesce(raw_user_meta_data, '{}') || %(changes)s) - %(removed)s::text[]
where id = %(id)s
"""
MERGE_APP_METADATA: Final = """
update auth.users set updated_at = now(), raw_app_meta_data =
    (coalesce(raw_app_meta_data, '{}') || %(changes)s) - %(removed)s::text[]
where id = %(id)s
"""
SET_PROVIDERS: Final = """
update auth.users as u set updated_at = now(),
    raw_app_meta_data = coalesce(u.raw_app_meta_data, '{}')
        || jsonb_build_object('provider', found.providers -> 0, 'providers', found.providers)
from (select jsonb_agg(i.provider order by i.first_at) as providers
      from (select provider, min(created_at) as first_at from auth.identities
where user_id = %(id)s group by provider) as i
     ) as found
where u.id = %(id)s and found.providers is not null
"""
CONFIRM_EMAIL: Final = """
update auth.users set email_confirmed_at = now(), confirmation_token = '', updated_at = now(),
    raw_user_meta_data = coalesce(raw_user_meta_data, '{}') || '{"email_verified": true}'
where id = %(id)s
"""
CONFIRM_PHONE: Final = """
update auth.users set phone_confirmed_at = now(), confirmation_token = '', updated_at = now()
where id = %(id)s
"""
# What was outstanding may have been asked for by somebody who no longer counts as the owner (GoTrue
# UpdatePassword).
REPLACE_HASH: Final = """
update auth.users set encrypted_password = %(password_hash)s, confirmation_token = '',
    confirmation_sent_at = null,
    recovery_token = '', recovery_sent_at = null, email_change_token_current = '',
    email_change_token_new = '',
    email_change_sent_at = null, phone_change_token = '', phone_change_sent_at = null,
    reauthentication_token = '',
    reauthentication_sent_at = null, updated_at = now()
where id = %(id)s
"""
LOCK_USER: Final = "select from auth.users where id = %(id)s for no key update"
SET_ROLE: Final = "update auth.users set role = %(role)s, updated_at = now() where id = %(id)s"
SET_PERMANENT: Final = (
    "update auth.users set is_anonymous = false, updated_at = now() where id = %(id)s and is_anonymous"
)


@dataclass(frozen=True, slots=True)
class User:
    """A row of `auth.users` with its identities and factors; absent texts are empty, absent times None."""

    id: UUID
    audience: str
    role: str
    email: str
    phone: str
    is_sso_user: bool
    is_anonymous: bool
    password_hash: str | None
    times: Mapping[str, datetime | None]
    tokens: Mapping[str, str]
    email_change: str
    email_change_confirm_status: int
    phone_change: str
    app_metadata: Mapping[str, Any]
    user_metadata: Mapping[str, Any]
    identities: Sequence[Mapping[str, Any]]
    factors: Sequence[Mapping[str, Any]]

    @property
    def has_confirmed_email(self) -> bool:
        return self.times["email_confirmed_at"] is not None

    @property
    def has_confirmed_phone(self) -> bool:
        return self.times["phone_confirmed_at"] is not None

    @property
    def is_banned(self) -> bool:
        until = self.times["banned_until"]
        return until is not None and until > datetime.now(UTC)

    @property
    def is_deleted(self) -> bool:
        return self.times["deleted_at"] is not None

    @property
    def has_verified_factor(self) -> bool:
        return any(factor["status"] == "verified" for factor in self.factors)

    def has_identity(self, provider: str) -> bool:
        return any(identity["provider"] == provider for identity in self.identities)


TIMES: Final = (
    "email_confirmed_at",
    "invited_at",
    "phone_confirmed_at",
    "confirmation_sent_at",
    "confirmed_at",
    "recovery_sent_at",
    "email_change_sent_at",
    "phone_change_sent_at",
    "reauthentication_sent_at",
    "last_sign_in_at",
    "created_at",
    "updated_at",
    "banned_until",
    "deleted_at",
)
TOKENS: Final = (
    "confirmation_token",
    "recovery_token",
    "email_change_token_current",
    "email_change_token_new",
    "phone_change_token",
    "reauthentication_token",
)


async def load_user(tx: Transaction, user_id: UUID) -> User | None:
    return _found(await (await tx.execute(BY_ID, {"id": user_id})).fetchone())


async def reload_user(tx: Transaction, user: User) -> User:
    """The user as the transaction sees it now, what triggers did included."""
    found = await load_user(tx, user.id)
    if found is None:
        raise AuthError("user_not_found")
    return found


async def lock_user(tx: Transaction, user: User) -> User:
    """The user again, with nobody else changing it until the transaction ends."""
    await tx.execute(LOCK_USER, {"id": user.id})
    return await reload_user(tx, user)


async def find_user_by_email(tx: Transaction, email: str, audience: str) -> User | None:
    parameters = {"email": email.lower(), "audience": audience}
    return _found(await (await tx.execute(BY_EMAIL, parameters)).fetchone())


async def find_user_by_phone(tx: Transaction, phone: str, audience: str) -> User | None:
    return _found(await (await tx.execute(BY_PHONE, {"phone": phone, "audience": audience})).fetchone())


async def find_user_by_phone_change(tx: Transaction, phone: str, audience: str) -> User | None:
    return _found(
        await (await tx.execute(BY_PHONE_CHANGE, {"phone": phone, "audience": audience})).fetchone()
    )


async def find_owner_of_email(
    tx: Transaction, email: str, audience: str, *, besides: User | None = None
) -> User | None:
    """Who else has the address, as an identity or as a user (GoTrue IsDuplicatedEmail)."""
    parameters = {"email": email.lower(), "audience": audience, "except_id": besides and besides.id}
    row = await (await tx.execute(OWNER_OF_IDENTITY_EMAIL, parameters)).fetchone()
    if row is not None:
        return await load_user(tx, row["user_id"])
    found = await find_user_by_email(tx, email, audience)
    return None if found is not None and besides is not None and found.id == besides.id else found


def new_user(
    *,
    user_id: UUID,
    audience: str,
    role: str = "authenticated",
    email: str = "",
    phone: str = "",
    password_hash: str | None = "",
    app_metadata: Mapping[str, Any],
    user_metadata: Mapping[str, Any],
    is_anonymous: bool = False,
    is_sso_user: bool = False,
) -> User:
    """A user as it is to be inserted: without a past, identities or factors."""
    return User(
        id=user_id,
        audience=audience,
        role=role,
        email=email,
        phone=phone,
        is_sso_user=is_sso_user,
        is_anonymous=is_anonymous,
        password_hash=password_hash,
        times=dict.fromkeys(TIMES),
        tokens={},
        email_change="",
        email_change_confirm_status=0,
        phone_change="",
        app_metadata=app_metadata,
        user_metadata=user_metadata,
        identities=(),
        factors=(),
    )


async def create_user(tx: Transaction, user: User) -> User:
    """Insert a `new_user` and read it back. Raises psycopg's UniqueViolation when the address was taken
    meanwhile."""
    parameters = {
        "id": user.id,
        "audience": user.audience,
        "role": user.role,
        "email": user.email,
        "phone": user.phone,
        "password_hash": user.password_hash,
        "app_metadata": as_jsonb(user.app_metadata),
        "user_metadata": as_jsonb(user.user_metadata),
        "is_anonymous": user.is_anonymous,
        "is_sso_user": user.is_sso_user,
    }
    await tx.execute(INSERT_USER, parameters)
    created = await load_user(tx, user.id)
    if created is None:
        raise AuthError("unexpected_failure", "Database error loading user after sign-up")
    return created


async def create_identity(
    tx: Transaction,
    user: User,
    provider: str,
    data: Mapping[str, Any] | None = None,
    *,
    provider_id: str | None = None,
) -> dict[str, Any]:
    """An identity of a user, whose `provider_id` is the user's own for `email` and `phone`; returns its identity
    data. Claims that were not given are false."""
    identity_data = {
        "sub": provider_id or str(user.id),
        "email_verified": False,
        "phone_verified": False,
        **(data or {}),
    }
    parameters = {
        "id": uuid4(),
        "provider_id": provider_id or str(user.id),
        "user_id": user.id,
        "data": as_jsonb(identity_data),
        "provider": provider,
    }
    await tx.execute(INSERT_IDENTITY, parameters)
    return identity_data


async def ensure_identity(tx: Transaction, user: User, provider: str, data: Mapping[str, Any]) -> None:
    """Change the identity's data, or make the identity where the user has none yet."""
    parameters = {"user_id": user.id, "provider": provider, "data": as_jsonb(data)}
    if (await tx.execute(MERGE_IDENTITY, parameters)).rowcount == 0:
        await create_identity(tx, user, provider, data)


async def merge_user_metadata(tx: Transaction, user: User, changes: Mapping[str, Any]) -> None:
    await tx.execute(MERGE_USER_METADATA, _merge_parameters(user, changes))


async def merge_app_metadata(tx: Transaction, user: User, changes: Mapping[str, Any]) -> None:
    await tx.execute(MERGE_APP_METADATA, _merge_parameters(user, changes))


async def set_providers(tx: Transaction, user: User) -> None:
    """`app_metadata.provider` and `.providers` follow the identities; a user without any keeps what is
    there."""
    await tx.execute(SET_PROVIDERS, {"id": user.id})


def as_jsonb(value: object) -> Jsonb:
    return Jsonb(value, dumps=orjson.dumps)


def _renderable(value: Any) -> Any:
    """JSON as PostgreSQL keeps it may hold whole numbers of any length; what goes out has 64 bits or a
    fraction."""
    try:
        orjson.dumps(value)
    except TypeError:
        return _with_shorter_numbers(value)
    return value


def _with_shorter_numbers(value: Any) -> Any:
    match value:
        case dict():
            return {name: _with_shorter_numbers(inner) for name, inner in value.items()}
        case list():
            return [_with_shorter_numbers(inner) for inner in value]
        case int() if value.bit_length() > 1023:
            return str(value)[:1000]
        case int() if value.bit_length() > 63:
            return float(value)
    return value


def _found(row: Mapping[str, Any] | None) -> User | None:
    return None if row is None else user_of_row(row)


def _merge_parameters(user: User, changes: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in changes.items() if value is not None}
    removed = [name for name, value in changes.items() if value is None]
    return {"id": user.id, "changes": as_jsonb(kept), "removed": removed}


def user_of_json(row: Mapping[str, Any]) -> User:
    """A row of `SELECT_USER` that came as JSON."""
    return user_of_row({**row, "id": UUID(row["id"]), **{name: read_time(row[name]) for name in TIMES}})


def read_time(moment: str | None) -> datetime | None:
    """A time that came through PostgreSQL's JSON."""
    return None if moment is None else datetime.fromisoformat(moment)


def user_of_row(row: Mapping[str, Any]) -> User:
    """A row of `SELECT_USER`."""
    return User(
        id=row["id"],
        audience=row["aud"] or "authenticated",
        role=row["role"] or "",
        email=row["email"] or "",
        phone=row["phone"] or "",
        is_sso_user=row["is_sso_user"],
        is_anonymous=row["is_anonymous"],
        password_hash=row["encrypted_password"] or None,
        times={name: row[name] for name in TIMES},
        tokens={name: row[name] or "" for name in TOKENS},
        email_change=row["email_change"] or "",
        email_change_confirm_status=row["email_change_confirm_status"] or 0,
        phone_change=row["phone_change"] or "",
        app_metadata=_renderable(row["raw_app_meta_data"]) or {},
        user_metadata=_renderable(row["raw_user_meta_data"]) or {},
        identities=_renderable(row["identities"]) or (),
        factors=row["factors"] or (),
    )
