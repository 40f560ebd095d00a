"""An OpenID provider (OpenID Connect Core and Discovery 1.0, RFC 6749, RFC 7636) that checks what it is sent.

One server is as many issuers as one likes: each path before the well-known part is one, with keys, users and
misbehaviours of its own.
"""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any
from urllib.parse import unquote_plus, urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.fakes.web import Asked, Told, web_server

CLIENT_ID = "the-client"
CLIENT_SECRET = "the secret/+&"
# Ends of the paths of the endpoints; the known providers each have their own.
AUTHORIZE = (
    "/authorize",
    "/oauth2/v2.0/authorize",
    "/protocol/openid-connect/auth",
    "/oauth/v2/authorization",
)
TOKEN = ("/token", "/oauth2/v2.0/token", "/protocol/openid-connect/token", "/oauth/v2/accessToken")
USERINFO = ("/userinfo", "/userinfo/v2/me", "/protocol/openid-connect/userinfo")
JWKS = ("/jwks",)
# RSA keys take long to make: four do, one after the other.
RSA_KEYS = cycle([rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(4)])
DISCOVERY = ("/.well-known/openid-configuration",)


@dataclass
class Issuer:
    """One issuer and what it does. `claims` go into ID tokens on top of the right ones, so that any of them can be made
    wrong; None takes a claim away."""

    base: str
    path: str
    user: dict[str, Any] = field(
        default_factory=lambda: {
            "sub": "user-1",
            "email": "ada@example.com",
            "email_verified": True,
            "name": "Ada Lovelace",
            "picture": "https://pictures.example.com/ada.png",
        }
    )
    algorithm: str = "RS256"
    claims: dict[str, Any] = field(default_factory=dict)
    refuses_with: str = ""  # `error` of the authorization endpoint
    sends_id_token: bool = True
    takes_basic: bool = True
    takes_form: bool = True
    token_status: int = 200
    userinfo_status: int = 200
    discovery: dict[str, Any] = field(default_factory=dict)  # what the document says otherwise
    discovery_status: int = 200
    jwks_status: int = 200
    delay_s: float = 0.0
    sends_iss: str = ""  # the `iss` parameter of the return, RFC 9207
    asked: list[Asked] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    access_tokens: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rotate()

    @property
    def url(self) -> str:
        return self.base + self.path

    @property
    def issuer(self) -> str:
        """What it calls itself. Azure's addresses lie beside its issuer, not below it."""
        return self.url

    def rotate(self) -> None:
        """New keys; the old ones are forgotten."""
        self.key_id = secrets.token_hex(4)
        self.rsa = next(RSA_KEYS)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.ed = ed25519.Ed25519PrivateKey.generate()

    def jwks(self) -> dict[str, Any]:
        def public(name: str, key: Any, algorithm: Any) -> dict[str, Any]:
            shown = algorithm.to_jwk(key.public_key(), as_dict=True)
            return {**shown, "kid": f"{name}-{self.key_id}", "use": "sig"}

        return {
            "keys": [
                public("rsa", self.rsa, jwt.algorithms.RSAAlgorithm),
                public("ec", self.ec, jwt.algorithms.ECAlgorithm),
                public("ed", self.ed, jwt.algorithms.OKPAlgorithm),
                {"kty": "oct", "kid": "shared", "k": base64.urlsafe_b64encode(b"x" * 32).decode()},
                {"kty": "RSA", "kid": "for-encryption", "use": "enc", "n": "AQAB", "e": "AQAB"},
            ]
        }

    def id_token(self, *, audience: Any = CLIENT_ID, headers: Any = None, **claims: Any) -> str:
        """A token for the issuer's user. Claims that are given, and above all `self.claims`, replace the right ones;
        None takes them away."""
        now = int(time.time())
        held: dict[str, Any] = {
            "iss": self.issuer,
            "aud": audience,
            "iat": now,
            "exp": now + 300,
            **self.user,
        }
        held |= claims | self.claims
        held = {name: value for name, value in held.items() if value is not None}
        kind, key = self._signing_key()
        header = {"kid": f"{kind}-{self.key_id}", **(headers or {})}
        return jwt.api_jws.encode(  # which takes wrong claims too
            json.dumps(held).encode(),
            key,
            algorithm=self.algorithm,
            headers={name: value for name, value in header.items() if value is not None},
        )

    def count(self, endings: tuple[str, ...]) -> int:
        return sum(asked.path.endswith(endings) for asked in self.asked)

    def last(self, endings: tuple[str, ...]) -> Asked:
        return next(asked for asked in reversed(self.asked) if asked.path.endswith(endings))

    def answer(self, asked: Asked) -> Told:
        self.asked.append(asked)
        time.sleep(self.delay_s)
        for endings, serve in (
            (DISCOVERY, self._discovery),
            (JWKS, self._jwks),
            (AUTHORIZE, self._authorize),
            (TOKEN, self._token),
            (USERINFO, self._userinfo),
        ):
            if asked.path.endswith(endings):
                return serve(asked)
        return Told(404, {"error": "not_found"})

    def _signing_key(self) -> tuple[str, Any]:
        if self.algorithm.startswith(("RS", "PS")):
            return "rsa", self.rsa
        return ("ed", self.ed) if self.algorithm == "EdDSA" else ("ec", self.ec)

    def _discovery(self, asked: Asked) -> Told:
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "jwks_uri": f"{self.url}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA"],
            "token_endpoint_auth_methods_supported": [
                *(["client_secret_basic"] if self.takes_basic else []),
                *(["client_secret_post"] if self.takes_form else []),
            ],
        }
        document |= self.discovery
        shown = {name: value for name, value in document.items() if value is not None}
        return Told(self.discovery_status, shown)

    def _jwks(self, asked: Asked) -> Told:
        return Told(self.jwks_status, self.jwks())

    def _authorize(self, asked: Asked) -> Told:
        """The user consents at once, unless the issuer refuses."""
        query = asked.query
        if query.get("client_id") != CLIENT_ID or query.get("response_type") != "code":
            return Told(400, "unknown client or response type")
        if "/auth/v1/callback" not in query.get("redirect_uri", ""):
            return Told(400, "the redirect_uri is not registered")
        if self.refuses_with:
            values = {"error": self.refuses_with, "error_description": "The user said no"}
        else:
            code = secrets.token_urlsafe(16)
            self.codes[code] = dict(query)
            values = {"code": code}
        values["state"] = query.get("state", "")
        if self.sends_iss:
            values["iss"] = self.sends_iss
        if query.get("response_mode") == "form_post":
            return Told(200, {"action": query["redirect_uri"], "form": values})
        return Told(302, "", {"location": f"{query['redirect_uri']}?{urlencode(values)}"})

    def _token(self, asked: Asked) -> Told:
        if self.token_status != 200:
            return Told(self.token_status, {"error": "server_error"})
        form = asked.form
        if not self._is_client(asked):
            return Told(401, {"error": "invalid_client"})
        flow = self.codes.pop(form.get("code", ""), None)  # used up, whatever comes next
        if flow is None or form.get("grant_type") != "authorization_code":
            return Told(400, {"error": "invalid_grant", "error_description": "unknown code"})
        if form.get("redirect_uri") != flow["redirect_uri"]:
            return Told(400, {"error": "invalid_grant", "error_description": "another redirect_uri"})
        if not _verifies(flow, form.get("code_verifier")):
            return Told(400, {"error": "invalid_grant", "error_description": "wrong code_verifier"})
        access_token = secrets.token_urlsafe(16)
        self.access_tokens.add(access_token)
        tokens = {
            "access_token": access_token,
            "refresh_token": f"refresh-{access_token}",
            "token_type": "Bearer",
            "expires_in": 3600,
        }
        if self.sends_id_token:
            nonce = {"nonce": flow["nonce"]} if "nonce" in flow else {}
            tokens["id_token"] = self.id_token(at_hash=at_hash(access_token), **nonce)
        return Told(200, tokens)

    def _is_client(self, asked: Asked) -> bool:
        given = asked.headers.get("authorization", "")
        if given.startswith("Basic "):
            pair = base64.b64decode(given.removeprefix("Basic ")).decode().split(":")
            return self.takes_basic and [unquote_plus(part) for part in pair] == [CLIENT_ID, CLIENT_SECRET]
        form = asked.form
        shown = (form.get("client_id"), form.get("client_secret"))
        return self.takes_form and shown == (CLIENT_ID, CLIENT_SECRET)

    def _userinfo(self, asked: Asked) -> Told:
        if asked.headers.get("authorization", "").removeprefix("Bearer ") not in self.access_tokens:
            return Told(401, {"error": "invalid_token"})
        return Told(self.userinfo_status, self.user)


@dataclass
class FakeOidc:
    base: str
    issuers: dict[str, Issuer] = field(default_factory=dict)

    def issuer(self, name: str = "main", **options: Any) -> Issuer:
        path = f"/{name}"
        if path not in self.issuers:
            self.issuers[path] = Issuer(self.base, path, **options)
        return self.issuers[path]

    def answer(self, asked: Asked) -> Told:
        paths = sorted(self.issuers, key=len, reverse=True)
        found = next((path for path in paths if asked.path.startswith(path + "/")), None)
        return Told(404, {"error": "no such issuer"}) if found is None else self.issuers[found].answer(asked)


@contextmanager
def fake_oidc() -> Iterator[FakeOidc]:
    fake = FakeOidc("")
    with web_server(fake.answer) as base:
        fake.base = base
        yield fake


def at_hash(access_token: str) -> str:
    digest = hashlib.sha256(access_token.encode()).digest()
    return base64.urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()


def _verifies(flow: Mapping[str, str], verifier: str | None) -> bool:
    challenge = flow.get("code_challenge")
    if challenge is None or verifier is None:
        return challenge is None and verifier is None
    digest = hashlib.sha256(verifier.encode()).digest()
    right = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return flow.get("code_challenge_method") == "S256" and challenge == right
