"""The keys that signatures are checked with, each with the algorithms it may be used for.

The algorithm of a token's header only chooses among the keys that allow it: there is no way in for `none`, nor for a
public key that is taken for a secret (RFC 8725 §3.1). A JWK without an `alg` allows what its type can do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from jwt.algorithms import get_default_algorithms

from basalt.config import LEAST_SECRET_BYTES, ConfigError, Problem, RestSettings, parse_key_set, rest_secret

HMAC = frozenset({"HS256", "HS384", "HS512"})
RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
BY_CURVE = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA", "Ed448": "EdDSA"}
SIGNED = HMAC | RSA | frozenset(BY_CURVE.values())

_ALGORITHMS = {name: algorithm for name, algorithm in get_default_algorithms().items() if name in SIGNED}


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """`kid` must be the one that a token names, if it names one; with `ignores_kid` any will do."""

    key: Any = field(repr=False)
    algorithms: frozenset[str]
    kid: str | None = None
    ignores_kid: bool = False

    def suits(self, algorithm: str, kid: str | None) -> bool:
        return algorithm in self.algorithms and (kid is None or kid == self.kid or self.ignores_kid)

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's, in constant time for secrets."""
        return bool(_ALGORITHMS[algorithm].verify(signed, self.key, signature))


def load_verifying_keys(settings: RestSettings) -> tuple[VerifyingKey, ...] | None:
    """The keys of `jwt_secret`; None when there is none. Raises ConfigError."""
    try:
        secret = rest_secret(settings)
        return None if secret is None else parse_verifying_keys(secret)
    except ValueError as exc:
        raise ConfigError(
            [Problem("settings", "basalt.rest.jwt_secret (PGRST_JWT_SECRET)", str(exc))]
        ) from exc


def parse_verifying_keys(secret: bytes) -> tuple[VerifyingKey, ...]:
    """The keys of a text, which stands for HS256, of a JWK or of a JWK set (RFC 7517). Keys of unknown types in a set
    are passed over, as §5 says. Raises ValueError."""
    jwks = parse_key_set(secret)
    if jwks is None:
        return (secret_key(secret),)
    keys = [key for jwk in jwks if (key := _parse_jwk(jwk)) is not None]
    if not keys:
        raise ValueError("no key in it can verify a signature")
    return tuple(keys)


def secret_key(secret: bytes, *, ignores_kid: bool = False) -> VerifyingKey:
    """A shared text. Raises ValueError when it is too short."""
    if len(secret) < LEAST_SECRET_BYTES:
        raise ValueError(f"the secret must be at least {LEAST_SECRET_BYTES} characters long")
    return VerifyingKey(secret, frozenset({"HS256"}), ignores_kid=ignores_kid)


def _parse_jwk(jwk: Any) -> VerifyingKey | None:
    if not isinstance(jwk, dict):
        raise ValueError("a JWK must be an object")
    allowed = _allowed_algorithms(jwk)
    if not allowed:
        return None
    kid = jwk.get("kid")
    if not isinstance(kid, str | None):
        raise ValueError("the kid of a JWK must be a text")
    try:
        loaded: Any = _ALGORITHMS[min(allowed)].from_jwk(dict(jwk))
    except (jwt.PyJWTError, ValueError, KeyError, TypeError) as exc:
        raise ValueError(f"the JWK {kid or ''} cannot be read: {exc}".replace("  ", " ")) from exc
    if isinstance(loaded, bytes) and len(loaded) < LEAST_SECRET_BYTES:
        raise ValueError(f"the secret in a JWK must be at least {LEAST_SECRET_BYTES} bytes long")
    public = loaded.public_key() if hasattr(loaded, "public_key") else loaded
    return VerifyingKey(public, allowed, kid)


def _allowed_algorithms(jwk: Mapping[str, Any]) -> frozenset[str]:
    """None of them where the key is for something else than signatures, or of a kind unknown here."""
    match jwk.get("kty"):
        case "oct":
            possible = HMAC
        case "RSA":
            possible = RSA
        case "EC" | "OKP" if (algorithm := BY_CURVE.get(str(jwk.get("crv")))) is not None:
            possible = frozenset({algorithm})
        case _:
            return frozenset()
    if jwk.get("use") == "enc":
        return frozenset()
    return possible & {str(jwk["alg"])} if jwk.get("alg") is not None else possible
