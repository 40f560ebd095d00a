"""A factor as the flows see it, and the changes that more than one of them makes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.sessions import Method
from basalt.auth.users import Transaction, User
from basalt.config import AuthSettings

FactorType = Literal["totp", "phone", "webauthn"]

MAX_NAME_LENGTH: Final = 255  # a longer one would not fit the index that keeps names apart
METHODS: Final[Mapping[FactorType, Method]] = {
    "totp": "totp",
    "phone": "mfa/phone",
    "webauthn": "mfa/webauthn",
}

SELECT_FACTOR: Final = """
select f.id, f.factor_type::text as type, f.status::text as status, f.secret, f.phone, f.last_challenged_at,
    f.web_authn_credential as credential
from auth.mfa_factors as f
where f.id = %(id)s and f.user_id = %(user_id)s
"""
LOCK_FACTOR: Final = SELECT_FACTOR + " for no key update"
SET_VERIFIED: Final = "update auth.mfa_factors set status = 'verified', updated_at = now() where id = %(id)s"
DELETE_UNVERIFIED: Final = """
delete from auth.mfa_factors where user_id = %(user_id)s and factor_type::text = %(type)s and status = 'unverified'
"""


@dataclass(frozen=True, slots=True)
class Factor:
    """A row of `auth.mfa_factors`. `credential` is go-webauthn's JSON of a security key, so that rows of a GoTrue can
    be taken over."""

    id: UUID
    type: FactorType
    is_verified: bool
    secret: str
    phone: str
    last_challenged_at: datetime | None
    credential: Mapping[str, Any] | None

    @property
    def method(self) -> Method:
        return METHODS[self.type]


async def load_factor(tx: Transaction, user: User, factor_id: str, *, lock: bool = False) -> Factor:
    """A factor of this user. Raises AuthError validation_failed (404) for what is no UUID, mfa_factor_not_found."""
    try:
        parameters = {"id": UUID(factor_id), "user_id": user.id}
    except ValueError as exc:
        raise AuthError("validation_failed", "factor_id must be an UUID", status=404) from exc
    row = await (await tx.execute(LOCK_FACTOR if lock else SELECT_FACTOR, parameters)).fetchone()
    if row is None:
        raise AuthError("mfa_factor_not_found")
    return Factor(
        id=row["id"],
        type=row["type"],
        is_verified=row["status"] == "verified",
        secret=row["secret"] or "",
        phone=row["phone"] or "",
        last_challenged_at=row["last_challenged_at"],
        credential=row["credential"] or None,
    )


async def set_verified(tx: Transaction, user: User, factor: Factor) -> None:
    """The factor counts from now on; what else was begun with one of its type is given up, as in GoTrue."""
    await tx.execute(SET_VERIFIED, {"id": factor.id})
    await delete_unverified(tx, user, factor.type)


async def delete_unverified(tx: Transaction, user: User, factor_type: FactorType) -> None:
    await tx.execute(DELETE_UNVERIFIED, {"user_id": user.id, "type": factor_type})


def check_verify_enabled(settings: AuthSettings, factor_type: FactorType) -> None:
    """Raises AuthError mfa_…_verify_not_enabled."""
    section = settings.mfa
    enabled = {
        "totp": section.totp.verify_enabled,
        "phone": section.phone.verify_enabled,
        "webauthn": section.web_authn.verify_enabled,
    }
    if not enabled[factor_type]:
        raise AuthError(f"mfa_{factor_type}_verify_not_enabled")


def check_name(name: str) -> None:
    """Raises AuthError validation_failed."""
    if len(name) > MAX_NAME_LENGTH:
        message = f"friendly_name must be {MAX_NAME_LENGTH} characters or less"
        raise AuthError("validation_failed", message)


def client_address(call: Call) -> str:
    """The address that a challenge is bound to; one for all clients whose address is not known."""
    return call.device.ip or "0.0.0.0"  # noqa: S104
