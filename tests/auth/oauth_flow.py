"""Steps of an OAuth flow that several tests walk, by the letter of the RFCs and with no library."""

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from tests.auth.conftest import Answer, AuthClient

REDIRECT_URI = "https://app.example.com/callback"
FORM = {"content-type": "application/x-www-form-urlencoded"}


@dataclass
class OAuthApp:
    """A registered client, and what it sends."""

    auth: AuthClient
    metadata: dict[str, Any]
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    @property
    def id(self) -> str:
        client_id: str = self.metadata["client_id"]
        return client_id

    @property
    def secret(self) -> str:
        secret: str = self.metadata.get("client_secret", "")
        return secret

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def authorize_target(self, **changes: str | None) -> str:
        fields: dict[str, str | None] = {
            "client_id": self.id,
            "redirect_uri": REDIRECT_URI,
            "response_type": "code",
            "code_challenge": self.challenge,
            "code_challenge_method": "S256",
            "state": "xyz",
            **changes,
        }
        return "/oauth/authorize?" + urlencode({k: v for k, v in fields.items() if v is not None})

    async def authorize(self, **changes: str | None) -> str:
        """The id of a request for consent."""
        answer = await self.auth.get(self.authorize_target(**changes))
        assert answer.status == 302, answer.body
        location = urlsplit(answer.headers["location"])
        assert location.path == "/oauth/consent", answer.headers["location"]
        return parse_qs(location.query)["authorization_id"][0]

    async def look(self, authorization_id: str, token: str) -> Answer:
        return await self.auth.get(f"/oauth/authorizations/{authorization_id}", token=token)

    async def decide(self, authorization_id: str, token: str, action: str = "approve") -> Answer:
        target = f"/oauth/authorizations/{authorization_id}/consent"
        return await self.auth.post(target, {"action": action}, token=token)

    async def code(self, token: str, **changes: str | None) -> str:
        """A code that the user of `token` let the client have."""
        authorization_id = await self.authorize(**changes)
        shown = await self.look(authorization_id, token)
        assert shown.status == 200, shown.body
        if "redirect_url" in shown.json:
            return answer_of(shown.json["redirect_url"])["code"]
        decided = await self.decide(authorization_id, token)
        assert decided.status == 200, decided.body
        return answer_of(decided.json["redirect_url"])["code"]

    async def exchange(self, code: str, /, **changes: str | None) -> Answer:
        return await self.ask(
            grant_type="authorization_code",
            **{"code": code, "code_verifier": self.verifier, "redirect_uri": REDIRECT_URI, **changes},
        )

    async def refresh(self, token: str) -> Answer:
        return await self.ask(grant_type="refresh_token", refresh_token=token)

    async def ask(self, *, headers: dict[str, str] | None = None, **fields: str | None) -> Answer:
        """The token endpoint, with the way of authentication that the client registered."""
        sent = {"client_id": self.id, **fields}
        given = dict(FORM)
        method = self.metadata["token_endpoint_auth_method"]
        if headers is not None:
            given |= headers
        elif method == "client_secret_basic":
            given["authorization"] = basic(self.id, self.secret)
        elif method == "client_secret_post":
            sent["client_secret"] = self.secret
        body = urlencode({name: value for name, value in sent.items() if value is not None}).encode()
        return await self.auth.send("POST", "/oauth/token", body, headers=given)

    async def tokens(self, token: str, **changes: str | None) -> dict[str, Any]:
        """The whole flow."""
        answer = await self.exchange(await self.code(token, **changes))
        assert answer.status == 200, answer.body
        issued: dict[str, Any] = answer.json
        return issued


async def an_app(auth: AuthClient, **metadata: Any) -> OAuthApp:
    """A client, confidential unless said otherwise, made by an administrator."""
    body = {"client_name": "Diary", "redirect_uris": [REDIRECT_URI], **metadata}
    answer = await auth.admin("POST", "/admin/oauth/clients", body)
    assert answer.status == 201, answer.body
    return OAuthApp(auth, answer.json)


def answer_of(url: str) -> dict[str, str]:
    """What a redirect URI was called with."""
    parts = urlsplit(url)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == REDIRECT_URI
    return dict(parse_qsl(parts.query))


def basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def oauth_error(answer: Answer) -> tuple[int, str]:
    """Status and `error` of RFC 6749 §5.2."""
    body = answer.json
    assert set(body) == {"error", "error_description"}
    assert body["error_description"]
    assert answer.headers["cache-control"] == "no-store"
    return answer.status, body["error"]
