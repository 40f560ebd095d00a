"""Providers that speak OAuth 2, or Twitter's OAuth 1.0a, but no OpenID: each answers as its documentation shows, and
checks what it is sent as it does."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote, unquote, urlencode

from tests.fakes.web import Asked, Told, web_server

CLIENT_ID = "social-client"
CLIENT_SECRET = "social secret"


@dataclass
class Social:
    """One provider: paths of its endpoints, how clients show their secret, and what the user endpoints answer. `checks`
    sees each request to them and names what is wrong."""

    authorize: str
    token: str
    answers: Mapping[str, Any]
    client_auth: Literal["basic", "form"] = "form"
    with_token: Mapping[str, Any] = field(default_factory=dict)  # what comes along with the access token
    token_as_form: bool = False
    pkce: bool = False
    scope: str = ""
    checks: Callable[[Asked, str], str] = lambda asked, access_token: ""
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    access_tokens: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def answer(self, asked: Asked) -> Told:
        self.asked.append(asked)
        if asked.path == self.authorize:
            return self._authorize(asked)
        if asked.path == self.token:
            return self._token(asked)
        if asked.path in self.answers:
            return self._user(asked)
        return self._refuse(404, f"nothing at {asked.path}")

    def _authorize(self, asked: Asked) -> Told:
        query = asked.query
        if query.get("scope", "") != self.scope:
            return self._refuse(400, f"scope {query.get('scope')!r}")
        if query.get("client_id") != CLIENT_ID or query.get("response_type") != "code":
            return self._refuse(400, "client_id or response_type")
        if self.pkce and query.get("code_challenge_method") != "S256":
            return self._refuse(400, "code_challenge")
        code = secrets.token_urlsafe(8)
        self.codes[code] = dict(query)
        target = urlencode({"code": code, "state": query["state"]})
        return Told(302, "", {"location": f"{query['redirect_uri']}?{target}"})

    def _token(self, asked: Asked) -> Told:
        form = asked.form
        if self._shown_secret(asked) != (CLIENT_ID, CLIENT_SECRET):
            return self._refuse(401, f"the client's secret, as {self.client_auth}")
        flow = self.codes.pop(form.get("code", ""), None)
        if flow is None or form.get("redirect_uri") != flow["redirect_uri"]:
            return self._refuse(400, "code or redirect_uri")
        if self.pkce:
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != flow["code_challenge"]:
                return self._refuse(400, "code_verifier")
        access_token = secrets.token_urlsafe(8)
        self.access_tokens.add(access_token)
        values = {"access_token": access_token, "token_type": "bearer", **self.with_token}
        return Told(200, urlencode(values)) if self.token_as_form else Told(200, values)

    def _shown_secret(self, asked: Asked) -> tuple[str, str] | None:
        given = asked.headers.get("authorization", "")
        if self.client_auth == "form":
            return (asked.form.get("client_id", ""), asked.form.get("client_secret", ""))
        if not given.startswith("Basic "):
            return None
        name, _, secret = base64.b64decode(given.removeprefix("Basic ")).decode().partition(":")
        return name, secret.replace("+", " ")

    def _user(self, asked: Asked) -> Told:
        access_token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        if access_token not in self.access_tokens:
            return self._refuse(401, "the access token")
        problem = self.checks(asked, access_token)
        return self._refuse(400, problem) if problem else Told(200, self.answers[asked.path])

    def _refuse(self, status: int, problem: str) -> Told:
        self.problems.append(problem)
        return Told(status, {"error": problem})


@dataclass
class TwitterV1:
    """OAuth 1.0a (RFC 5849): every signature is computed again here, without the library that made it."""

    user: Mapping[str, Any]
    base: str = ""
    secrets_of_tokens: dict[str, str] = field(default_factory=dict)
    callbacks: dict[str, str] = field(default_factory=dict)
    verifiers: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def answer(self, asked: Asked) -> Told:
        if asked.path == "/oauth/authenticate":
            return self._authenticate(asked)
        oauth = self._oauth_parameters(asked)
        problem = self._check_signature(asked, oauth)
        if problem:
            self.problems.append(problem)
            return Told(401, {"errors": [{"message": problem}]})
        match asked.path:
            case "/oauth/request_token":
                token = self._new_token()
                self.callbacks[token] = oauth["oauth_callback"]
                return Told(
                    200,
                    urlencode(
                        {
                            "oauth_token": token,
                            "oauth_token_secret": self.secrets_of_tokens[token],
                            "oauth_callback_confirmed": "true",
                        }
                    ),
                )
            case "/oauth/access_token":
                token = oauth["oauth_token"]
                if self.verifiers.pop(token, None) != oauth.get("oauth_verifier"):
                    return Told(401, "the verifier")
                access = self._new_token()
                values = {"oauth_token": access, "oauth_token_secret": self.secrets_of_tokens[access]}
                return Told(200, urlencode(values))
            case "/1.1/account/verify_credentials.json" if asked.query.get("include_email") == "true":
                return Told(200, self.user)
        return Told(404, {})

    def _authenticate(self, asked: Asked) -> Told:
        token = asked.query["oauth_token"]
        verifier = self.verifiers[token] = secrets.token_urlsafe(8)
        callback = self.callbacks[token]
        return Told(302, "", {"location": f"{callback}&oauth_token={token}&oauth_verifier={verifier}"})

    def _new_token(self) -> str:
        token = secrets.token_urlsafe(8)
        self.secrets_of_tokens[token] = secrets.token_urlsafe(8)
        return token

    def _oauth_parameters(self, asked: Asked) -> dict[str, str]:
        given = asked.headers.get("authorization", "").removeprefix("OAuth ")
        pairs = (part.strip().partition("=") for part in given.split(",") if part.strip())
        return {unquote(name): unquote(value.strip('"')) for name, _, value in pairs}

    def _check_signature(self, asked: Asked, oauth: Mapping[str, str]) -> str:
        if oauth.get("oauth_consumer_key") != CLIENT_ID or oauth.get("oauth_signature_method") != "HMAC-SHA1":
            return "the consumer key or method"
        signed = {name: value for name, value in oauth.items() if name != "oauth_signature"} | dict(
            asked.query
        )
        normal = "&".join(
            f"{_escape(name)}={_escape(value)}"
            for name, value in sorted((_escape(n), v) for n, v in signed.items())
        )
        text = "&".join(_escape(part) for part in (asked.method, self.base + asked.path, normal))
        secret = self.secrets_of_tokens.get(oauth.get("oauth_token", ""), "")
        key = f"{_escape(CLIENT_SECRET)}&{_escape(secret)}"
        right = base64.b64encode(hmac.digest(key.encode(), text.encode(), "sha1")).decode()
        return "" if hmac.compare_digest(right, oauth.get("oauth_signature", "")) else "the signature"


@contextmanager
def social_server(fake: Social | TwitterV1) -> Iterator[str]:
    with web_server(fake.answer) as base:
        if isinstance(fake, TwitterV1):
            fake.base = base
        yield base


def _escape(value: str) -> str:
    return quote(value, safe="-._~")
