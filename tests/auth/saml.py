"""What the tests of single sign-on share: a service with SAML, a provider that it knows, and the way of a browser."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from basalt.config import SamlSettings
from tests.auth.conftest import Answer, AuthClient
from tests.fakes.saml_idp import SamlIdp, SignOn, encode, new_key, pkcs1_base64

SP_KEY, NEXT_KEY = new_key(), new_key()
ACS = "/sso/saml/acs"
PROVIDERS = "/admin/sso/providers"
SAML = SamlSettings(enabled=True, private_key=pkcs1_base64(SP_KEY))
SITE = "https://app.example.com"

StartSaml = Callable[..., Awaitable[AuthClient]]


@dataclass
class Company:
    """A provider that the project knows: both sides of it."""

    auth: AuthClient
    idp: SamlIdp
    id: str

    @property
    def acs_url(self) -> str:
        return f"{self.auth.settings.api_url}/auth/v1/sso/saml/acs"

    @property
    def entity_id(self) -> str:
        return f"{self.auth.settings.api_url}/auth/v1/sso/saml/metadata"

    async def begin(self, **parameters: Any) -> SignOn:
        body = {"provider_id": self.id, "skip_http_redirect": True, **parameters}
        answer = await self.auth.post("/sso", body)
        assert answer.status == 200, answer.body
        metadata = await self.auth.get("/sso/saml/metadata")
        return self.idp.read_request(answer.json["url"], metadata.body)

    async def come_back(self, asked: SignOn, **options: Any) -> Answer:
        return await send(self.auth, self.idp.answer(asked, **options), asked.relay_state)

    async def sign_in(self, **options: Any) -> dict[str, str]:
        return landed(await self.come_back(await self.begin(), **options))

    async def start_there(self, relay_state: str = "", **options: Any) -> Answer:
        """The provider begins."""
        response = encode(self.idp.response(self.acs_url, self.entity_id, **options))
        return await send(self.auth, response, relay_state)


async def a_company(auth: AuthClient, idp: SamlIdp | None = None, **parameters: Any) -> Company:
    idp = idp or SamlIdp()
    body = {"type": "saml", "metadata_xml": idp.metadata(), **parameters}
    answer = await auth.admin("POST", PROVIDERS, body)
    assert answer.status == 201, answer.body
    return Company(auth, idp, answer.json["id"])


async def send(auth: AuthClient, response: str | None, relay_state: str | None = None) -> Answer:
    """The form of the provider, as the browser posts it."""
    form = {"SAMLResponse": response, "RelayState": relay_state}
    body = urlencode({name: value for name, value in form.items() if value is not None}).encode()
    return await auth.post(ACS, body, headers={"content-type": "application/x-www-form-urlencoded"})


def landed(answer: Answer, at: str = SITE) -> dict[str, str]:
    """The session in the fragment of the address that the browser is sent to."""
    assert answer.status == 302, answer.headers
    parts = urlsplit(answer.headers["location"])
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == at
    values = {name: value[0] for name, value in parse_qs(parts.fragment, keep_blank_values=True).items()}
    assert values["access_token"], answer.headers
    return values


def failure(answer: Answer) -> tuple[str, str]:
    """Code and description of the error that the browser takes to the site."""
    assert answer.status == 303, answer.headers
    location = answer.headers["location"]
    assert location.startswith(f"{SITE}?")
    values = {name: value[0] for name, value in parse_qs(urlsplit(location).query).items()}
    assert values["error"]
    return values["error_code"], values["error_description"]
