"""What providers say of a user, in GoTrue's words (provider.go `Claims`).

Answers of providers are read leniently: a value of a wrong type counts as absent, and what identifies the user must be
there.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from basalt.auth.external_identity import ExternalProfile, ProviderEmail

TEXT_CLAIMS: Final = (
    "iss", "name", "family_name", "given_name", "middle_name", "nickname", "preferred_username", "profile",
    "picture", "website", "gender", "birthdate", "zoneinfo", "locale", "phone", "full_name", "avatar_url", "slug",
    "provider_id", "user_name",
)  # fmt: skip
MAX_SUBJECT_LENGTH: Final = 1024


class ProfileError(Exception):
    """A provider's answer from which no user can be told. The message names the provider's field, never its value."""


def text(value: Any, *path: str | int) -> str:
    """The text at a path of an answer, empty when there is none.

    >>> text({"a": [{"b": "c"}]}, "a", 0, "b")
    'c'
    >>> text({"a": 1}, "a", "b")
    ''
    """
    found = at(value, *path)
    return found.replace("\x00", "") if isinstance(found, str) else ""


def at(value: Any, *path: str | int) -> Any:
    for step in path:
        match value, step:
            case dict(), str():
                value = value.get(step)
            case list(), int() if step < len(value):
                value = value[step]
            case _:
                return None
    return value


def is_true(value: Any) -> bool:
    """Some providers write booleans as texts or numbers.

    >>> [is_true(value) for value in (True, "true", "1", 1, False, "false", "yes", None)]
    [True, True, True, True, False, False, False, False]
    """
    return value is True or value == 1 or value in ("true", "1")


def subject_of(value: Any) -> str:
    """Who the user is at the provider, which may count its users. Raises ProfileError."""
    subject = str(value) if isinstance(value, int) and not isinstance(value, bool) else text(value)
    if not subject or len(subject) > MAX_SUBJECT_LENGTH:
        raise ProfileError("the answer names no user")
    return subject


def profile(
    subject: Any,
    emails: tuple[ProviderEmail, ...] = (),
    custom: Mapping[str, Any] | None = None,
    **claims: Any,
) -> ExternalProfile:
    """Empty claims are left out. `provider_id` repeats the subject, as older clients read it."""
    who = subject_of(subject)
    told = {name: value for name, value in {**claims, "provider_id": who}.items() if value}
    if custom:
        told["custom_claims"] = dict(custom)
    return ExternalProfile(who, told, emails)


def one_email(email: str, *, verified: bool) -> tuple[ProviderEmail, ...]:
    return (ProviderEmail(email, verified, primary=True),) if email else ()


def standard_claims(told: Mapping[str, Any]) -> dict[str, Any]:
    """The claims that GoTrue keeps of an OpenID provider it does not know further, out of an ID token or user info."""
    kept: dict[str, Any] = {name: text(told, name) for name in TEXT_CLAIMS}
    kept["aud"] = [told["aud"]] if isinstance(told.get("aud"), str) else told.get("aud")
    kept["iat"], kept["exp"] = told.get("iat"), told.get("exp")
    kept["custom_claims"] = told.get("custom_claims") if isinstance(told.get("custom_claims"), dict) else None
    kept["updated_at"] = _moment(told.get("updated_at"))
    kept = {name: value for name, value in kept.items() if value}
    kept["phone_verified"] = is_true(told.get("phone_verified"))
    return kept


def standard_profile(told: Mapping[str, Any]) -> ExternalProfile:
    emails = one_email(text(told, "email"), verified=is_true(told.get("email_verified")))
    return ExternalProfile(subject_of(told.get("sub")), standard_claims(told), emails)


def _moment(value: Any) -> str | None:
    """Seconds since 1970, or RFC 3339, as RFC 3339."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(int(value), UTC).isoformat().replace("+00:00", "Z")
        if isinstance(value, str) and value:
            return datetime.fromisoformat(value).astimezone(UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        pass
    return None
