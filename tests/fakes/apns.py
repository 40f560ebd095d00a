"""Apple's push service: checks provider token, headers and payload as Apple documents them."""

import json
import re
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fakes.http2_server import Answer
from tests.fakes.small_server import Received, Reply

KEY_ID, TEAM_ID, TOPIC = "ABC123DEFG", "DEF123GHIJ", "app.gigwork"


@dataclass(frozen=True)
class Taken:
    device: str
    headers: dict[str, str]
    payload: dict[str, Any]


@dataclass
class FakeApns:
    """Any device is registered but those in `unregistered`; `failures` maps a device to what comes before its success,
    `provider_failures` to what comes before anybody's: a status and a reason, or how the server misbehaves."""

    taken: list[Taken] = field(default_factory=list)
    unregistered: set[str] = field(default_factory=set)
    failures: dict[str, list[tuple[int, str] | Answer]] = field(default_factory=dict)
    provider_failures: list[tuple[int, str] | Answer] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    expired: set[str] = field(default_factory=set)
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def pem(self) -> str:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    def answer(self, request: Received) -> Answer:
        headers = dict(request.headers)
        if (reason := self._check_token(headers.get("authorization", ""))) is not None:
            return _error(403, reason)
        found = re.fullmatch(r"/3/device/([0-9a-f]+)", request.path)
        if request.method != "POST" or found is None:
            return _error(404, "BadPath")
        device = found[1]
        if headers.get("apns-topic") != TOPIC:
            return _error(400, "DeviceTokenNotForTopic")
        if (reason := _check_headers(headers)) is not None:
            return _error(400, reason)
        if len(request.body) > 4096:
            return _error(413, "PayloadTooLarge")
        payload = json.loads(request.body)
        if not isinstance(payload.get("aps", {}).get("alert"), dict):
            return _error(400, "PayloadEmpty")
        for failures in (self.provider_failures, self.failures.get(device, [])):
            if failures:
                failure = failures.pop(0)
                return _error(*failure) if isinstance(failure, tuple) else failure
        if device in self.unregistered:
            return _error(410, "Unregistered", timestamp=int(time.time() * 1000))
        self.taken.append(Taken(device, headers, payload))
        return Reply(200, b"", {"apns-id": headers["apns-id"].upper()})

    def _check_token(self, authorization: str) -> str | None:
        scheme, _, token = authorization.partition(" ")
        if scheme != "bearer" or not token:
            return "MissingProviderToken"
        if token in self.expired:
            return "ExpiredProviderToken"
        try:
            assert jwt.get_unverified_header(token) == {"alg": "ES256", "kid": KEY_ID, "typ": "JWT"}
            options = {"verify_iat": False}  # looked at below, by this process's clock
            claims = jwt.decode(token, self.key.public_key(), algorithms=["ES256"], options=options)
        except (jwt.PyJWTError, AssertionError):
            return "InvalidProviderToken"
        if claims.get("iss") != TEAM_ID:
            return "InvalidProviderToken"
        if not -60 < time.time() - claims["iat"] < 3600:
            return "ExpiredProviderToken"
        self.tokens.add(token)
        return None


def _check_headers(headers: dict[str, str]) -> str | None:
    try:
        UUID(headers.get("apns-id", ""))
    except ValueError:
        return "BadMessageId"
    if headers.get("apns-push-type") not in ("alert", "background", "voip"):
        return "InvalidPushType"
    if headers.get("apns-priority") not in ("1", "5", "10"):
        return "BadPriority"
    if not headers.get("apns-expiration", "0").isdigit():
        return "BadExpirationDate"
    if len(headers.get("apns-collapse-id", "").encode()) > 64:
        return "BadCollapseId"
    return None


def _error(status: int, reason: str, **more: int) -> Reply:
    return Reply(status, json.dumps({"reason": reason, **more}).encode())
