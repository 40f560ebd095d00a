"""Wallets and single sign-on through the official clients, against a project whose users come so."""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from supabase import ClientOptions, create_client
from supabase_auth.errors import AuthApiError

from tests.contract.conftest import run_steps
from tests.fakes.saml_idp import SamlIdp, idp_server, new_key, pkcs1_base64
from tests.fakes.wallets import EthereumWallet, signing_server
from tests.server import Server, copy_project, running_server

pytestmark = [
    pytest.mark.req("P6"),
    # supabase-py leaves the sockets of its HTTP clients to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
COMPANY = Path(__file__).parent / "projects" / "company"


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    project = copy_project(COMPANY, tmp_path_factory.mktemp("company") / "company")
    with running_server(project, SAML_PRIVATE_KEY=pkcs1_base64(new_key())) as server:
        yield server


@pytest.fixture
def idp(company: Server) -> Iterator[SamlIdp]:
    def sp_metadata() -> bytes:
        return httpx2.get(f"{company.url}/auth/v1/sso/saml/metadata").content

    provider = SamlIdp()
    with idp_server(provider, sp_metadata) as url:
        provider.sign_on_url = f"{url}/sso"
        provider.entity_id = f"{url}/metadata"
        yield provider


def test_wallets_sign_in(company: Server) -> None:
    with signing_server(EthereumWallet()) as url:
        run_steps("auth/wallets.mjs", company, SIGNER_URL=url)


def test_a_company_signs_in(company: Server, idp: SamlIdp) -> None:
    run_steps("auth/single_sign_on.mjs", company, IDP_URL=idp.sign_on_url.removesuffix("/sso"))


def test_supabase_py_signs_in_by_single_sign_on(company: Server, idp: SamlIdp) -> None:
    with company.client(company.service_role_key, company.service_role_key) as admin:
        body = {"type": "saml", "metadata_xml": idp.metadata(), "domains": ["python.example"]}
        made = admin.post("/auth/v1/admin/sso/providers", json=body)
        assert made.status_code == 201, made.text
    client = create_client(company.url, company.publishable_key, ClientOptions(auto_refresh_token=False))
    for credentials in ({"domain": "python.example"}, {"provider_id": made.json()["id"]}):
        begun = client.auth.sign_in_with_sso(credentials)  # type: ignore[arg-type]
        page = httpx2.get(begun.url).text
        fields = {n: html.unescape(v) for n, v in re.findall(r'name="([^"]*)" value="([^"]*)"', page)}
        acs = httpx2.post(f"{company.url}/auth/v1/sso/saml/acs", data=fields)
        [code] = parse_qs(urlsplit(acs.headers["location"]).query)["code"]
        answer = client.auth.exchange_code_for_session({"auth_code": code})  # type: ignore[typeddict-item]
        assert answer.user is not None
        assert answer.user.email == "ada@company.example"
        assert answer.user.app_metadata["provider"] == f"sso:{made.json()['id']}"
    with pytest.raises(AuthApiError) as caught:
        client.auth.sign_in_with_sso({"domain": "nobody.example"})
    assert (caught.value.status, caught.value.code) == (404, "sso_provider_not_found")
