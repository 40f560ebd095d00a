"""ID tokens: checked as OpenID Connect Core §3.1.3.7 asks.

Algorithms are those with public keys only. The issuer is decided by whoever asks, never by the token: a good token of
one provider says nothing about another's users (CVE-2026-31813).
"""

import base64
import hashlib
from collections.abc import Collection, Mapping
from hmac import compare_digest
from typing import Any, Final

import jwt

from basalt.auth.oauth.issuers import Issuers

ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA",
)  # fmt: skip
CLOCK_SKEW_S: Final = 30
MAX_LENGTH: Final = 32 * 1024
HASHES: Final = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}


class IdTokenError(Exception):
    """A token that is not to be believed. The message is for operators and quotes nothing of the token."""


def issuer_of(token: str) -> str:
    """Whom the token claims to be from, unproven. Raises IdTokenError."""
    if len(token) > MAX_LENGTH:
        raise IdTokenError("the token is too long")
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError as exc:
        raise IdTokenError("the token is malformed") from exc
    issuer = claims.get("iss")
    return issuer if isinstance(issuer, str) else ""


async def verify_id_token(issuers: Issuers, jwks_uri: str, token: str, *, issuer: str) -> Mapping[str, Any]:
    """The claims of a token that `issuer` signed with one of its keys and that has not expired. Whom it is meant for is
    for `check_audience`. Raises IdTokenError, IssuerError."""
    header = _header(token)
    algorithm, key_id = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise IdTokenError("the token's algorithm is not allowed")
    keys = await issuers.key(jwks_uri, key_id if isinstance(key_id, str) else None, algorithm)
    for key in keys:
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                issuer=issuer,
                leeway=CLOCK_SKEW_S,
                options={"verify_aud": False, "require": ["exp", "iat", "iss", "sub", "aud"]},
            )
        except jwt.InvalidSignatureError:
            continue
        except (jwt.PyJWTError, ValueError, TypeError) as exc:
            raise IdTokenError(f"the token is refused: {exc}") from exc
        return claims
    raise IdTokenError("no key of the issuer has signed the token")


def check_audience(claims: Mapping[str, Any], client_ids: Collection[str]) -> None:
    """The token is for one of the clients. Of several audiences the authorized party must be one too; with a single
    one it may be another app of the same owner, as on Android. Raises IdTokenError."""
    audiences = audiences_of(claims)
    if not any(audience in client_ids for audience in audiences if audience):
        raise IdTokenError("the token is for somebody else")
    party = claims.get("azp")
    if len(audiences) > 1 and party is not None and party not in client_ids:
        raise IdTokenError("the token's authorized party is somebody else")


def audiences_of(claims: Mapping[str, Any]) -> list[str]:
    audience = claims.get("aud")
    return [str(one) for one in (audience if isinstance(audience, list) else [audience])]


def check_access_token(token: str, claims: Mapping[str, Any], access_token: str) -> None:
    """`at_hash`, where the token has one, belongs to the access token (OIDC Core §3.1.3.6). Raises IdTokenError."""
    expected = claims.get("at_hash")
    if not expected:
        return
    make = HASHES.get(str(_header(token).get("alg"))[-3:], hashlib.sha512)
    digest = make(access_token.encode()).digest()
    half = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=")
    if not isinstance(expected, str) or not compare_digest(expected.encode(), half):
        raise IdTokenError("the access token is not the one of the ID token")


def _header(token: str) -> Mapping[str, Any]:
    if len(token) > MAX_LENGTH:
        raise IdTokenError("the token is too long")
    try:
        header: Mapping[str, Any] = jwt.get_unverified_header(token)
    except jwt.PyJWTError as exc:
        raise IdTokenError("the token is malformed") from exc
    return header
