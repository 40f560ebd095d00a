"""What issuers publish of themselves: discovery documents (OpenID Connect Discovery 1.0) and signing keys (RFC 7517).

Both are kept for an hour. Concurrent requests for one thing ask once; a key that is not known is looked for once more,
but not more often than every few seconds, so that made-up key ids cannot turn Basalt against a provider. While an
issuer does not answer, what was known of it serves on for a day.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import jwt

from basalt.http import OutgoingClient, OutgoingError

FRESH_S: Final = 3600.0
STALE_S: Final = 86400.0
REFRESH_EVERY_S: Final = 10.0
TIMEOUT_S: Final = 10.0
MAX_KEPT: Final = 256
MAX_KEYS: Final = 100

Found = TypeVar("Found")


class IssuerError(Exception):
    """An issuer that cannot be asked, or that publishes what is no use. The message is for operators."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """The parts of a discovery document that are used. `document` is all of it."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str
    jwks_uri: str
    takes_basic: bool
    document: dict[str, Any]


@dataclass(slots=True)
class _Kept:
    value: Any
    fetched_at: float


class Issuers:
    """A cache over one HTTP client, per process."""

    def __init__(self, http: OutgoingClient, *, allows_plain_http: bool = True) -> None:
        self.http = http
        self.allows_plain_http = allows_plain_http
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._pending: dict[str, asyncio.Task[Any]] = {}

    async def discover(self, issuer: str, url: str | None = None) -> Discovery:
        """The issuer's document, which must name the issuer itself. Raises IssuerError."""
        address = url or issuer.rstrip("/") + "/.well-known/openid-configuration"
        return await self._recall(f"{issuer} {address}", lambda: self._fetch_discovery(issuer, address))

    async def key(self, jwks_uri: str, key_id: str | None, algorithm: str) -> list[jwt.PyJWK]:
        """The keys that may have signed: the named one, or all for the algorithm where none is named. Raises
        IssuerError."""
        keys = await self._recall(jwks_uri, lambda: self._fetch_keys(jwks_uri))
        found = _matching(keys, key_id, algorithm)
        if not found and self._may_refresh(jwks_uri):
            keys = await self._recall(jwks_uri, lambda: self._fetch_keys(jwks_uri), fresh_s=0.0)
            found = _matching(keys, key_id, algorithm)
        return found

    def forget(self) -> None:
        """An administrator has changed something."""
        self._kept.clear()

    async def _recall(
        self, name: str, fetch: Callable[[], Awaitable[Found]], *, fresh_s: float = FRESH_S
    ) -> Found:
        kept = self._kept.get(name)
        now = time.monotonic()
        if kept is not None and now - kept.fetched_at < fresh_s:
            value: Found = kept.value
            return value
        task = self._pending.get(name)
        if task is None:
            task = asyncio.create_task(self._fetch(name, fetch))
            self._pending[name] = task
            task.add_done_callback(lambda _: self._pending.pop(name, None))
        try:
            value = await asyncio.shield(task)
        except IssuerError:
            if kept is None or now - kept.fetched_at > STALE_S:
                raise
            value = kept.value
        return value

    async def _fetch(self, name: str, fetch: Callable[[], Awaitable[Any]]) -> Any:
        value = await fetch()
        self._kept[name] = _Kept(value, time.monotonic())
        self._kept.move_to_end(name)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return value

    def _may_refresh(self, jwks_uri: str) -> bool:
        kept = self._kept.get(jwks_uri)
        return kept is not None and time.monotonic() - kept.fetched_at >= REFRESH_EVERY_S

    async def _fetch_discovery(self, issuer: str, url: str) -> Discovery:
        document = await self._fetch_json(url)
        if document.get("issuer") != issuer:
            raise IssuerError(f"issuer mismatch, expected {issuer!r} got {document.get('issuer')!r}")
        methods = document.get("token_endpoint_auth_methods_supported")
        return Discovery(
            issuer=issuer,
            authorization_endpoint=self._endpoint(document, "authorization_endpoint"),
            token_endpoint=self._endpoint(document, "token_endpoint"),
            userinfo_endpoint=self._endpoint(document, "userinfo_endpoint"),
            jwks_uri=self._endpoint(document, "jwks_uri"),
            takes_basic=not isinstance(methods, list) or "client_secret_basic" in methods,
            document=document,
        )

    async def _fetch_keys(self, jwks_uri: str) -> list[jwt.PyJWK]:
        entries = (await self._fetch_json(jwks_uri)).get("keys")
        if not isinstance(entries, list):
            raise IssuerError("the key set holds no keys")
        usable = [entry for entry in entries[:MAX_KEYS] if isinstance(entry, dict) and _signs(entry)]
        try:
            return list(jwt.PyJWKSet(usable).keys)
        except jwt.PyJWTError as exc:
            raise IssuerError("the key set holds no usable key") from exc

    async def _fetch_json(self, url: str) -> dict[str, Any]:
        try:
            answer = await self.http.send(
                "GET", url, timeout_s=TIMEOUT_S, headers={"accept": "application/json"}
            )
            document = answer.json() if answer.status == 200 else None
        except OutgoingError as exc:
            raise IssuerError(f"request to {url} failed: {exc}") from exc
        except ValueError as exc:
            raise IssuerError(f"the answer of {url} is no JSON") from exc
        if not isinstance(document, dict):
            raise IssuerError(f"request to {url} returned {answer.status}")
        return document

    def _endpoint(self, document: dict[str, Any], name: str) -> str:
        """Empty where the document has none; a user's browser is sent to some of them, so no other schemes."""
        url = document.get(name)
        if not isinstance(url, str) or not url:
            return ""
        if not is_web_address(url) or (not self.allows_plain_http and not url.startswith("https://")):
            raise IssuerError(f"{name} is no usable address")
        return url


def is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc


def _signs(entry: dict[str, Any]) -> bool:
    return entry.get("kty") in ("RSA", "EC", "OKP") and entry.get("use", "sig") == "sig"


def _matching(keys: list[jwt.PyJWK], key_id: str | None, algorithm: str) -> list[jwt.PyJWK]:
    kind = {"R": "RSA", "P": "RSA"}.get(algorithm[:1], "OKP" if algorithm == "EdDSA" else "EC")
    fitting = [key for key in keys if key.key_type == kind]
    return fitting if key_id is None else [key for key in fitting if key.key_id == key_id]
