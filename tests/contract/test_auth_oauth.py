"""Sign-in through providers by the unmodified clients, over a running server and an OpenID provider on this machine."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
from supabase import Client, ClientOptions, create_client
from supabase_auth.errors import AuthApiError

from tests.contract.conftest import run_steps
from tests.fakes.oidc import FakeOidc, Issuer, at_hash, fake_oidc
from tests.server import Server, copy_project, running_server

pytestmark = [
    pytest.mark.req("P6"),
    # supabase-py leaves the sockets of its HTTP clients to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
PROJECT = Path(__file__).parent / "projects" / "social"
APP = "http://127.0.0.1:3000"
NONCE = "the nonce"


@dataclass
class Social:
    server: Server
    google: Issuer
    keycloak: Issuer
    partner: Issuer


@pytest.fixture(scope="module")
def social(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Social]:
    with fake_oidc() as fake:
        google, keycloak, partner = _issuers(fake)
        project = copy_project(PROJECT, tmp_path_factory.mktemp("social") / "social")
        environ = {"FAKE_GOOGLE_URL": google.url, "FAKE_KEYCLOAK_URL": keycloak.url}
        with running_server(project, **environ) as server:
            yield Social(server, google, keycloak, partner)


def test_supabase_js_signs_in_links_and_administers(social: Social) -> None:
    tokens = {
        "ada": id_token(social.google),
        "grace": social.google.id_token(sub="grace", email="grace@example.com"),
        "keycloak": social.keycloak.id_token(),
    }
    given = {"FAKE_CUSTOM_URL": social.partner.url, "ID_TOKENS": json.dumps(tokens)}
    run_steps("auth/oauth.mjs", social.server, **given)


def test_supabase_py_signs_in_with_pkce(social: Social) -> None:
    client = make_client(social)
    asked = client.auth.sign_in_with_oauth({"provider": "google", "options": {"redirect_to": APP}})
    code = dict(parse_qsl(urlsplit(browse(asked.url)).query))["code"]
    answer = client.auth.exchange_code_for_session({"auth_code": code})
    assert answer.session is not None
    assert answer.session.user.email == "ada@example.com"
    assert answer.session.provider_token in social.google.access_tokens


def test_supabase_py_signs_in_with_an_id_token(social: Social) -> None:
    client = make_client(social)
    credentials: Any = {"provider": "google", "token": id_token(social.google), "nonce": NONCE}
    answer = client.auth.sign_in_with_id_token({**credentials, "access_token": "the access token"})
    assert answer.user is not None
    assert answer.user.email == "ada@example.com"
    with pytest.raises(AuthApiError) as refused:
        client.auth.sign_in_with_id_token({**credentials, "nonce": "another"})
    assert refused.value.status == 400


def test_supabase_py_links_and_unlinks(social: Social) -> None:
    client = make_client(social)
    credentials: Any = {"provider": "google", "token": id_token(social.google), "nonce": NONCE}
    client.auth.sign_in_with_id_token(credentials)
    linking: Any = {"provider": "keycloak", "options": {"redirect_to": APP}}
    asked = client.auth.link_identity(linking)
    code = dict(parse_qsl(urlsplit(browse(asked.url)).query))["code"]
    client.auth.exchange_code_for_session({"auth_code": code})
    found = client.auth.get_user_identities()
    assert [identity.provider for identity in found.identities] == ["google", "keycloak"]
    client.auth.unlink_identity(found.identities[1])
    rest = client.auth.get_user_identities().identities
    assert [identity.provider for identity in rest] == ["google"]
    with pytest.raises(AuthApiError) as refused:
        client.auth.unlink_identity(rest[0])
    assert refused.value.code == "single_identity_not_deletable"


def make_client(social: Social) -> Client:
    options = ClientOptions(auto_refresh_token=False, flow_type="pkce")
    return create_client(social.server.url, social.server.anon_key, options)


def browse(url: str) -> str:
    """Follow redirects up to the application's own page."""
    with httpx2.Client() as client:
        while not url.startswith(APP):
            answer = client.get(url)
            assert answer.status_code in (302, 303), answer.text
            url = answer.headers["location"]
    return url


def id_token(google: Issuer) -> str:
    nonce = hashlib.sha256(NONCE.encode()).hexdigest()
    return google.id_token(nonce=nonce, at_hash=at_hash("the access token"))


def _issuers(fake: FakeOidc) -> tuple[Issuer, Issuer, Issuer]:
    keycloak = {"sub": "corp-1", "email": "ada@corp.example.com", "email_verified": True}
    partner = {"sub": "p-1", "email": "partner@example.com", "email_verified": True}
    return fake.issuer("google"), fake.issuer("realms/a", user=keycloak), fake.issuer("partner", user=partner)
