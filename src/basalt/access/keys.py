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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from jwt.algorithms import get_default_algorithms
from jwt.utils import base64url_encode

from basalt.access.signing_keys import SigningKey, create_signing_keys, parse_signing_keys
from basalt.config import LEAST_SECRET_BYTES, AuthSettings, Settings
from basalt.errors import BasaltError

API_KEY_LIFE_S = 10 * 365 * 86400


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

    @cached_property
    def refresh_key(self) -> bytes:
        """What refresh tokens are derived under."""
        return self._derive(b"basalt refresh tokens", 32)

    @cached_property
    def s3_access_key_id(self) -> str:
        """The access key of Storage's S3 protocol where none is configured."""
        return self._derive(b"basalt s3 access key id", 16).hex()

    @cached_property
    def s3_secret_access_key(self) -> str:
        """Its secret; whoever has it is the service role."""
        return self._derive(b"basalt s3 secret access key", 32).hex()

    def _derive(self, purpose: bytes, length: int) -> bytes:
        """A key that follows the secret (RFC 5869)."""
        derivation = HKDF(SHA256(), length=length, salt=None, info=purpose)
        return derivation.derive(self.jwt_secret.encode())

    def sign(self, claims: Mapping[str, Any]) -> str:
        """An access token by the current signing key."""
        return _sign(claims, self._signer)

    def sign_for_others(self, claims: Mapping[str, Any]) -> str:
        """A token that whoever has the JWKS can verify: always by an asymmetric key."""
        return _sign(claims, self._public_signer)

    @cached_property
    def _signer(self) -> "Signer":
        if self.signs_with_secret:
            return _signer({"alg": "HS256", "typ": "JWT"}, self.jwt_secret.encode())
        return self._public_signer

    @cached_property
    def _public_signer(self) -> "Signer":
        key = self.signing_keys[0]
        return _signer({"alg": key.algorithm, "typ": "JWT", "kid": key.kid}, key.private)

    def jwks(self) -> dict[str, Any]:
        """The public keys, RFC 7517. A shared secret has no place in it."""
        return {"keys": [dict(key.jwk) for key in self.signing_keys]}


Signer = tuple[bytes, Callable[[bytes], bytes]]


def _signer(header: Mapping[str, str], key: Any) -> Signer:
    """The header of every token, encoded, and what signs. PyJWT's own `encode` looks for PEM in the secret and
    copies the claims each time, which took a third of a refresh."""
    algorithm: Any = get_default_algorithms()[header["alg"]]
    return base64url_encode(orjson.dumps(header)), partial(algorithm.sign, key=key)


def _sign(claims: Mapping[str, Any], signer: Signer) -> str:
    """RFC 7515 §7.1."""
    head, sign = signer
    signed = head + b"." + base64url_encode(orjson.dumps(claims))
    return (signed + b"." + base64url_encode(sign(signed))).decode()


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
        signing_keys=configured or parse_signing_keys(stored["signing_keys"]),
        signs_with_secret=not configured and auth.jwt_algorithm == "HS256",
    )


def load_signing_jwks(state_dir: Path) -> list[dict[str, Any]]:
    """The project's own private JWKs, the one that signs first. Raises BasaltError like `load_project_keys`."""
    jwks: list[dict[str, Any]] = _load_or_create(state_dir / "keys.json")["signing_keys"]
    return jwks


def store_signing_jwks(state_dir: Path, jwks: Sequence[Mapping[str, Any]]) -> None:
    """To be used by gateways that start from now on."""
    path = state_dir / "keys.json"
    stored = {**_load_or_create(path), "signing_keys": list(jwks)}
    _write_private(path, orjson.dumps(stored, option=orjson.OPT_INDENT_2))


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
        "signing_keys": create_signing_keys(),
    }


def _opaque_key(prefix: str) -> str:
    """Random part and a checksum of eight characters, so that a scanner can tell a real key from a
    look-alike."""
    body = prefix + secrets.token_urlsafe(17)[:22]
    checksum = base64.urlsafe_b64encode(hashlib.sha256(body.encode()).digest())[:8].decode()
    return f"{body}_{checksum}"


def _load_signing_keys(settings: Settings, auth: AuthSettings) -> tuple[SigningKey, ...]:
    if auth.signing_keys_path is None:
        return ()
    path = settings.supabase_dir / auth.signing_keys_path
    try:
        return parse_signing_keys(orjson.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, jwt.PyJWTError) as exc:
        raise BasaltError(
            "invalid_signing_keys", 500, f"{path} is not a list of private ES256 or RS256 JWKs: {exc}"
        ) from exc


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
