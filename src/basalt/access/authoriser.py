"""From the headers of a request to its `Caller`.

A key says which project role speaks (`apikey` header or query parameter), a bearer token says which user.
Verified tokens are kept in a
bounded cache, because verifying costs more than the rest of a cached request.
"""

import base64
import time
from collections.abc import Mapping
from hmac import compare_digest
from typing import Any, Literal
from urllib.parse import parse_qs

import jwt
import orjson

from basalt.access.caller import Caller, caller_of_key
from basalt.access.keys import ProjectKeys
from basalt.errors import BasaltError
from basalt.http import Headers

LEEWAY_S = 30  # clocks differ; PostgREST tolerates as much
MAX_CACHED = 20_000
MAX_TOKEN_LENGTH = 16 * 1024

Reason = Literal[
    "malformed",
    "signature",
    "expired",
    "not_yet_valid",
    "audience",
    "unsupported_algorithm",
    "unknown_key",
    "missing",
]
MESSAGES: Mapping[Reason, str] = {
    "malformed": "The token is not a valid JWT",
    "signature": "The signature of the token is invalid",
    "expired": "JWT expired",
    "not_yet_valid": "JWT not yet valid",
    "audience": "JWT not in audience",
    "unsupported_algorithm": "The algorithm or key of the token is not accepted",
    "unknown_key": "Invalid API key",
    "missing": "No API key found in request",
}


class AccessError(BasaltError):
    """Neither key nor token can be accepted (401). Services put it into their own shape by `reason`."""

    def __init__(self, reason: Reason, message: str | None = None, *, hint: str | None = None) -> None:
        super().__init__(f"access_{reason}", 401, message or MESSAGES[reason], hint=hint)
        self.reason: Reason = reason


