"""From a bearer token to its `Caller`, as PostgREST goes about it (`Auth/Jwt.hs`): three parts, a signature by a key
that fits, claims that hold now, and a role.

What was verified is kept, because a signature costs more than the rest of a cached request; what was refused is not.
"""

import binascii
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any

import orjson

from basalt.access.caller import Caller, caller_of_claims, caller_of_key
from basalt.access.errors import AccessError
from basalt.access.verifying_keys import SIGNED, VerifyingKey
from basalt.bounded_dict import BoundedDict
from basalt.config import NOTHING, RolePath

LEEWAY_S = 30  # clocks differ; PostgREST tolerates as much
MAX_TOKEN_LENGTH = 16 * 1024
BASE64URL = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)  # the decoder would pass over anything else


class TokenVerifier:
    """One set of rules and the tokens that passed them. `keys` is None where tokens cannot be verified at all;
    `audience` is one that a token must name if it names any; without `anonymous_role` a token must name its role."""

    def __init__(
        self,
        keys: tuple[VerifyingKey, ...] | None,
        *,
        role_path: RolePath,
        anonymous_role: str | None,
        audience: str | None = None,
        max_cached: int = 20_000,
    ) -> None:
        self._keys = keys
        self._role_path = role_path
        self._anonymous = None if anonymous_role is None else caller_of_key(anonymous_role)
        self._audience = audience
        self._cached: BoundedDict[str, Caller] = BoundedDict(max_cached)

    def verify(self, token: str) -> Caller:
        """Raises AccessError."""
        cached = self._cached.get(token)
        if cached is None:
            cached = self._cached[token] = self._verify(token)
        elif not is_alive(cached):
            raise AccessError("expired")
        return cached

    def anonymous(self) -> Caller:
        """Whoever sends no token, or one without a role. Raises AccessError where nobody may."""
        if self._anonymous is None:
            raise AccessError("missing")
        return self._anonymous

    def _verify(self, token: str) -> Caller:
        if self._keys is None:
            raise AccessError("no_secret")
        claims = _parse_claims(_verified_payload(token, self._keys))
        check_claims(claims, self._audience)
        return caller_of_claims({**claims, "role": self._role_of(claims)}, token)

    def _role_of(self, claims: dict[str, Any]) -> str:
        try:
            found = self._role_path(claims)
        except ValueError as exc:
            raise AccessError("malformed", "The claims of the token are nested too deeply") from exc
        if found is NOTHING:
            return self.anonymous().role
        if not isinstance(found, str) or not found or "\0" in found:
            raise AccessError("malformed", "The role claim of the token is not a role name")
        return found


def _verified_payload(token: str, keys: tuple[VerifyingKey, ...]) -> bytes:
    if not token:
        raise AccessError("malformed", "Empty JWT is sent in Authorization header")
    if len(token) > MAX_TOKEN_LENGTH:
        raise AccessError("malformed", f"The token is longer than {MAX_TOKEN_LENGTH} characters")
    parts = token.split(".")
    if len(parts) != 3:
        raise AccessError("malformed", f"Expected 3 parts in JWT; got {len(parts)}")
    header, payload, signature = map(_decode, parts)
    algorithm, kid = _parse_header(header)
    suitable = [key for key in keys if key.suits(algorithm, kid)]
    if not suitable:
        raise AccessError(
            "unsupported_algorithm",
            "No suitable key or wrong key type",
            details="No suitable key was found to decode the JWT",
        )
    signed = token[: token.rindex(".")].encode("ascii")
    if not any(key.verifies(algorithm, signed, signature) for key in suitable):
        raise AccessError("signature", details="None of the keys was able to decode the JWT")
    return payload


def _decode(part: str) -> bytes:
    if not BASE64URL.fullmatch(part):
        raise AccessError("malformed")
    try:
        return urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error as exc:
        raise AccessError("malformed") from exc


def _parse_header(raw: bytes) -> tuple[str, str | None]:
    """Algorithm and key id. Whoever marks something as critical must be understood (RFC 7515 §4.1.11)."""
    header = _parse_object(raw)
    if header is None or "crit" in header:
        raise AccessError("malformed")
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm == "none":
        details = "JWT is unsecured but expected 'alg' was not 'none'"
        raise AccessError("unsupported_algorithm", details=details)
    if not isinstance(algorithm, str) or algorithm not in SIGNED or not isinstance(kid, str | None):
        raise AccessError("malformed")
    return algorithm, kid


def _parse_claims(payload: bytes) -> dict[str, Any]:
    claims = _parse_object(payload)
    if claims is None:
        raise AccessError("claims")
    return claims


def _parse_object(raw: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def check_claims(claims: Mapping[str, Any], audience: str | None) -> None:
    """Times with 30 s of leeway, and the audience: a token without one, or with an empty list, is for everybody. The
    first wrong one counts. Raises AccessError."""
    now = int(time.time())
    expires_at = _number(claims, "exp")
    if expires_at is not None and now - LEEWAY_S > expires_at:
        raise AccessError("expired")
    not_before = _number(claims, "nbf")
    if not_before is not None and now + LEEWAY_S < not_before:
        raise AccessError("not_yet_valid")
    issued_at = _number(claims, "iat")
    if issued_at is not None and now + LEEWAY_S < issued_at:
        raise AccessError("issued_in_future")
    audiences = _audiences(claims)
    if audience is not None and audiences and audience not in audiences:
        raise AccessError("audience")


def _number(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise AccessError("claims", f"The JWT '{name}' claim must be a number")
    return value


def _audiences(claims: Mapping[str, Any]) -> list[str]:
    named = claims.get("aud")
    if named is None:
        return []
    audiences = [named] if isinstance(named, str) else named
    if not isinstance(audiences, list) or not all(isinstance(each, str) for each in audiences):
        raise AccessError("claims", "The JWT 'aud' claim must be a string or an array of strings")
    return audiences


def is_alive(caller: Caller) -> bool:
    """Whether the token behind a remembered caller has not expired since."""
    return caller.expires_at is None or int(time.time()) - LEEWAY_S <= caller.expires_at
