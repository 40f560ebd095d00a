"""Reading users out of the answers of each known provider: one function per shape (GoTrue internal/api/provider/).

Which addresses count as verified is decided here, and nowhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from basalt.auth.external_identity import ExternalProfile, ProviderEmail
from basalt.auth.oauth.claims import (
    ProfileError,
    at,
    is_true,
    one_email,
    profile,
    standard_profile,
    subject_of,
    text,
)

AZURE_TOKEN_CLAIMS: Final = frozenset((
    "aud", "iss", "iat", "nbf", "exp", "c_hash", "at_hash", "aio", "nonce", "rh", "uti", "jti", "ver", "sub",
    "name", "preferred_username",
))  # fmt: skip
KEYCLOAK_CLAIMS: Final = frozenset({"name", "sub", "email", "email_verified"})


@dataclass(frozen=True, slots=True)
class Answers:
    """What a provider answered: its token endpoint, its user endpoint, and a second one where there is one. `iss` is
    what the identity names as its origin."""

    iss: str
    token: Mapping[str, Any]
    user: Any = None
    more: Any = None


def read_standard(answers: Answers) -> ExternalProfile:
    """User info as OpenID Connect Core §5.3 has it."""
    if not isinstance(answers.user, dict):
        raise ProfileError("the user info is no object")
    return standard_profile(answers.user)


def read_github(answers: Answers) -> ExternalProfile:
    user = answers.user
    name, login = text(user, "name"), text(user, "login")
    return profile(
        at(user, "id"),
        _listed(answers.more, verified="verified", primary="primary"),
        iss=answers.iss,
        name=name,
        preferred_username=login,
        avatar_url=text(user, "avatar_url"),
        full_name=name,
        user_name=login,
    )


def read_gitlab(answers: Answers) -> ExternalProfile:
    """Further addresses come without a word on whether they were confirmed."""
    user = answers.user
    others = tuple(ProviderEmail(email.email) for email in _listed(answers.more, verified="", primary=""))
    main = one_email(text(user, "email"), verified=bool(text(user, "confirmed_at")))
    return _named(answers, at(user, "id"), others + main, text(user, "name"), text(user, "avatar_url"))


def read_bitbucket(answers: Answers) -> ExternalProfile:
    user = answers.user
    emails = _listed(at(answers.more, "values"), verified="is_confirmed", primary="is_primary")
    return _named(answers, at(user, "uuid"), emails, text(user, "display_name"), text(user, "avatar", "href"))


def read_google_user(answers: Answers) -> ExternalProfile:
    """Google's older user info, where no ID token came along."""
    user = answers.user
    verified = is_true(at(user, "verified_email")) or is_true(at(user, "email_verified"))
    emails = one_email(text(user, "email"), verified=verified)
    return _named(answers, at(user, "id"), emails, text(user, "name"), text(user, "picture"))


def read_discord(answers: Answers) -> ExternalProfile:
    user = answers.user
    who, name, avatar = subject_of(at(user, "id")), text(user, "username"), text(user, "avatar")
    discriminator = text(user, "discriminator")
    if avatar:
        ending = "gif" if avatar.startswith("a_") else "png"
        picture = f"https://cdn.discordapp.com/avatars/{who}/{avatar}.{ending}"
    else:
        number = int(discriminator) if discriminator.isascii() and discriminator.isdecimal() else 0
        picture = f"https://cdn.discordapp.com/embed/avatars/{number % 5}.png"
    return profile(
        who,
        one_email(text(user, "email"), verified=is_true(at(user, "verified"))),
        {"global_name": text(user, "global_name")},
        iss=answers.iss,
        name=f"{name}#{discriminator}",
        picture=picture,
        avatar_url=picture,
        full_name=name,
    )


def read_facebook(answers: Answers) -> ExternalProfile:
    user = answers.user
    name = f"{text(user, 'first_name')} {text(user, 'last_name')}".strip()
    alias, picture = text(user, "name"), text(user, "picture", "data", "url")
    return profile(
        at(user, "id"),
        one_email(text(user, "email"), verified=True),
        iss=answers.iss,
        name=name,
        nickname=alias,
        picture=picture,
        slug=alias,
        avatar_url=picture,
        full_name=name,
    )


def read_figma(answers: Answers) -> ExternalProfile:
    user, name = answers.user, text(answers.user, "handle")
    return profile(
        at(user, "id"),
        one_email(text(user, "email"), verified=True),
        iss=answers.iss,
        name=name,
        avatar_url=text(user, "img_url"),
        full_name=name,
    )


def read_fly(answers: Answers) -> ExternalProfile:
    user = answers.user
    kept = ("resource_owner_id", "organizations", "application", "scope", "created_at")
    return profile(
        at(user, "user_id"),
        one_email(text(user, "email"), verified=True),
        {name: at(user, name) for name in kept},
        iss=answers.iss,
        full_name=text(user, "user_name"),
    )


