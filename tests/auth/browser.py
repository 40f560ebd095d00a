"""A browser between an application, Auth and a fake provider: it follows redirects and hands forms on."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2

from basalt.config import ExternalProviderSettings
from tests.auth.conftest import Answer, AuthClient
from tests.fakes.oidc import CLIENT_ID, CLIENT_SECRET, Issuer

VERIFIER = "v" * 43
CHALLENGE = "7w_YNF9DSfIdPf_pRjSq646_kPr-2-o9NAl16JGghdM"  # its S256


@dataclass(frozen=True)
class Landing:
    """Where the browser ended: address without query and fragment, and the values of both."""

    page: str
    query: dict[str, str]
    fragment: dict[str, str]
    answer: Answer

    @property
    def error(self) -> tuple[str, str]:
        """`error` and `error_code`, the same in query and fragment."""
        assert self.query["error"] == self.fragment["error"]
        assert self.query.get("error_code") == self.fragment.get("error_code")
        assert self.query["error_description"] == self.fragment["error_description"]
        assert self.fragment["sb"] == ""
        return self.query["error"], self.query.get("error_code", "")


def landing(answer: Answer) -> Landing:
    parts = urlsplit(answer.headers["location"])
    assert answer.headers["cache-control"] == "no-store"
    return Landing(
        f"{parts.scheme}://{parts.netloc}{parts.path}",
        dict(parse_qsl(parts.query, keep_blank_values=True)),
        dict(parse_qsl(parts.fragment, keep_blank_values=True)),
        answer,
    )


async def leave(auth: AuthClient, provider: str, **query: str) -> str:
    """The address at the provider that `/authorize` sends to."""
    answer = await auth.get(f"/authorize?{urlencode({'provider': provider, **query})}")
    assert answer.status == 302, answer.body
    return answer.headers["location"]


async def consent(url: str) -> tuple[str, bytes | None]:
    """What the browser then does: method and body-less target of the callback, or its form."""
    async with httpx2.AsyncClient() as client:
        answer = await client.get(url)
    if answer.status_code == 200:
        posted: dict[str, Any] = answer.json()
        return "/callback", urlencode(posted["form"]).encode()
    assert answer.status_code == 302, answer.text
    return f"/callback?{urlsplit(answer.headers['location']).query}", None


async def come_back(auth: AuthClient, target: str, form: bytes | None = None) -> Landing:
    headers = {"content-type": "application/x-www-form-urlencoded"} if form is not None else None
    answer = await auth.send("GET" if form is None else "POST", target, form, headers=headers)
    assert answer.status in (302, 303), answer.body
    return landing(answer)


async def travel(auth: AuthClient, provider: str, **query: str) -> Landing:
    """The whole way, from the application to the application."""
    return await come_back(auth, *await consent(await leave(auth, provider, **query)))


async def sign_in_with(auth: AuthClient, provider: str, **query: str) -> dict[str, Any]:
    """The session of a PKCE flow that is to succeed."""
    end = await travel(auth, provider, code_challenge=CHALLENGE, code_challenge_method="s256", **query)
    assert "code" in end.query, end
    return await auth.session(
        "/token?grant_type=pkce", {"auth_code": end.query["code"], "code_verifier": VERIFIER}
    )


def settings_for(fake: Issuer, **options: Any) -> ExternalProviderSettings:
    """`[auth.external.NAME]` that points a known provider at a fake."""
    return ExternalProviderSettings(
        **{
            "enabled": True,
            "client_id": CLIENT_ID,
            "secret": CLIENT_SECRET,
            "url": fake.url,
            **options,
        }
    )


def own_settings(fake: Issuer, **options: Any) -> ExternalProviderSettings:
    """The same for a provider that nobody knows, by its issuer."""
    return settings_for(fake, url=None, issuer=fake.url, **options)
