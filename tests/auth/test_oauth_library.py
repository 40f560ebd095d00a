"""The OAuth server as an independent client library sees it: Authlib finds the endpoints, registers, gets tokens and
verifies them, over the gateway's application. Only the page of consent is played by the test."""

import secrets
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt as jose
from joserfc.jwk import KeySet

from basalt.access import Authoriser
from basalt.config import OAuthServerSettings
from basalt.gateway import Gateway
from basalt.gateway.limits import RequestLimits
from basalt.gateway.well_known import WellKnown
from tests.auth.conftest import AuthClient, StartAuth
from tests.auth.oauth_flow import REDIRECT_URI, answer_of

pytestmark = pytest.mark.req("P6")


@pytest.fixture
async def server(start_auth: StartAuth) -> AuthClient:
    settings = OAuthServerSettings(enabled=True, allow_dynamic_registration=True)
    auth = await start_auth(oauth_server=settings)
    await auth.a_user()
    return auth


@pytest.fixture
async def transport(server: AuthClient) -> AsyncIterator[httpx2.ASGITransport]:
    settings = server.settings
    limits = RequestLimits(settings.basalt.rate_limit, Authoriser(server.keys), trusts_header=False)
    gateway = Gateway(
        {"/auth/v1": server.service, "/.well-known": WellKnown(server.service)},
        limits,
        base_url=settings.api_url,
        max_body_bytes=settings.basalt.max_body_bytes,
    )
    async with httpx2.ASGITransport(app=gateway) as asgi:
        yield asgi


async def consent(server: AuthClient, authorization_id: str) -> dict[str, str]:
    """What the site's page does for a signed-in user."""
    token = (await server.sign_in())["access_token"]
    target = f"/oauth/authorizations/{authorization_id}"
    shown = (await server.get(target, token=token)).json
    if "redirect_url" not in shown:
        shown = (await server.post(f"{target}/consent", {"action": "approve"}, token=token)).json
    return answer_of(shown["redirect_url"])


async def find(transport: httpx2.ASGITransport, url: str) -> Any:
    async with httpx2.AsyncClient(transport=transport) as client:
        answer = await client.get(url)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.mark.parametrize("method", ["none", "client_secret_basic", "client_secret_post"])
async def test_a_library_finds_registers_signs_in_and_verifies(
    server: AuthClient, transport: httpx2.ASGITransport, method: str
) -> None:
    issuer = f"{server.settings.api_url}/auth/v1"
    found = await find(transport, f"{server.settings.api_url}/.well-known/oauth-authorization-server/auth/v1")
    assert found == await find(transport, f"{issuer}/.well-known/openid-configuration")
    assert found["issuer"] == issuer
    async with httpx2.AsyncClient(transport=transport) as plain:
        metadata = {"redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": method}
        registered = (await plain.post(found["registration_endpoint"], json=metadata)).json()
    async with AsyncOAuth2Client(
        registered["client_id"],
        registered.get("client_secret"),
        token_endpoint_auth_method=registered["token_endpoint_auth_method"],
        redirect_uri=REDIRECT_URI,
        scope="openid email offline_access",
        code_challenge_method="S256",
        transport=transport,
    ) as client:
        verifier, nonce = secrets.token_urlsafe(48), secrets.token_urlsafe(8)
        url, state = client.create_authorization_url(
            found["authorization_endpoint"], code_verifier=verifier, nonce=nonce
        )
        answer = await client.request("GET", url, withhold_token=True)
        assert answer.status_code == 302
        page = urlsplit(answer.headers["location"])
        returned = await consent(server, parse_qs(page.query)["authorization_id"][0])
        assert returned["iss"] == issuer  # RFC 9207
        back = f"{REDIRECT_URI}?code={returned['code']}&state={returned['state']}"
        token = await client.fetch_token(
            found["token_endpoint"], authorization_response=back, state=state, code_verifier=verifier
        )
        assert token["scope"] == "openid email offline_access"
        check_id_token(await find(transport, found["jwks_uri"]), token["id_token"], registered, issuer, nonce)
        userinfo = (await client.get(found["userinfo_endpoint"])).json()
        assert userinfo["email"] == "ada@example.com"
        refreshed = await client.refresh_token(found["token_endpoint"])
        assert refreshed["refresh_token"] != token["refresh_token"]
        assert (await client.get(found["userinfo_endpoint"])).json() == userinfo
        with pytest.raises(OAuthError, match="invalid_grant"):
            await client.fetch_token(
                found["token_endpoint"], code=returned["code"], code_verifier=verifier, state=state
            )


def check_id_token(jwks: Any, id_token: str, registered: dict[str, Any], issuer: str, nonce: str) -> None:
    decoded = jose.decode(id_token, KeySet.import_key_set(jwks), algorithms=["ES256"])
    claims = CodeIDToken(
        decoded.claims,
        decoded.header,
        {"iss": {"value": issuer}, "aud": {"value": registered["client_id"]}},
        {"nonce": nonce, "client_id": registered["client_id"]},
    )
    claims.validate()
    assert claims["email"] == "ada@example.com"


async def test_other_documents_are_not_well_known(
    server: AuthClient, transport: httpx2.ASGITransport
) -> None:
    async with httpx2.AsyncClient(transport=transport, base_url=server.settings.api_url) as client:
        for path in (
            "",
            "/jwks.json",
            "/oauth-authorization-server",
            "/oauth-authorization-server/rest/v1",
            "/auth/v1",
        ):
            answer = await client.get(f"/.well-known{path}")
            assert answer.status_code == 404, path
            assert answer.json()["error"]["code"] == "not_found"
        refused = await client.post("/.well-known/openid-configuration/auth/v1")
        assert refused.status_code == 405