def read_kakao(answers: Answers) -> ExternalProfile:
    account = at(answers.user, "kakao_account")
    verified = is_true(at(account, "is_email_verified")) and is_true(at(account, "is_email_valid"))
    name = text(account, "profile", "nickname")
    return profile(
        at(answers.user, "id"),
        one_email(text(account, "email"), verified=verified),
        iss=answers.iss,
        name=name,
        preferred_username=name,
        avatar_url=text(account, "profile", "profile_image_url"),
        full_name=name,
        user_name=name,
    )


def read_keycloak(answers: Answers) -> ExternalProfile:
    user, name = answers.user, text(answers.user, "name")
    others = {claim: value for claim, value in dict(user or {}).items() if claim not in KEYCLOAK_CLAIMS}
    return profile(
        at(user, "sub"),
        one_email(text(user, "email"), verified=at(user, "email_verified") is True),
        others,
        iss=answers.iss,
        name=name,
        full_name=name,
    )


def read_linkedin(answers: Answers) -> ExternalProfile:
    user = answers.user
    elements = at(user, "profilePicture", "displayImage~", "elements")
    picture = text(elements, 0, "identifiers", 0, "identifier")
    name = f"{_localized(at(user, 'firstName'))} {_localized(at(user, 'lastName'))}".strip()
    emails = one_email(text(answers.more, "elements", 0, "handle~", "emailAddress"), verified=True)
    return _named(answers, at(user, "id"), emails, name, picture)


def read_notion(answers: Answers) -> ExternalProfile:
    user = at(answers.user, "bot", "owner", "user")
    emails = one_email(text(user, "person", "email"), verified=True)
    return _named(answers, at(user, "id"), emails, text(user, "name"), text(user, "avatar_url"))


def read_slack(answers: Answers) -> ExternalProfile:
    """The legacy way has nothing to say of verification; Slack sends only addresses of workspace members."""
    return _slack(answers, verified=True)


def read_slack_oidc(answers: Answers) -> ExternalProfile:
    return _slack(answers, verified=is_true(at(answers.user, "email_verified")))


def read_snapchat(answers: Answers) -> ExternalProfile:
    user = at(answers.user, "data", "me")
    name, picture = text(user, "displayName"), text(user, "bitmoji", "avatar")
    return profile(
        at(user, "externalId"),
        one_email(text(user, "email"), verified=True),
        iss=answers.iss,
        name=name,
        picture=picture,
        slug=name,
        avatar_url=picture,
        full_name=name,
    )


def read_spotify(answers: Answers) -> ExternalProfile:
    """Spotify says that its addresses are unverified; of the pictures the largest is kept."""
    user = answers.user
    pictures = [image for image in at(user, "images") or [] if isinstance(image, dict)]
    largest = max(pictures, key=_area, default={})
    emails = one_email(text(user, "email"), verified=False)
    return _named(answers, at(user, "id"), emails, text(user, "display_name"), text(largest, "url"))


def read_twitch(answers: Answers) -> ExternalProfile:
    user = at(answers.user, "data", 0)
    login, display_name, picture = (text(user, key) for key in ("login", "display_name", "profile_image_url"))
    kept = ("broadcaster_type", "description", "type", "offline_image_url", "view_count")
    return profile(
        at(user, "id"),
        one_email(text(user, "email"), verified=True),
        {name: at(user, name) for name in kept},
        iss=answers.iss,
        picture=picture,
        name=login,
        nickname=display_name,
        slug=display_name,
        avatar_url=picture,
        full_name=login,
    )


def read_twitter(answers: Answers) -> ExternalProfile:
    user = answers.user
    name, screen_name = text(user, "name"), text(user, "screen_name")
    picture = text(user, "profile_image_url_https")
    return profile(
        at(user, "id_str"),
        one_email(text(user, "email"), verified=True),
        iss=answers.iss,
        name=name,
        picture=picture,
        preferred_username=screen_name,
        user_name=screen_name,
        full_name=name,
        avatar_url=picture,
    )


def read_workos(answers: Answers) -> ExternalProfile:
    """The profile comes along with the token."""
    user = at(answers.token, "profile")
    name = f"{text(user, 'first_name')} {text(user, 'last_name')}".strip()
    return profile(
        at(user, "id"),
        one_email(text(user, "email"), verified=True),
        {key: text(user, key) for key in ("connection_id", "organization_id")},
        iss=answers.iss,
        name=name,
        full_name=name,
    )


def read_x(answers: Answers) -> ExternalProfile:
    """X tells confirmed addresses only."""
    user = at(answers.user, "data")
    name, username = text(user, "name"), text(user, "username")
    picture = text(user, "profile_image_url")
    return profile(
        at(user, "id"),
        one_email(text(user, "confirmed_email"), verified=True),
        {"created_at": text(user, "created_at")},
        iss=answers.iss,
        name=name,
        preferred_username=username,
        picture=picture,
        profile=f"https://x.com/{username}",
        website=text(user, "url"),
        avatar_url=picture,
        full_name=name,
        user_name=username,
    )