class Authoriser:
    """Holds the project's keys and the cache; one per process, used by every service."""

    def __init__(
        self, keys: ProjectKeys, *, require_api_key: bool = False, audience: str | None = None
    ) -> None:
        self._keys = keys
        self._require_api_key = require_api_key
        self._audience = audience
        self._public_keys = {key.kid: key for key in keys.signing_keys}
        self._key_callers = [
            (keys.publishable_key.encode(), caller_of_key("anon")),
            (keys.secret_key.encode(), caller_of_key("service_role")),
            (keys.anon_key.encode(), caller_of_key("anon")),
            (keys.service_role_key.encode(), caller_of_key("service_role")),
        ]
        self._anonymous = caller_of_key("anon")
        self._verified: dict[str, Caller] = {}
        self._by_headers: dict[tuple[str | None, str | None], Caller] = {}

    def authorise(self, headers: Headers, query_string: bytes = b"") -> Caller:
        """The caller of a request. A bearer token that is itself an API key counts as that key. Raises
        AccessError."""
        api_key = headers.get("apikey")
        if api_key is None and b"apikey=" in query_string:
            api_key = parse_qs(query_string.decode("latin-1")).get("apikey", [None])[0]
        authorization = headers.get("authorization")
        seen = self._by_headers.get((api_key, authorization))
        if seen is not None and (seen.expires_at is None or seen.expires_at + LEEWAY_S > time.time()):
            return seen
        caller = self._decide(api_key, _bearer(authorization))
        if len(api_key or "") + len(authorization or "") < MAX_TOKEN_LENGTH:
            _remember(self._by_headers, (api_key, authorization), caller)
        return caller

    def verify(self, token: str) -> Caller:
        """The caller behind a bearer token. Raises AccessError."""
        cached = self._verified.get(token)
        if cached is None:
            cached = self._verify(token)
            _remember(self._verified, token, cached)
        elif cached.expires_at is not None and cached.expires_at + LEEWAY_S <= time.time():
            raise AccessError("expired")
        return cached

    def caller_of_api_key(self, api_key: str) -> Caller | None:
        """The role behind one of the project's four keys, compared in constant time; None for any other
        string."""
        given = api_key.encode("utf-8", "surrogateescape")
        found = None
        for key, caller in self._key_callers:
            if compare_digest(key, given):
                found = caller
        return found

    def _decide(self, api_key: str | None, bearer: str | None) -> Caller:
        by_key = self._caller_of_sent_key(api_key)
        if bearer is None:
            return by_key or self._anonymous
        spoken_key = self.caller_of_api_key(bearer)
        if spoken_key is not None:
            return spoken_key
        if bearer.startswith(("sb_publishable_", "sb_secret_")):
            raise AccessError("unknown_key")
        return self.verify(bearer)

    def _caller_of_sent_key(self, api_key: str | None) -> Caller | None:
        if not api_key:
            if self._require_api_key:
                raise AccessError("missing", hint="Send the publishable or secret key in the `apikey` header")
            return None
        known = self.caller_of_api_key(api_key)
        if known is None and api_key.count(".") == 2:
            # A key that the project signed itself, for a role of its own or by an asymmetric key.
            known = self.verify(api_key)
        if known is None:
            raise AccessError("unknown_key", hint="Double check the publishable or secret key of the project")
        return known

    def _verify(self, token: str) -> Caller:
        if len(token) > MAX_TOKEN_LENGTH:
            raise AccessError("malformed", f"The token is longer than {MAX_TOKEN_LENGTH} characters")
        try:
            key, algorithm = self._key_for(_read_header(token))
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                leeway=LEEWAY_S,
                options={"verify_aud": self._audience is not None, "verify_sub": False, "verify_jti": False},
            )
        except jwt.ExpiredSignatureError as exc:
            raise AccessError("expired") from exc
        except (jwt.ImmatureSignatureError, jwt.InvalidIssuedAtError) as exc:
            raise AccessError("not_yet_valid") from exc
        except jwt.InvalidAudienceError as exc:
            raise AccessError("audience") from exc
        except jwt.InvalidSignatureError as exc:
            raise AccessError("signature") from exc
        except jwt.PyJWTError as exc:
            raise AccessError("malformed") from exc
        return _caller_of_claims(claims, token)

    def _key_for(self, header: Mapping[str, Any]) -> tuple[Any, str]:
        """The one key and algorithm a token may use: an asymmetric key by its `kid`, else the secret with
        HS256. `alg: none` and a public key taken for a secret have no way in."""
        kid = header.get("kid")
        signing_key = self._public_keys.get(kid) if isinstance(kid, str) else None
        if signing_key is not None and header.get("alg") == signing_key.algorithm:
            return signing_key.public, signing_key.algorithm
        if header.get("alg") == "HS256":
            return self._keys.jwt_secret, "HS256"
        raise AccessError("unsupported_algorithm")


def _read_header(token: str) -> Mapping[str, Any]:
    """The header alone: PyJWT's `get_unverified_header` takes the whole token apart, which `decode` does again."""
    first = token.partition(".")[0]
    try:
        header = orjson.loads(base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)))
    except ValueError as exc:
        raise AccessError("malformed") from exc
    if not isinstance(header, dict):
        raise AccessError("malformed")
    return header


def _caller_of_claims(claims: dict[str, Any], token: str) -> Caller:
    role = claims.get("role", "anon")
    if not isinstance(role, str) or not role or "\0" in role:
        raise AccessError("malformed", "The role claim of the token is not a role name")
    expires_at = claims.get("exp")
    return Caller(
        role=role,
        claims=claims,
        claims_json=orjson.dumps({**claims, "role": role}).decode(),
        token=token,
        expires_at=float(expires_at) if expires_at is not None else None,
    )


def _bearer(authorization: str | None) -> str | None:
    """The credentials of an `Authorization: Bearer` header; other schemes are not for us.

    >>> _bearer("bearer abc"), _bearer("Basic abc"), _bearer(None)
    ('abc', None, None)
    """
    if authorization is None:
        return None
    scheme, _, credentials = authorization.partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else None


def _remember(cache: dict[Any, Caller], key: object, caller: Caller) -> None:
    """Keep, and forget the oldest tenth when full: a dict remembers the order of insertion."""
    if len(cache) >= MAX_CACHED:
        for old in list(cache)[: MAX_CACHED // 10]:
            del cache[old]
    cache[key] = caller
