"""One-time codes and links: made, stored hashed, compared in constant time, consumed once, ended by too many
wrong tries.

What is stored is the SHA-224 of address and code, as GoTrue does (crypto.go GenerateTokenHash), in
`auth.one_time_tokens` and beside it in the user's row. The row in `one_time_tokens` is what counts: whoever
deletes it has used the code.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hmac import compare_digest
from typing import Any, Final, Literal
from uuid import UUID, uuid4

from basalt.auth.errors import AuthError
from basalt.auth.users import Transaction, User, load_user, lock_user

TokenType = Literal[
    "confirmation_token",
    "recovery_token",
    "email_change_token_new",
    "email_change_token_current",
    "phone_change_token",
    "reauthentication_token",
]

PKCE_PREFIX: Final = "pkce_"
MAX_ATTEMPTS: Final = 5  # a six-digit code is then found by chance once in 200,000

SENT_AT: Final[Mapping[TokenType, str]] = {
    "confirmation_token": "confirmation_sent_at",
    "recovery_token": "recovery_sent_at",
    "email_change_token_new": "email_change_sent_at",
    "email_change_token_current": "email_change_sent_at",
    "phone_change_token": "phone_change_sent_at",
    "reauthentication_token": "reauthentication_sent_at",
}

# Each statement stores a code unless one was sent a moment ago; of two requests at once the row lock lets one
# through.
STORE_IN_USER: Final = {
    "confirmation": """
update auth.users set confirmation_token = %(token_hash)s, confirmation_sent_at = now(), updated_at = now()
where id = %(id)s
    and coalesce(confirmation_sent_at, '-infinity') <= now() - make_interval(secs => %(max_frequency_s)s)
""",
    "invitation": """
update auth.users set confirmation_token = %(token_hash)s, confirmation_sent_at = now(), invited_at = now(),
    updated_at = now()
where id = %(id)s
""",
    "recovery": """
update auth.users set recovery_token = %(token_hash)s, recovery_sent_at = now(), updated_at = now()
where id = %(id)s
    and coalesce(recovery_sent_at, '-infinity') <= now() - make_interval(secs => %(max_frequency_s)s)
""",
    "reauthentication": """
update auth.users set reauthentication_token = %(token_hash)s, reauthentication_sent_at = now(),
    updated_at = now()
where id = %(id)s
    and coalesce(reauthentication_sent_at, '-infinity') <= now() - make_interval(secs => %(max_frequency_s)s)
""",
    "phone_change": """
update auth.users set phone_change = %(address)s, phone_change_token = %(token_hash)s,
    phone_change_sent_at = now(), updated_at = now()
where id = %(id)s
    and coalesce(phone_change_sent_at, '-infinity') <= now() - make_interval(secs => %(max_frequency_s)s)
""",
    "email_change": """
update auth.users set email_change = %(address)s, email_change_token_new = %(token_hash)s,
    email_change_token_current = %(current_hash)s, email_change_confirm_status = 0,
    email_change_sent_at = now(), updated_at = now()
where id = %(id)s
    and coalesce(email_change_sent_at, '-infinity') <= now() - make_interval(secs => %(max_frequency_s)s)
""",
}
Purpose = Literal[
    "confirmation", "invitation", "recovery", "reauthentication", "phone_change", "email_change"
]
SENT_AT_OF_PURPOSE: Final[Mapping[Purpose, str]] = {
    "confirmation": "confirmation_sent_at",
    "invitation": "confirmation_sent_at",
    "recovery": "recovery_sent_at",
    "reauthentication": "reauthentication_sent_at",
    "phone_change": "phone_change_sent_at",
    "email_change": "email_change_sent_at",
}

STORE_HASH: Final = """
insert into auth.one_time_tokens (id, user_id, token_type, token_hash, relates_to, created_at, updated_at)
values (%(id)s, %(user_id)s, %(token_type)s, %(token_hash)s, %(relates_to)s, now(), now())
on conflict (user_id, token_type) do update set token_hash = excluded.token_hash,
    relates_to = excluded.relates_to,
    created_at = excluded.created_at, updated_at = excluded.updated_at
