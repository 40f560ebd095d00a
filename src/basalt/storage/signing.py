"""Tokens of signed URLs: JWTs by the project's secret with a `url` and a `scope` (Supabase Storage `signed-url.ts`).

An access token is none of them, for it has no `url`; one of them is no access token, for it has no `role` beyond
anon's. Scopes do not mix: `download`, `upload`, and `scan` for the upload hook.
"""

import time
from collections.abc import Mapping
from typing import Any, Final, Literal

import jwt
import orjson

from basalt.storage.errors import StorageError

ALGORITHM: Final = "HS256"
UPLOAD_LIFE_S: Final = 7200
MAX_LIFE_S: Final = 10 * 365 * 86400

UrlScope = Literal["download", "upload", "scan"]


class Signer:
    """Signs and verifies with the project's secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def sign(self, claims: Mapping[str, Any], *, life_s: float) -> str:
        now = int(time.time())
        payload = {**claims, "iat": now, "exp": now + int(life_s)}
        return jwt.api_jws.encode(
            orjson.dumps(payload), self._secret, algorithm=ALGORITHM, headers={"typ": None}
        )

    def verify(self, token: str, scope: UrlScope) -> dict[str, Any]:
        """The claims of a token that is good for this. Raises StorageError InvalidJWT, InvalidSignature."""
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._secret,
                algorithms=[ALGORITHM],
                options={"require": ["exp"], "verify_aud": False, "verify_iat": False},
            )
        except jwt.ExpiredSignatureError as error:
            raise StorageError("InvalidJWT", '"exp" claim timestamp check failed') from error
        except jwt.InvalidSignatureError as error:
            raise StorageError("InvalidJWT", "signature verification failed") from error
        except jwt.PyJWTError as error:
            raise StorageError("InvalidJWT", "Invalid Compact JWS") from error
        if _scope_of(claims) != scope:
            raise StorageError("InvalidSignature", f"Token is not scoped for {scope}")
        return claims

    def verify_url(self, token: str, scope: UrlScope, bucket_id: str, name: str) -> dict[str, Any]:
        """`verify`, and that the token is for this object."""
        claims = self.verify(token, scope)
        if claims.get("url") != f"{bucket_id}/{name}":
            raise StorageError("InvalidSignature")
        return claims


def _scope_of(claims: Mapping[str, Any]) -> object:
    """Tokens of older servers have none: those with `upsert` are for uploads."""
    if "scope" in claims:
        return claims["scope"]
    return "upload" if "upsert" in claims else "download"
