"""Users as JSON: GoTrue's user object (models/user.go, identity.go, factor.go)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from basalt.auth.users import TIMES, User, read_time

# Times that are shown when they are set; created_at and updated_at always are.
SHOWN_TIMES: Final = tuple(name for name in TIMES if name not in ("created_at", "updated_at"))


def render_user(user: User) -> dict[str, Any]:
    """GoTrue's user object (models/user.go): absent times are left out, identities always present."""
    shown: dict[str, Any] = {
        "id": str(user.id),
        "aud": user.audience,
        "role": user.role,
        "email": user.email,
        "phone": user.phone,
        "app_metadata": user.app_metadata,
        "user_metadata": user.user_metadata,
        "identities": [_render_identity(identity) for identity in user.identities],
        "created_at": render_time(user.times["created_at"] or user.times["updated_at"] or datetime.now(UTC)),
        "updated_at": render_time(user.times["updated_at"] or user.times["created_at"] or datetime.now(UTC)),
        "is_anonymous": user.is_anonymous,
    }
    for name in SHOWN_TIMES:
        moment = user.times[name]
        if moment is not None:
            shown[name] = render_time(moment)
    if user.email_change:
        shown["new_email"] = user.email_change
    if user.phone_change:
        shown["new_phone"] = user.phone_change
    if user.factors:
        shown["factors"] = [render_factor(factor) for factor in user.factors]
    return shown


def render_time(moment: datetime) -> str:
    """RFC 3339 in UTC with a `Z`.

    >>> render_time(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    '2026-01-02T03:04:05Z'
    """
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _render_identity(identity: Mapping[str, Any]) -> dict[str, Any]:
    shown = {
        "identity_id": identity["id"],
        "id": identity["provider_id"],
        "user_id": identity["user_id"],
        "identity_data": identity["identity_data"],
        "provider": identity["provider"],
        "created_at": _rendered(identity["created_at"]),
        "updated_at": _rendered(identity["updated_at"]),
    }
    if identity["last_sign_in_at"]:
        shown["last_sign_in_at"] = _rendered(identity["last_sign_in_at"])
    if identity["email"]:
        shown["email"] = identity["email"]
    return shown


def render_factor(factor: Mapping[str, Any]) -> dict[str, Any]:
    """GoTrue's factor object (models/factor.go): never a secret or a credential."""
    shown = {name: value for name, value in factor.items() if value or name != "friendly_name"}
    for name in ("created_at", "updated_at", "last_challenged_at"):
        shown[name] = _rendered(factor[name])
    shown["phone"] = factor["phone"] or ""
    for name in ("web_authn_aaguid", "last_webauthn_challenge_data"):
        if shown.get(name) is None:
            shown.pop(name, None)
    return shown


def _rendered(moment: str | None) -> str | None:
    """A time that came through PostgreSQL's JSON."""
    found = read_time(moment)
    return None if found is None else render_time(found)