"""
LOCK_TOKENS: Final = """
select id, token_type::text as token_type, token_hash from auth.one_time_tokens
where user_id = %(user_id)s and token_type::text = any (%(token_types)s)
for update
"""
USE_ONCE: Final = (
    "delete from auth.one_time_tokens where id = %(id)s returning token_type::text as token_type"
)
TAKE_OUTSTANDING: Final = """
delete from auth.one_time_tokens where user_id = %(user_id)s and token_type::text = any (%(token_types)s)
returning token_type::text as token_type
"""
FIND_OWNER: Final = """
select user_id from auth.one_time_tokens
where token_hash = any (%(token_hashes)s) and token_type::text = any (%(token_types)s)
limit 1
"""
CLEAR_TOKENS: Final = "delete from auth.one_time_tokens where user_id = %(user_id)s"
CLEAR_TOKENS_OF_TYPES: Final = """
delete from auth.one_time_tokens where user_id = %(user_id)s and token_type::text = any (%(token_types)s)
"""
CLEAR_IN_USER: Final = """
update auth.users set updated_at = now(),
    confirmation_token =
        case when 'confirmation_token' = any (%(token_types)s) then '' else confirmation_token end,
    recovery_token =
        case when 'recovery_token' = any (%(token_types)s) then '' else recovery_token end,
    phone_change_token =
        case when 'phone_change_token' = any (%(token_types)s) then '' else phone_change_token end,
    email_change_token_new =
        case when 'email_change_token_new' = any (%(token_types)s) then '' else email_change_token_new end,
    email_change_token_current = case
        when 'email_change_token_current' = any (%(token_types)s) then '' else email_change_token_current end,
    reauthentication_token =
        case when 'reauthentication_token' = any (%(token_types)s) then '' else reauthentication_token end
