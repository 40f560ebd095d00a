"""The keys of a project: HS256 secret, asymmetric signing keys, and the API keys that clients send.

They are made at the first start and kept in `.basalt/keys.json`, readable by the owner only. Values from the
configuration win over the file. The anon and service_role keys are JWTs derived from the secret and the time
of creation, so they follow a changed secret.
"""

import base64
import hashlib
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from basalt.config import LEAST_SECRET_BYTES, AuthSettings, Settings
from basalt.errors import BasaltError

API_KEY_LIFE_S = 10 * 365 * 86400
ALGORITHM_OF_KEY_TYPE = {"EC": "ES256", "RSA": "RS256"}
PUBLIC_MEMBERS = ("kty", "crv", "x", "y", "n", "e", "kid", "alg", "use")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An asymmetric key pair. `jwk` is the public part as it appears in the JWKS."""

    kid: str
    algorithm: str
    private: Any
    public: Any
    jwk: Mapping[str, Any]


@dataclass(frozen=True)
class ProjectKeys:
    """`signing_keys` verify by their `kid`; the first one signs unless `signs_with_secret`."""

    jwt_secret: str = field(repr=False)
    publishable_key: str
    secret_key: str = field(repr=False)
    anon_key: str
    service_role_key: str = field(repr=False)
    signing_keys: tuple[SigningKey, ...]
    signs_with_secret: bool

    def sign(self, claims: Mapping[str, Any]) -> str:
        """An access token by the current signing key."""
        if self.signs_with_secret:
            return jwt.encode(dict(claims), self.jwt_secret, algorithm="HS256")
        key = self.signing_keys[0]
        return jwt.encode(dict(claims), key.private, algorithm=key.algorithm, headers={"kid": key.kid})

    def jwks(self) -> dict[str, Any]:
        """The public keys, RFC 7517. A shared secret has no place in it."""
        return {"keys": [dict(key.jwk) for key in self.signing_keys]}


def load_project_keys(state_dir: Path, settings: Settings) -> ProjectKeys:
    """The project's keys, made and stored on first use. Raises BasaltError when a file cannot be read or
    written, or holds a malformed key."""
    stored = _load_or_create(state_dir / "keys.json")
    auth = settings.auth
    secret = auth.jwt_secret or stored["jwt_secret"]
    _check_secret(secret)
    configured = _load_signing_keys(settings, auth)
    return ProjectKeys(
        jwt_secret=secret,
        publishable_key=auth.publishable_key or stored["publishable_key"],
        secret_key=auth.secret_key or stored["secret_key"],
        anon_key=_api_key_token("anon", secret, stored["created_at"]),
        service_role_key=_api_key_token("service_role", secret, stored["created_at"]),
        signing_keys=configured or tuple(map(_parse_signing_key, stored["signing_keys"])),
        signs_with_secret=not configured and auth.jwt_algorithm == "HS256",
    )


def _load_or_create(path: Path) -> dict[str, Any]:
    try:
        if path.exists():
            stored: dict[str, Any] = orjson.loads(path.read_bytes())
            return stored
        fresh = _create()
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_private(path, orjson.dumps(fresh, option=orjson.OPT_INDENT_2))
    except OSError as exc:
        raise BasaltError(
            "keys_unavailable", 500, f"The project's keys in {path} cannot be used: {exc.strerror}"
        ) from exc
    except orjson.JSONDecodeError as exc:
        raise BasaltError("keys_unavailable", 500, f"{path} is not valid JSON: {exc}") from exc
    return fresh


def _write_private(path: Path, content: bytes) -> None:
    """Write as a whole or not at all, never readable by others in between."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        os.fsync(file.fileno())
    temporary.replace(path)


def _create() -> dict[str, Any]:
    return {
        "created_at": int(time.time()),
        "jwt_secret": secrets.token_urlsafe(48),
        "publishable_key": _opaque_key("sb_publishable_"),
        "secret_key": _opaque_key("sb_secret_"),
        "signing_keys": [_create_signing_key()],
    }


def _opaque_key(prefix: str) -> str:
    """Random part and a checksum of eight characters, so that a scanner can tell a real key from a
    look-alike."""
    body = prefix + secrets.token_urlsafe(17)[:22]
    checksum = base64.urlsafe_b64encode(hashlib.sha256(body.encode()).digest())[:8].decode()
    return f"{body}_{checksum}"


def _create_signing_key() -> dict[str, Any]:
    private = ec.generate_private_key(ec.SECP256R1())
    jwk: dict[str, Any] = ECAlgorithm.to_jwk(private, as_dict=True)
    return {**jwk, "kid": secrets.token_hex(8), "alg": "ES256", "use": "sig"}


def _load_signing_keys(settings: Settings, auth: AuthSettings) -> tuple[SigningKey, ...]:
    if auth.signing_keys_path is None:
        return ()
    path = settings.supabase_dir / auth.signing_keys_path
    try:
        return tuple(_parse_signing_key(jwk) for jwk in orjson.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, jwt.PyJWTError) as exc:
        raise BasaltError(
            "invalid_signing_keys", 500, f"{path} is not a list of private ES256 or RS256 JWKs: {exc}"
        ) from exc


def _parse_signing_key(jwk: Mapping[str, Any]) -> SigningKey:
    algorithm = ALGORITHM_OF_KEY_TYPE[jwk["kty"]]
    private: Any = (ECAlgorithm if algorithm == "ES256" else RSAAlgorithm).from_jwk(dict(jwk))
    public = {name: jwk[name] for name in PUBLIC_MEMBERS if name in jwk}
    return SigningKey(
        kid=jwk["kid"],
        algorithm=algorithm,
        private=private,
        public=private.public_key(),
        jwk={**public, "alg": algorithm, "use": "sig", "key_ops": ["verify"]},
    )


def _api_key_token(role: str, secret: str, created_at: int) -> str:
    claims = {"iss": "supabase", "role": role, "iat": created_at, "exp": created_at + API_KEY_LIFE_S}
    return jwt.encode(claims, secret, algorithm="HS256")


def _check_secret(secret: str) -> None:
    """RFC 7518 §3.2: an HS256 key has at least the hash's size; PostgREST refuses shorter ones too."""
    if len(secret.encode()) < LEAST_SECRET_BYTES:
        raise BasaltError(
            "invalid_jwt_secret",
            500,
            f"auth.jwt_secret must be at least {LEAST_SECRET_BYTES} characters long",
        )