def read_zoom(answers: Answers) -> ExternalProfile:
    """Login type 100 is Zoom's own password login; of that one the confirmation is told, the others need none."""
    user = answers.user
    login_type = at(user, "login_type")
    verified = str(login_type) != "100" or is_true(at(user, "verified"))
    name = f"{text(user, 'first_name')} {text(user, 'last_name')}".strip()
    emails = one_email(text(user, "email"), verified=verified)
    return _named(answers, at(user, "id"), emails, name, text(user, "pic_url"))


def read_google_token(claims: Mapping[str, Any]) -> ExternalProfile:
    name, picture, domain = (text(claims, key) for key in ("name", "picture", "hd"))
    verified = is_true(claims.get("email_verified")) or is_true(claims.get("verified_email"))
    return profile(
        claims.get("sub"),
        one_email(text(claims, "email"), verified=verified),
        {"hd": domain} if domain else None,
        iss=text(claims, "iss"),
        name=name,
        picture=picture,
        avatar_url=picture,
        full_name=name,
    )


def read_apple_token(claims: Mapping[str, Any]) -> ExternalProfile:
    """Apple verifies its addresses; it may also tell none."""
    custom: dict[str, Any] = {}
    if "is_private_email" in claims:
        custom["is_private_email"] = is_true(claims["is_private_email"])
    for name in ("auth_time", "transfer_sub"):
        if claims.get(name):
            custom[name] = claims[name]
    emails = (ProviderEmail(text(claims, "email"), verified=True, primary=True),)
    return profile(claims.get("sub"), emails, custom, iss=text(claims, "iss"))


def read_azure_token(claims: Mapping[str, Any]) -> ExternalProfile:
    """`xms_edov` says whether the address's domain is the tenant's own. Where the application does not ask for it,
    addresses count as verified, as they do for GoTrue."""
    email, edov = text(claims, "email"), claims.get("xms_edov")
    verified = edov is None or is_true(edov)
    custom = {name: value for name, value in claims.items() if name not in AZURE_TOKEN_CLAIMS}
    return profile(
        claims.get("sub"),
        one_email(email, verified=verified),
        custom,
        iss=text(claims, "iss"),
        preferred_username=text(claims, "preferred_username"),
        full_name=text(claims, "name"),
    )


def read_facebook_token(claims: Mapping[str, Any]) -> ExternalProfile:
    """Limited Login; its addresses are verified."""
    return profile(
        claims.get("sub"),
        one_email(text(claims, "email"), verified=True),
        iss=text(claims, "iss"),
        name=text(claims, "name"),
        picture=text(claims, "picture"),
    )


def read_kakao_token(claims: Mapping[str, Any]) -> ExternalProfile:
    name = text(claims, "nickname")
    return profile(
        claims.get("sub"),
        one_email(text(claims, "email"), verified=True),
        iss=text(claims, "iss"),
        name=name,
        preferred_username=name,
        picture=text(claims, "picture"),
    )


def read_linkedin_token(claims: Mapping[str, Any]) -> ExternalProfile:
    given, family = text(claims, "given_name"), text(claims, "family_name")
    return profile(
        claims.get("sub"),
        one_email(text(claims, "email"), verified=is_true(claims.get("email_verified"))),
        iss=text(claims, "iss"),
        name=f"{given} {family}".strip(),
        given_name=given,
        family_name=family,
        locale=text(claims, "locale"),
        picture=text(claims, "picture"),
    )


def read_snapchat_token(claims: Mapping[str, Any]) -> ExternalProfile:
    told = standard_profile(claims)
    return ExternalProfile(told.subject, told.claims, one_email(text(claims, "email"), verified=True))


def _named(
    answers: Answers, subject: Any, emails: tuple[ProviderEmail, ...], name: str, picture: str
) -> ExternalProfile:
    """What most providers tell: a name and a picture, each under two claims."""
    return profile(
        subject, emails, iss=answers.iss, name=name, picture=picture, avatar_url=picture, full_name=name
    )


def _listed(entries: Any, *, verified: str, primary: str) -> tuple[ProviderEmail, ...]:
    """Addresses out of a list of objects; `verified` and `primary` are the names of their flags."""
    return tuple(
        ProviderEmail(text(entry, "email"), at(entry, verified) is True, at(entry, primary) is True)
        for entry in (entries if isinstance(entries, list) else [])
        if text(entry, "email")
    )


def _slack(answers: Answers, *, verified: bool) -> ExternalProfile:
    user = answers.user
    name, picture = text(user, "name"), text(user, "picture")
    return profile(
        at(user, "https://slack.com/user_id"),
        one_email(text(user, "email"), verified=verified),
        {"https://slack.com/team_id": text(user, "https://slack.com/team_id")},
        iss=answers.iss,
        name=name,
        picture=picture,
        avatar_url=picture,
        full_name=name,
    )


def _localized(name: Any) -> str:
    locale = at(name, "preferredLocale")
    return text(name, "localized", f"{text(locale, 'language')}_{text(locale, 'country')}")


def _area(image: Mapping[str, Any]) -> int:
    height, width = image.get("height"), image.get("width")
    return height * width if isinstance(height, int) and isinstance(width, int) else 0
