"""Access tokens of a Google service account: a short assertion signed by its key is changed into a token for an hour
(RFC 7523; https://developers.google.com/identity/protocols/oauth2/service-account)."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

import jwt
import orjson

from basalt import observe
from basalt.http import OutgoingAnswer, OutgoingClient, OutgoingError

GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_URI: Final = "https://oauth2.googleapis.com/token"  # noqa: S105 (an address)
ASSERTED_S: Final = 3600
RENEW_BEFORE_S: Final = 300.0
RESTS_S: Final = 10.0  # between two requests for a token that both failed
TIMEOUT_S: Final = 10.0


class NoTokenError(Exception):
    """Google gave no token. The message holds no secret."""


@dataclass(frozen=True)
class ServiceAccount:
    project_id: str
    client_email: str
    private_key: str = field(repr=False)
    private_key_id: str = ""
    token_uri: str = TOKEN_URI


def parse_service_account(text: str) -> ServiceAccount:
    """The key file as Google's console gives it. Raises ValueError, without the key in it."""
    try:
        found = orjson.loads(text)
        values = {name: found[name] for name in ("project_id", "client_email", "private_key")}
        rest = {name: found[name] for name in ("private_key_id", "token_uri") if name in found}
    except (orjson.JSONDecodeError, KeyError, TypeError) as exc:
        raise ValueError("this is no service account key of Google's") from exc
    if not all(isinstance(value, str) and value for value in (values | rest).values()):
        raise ValueError("this is no service account key of Google's")
    return ServiceAccount(**values, **rest)


class GoogleTokens:
    """One token for all that ask; renewed before it expires, by one request at a time."""

    def __init__(self, account: ServiceAccount, http: OutgoingClient, *, scope: str) -> None:
        self._account = account
        self._http = http
        self._scope = scope
        self._token = ""
        self._expires_at = 0.0
        self._failed_at = float("-inf")
        self._renewing = asyncio.Lock()

    async def current(self) -> str:
        """Raises NoTokenError."""
        if self._left_s() > RENEW_BEFORE_S:
            return self._token
        async with self._renewing:
            if self._left_s() > RENEW_BEFORE_S:
                return self._token
            try:
                await self._renew()
            except NoTokenError as exc:
                if self._left_s() <= 0:
                    raise
                observe.event("google_token_failed", level="warning", reason=str(exc))
            return self._token

    def forget(self, token: str) -> None:
        """It was refused."""
        if token == self._token:
            self._expires_at = 0.0

    def _left_s(self) -> float:
        return self._expires_at - time.monotonic()

    async def _renew(self) -> None:
        now = time.monotonic()
        if now - self._failed_at < RESTS_S:
            raise NoTokenError("Google refused a moment ago")
        self._failed_at = now
        try:
            assertion = await asyncio.to_thread(self._assert)
            answer = await self._http.send(
                "POST",
                self._account.token_uri,
                timeout_s=TIMEOUT_S,
                form={"grant_type": GRANT, "assertion": assertion},
            )
        except (OutgoingError, jwt.PyJWTError, ValueError) as exc:  # a ValueError is a key that is none
            message = str(exc) if isinstance(exc, OutgoingError) else "the private key cannot be used"
            raise NoTokenError(message) from exc
        self._token, lasts_s = _read_grant(answer)
        self._expires_at, self._failed_at = now + lasts_s, float("-inf")

    def _assert(self) -> str:
        now = int(time.time())
        claims = {
            "iss": self._account.client_email,
            "scope": self._scope,
            "aud": self._account.token_uri,
            "iat": now,
            "exp": now + ASSERTED_S,
        }
        headers = {"kid": self._account.private_key_id} if self._account.private_key_id else None
        return jwt.encode(claims, self._account.private_key, algorithm="RS256", headers=headers)


def _read_grant(answer: OutgoingAnswer) -> tuple[str, float]:
    """The token and for how many seconds it is good."""
    try:
        granted = answer.json()
    except ValueError:
        granted = None
    if not isinstance(granted, dict):
        raise NoTokenError(f"Google answered {answer.status} without JSON")
    token, lasts_s = granted.get("access_token"), granted.get("expires_in")
    if answer.status != 200 or not isinstance(token, str) or not isinstance(lasts_s, int | float):
        raise NoTokenError(f"Google answered {answer.status}: {granted.get('error', 'no token')}")
    if not token.isascii() or not token.isprintable():
        raise NoTokenError("Google answered with a token that no header can hold")
    return token, float(lasts_s)
