"""Identity providers as administrators keep them, what comes to the consumer service that is no answer, and metadata
that are fetched."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from basalt.config import ConfigError, Settings, load_settings
from tests.auth.conftest import AuthClient, StartAuth
from tests.auth.saml import ACS, PROVIDERS, SAML, SITE, Company, a_company, failure, landed, send
from tests.fakes.saml_idp import EMAIL, SamlIdp, encode, idp_server, new_key, pkcs1_base64

pytestmark = pytest.mark.req("P6")

OTHER_ENTITY = "https://other.example.com/idp"
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def auth(start_auth: StartAuth) -> AuthClient:
    return await start_auth(saml=SAML, site_url=SITE)


@pytest.fixture(scope="module")
def idp() -> SamlIdp:
    return SamlIdp()


@pytest.fixture(scope="module")
def other_idp(idp: SamlIdp) -> SamlIdp:
    return SamlIdp(entity_id=OTHER_ENTITY, key=idp.key)


@pytest.fixture
async def company(auth: AuthClient, idp: SamlIdp) -> Company:
    return await a_company(auth, idp, domains=["company.example", "company.test"], resource_id="acme")


async def test_a_provider_is_added_shown_changed_and_removed(auth: AuthClient, idp: SamlIdp) -> None:
    mapping = {"keys": {"name": {"name": "cn"}, "groups": {"names": ["g"], "array": True, "default": []}}}
    body = {
        "type": "saml",
        "metadata_xml": idp.metadata(),
        "domains": ["company.example"],
        "attribute_mapping": mapping,
        "name_id_format": EMAIL,
        "resource_id": "acme",
        "disabled": False,
        "unknown": 1,
    }
    answer = await auth.admin("POST", PROVIDERS, body)
    assert answer.status == 201
    made = answer.json
    assert UUID(made.pop("id"))
    assert made.pop("created_at") == made.pop("updated_at")
    assert made == {
        "resource_id": "acme",
        "disabled": False,
        "saml": {
            "entity_id": idp.entity_id,
            "metadata_xml": idp.metadata(),
            "attribute_mapping": mapping,
            "name_id_format": EMAIL,
        },
        "domains": [{"domain": "company.example"}],
    }
    path = f"{PROVIDERS}/{answer.json['id']}"
    assert (await auth.admin("GET", path)).json == answer.json
    assert (await auth.admin("GET", f"{PROVIDERS}/resource_ACME")).json == answer.json
    [listed] = (await auth.admin("GET", PROVIDERS)).json["items"]
    assert "metadata_xml" not in listed["saml"]
    assert listed["id"] == answer.json["id"]

    changes = {"domains": ["new.example", "Company.Example", "NEW.example"], "disabled": True}
    changed = (await auth.admin("PUT", path, changes)).json
    assert [entry["domain"] for entry in changed["domains"]] == ["company.example", "new.example"]
    assert (changed["disabled"], changed["resource_id"]) == (True, "acme")
    assert changed["saml"]["attribute_mapping"] == mapping
    assert "name_id_format" not in changed["saml"]
    assert (await auth.admin("GET", path)).json == changed
    assert (await auth.admin("PUT", path, {})).json == changed

    last = {"domains": [], "resource_id": "", "attribute_mapping": {"keys": {}}, "disabled": False}
    changed = (await auth.admin("PUT", path, last)).json
    assert changed["domains"] == []
    assert "resource_id" not in changed
    assert changed["saml"]["attribute_mapping"] == {}

    removed = await auth.admin("DELETE", path)
    assert (removed.status, removed.json) == (200, changed)
    assert (await auth.admin("GET", path)).error == (404, "sso_provider_not_found")
    assert auth.rows("select 1 as n from auth.saml_providers union all select 2 from auth.sso_domains") == []


async def test_the_least_that_a_provider_needs(auth: AuthClient, idp: SamlIdp) -> None:
    answer = await auth.admin("POST", PROVIDERS, {"type": "saml", "metadata_xml": idp.metadata()})
    assert answer.json["domains"] == []
    assert answer.json["disabled"] is None
    assert answer.json["saml"]["attribute_mapping"] == {}
    assert "resource_id" not in answer.json


async def test_providers_are_found_by_resource_id(auth: AuthClient, company: Company) -> None:
    await a_company(auth, SamlIdp(entity_id=OTHER_ENTITY), resource_id="acme_2")
    await a_company(auth, SamlIdp(entity_id="https://third.example.com/"), resource_id="acmeX2")

    async def found(query: str) -> list[str]:
        items = (await auth.admin("GET", f"{PROVIDERS}?{query}")).json["items"]
        return [item["resource_id"] for item in items]

    assert await found("resource_id=acme") == ["acme"]
    assert await found("resource_id=nothing") == []
    assert await found("resource_id_prefix=acme_") == ["acme_2"]
    assert await found("resource_id_prefix=acme") == ["acme", "acme_2", "acmeX2"]
    assert await found("resource_id=acme&resource_id_prefix=x") == ["acme"]
    assert len(await found("")) == 3


async def test_what_another_provider_has_is_refused(
    auth: AuthClient, company: Company, idp: SamlIdp, other_idp: SamlIdp
) -> None:
    body = {"type": "saml", "metadata_xml": idp.metadata()}
    answer = await auth.admin("POST", PROVIDERS, body)
    assert answer.error == (422, "saml_idp_already_exists")
    assert idp.entity_id in answer.json["msg"]
    body = {"type": "saml", "metadata_xml": other_idp.metadata()}
    answer = await auth.admin("POST", PROVIDERS, body | {"domains": ["free.example", "COMPANY.example"]})
    assert answer.error == (400, "sso_domain_already_exists")
    answer = await auth.admin("POST", PROVIDERS, body | {"resource_id": "ACME"})
    assert answer.error == (422, "conflict")
    second = await a_company(auth, other_idp, domains=["free.example"], resource_id="second")
    path = f"{PROVIDERS}/{second.id}"
    answer = await auth.admin("PUT", path, {"domains": ["company.test"]})
    assert answer.error == (400, "sso_domain_already_exists")
    assert (await auth.admin("PUT", path, {"resource_id": "acme"})).error == (422, "conflict")
    answer = await auth.admin("PUT", path, {"metadata_xml": idp.metadata()})
    assert answer.error == (400, "saml_entity_id_mismatch")
    kept = (await auth.admin("GET", path)).json
    assert ([d["domain"] for d in kept["domains"]], kept["resource_id"]) == (["free.example"], "second")


METADATA_CASES = [
    ("x", "SAML Metadata cannot be used: it is not well-formed XML"),
    ("<x/>", "SAML Metadata does not contain any IDPSSODescriptor"),
    ("<!DOCTYPE x><x/>", "SAML Metadata cannot be used: document types and entities are not accepted"),
    ("x" * (512 * 1024 + 1), "SAML Metadata is larger than 524288 bytes"),
]


@pytest.mark.parametrize(("text", "message"), METADATA_CASES)
async def test_metadata_that_are_none(auth: AuthClient, text: str, message: str) -> None:
    answer = await auth.admin("POST", PROVIDERS, {"type": "saml", "metadata_xml": text})
    assert answer.error == (400, "validation_failed")
    assert answer.json["msg"] == message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('entityID="https://idp.example.com/metadata"', "", "does not contain an EntityID"),
        ("IDPSSODescriptor", "SPSSODescriptor", "does not contain any IDPSSODescriptor"),
        ('use="signing"', 'use="encryption"', "does not contain a certificate for signing"),
        ("<ds:X509Certificate>", "<ds:X509Certificate>AAAA", "contains a certificate that cannot be read"),
        ("<ds:X509Certificate>", "<ds:X509Certificate>!", "contains a certificate that cannot be read"),
        (
            "https://idp.example.com/sso",
            "javascript:alert(1)",
            "names a SingleSignOnService that is not a web address",
        ),
        (
            "https://idp.example.com/sso",
            "https://[x",
            "names a SingleSignOnService that is not a web address",
        ),
        (
            "<ds:X509Certificate>",
            "<ds:X509Certificate><x/>",
            "cannot be used: X509Certificate holds more than text",
        ),
        (' entityID="', ' validUntil="soon" entityID="', "cannot be used: validUntil is not an instant"),
    ],
)
async def test_metadata_that_lack_something(
    auth: AuthClient, idp: SamlIdp, old: str, new: str, message: str
) -> None:
    text = idp.metadata().replace(old, new)
    answer = await auth.admin("POST", PROVIDERS, {"type": "saml", "metadata_xml": text})
    assert answer.error == (400, "validation_failed")
    assert answer.json["msg"] == f"SAML Metadata {message}"


async def test_several_roles_or_entities(auth: AuthClient, idp: SamlIdp) -> None:
    text = idp.metadata()
    role = text[text.index("<md:IDPSSO") : text.index("</md:EntityDescriptor>")]
    twice = text.replace(role, role * 2)
    answer = await auth.admin("POST", PROVIDERS, {"type": "saml", "metadata_xml": twice})
    assert answer.json["msg"] == "SAML Metadata contains multiple IDPSSODescriptors"
    entity = text[text.index("<md:Entity") :]
    nobody = entity.replace(role, "").replace("idp.example", "nobody.example")
    md = 'xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata"'
    listed = f"<md:EntitiesDescriptor {md}>{nobody}{entity}</md:EntitiesDescriptor>"
    answer = await auth.admin("POST", PROVIDERS, {"type": "saml", "metadata_xml": listed})
    assert answer.json["saml"]["entity_id"] == idp.entity_id


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"no json", "bad_json", None),
        ([], "bad_json", None),
        ({"type": 1}, "bad_json", None),
        ({"type": "saml", "domains": "company.example"}, "bad_json", None),
        ({"type": "saml", "domains": [1]}, "bad_json", None),
        ({"type": "saml", "attribute_mapping": []}, "bad_json", None),
        ({"type": "saml", "attribute_mapping": {"keys": {"name": "cn"}}}, "bad_json", None),
        ({"type": "saml", "attribute_mapping": {"keys": {"name": {"array": "x"}}}}, "bad_json", None),
        ({"type": "saml", "disabled": "no"}, "bad_json", None),
        ({"type": "saml", "metadata_xml": "a\x00b"}, "validation_failed", None),
        ({}, "validation_failed", "Only 'saml' supported for SSO provider type"),
        ({"type": "oidc"}, "validation_failed", "Only 'saml' supported for SSO provider type"),
        ({"type": "saml"}, "validation_failed", "Either metadata_xml or metadata_url must be set"),
        (
            {"type": "saml", "metadata_xml": "x", "metadata_url": "https://x.example"},
            "validation_failed",
            "Only one of metadata_xml or metadata_url needs to be set",
        ),
        ({"type": "saml", "metadata_url": "x"}, "validation_failed", "metadata_url is not a valid URL"),
        (
            {"type": "saml", "metadata_url": "https://[x"},
            "validation_failed",
            "metadata_url is not a valid URL",
        ),
        (
            {"type": "saml", "metadata_url": "https://x.example/" + "x" * 2048},
            "validation_failed",
            "metadata_url is not a valid URL",
        ),
        (
            {"type": "saml", "metadata_url": "http://idp.example.com/metadata"},
            "validation_failed",
            "metadata_url is not a HTTPS URL",
        ),
        (
            {"type": "saml", "metadata_xml": "x", "name_id_format": "mail"},
            "validation_failed",
            "name_id_format must be unspecified or one of urn:oasis:names:tc:SAML:2.0:nameid-format:persistent,"
            " urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress,"
            " urn:oasis:names:tc:SAML:2.0:nameid-format:transient,"
            " urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified",
        ),
    ],
)
async def test_malformed_providers(auth: AuthClient, body: object, code: str, message: str | None) -> None:
    answer = await auth.admin("POST", PROVIDERS, body)
    assert answer.error == (400, code)
    assert message is None or answer.json["msg"] == message


async def test_an_empty_domain_is_refused(auth: AuthClient, company: Company, other_idp: SamlIdp) -> None:
    body = {"type": "saml", "metadata_xml": other_idp.metadata(), "domains": ["a.example", ""]}
    assert (await auth.admin("POST", PROVIDERS, body)).error == (400, "validation_failed")
    answer = await auth.admin("PUT", f"{PROVIDERS}/{company.id}", {"domains": [""]})
    assert answer.error == (400, "validation_failed")


@pytest.mark.parametrize(
    "name",
    ["not-a-uuid", "00000000-0000-4000-8000-000000000001", "resource_", "resource_x", "resource_%00", "%00"],
)
async def test_providers_that_are_not_there(auth: AuthClient, name: str) -> None:
    for method, body in (("GET", None), ("PUT", {}), ("DELETE", None)):
        answer = await auth.admin(method, f"{PROVIDERS}/{name}", body)
        assert answer.error == (404, "sso_provider_not_found")
        assert answer.json["msg"] == "SSO Identity Provider not found"


async def test_only_administrators_keep_providers(auth: AuthClient, company: Company) -> None:
    token = (await company.sign_in())["access_token"]
    for method, path in (("GET", PROVIDERS), ("POST", PROVIDERS), ("DELETE", f"{PROVIDERS}/{company.id}")):
        assert (await auth.send(method, path, {})).error == (401, "no_authorization")
        assert (await auth.send(method, path, {}, token=token)).error == (403, "not_admin")
    assert (await auth.admin("PATCH", PROVIDERS)).error == (405, "method_not_allowed")


@pytest.mark.parametrize(
    ("form", "code", "description"),
    [
        (b"", "validation_failed", "SAMLResponse is missing"),
        (b"RelayState=", "validation_failed", "SAMLResponse is missing"),
        (
            b"SAMLResponse=a%00b&RelayState=x",
            "validation_failed",
            "SAMLResponse is not a valid Base64 string",
        ),
        (b"SAMLResponse=!!!!", "validation_failed", "SAMLResponse is not a valid Base64 string"),
        (b"SAMLResponse=AAA", "validation_failed", "SAMLResponse is not a valid Base64 string"),
        (b"\xff\xfe", "validation_failed", "SAMLResponse is missing"),
        (b'{"SAMLResponse": "x"}', "validation_failed", "SAMLResponse is missing"),
        (b"&".join(b"a%d=1" % n for n in range(50)), "validation_failed", "SAMLResponse is missing"),
        (
            b"SAMLResponse=PHIvPg==&RelayState=some%20text",
            "validation_failed",
            "SAML RelayState is not a valid UUID or URL",
        ),
        (
            b"SAMLart=x",
            "validation_failed",
            "SAML Artifact response can only be used with SP initiated flow",
        ),
        (
            b"SAMLResponse=PHIvPg==&RelayState=https://app.example.com",
            "validation_failed",
            "SAMLResponse is not a valid XML SAML assertion: it is no Response",
        ),
        (
            b"SAMLResponse=PHIvPg==&RelayState=3e7ac8d1-8d3b-4ba5-a2a3-42a7a2d6a9a4",
            "saml_relay_state_not_found",
            "SAML RelayState does not exist, try logging in again?",
        ),
    ],
)
async def test_what_comes_and_is_no_answer(
    auth: AuthClient, form: bytes, code: str, description: str
) -> None:
    assert failure(await auth.post(ACS, form, headers=FORM)) == (code, description)


async def test_a_relay_state_without_an_answer_is_used_up(auth: AuthClient, company: Company) -> None:
    asked = await company.begin()
    answer = await send(auth, None, asked.relay_state)
    assert failure(answer) == ("validation_failed", "SAMLResponse is missing")
    assert failure(await company.come_back(asked))[0] == "saml_relay_state_not_found"


async def test_too_large_an_answer_is_not_read(auth: AuthClient) -> None:
    answer = await auth.post(ACS, b"SAMLResponse=" + b"A" * (1024 * 1024), headers=FORM)
    assert answer.error == (413, "request_entity_too_large")
    answer = await send(auth, encode(b"x" * 300_000))
    assert failure(answer)[0] == "validation_failed"


@pytest.fixture
def served() -> Iterator[SamlIdp]:
    idp = SamlIdp()
    with idp_server(idp) as url:
        idp.url = url  # type: ignore[attr-defined]
        yield idp


async def test_metadata_are_fetched_and_fetched_again(start_auth: StartAuth, served: Any) -> None:
    auth = await start_auth(saml=replace(SAML, allow_private_addresses=True), site_url=SITE)
    url = f"{served.url}/metadata"
    company = await a_company(auth, served, metadata_xml="", metadata_url=url)
    shown = (await auth.admin("GET", f"{PROVIDERS}/{company.id}")).json["saml"]
    assert (shown["metadata_url"], shown["entity_id"]) == (url, served.entity_id)
    assert shown["metadata_xml"] == served.metadata()
    await company.sign_in()
    assert served.server.served == ["/metadata"]

    # a day later the provider has another key
    changed = SamlIdp(key=new_key())
    served.key, served.certificate = changed.key, changed.certificate
    assert failure(await company.start_there())[0] == "validation_failed"
    auth.rows("update auth.saml_providers set updated_at = now() - interval '25 hours'")
    await company.sign_in()
    assert served.server.served == ["/metadata", "/metadata"]
    await company.sign_in()
    assert len(served.server.served) == 2


async def test_metadata_that_cannot_be_had_again_stay_in_use(start_auth: StartAuth, served: Any) -> None:
    auth = await start_auth(saml=replace(SAML, allow_private_addresses=True), site_url=SITE)
    company = await a_company(auth, served, metadata_xml="", metadata_url=f"{served.url}/metadata")
    auth.rows(
        "update auth.saml_providers set metadata_url = metadata_url || '/gone', updated_at = '2020-01-01'"
    )
    landed(await company.start_there())
    assert auth.rows("select updated_at from auth.saml_providers")[0]["updated_at"].year == 2020


async def test_metadata_of_somebody_else_do_not_replace_a_provider(
    start_auth: StartAuth, served: Any
) -> None:
    auth = await start_auth(saml=replace(SAML, allow_private_addresses=True), site_url=SITE)
    company = await a_company(auth, served, metadata_xml="", metadata_url=f"{served.url}/metadata")
    auth.rows("update auth.saml_providers set updated_at = '2020-01-01'")
    genuine = SamlIdp(key=served.key)
    genuine.certificate = served.certificate
    served.entity_id = OTHER_ENTITY
    landed(await replace(company, idp=genuine).start_there())
    [row] = auth.rows("select entity_id, metadata_xml from auth.saml_providers")
    assert row == {"entity_id": genuine.entity_id, "metadata_xml": genuine.metadata()}


async def test_metadata_are_not_fetched_from_inside(
    auth: AuthClient, start_auth: StartAuth, served: Any
) -> None:
    body = {"type": "saml", "metadata_url": served.url.replace("http", "https") + "/metadata"}
    answer = await auth.admin("POST", PROVIDERS, body)
    assert answer.error == (400, "saml_metadata_fetch_failed")
    assert answer.json["msg"] == "Unable to fetch SAML metadata: The address is not a public one"
    assert served.server.served == []
    open_auth = await start_auth(saml=replace(SAML, allow_private_addresses=True), site_url=SITE)
    body = {"type": "saml", "metadata_url": f"{served.url}/nothing"}
    answer = await open_auth.admin("POST", PROVIDERS, body)
    assert answer.error == (400, "saml_metadata_fetch_failed")
    assert answer.json["msg"] == (f"HTTP 404 error fetching SAML Metadata from URL '{served.url}/nothing'")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "auth.saml.private_key: SAML that is enabled needs a key"),
        ('private_key = "x"', "auth.saml.private_key: must be an RSA key, its PKCS#1 form in Base64"),
        ('private_key = "AAAA"', "auth.saml.private_key: must be an RSA key, its PKCS#1 form in Base64"),
        (
            f'private_key = "{SAML.private_key}"\nprivate_key_next = "x"',
            "auth.saml.private_key_next: must be",
        ),
    ],
    ids=["no key", "a letter", "Base64 of something else", "the next one"],
)
def test_a_key_that_cannot_be_used_is_told_at_start(base_settings: Settings, line: str, reason: str) -> None:
    config = base_settings.project_dir / "supabase" / "config.toml"
    config.write_text(f"[auth.saml]\nenabled = true\n{line}\n", "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(base_settings.project_dir, {})
    assert reason in str(caught.value)


def test_a_short_key_is_refused(base_settings: Settings) -> None:
    short = pkcs1_base64(rsa.generate_private_key(65537, 1024))
    config = base_settings.project_dir / "supabase" / "config.toml"
    config.write_text(f'[auth.saml]\nenabled = true\nprivate_key = "{short}"\n', "utf-8")
    with pytest.raises(ConfigError, match="at least 2048 bits"):
        load_settings(base_settings.project_dir, {})
