"""Google's token endpoint and FCM HTTP v1 behind one address: checks the assertion's signature, the access token and
the message, and refuses in FCM's own words."""

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fakes.http2_server import Answer
from tests.fakes.small_server import Received, Reply

PROJECT = "gigwork-test"
INVALID_TOKEN = "The registration token is not a valid FCM registration token"
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"


@dataclass
class FakeFcm:
    """`failures` maps a device token to what comes before its success: a status and an error code, or how the server
    misbehaves. A token that begins with `dead` is not registered, one with `bad` is none. Access tokens in `expired`
    are refused. `url` is where tokens are had, and messages taken over HTTP/1.1; over HTTP/2 `answer` is served by
    `http2_server`."""

    url: str = ""
    sent: list[dict[str, Any]] = field(default_factory=list)
    failures: dict[str, list[tuple[int, str] | Answer]] = field(default_factory=dict)
    grants: int = 0
    lasts_s: int = 3599
    expired: set[str] = field(default_factory=set)
    grant_failures: list[Reply] = field(default_factory=list)
    key: rsa.RSAPrivateKey = field(
        default_factory=lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )

    def service_account(self) -> str:
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return json.dumps(
            {
                "type": "service_account",
                "project_id": PROJECT,
                "private_key_id": "key-1",
                "private_key": pem.decode(),
                "client_email": f"push@{PROJECT}.iam.gserviceaccount.com",
                "token_uri": f"{self.url}/token",
            }
        )

    def answer(self, request: Received) -> Answer:
        if request.path == "/token":
            return self.grant(request)
        if request.path == f"/v1/projects/{PROJECT}/messages:send":
            return self._send(request)
        return _error(404, "NOT_FOUND")

    def answer_http1(self, request: Received) -> Reply:
        """The same for a server that does nothing but reply."""
        reply = self.answer(request)
        assert isinstance(reply, Reply)
        return reply

    def grant(self, request: Received) -> Reply:
        if self.grant_failures:
            return self.grant_failures.pop(0)
        form = parse_qs(request.body.decode())
        if form.get("grant_type") != ["urn:ietf:params:oauth:grant-type:jwt-bearer"]:
            return Reply(400, b'{"error": "unsupported_grant_type"}')
        try:
            claims = jwt.decode(
                form["assertion"][0],
                self.key.public_key(),
                algorithms=["RS256"],
                audience=f"{self.url}/token",
            )
        except jwt.PyJWTError:
            return Reply(400, b'{"error": "invalid_grant"}')
        if claims.get("scope") != SCOPE or claims["exp"] - claims["iat"] > 3600:
            return Reply(400, b'{"error": "invalid_scope"}')
        self.grants += 1
        granted = {"access_token": f"ya29.{self.grants}", "expires_in": self.lasts_s, "token_type": "Bearer"}
        return Reply(200, json.dumps(granted).encode())

    def _send(self, request: Received) -> Answer:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not re.fullmatch(r"ya29\.\d+", token) or token in self.expired:
            return _error(401, "UNAUTHENTICATED")
        message = json.loads(request.body)["message"]
        data = message.get("data", {})
        if not message.get("token") or not all(isinstance(value, str) for value in data.values()):
            return _error(400, "INVALID_ARGUMENT")
        if message["token"].startswith("dead"):
            return _error(404, "NOT_FOUND", "UNREGISTERED")
        if message["token"].startswith("bad"):
            return _error(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", INVALID_TOKEN)
        if len(request.body) > 4096 + 1024:
            return _error(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "Message is too large")
        if self.failures.get(message["token"]):
            failure = self.failures[message["token"]].pop(0)
            return _error(*failure, failure[1]) if isinstance(failure, tuple) else failure
        self.sent.append(message)
        return Reply(200, json.dumps({"name": f"projects/{PROJECT}/messages/{len(self.sent)}"}).encode())


def _error(status: int, name: str, code: str | None = None, message: str = "") -> Reply:
    kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
    details = [{"@type": kind, "errorCode": code}] if code else []
    error = {"code": status, "message": message or name, "status": name, "details": details}
    return Reply(status, json.dumps({"error": error}).encode(), {"content-type": "application/json"})