where id = %(user_id)s
"""

COUNT_ATTEMPT: Final = """
insert into basalt.code_attempts as a (user_id, token_type, attempts, counted_at)
select t.user_id, t.token_type::text, 1, now() from auth.one_time_tokens as t
where t.user_id = %(user_id)s and t.token_type::text = any (%(token_types)s)
on conflict (user_id, token_type) do update set attempts = a.attempts + 1, counted_at = now()
returning token_type, attempts
"""
OWNERS_OF_ADDRESS: Final = """
select distinct user_id from auth.one_time_tokens
where relates_to = %(address)s and token_type::text = any (%(token_types)s)
order by user_id
"""
FORGET_ATTEMPTS: Final = """
delete from basalt.code_attempts where user_id = %(user_id)s and token_type = any (%(token_types)s)
"""


def new_code(digits: int) -> str:
    """Decimal digits, each sequence as likely as any other."""
    return str(secrets.randbelow(10**digits)).zfill(digits)


def hash_code(address: str, code: str) -> str:
    """
    >>> hash_code("a@example.com", "123456")[:8]
    'a1828f72'
    """
    return hashlib.sha224((address + code).encode()).hexdigest()


async def store_code(
    tx: Transaction,
    user: User,
    purpose: Purpose,
    tokens: Mapping[TokenType, tuple[str, str]],
    *,
    max_frequency_s: float = 0.0,
    address: str = "",
    current_hash: str = "",
) -> None:
    """Keep `tokens` (type → address and hash), replacing older ones of the same types and their counted
    tries. Raises AuthError over_email_send_rate_limit or over_sms_send_rate_limit when the last ones are too
    young."""
    parameters: dict[str, Any] = {
        "id": user.id,
        "token_hash": next(iter(tokens.values()))[1],
        "current_hash": current_hash,
        "address": address,
        "max_frequency_s": max_frequency_s,
    }
    if (await tx.execute(STORE_IN_USER[purpose], parameters)).rowcount == 0:
        raise _too_soon(user, purpose, max_frequency_s)
    for token_type, (relates_to, token_hash) in tokens.items():
        await store_token(tx, user, token_type, relates_to, token_hash)


async def store_token(
    tx: Transaction, user: User, token_type: TokenType, relates_to: str, token_hash: str
) -> None:
    """Make a hash the outstanding one of its type, with no tries counted yet."""
    await forget_attempts(tx, user, [token_type])
    row = {"id": uuid4(), "user_id": user.id, "token_type": token_type, "token_hash": token_hash}
    await tx.execute(STORE_HASH, row | {"relates_to": relates_to.lower()})


async def use_token(
    tx: Transaction, user: User, token_types: Sequence[TokenType], token_hash: str, *, expiry_s: float
) -> TokenType | None:
    """Consume the token of one of the types, in their order, and tell which it was. None when it is wrong,
    old or used."""
    found = await tx.execute(LOCK_TOKENS, {"user_id": user.id, "token_types": list(token_types)})
    rows = {row["token_type"]: row for row in await found.fetchall()}
    used: TokenType | None = None
    for token_type in token_types:
        row = rows.get(token_type)
        if row is not None and used is None and matches(token_hash, row["token_hash"]):
            used = token_type if is_fresh(user, token_type, expiry_s) else None
    if used is None:
        return None
    deleted = await tx.execute(USE_ONCE, {"id": rows[used]["id"]})
    if await deleted.fetchone() is None:
        return None
    await tx.execute(CLEAR_IN_USER, {"user_id": user.id, "token_types": [used]})
    await forget_attempts(tx, user, [used])
    return used


async def has_token(tx: Transaction, user: User, token_types: Sequence[TokenType]) -> bool:
    """Whether a token of one of the types is outstanding; it stays so until the transaction ends."""
    found = await tx.execute(LOCK_TOKENS, {"user_id": user.id, "token_types": list(token_types)})
    return await found.fetchone() is not None


async def take_token(tx: Transaction, user: User, token_types: Sequence[TokenType]) -> TokenType | None:
    """Consume an outstanding token whose code somebody else has checked."""
    taken = await tx.execute(TAKE_OUTSTANDING, {"user_id": user.id, "token_types": list(token_types)})
    row = await taken.fetchone()
    if row is None:
        return None
    used: TokenType = row["token_type"]
    await tx.execute(CLEAR_IN_USER, {"user_id": user.id, "token_types": [used]})
    await forget_attempts(tx, user, [used])
    return used


def matches(given_hash: str, stored_hash: str) -> bool:
    """A code matches its hash whether or not a PKCE flow asked for it."""
    plain = stored_hash.removeprefix(PKCE_PREFIX)
    return compare_digest(given_hash.encode(), stored_hash.encode()) or compare_digest(
        given_hash.encode(), plain.encode()
    )


def is_fresh(user: User, token_type: TokenType, expiry_s: float) -> bool:
    sent_at = user.times[SENT_AT[token_type]]
    return sent_at is not None and datetime.now(UTC) <= sent_at + timedelta(seconds=expiry_s)


async def find_owner(tx: Transaction, token_hash: str, token_types: Sequence[TokenType]) -> UUID | None:
    """Whose token it is. A hash made from a code is also looked for with its PKCE prefix."""
    hashes = [token_hash] if token_hash.startswith(PKCE_PREFIX) else [token_hash, PKCE_PREFIX + token_hash]
    parameters = {"token_hashes": hashes, "token_types": list(token_types)}
    row = await (await tx.execute(FIND_OWNER, parameters)).fetchone()
    return None if row is None else row["user_id"]


async def count_wrong_code(tx: Transaction, user: User, token_types: Sequence[TokenType]) -> None:
    """Count a wrong code against every outstanding token that it could have been; the last try allowed ends
    the token."""
    parameters = {"user_id": user.id, "token_types": list(token_types)}
    counted = await (await tx.execute(COUNT_ATTEMPT, parameters)).fetchall()
    spent = [row["token_type"] for row in counted if row["attempts"] >= MAX_ATTEMPTS]
    if spent:
        parameters = {"user_id": user.id, "token_types": spent}
        await tx.execute(CLEAR_TOKENS_OF_TYPES, parameters)
        await tx.execute(CLEAR_IN_USER, parameters)
        await tx.execute(FORGET_ATTEMPTS, parameters)


async def count_wrong_code_at(tx: Transaction, address: str, token_types: Sequence[TokenType]) -> None:
    """Count a wrong code against everybody who has one outstanding at an address. Several users may be changing to the
    same one, and a guess is good for the code of any."""
    parameters = {"address": address.lower(), "token_types": list(token_types)}
    owners = await (await tx.execute(OWNERS_OF_ADDRESS, parameters)).fetchall()
    for owner in owners:
        user = await load_user(tx, owner["user_id"])
        if user is not None:
            await count_wrong_code(tx, await lock_user(tx, user), token_types)


async def forget_attempts(tx: Transaction, user: User, token_types: Sequence[TokenType]) -> None:
    await tx.execute(FORGET_ATTEMPTS, {"user_id": user.id, "token_types": list(token_types)})


async def clear_tokens(tx: Transaction, user: User) -> None:
    """Everything outstanding is void: the account has just been proven or changed in another way."""
    await tx.execute(CLEAR_TOKENS, {"user_id": user.id})
    await tx.execute(CLEAR_IN_USER, {"user_id": user.id, "token_types": list(SENT_AT)})
    await forget_attempts(tx, user, list(SENT_AT))


def _too_soon(user: User, purpose: Purpose, max_frequency_s: float) -> AuthError:
    sent_at = user.times[SENT_AT_OF_PURPOSE[purpose]] or datetime.now(UTC)
    left_s = int((sent_at + timedelta(seconds=max_frequency_s) - datetime.now(UTC)).total_seconds())
    return AuthError(
        "over_email_send_rate_limit",
        f"For security purposes, you can only request this after {max(left_s, 0)} seconds.",
    )
