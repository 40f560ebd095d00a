"""What a client learns of its user, by scope: the ID token (OpenID Connect Core §2; GoTrue tokens/service.go
GenerateIDToken) and `GET /oauth/userinfo` (§5.3)."""

import time
from collections.abc import Container
from datetime import datetime
from typing import Any, Final

from basalt.auth.call import Auth, Call
from basalt.auth.oauth_server.clients import Client
from basalt.auth.oauth_server.discovery import check_enabled, parse_scopes
from basalt.auth.tokens import NO_STORE
from basalt.auth.users import User
from basalt.http import Response, json_response

ID_TOKEN_LIFE_S: Final = 3600


def build_id_token(
    auth: Auth, user: User, client: Client, *, scopes: Container[str], nonce: str, signed_in_at: datetime
) -> str:
    """Signed so that a client can verify it by the JWKS, also in a project whose access tokens are signed by the
    secret; GoTrue has no ID tokens there."""
    issued_at = int(time.time())
    claims: dict[str, Any] = {
        "iss": auth.issuer,
        "sub": str(user.id),
        "aud": str(client.id),
        "exp": issued_at + ID_TOKEN_LIFE_S,
        "iat": issued_at,
        "auth_time": int(signed_in_at.timestamp()),
        "client_id": str(client.id),
        "email_verified": "email" in scopes and user.has_confirmed_email,
        "phone_number_verified": "phone" in scopes and user.has_confirmed_phone,
    }
    texts = {
        "nonce": nonce,
        "email": user.email if "email" in scopes else "",
        "phone_number": user.phone if "phone" in scopes else "",
    }
    claims |= {name: text for name, text in texts.items() if text}
    if "profile" in scopes:
        claims |= _profile(user)
    return auth.keys.sign_for_others(claims)


async def show_userinfo(call: Call) -> Response:
    """A token that no client was given tells no more than whose it is, as in GoTrue."""
    check_enabled(call)
    user, grant = call.user, call.session and call.session.grant
    scopes = parse_scopes(grant.scopes) if grant else []
    shown: dict[str, Any] = {"sub": str(user.id)}
    if "email" in scopes:
        shown |= {"email": user.email} if user.email else {}
        shown |= {"email_verified": True} if user.has_confirmed_email else {}
    if "profile" in scopes:
        shown |= _profile(user) | {"user_metadata": user.user_metadata}
    if "phone" in scopes:  # GoTrue's names, and OpenID Connect's
        shown |= {"phone": user.phone, "phone_number": user.phone} if user.phone else {}
        if user.has_confirmed_phone:
            shown |= {"phone_verified": True, "phone_number_verified": True}
    return json_response(shown, headers=NO_STORE)


def _profile(user: User) -> dict[str, Any]:
    updated_at = user.times["updated_at"]
    found = {
        "name": _first_text(user, "name") or user.email,
        "picture": _first_text(user, "picture", "avatar_url"),
        "preferred_username": _first_text(user, "preferred_username", "username"),
        "updated_at": int(updated_at.timestamp()) if updated_at else 0,
    }
    return {name: value for name, value in found.items() if value}


def _first_text(user: User, *names: str) -> str:
    values = (user.user_metadata.get(name) for name in names)
    return next((value for value in values if isinstance(value, str) and value), "")
