"""The asymmetric keys that access tokens are signed with, and their rotation.

Keys stand in a list: the first one signs, the others verify. A key that is new is announced in the JWKS as the standby
key before it signs, and one that has signed goes on verifying until it is revoked, so a rotation logs nobody out
(RFC 7517; Supabase's "JWT signing keys").
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from basalt.errors import BasaltError

Algorithm = Literal["ES256", "RS256"]
State = Literal["current", "standby", "previous"]

ALGORITHM_OF_KEY_TYPE: Final[Mapping[str, Algorithm]] = {"EC": "ES256", "RSA": "RS256"}
PUBLIC_MEMBERS: Final = ("kty", "crv", "x", "y", "n", "e", "kid", "alg", "use")
RSA_BITS: Final = 2048


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair, or the public half of one that only verifies. `jwk` is the public part as it appears in the JWKS."""

    kid: str
    algorithm: Algorithm
    private: Any
    public: Any
    jwk: Mapping[str, Any]


def parse_signing_keys(jwks: Sequence[Mapping[str, Any]]) -> tuple[SigningKey, ...]:
    """The keys of a list of JWKs. Raises ValueError, KeyError, TypeError or PyJWTError for what is no such list, or one
    whose first key cannot sign."""
    keys = tuple(map(_parse_signing_key, jwks))
    if keys and keys[0].private is None:
        raise ValueError("the first key must be a private one")
    return keys


def create_signing_key(algorithm: Algorithm = "ES256") -> dict[str, Any]:
    """A new private JWK."""
    jwk: dict[str, Any]
    if algorithm == "ES256":
        jwk = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)
    else:
        jwk = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, RSA_BITS), as_dict=True)
    jwk.pop("key_ops", None)
    return {**jwk, "kid": secrets.token_hex(8), "alg": algorithm, "use": "sig"}


def create_signing_keys() -> list[dict[str, Any]]:
    """What a new project has: a key that signs and one that stands by."""
    return [create_signing_key(), {**create_signing_key(), "state": "standby"}]


def state_of(jwks: Sequence[Mapping[str, Any]], index: int) -> State:
    """
    >>> keys = [{"kid": "a"}, {"kid": "b", "state": "standby"}, {"kid": "c"}]
    >>> [state_of(keys, index) for index in range(3)]
    ['current', 'standby', 'previous']
    """
    if index == 0:
        return "current"
    return "standby" if jwks[index].get("state") == "standby" else "previous"


def rotate(jwks: Sequence[Mapping[str, Any]], algorithm: Algorithm = "ES256") -> list[dict[str, Any]]:
    """The standby key signs from now on (a new one, where there is none or it is of another algorithm), the present key
    verifies, and a new standby key is announced."""
    following = next(
        (jwk for jwk in jwks[1:] if jwk.get("state") == "standby" and jwk["alg"] == algorithm), None
    )
    verifying = [jwk for jwk in jwks if jwk is not following and jwk.get("state") != "standby"]
    standby = {**create_signing_key(algorithm), "state": "standby"}
    ordered = [following or create_signing_key(algorithm), standby, *verifying]
    return [
        {name: value for name, value in jwk.items() if name != "state" or jwk is standby} for jwk in ordered
    ]


def revoke(jwks: Sequence[Mapping[str, Any]], kid: str) -> list[dict[str, Any]]:
    """Without the key: what it signed is refused. Raises BasaltError when there is no such key, or it is the one that
    signs."""
    if jwks[0]["kid"] == kid:
        raise BasaltError(
            "signing_key_in_use", 400, f"{kid} signs at present", hint="`basalt signing-keys rotate` first"
        )
    kept = [dict(jwk) for jwk in jwks if jwk["kid"] != kid]
    if len(kept) == len(jwks):
        raise BasaltError("unknown_signing_key", 400, f"There is no signing key {kid}")
    return kept


def _parse_signing_key(jwk: Mapping[str, Any]) -> SigningKey:
    algorithm = ALGORITHM_OF_KEY_TYPE[jwk["kty"]]
    loaded: Any = (ECAlgorithm if algorithm == "ES256" else RSAAlgorithm).from_jwk(dict(jwk))
    is_private = hasattr(loaded, "public_key")
    return SigningKey(
        kid=jwk["kid"],
        algorithm=algorithm,
        private=loaded if is_private else None,
        public=loaded.public_key() if is_private else loaded,
        jwk={
            **{name: jwk[name] for name in PUBLIC_MEMBERS if name in jwk},
            "alg": algorithm,
            "use": "sig",
            "key_ops": ["verify"],
        },
    )
