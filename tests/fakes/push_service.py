"""A browser with its push service: checks the VAPID signature, opens what it is sent (RFC 8291)."""

import base64
import json
import re
import time
from dataclasses import dataclass, field
from typing import Any

import http_ece
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fakes.small_server import Received, Reply


@dataclass
class Browser:
    """One subscription."""

    endpoint: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    auth: bytes = b"sixteen bytes ok"

    def subscription(self) -> str:
        point = self.key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        keys = {"p256dh": encode(point), "auth": encode(self.auth)}
        return json.dumps({"endpoint": self.endpoint, "expirationTime": None, "keys": keys})

    def open(self, content: bytes) -> dict[str, Any]:
        opened = http_ece.decrypt(content, private_key=self.key, auth_secret=self.auth, version="aes128gcm")
        found: dict[str, Any] = json.loads(opened)
        return found


@dataclass
class FakePushService:
    """`application_key` is what browsers subscribed with. `gone` are paths of subscriptions that have ended."""

    application_key: str
    url: str = ""
    browsers: dict[str, Browser] = field(default_factory=dict)
    shown: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    gone: dict[str, int] = field(default_factory=dict)
    next_replies: list[Reply] = field(default_factory=list)

    def subscribe(self, name: str) -> str:
        browser = self.browsers[f"/push/{name}"] = Browser(f"{self.url}/push/{name}")
        return browser.subscription()

    def answer(self, request: Received) -> Reply:
        if self.next_replies:
            return self.next_replies.pop(0)
        if (status := self._check_vapid(request.headers.get("authorization", ""))) is not None:
            return Reply(status)
        headers = dict(request.headers)
        if not headers.get("ttl", "").isdigit() or headers.get("content-encoding") != "aes128gcm":
            return Reply(400)
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", headers.get("topic", "")):
            return Reply(400)
        if headers.get("urgency") not in ("very-low", "low", "normal", "high"):
            return Reply(400)
        if len(request.body) > 4096:
            return Reply(413)
        if request.path in self.gone or request.path not in self.browsers:
            return Reply(self.gone.get(request.path, 404))
        self.shown.append((request.path, headers, self.browsers[request.path].open(request.body)))
        return Reply(201, b"", {"location": f"{self.url}/message/{len(self.shown)}"})

    def _check_vapid(self, authorization: str) -> int | None:
        found = re.fullmatch(r"vapid t=([\w.-]+), k=([\w-]+)", authorization)
        if found is None:
            return 401
        if found[2] != self.application_key:
            return 403
        point = base64.urlsafe_b64decode(found[2] + "=" * (-len(found[2]) % 4))
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        try:
            claims = jwt.decode(found[1], key, algorithms=["ES256"], audience=self.url)
        except jwt.PyJWTError:
            return 401
        if claims["exp"] > time.time() + 86_400 or not claims["sub"].startswith(("mailto:", "https:")):
            return 401
        return None


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
