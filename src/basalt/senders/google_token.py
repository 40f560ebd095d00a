"""Access tokens of a Google service account: a short assertion signed by its key is changed into a token for an hour
(RFC 7523; https://developers.google.com/identity/protocols/oauth2/service-account)."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

import jwt
import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from basalt import observe
from basalt.http import OutgoingAnswer, OutgoingClient, OutgoingError

GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_URI: Final = "https://oauth2.googleapis.com/token"  # noqa: S105 (an address)
ASSERTED_S: Final = 3600
RENEW_BEFORE_S: Final = 300.0
RESTS_S: Final = 10.0  # between two requests for a token that both failed
TIMEOUT_S: Final = 10.0
WORDS: Final = 100  # of Google's reason, in the log


class NoTokenError(Exception):
    """Google gave none. The message holds no secret."""


@dataclass(frozen=True)
class ServiceAccount:
    project_id: str
    client_email: str
    private_key: rsa.RSAPrivateKey = field(repr=False)
    private_key_id: str = ""
    token_uri: str = TOKEN_URI


def parse_service_account(text: str) -> ServiceAccount:
    """The key file as Google's console gives it. Raises ValueError, without the key in it."""
    try:
        found = orjson.loads(text)
        values = {name: found[name] for name in ("project_id", "client_email", "private_key")}
        rest = {name: found[name] for name in ("private_key_id", "token_uri") if name in found}
        if not all(isinstance(value, str) and value for value in (values | rest).values()):
            raise TypeError("not a text")
        key = serialization.load_pem_private_key(values.pop("private_key").encode(), password=None)
    except (ValueError, KeyError, TypeError, UnsupportedAlgorithm) as exc:
        raise ValueError("this is no service account key of Google's") from exc
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("this is no service account key of Google's: it is not RSA")
    return ServiceAccount(private_key=key, **values, **rest)


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
        """Raises NoTokenError; why there is none, the log says. While one asks for the next token, the others go on
        with the one that they have."""
        left_s = self._left_s()
        if left_s > RENEW_BEFORE_S or (left_s > 0 and self._renewing.locked()):
            return self._token
        async with self._renewing:
            if self._left_s() <= RENEW_BEFORE_S:
                await self._renew()
        if self._left_s() <= 0:
            raise NoTokenError("none that lasts")
        return self._token

    def forget(self, token: str) -> None:
        """It was refused."""
        if token == self._token:
            self._expires_at = float("-inf")

    def _left_s(self) -> float:
        return self._expires_at - time.monotonic()

    async def _renew(self) -> None:
        """Unless that failed a moment ago."""
        now = time.monotonic()
        if now - self._failed_at < RESTS_S:
            return
        try:
            self._token, lasts_s = await self._ask()
            self._expires_at, self._failed_at = now + lasts_s, float("-inf")
        except NoTokenError as exc:
            self._failed_at = time.monotonic()
            observe.event("google_token_failed", level="warning", reason=str(exc))

    async def _ask(self) -> tuple[str, float]:
        assertion = await asyncio.to_thread(self._assert)
        try:
            answer = await self._http.send(
                "POST",
                self._account.token_uri,
                timeout_s=TIMEOUT_S,
                form={"grant_type": GRANT, "assertion": assertion},
            )
        except OutgoingError as exc:
            raise NoTokenError(str(exc)) from exc
        return _read_grant(answer)

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
        reason = str(granted.get("error", "no token"))[:WORDS]
        raise NoTokenError(f"Google answered {answer.status}: {reason}")
    if not token.isascii() or not token.isprintable():
        raise NoTokenError("Google answered with a token that no header can hold")
    return token, float(lasts_s)
