"""Which account an identity of somebody else belongs to (GoTrue models/linking.go).

An identity that is known belongs to its user. A new one joins the account that has one of its verified addresses,
else it gets an account of its own. Accounts of single sign-on are never joined by address: each provider of that
kind is a world of its own, where addresses may repeat.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.users import Transaction, User, find_owner_of_email, load_user

SSO_PREFIX: Final = "sso:"

FIND_IDENTITY: Final = """
select id, user_id from auth.identities where provider = %(provider)s and provider_id = %(subject)s
"""
FIND_ACCOUNTS: Final = """
select distinct i.user_id as id
from auth.identities as i join auth.users as u on u.id = i.user_id
where i.email = any (%(emails)s) and i.provider not like 'sso:%%' and u.is_sso_user = false
"""
# Both spellings so that one of the two indexes serves.
FIND_USERS: Final = """
select u.id from auth.users as u
where u.is_sso_user = false and (u.email = any (%(emails)s)
    or (u.instance_id = '00000000-0000-0000-0000-000000000000' and lower(u.email) = any (%(emails)s)))
"""
FIND_SSO_ACCOUNTS: Final = """
select distinct i.user_id as id from auth.identities as i
where i.email = any (%(emails)s) and i.provider = %(provider)s
"""


@dataclass(frozen=True, slots=True)
class ProviderEmail:
    """An address that a provider tells of its user; only `verified` ones prove anything."""

    email: str
    verified: bool = False
    primary: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """`email` is the address that the account has or gets; empty where it is somebody else's and unproven.
    `is_verified` is whether the provider proves that very address."""

    kind: Literal["exists", "link", "create"]
    email: str
    is_verified: bool
    user: User | None = None
    identity_id: UUID | None = None


async def decide_linking(
    call: Call, tx: Transaction, provider: str, subject: str, emails: Sequence[ProviderEmail]
) -> Decision:
    """Raises AuthError unexpected_failure when the addresses belong to several accounts."""
    primary = next((email for email in reversed(emails) if email.primary), ProviderEmail(""))
    known = await find_identity(tx, provider, subject)
    if known is not None:
        user = await load_user(tx, known["user_id"])
        assert user is not None  # the identity refers to it
        return Decision("exists", user.email, _proves(user, emails, primary), user, known["id"])
    candidate = primary.email.lower()
    verified = _trusted_addresses(call, emails)
    if not verified:
        taken = candidate and await find_owner_of_email(tx, candidate, call.audience)
        return Decision("create", "" if taken else candidate, primary.verified)
    user = await _find_account(tx, provider, sorted(verified))
    if user is None:
        return Decision("create", candidate, primary.verified)
    return Decision("link", candidate, _proves(user, emails, primary), user)


async def find_identity(tx: Transaction, provider: str, subject: str) -> dict[str, Any] | None:
    """`id` and `user_id` of an identity."""
    return await (await tx.execute(FIND_IDENTITY, {"provider": provider, "subject": subject})).fetchone()


def verified_addresses(emails: Sequence[ProviderEmail]) -> frozenset[str]:
    return frozenset(email.email.lower() for email in emails if email.verified and email.email)


def _proves(user: User, emails: Sequence[ProviderEmail], primary: ProviderEmail) -> bool:
    """GoTrue asks only whether the primary address is verified, be it the account's or not: a provider's user who
    changes the address there would confirm somebody else's here."""
    return user.email.lower() in verified_addresses(emails) if user.email else primary.verified


def _trusted_addresses(call: Call, emails: Sequence[ProviderEmail]) -> frozenset[str]:
    """Without confirmations every address counts as verified, as with passwords (GoTrue Mailer.Autoconfirm)."""
    if call.settings.email.enable_confirmations:
        return verified_addresses(emails)
    return frozenset(email.email.lower() for email in emails if email.email)


async def _find_account(tx: Transaction, provider: str, emails: list[str]) -> User | None:
    """The account with one of the addresses: by its identities first, by the users themselves where no identity has
    it (seeds and imports may lack them)."""
    statements = (FIND_SSO_ACCOUNTS,) if provider.startswith(SSO_PREFIX) else (FIND_ACCOUNTS, FIND_USERS)
    for statement in statements:
        rows = await (await tx.execute(statement, {"emails": emails, "provider": provider})).fetchall()
        if len(rows) > 1:
            domain = provider if provider.startswith(SSO_PREFIX) else "default"
            message = (
                f"Multiple accounts with the same email address in the same linking domain detected: {domain}"
            )
            raise AuthError("unexpected_failure", message)
        if rows:
            return await load_user(tx, rows[0]["id"])
    return None
