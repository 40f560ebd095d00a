"""Single sign-on from end to end: to the provider, back, and into an account."""

import asyncio
import base64
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import jwt
import pytest
from cryptography import x509
from lxml import etree

from basalt.config import SamlSettings
from tests.auth.conftest import AuthClient, StartAuth
from tests.auth.saml import (
    ACS,
    NEXT_KEY,
    PROVIDERS,
    SAML,
    SITE,
    Company,
    StartSaml,
    a_company,
    failure,
    landed,
    send,
)
from tests.fakes.saml_idp import DS, EMAIL, MD, PERSISTENT, TRANSIENT, SamlIdp, encode, pkcs1_base64, setting

pytestmark = pytest.mark.req("P6")


@pytest.fixture
def start_saml(start_auth: StartAuth) -> StartSaml:
    async def start(saml: SamlSettings = SAML, **auth: Any) -> AuthClient:
        given = {"site_url": SITE, "additional_redirect_urls": ("https://other.example.com/**",)}
        return await start_auth(saml=saml, **(given | auth))

    return start


@pytest.fixture
async def auth(start_saml: StartSaml) -> AuthClient:
    return await start_saml()


@pytest.fixture
async def company(auth: AuthClient) -> Company:
    return await a_company(auth, domains=["company.example"])


def claims_of(auth: AuthClient, token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(
        token, auth.keys.jwt_secret, algorithms=["HS256"], audience="authenticated"
    )
    return claims


async def test_a_sign_on_ends_in_an_account_of_the_company(auth: AuthClient, company: Company) -> None:
    session = await company.sign_in()
    claims = claims_of(auth, session["access_token"])
    provider = f"sso:{company.id}"
    assert claims["email"] == "ada@company.example"
    assert claims["app_metadata"] == {"provider": provider, "providers": [provider]}
    assert [(entry["method"], entry["provider"]) for entry in claims["amr"]] == [("sso/saml", company.id)]
    assert (session["token_type"], session["sb"]) == ("bearer", "")
    user = (await auth.get("/user", token=session["access_token"])).json
    [identity] = user["identities"]
    assert (identity["provider"], identity["id"]) == (provider, "ada-7")
    assert identity["identity_data"] == {
        "sub": "ada-7",
        "iss": company.idp.entity_id,
        "email": "ada@company.example",
        "email_verified": True,
        "phone_verified": False,
        "custom_claims": {},
    }
    assert user["email_confirmed_at"]
    [row] = auth.rows("select is_sso_user, encrypted_password from auth.users")
    assert row == {"is_sso_user": True, "encrypted_password": None}
    refreshed = await auth.post(
        "/token?grant_type=refresh_token", {"refresh_token": session["refresh_token"]}
    )
    assert refreshed.status == 200
    again = claims_of(auth, (await company.sign_in())["access_token"])
    assert again["sub"] == claims["sub"]


async def test_the_domain_leads_to_the_provider(auth: AuthClient, company: Company) -> None:
    answer = await auth.post(
        "/sso", {"domain": "Company.Example", "redirect_to": "https://other.example.com/a"}
    )
    assert answer.status == 303
    metadata = await auth.get("/sso/saml/metadata")
    asked = company.idp.read_request(answer.headers["location"], metadata.body)
    assert asked.name_id_format == PERSISTENT
    landed(await company.come_back(asked), at="https://other.example.com/a")


async def test_an_address_that_is_not_allowed_becomes_the_site(company: Company) -> None:
    asked = await company.begin(redirect_to="https://evil.example/")
    landed(await company.come_back(asked))


async def test_an_account_of_single_sign_on_joins_no_other(auth: AuthClient, company: Company) -> None:
    other = await auth.a_user("ada@company.example")
    session = await company.sign_in()
    assert claims_of(auth, session["access_token"])["sub"] != other["id"]
    second = await a_company(auth, SamlIdp(entity_id="https://second.example.com/idp"))
    third = claims_of(auth, (await second.sign_in())["access_token"])
    assert len({other["id"], third["sub"], claims_of(auth, session["access_token"])["sub"]}) == 3
    assert auth.rows("select count(*) as n from auth.users where email = 'ada@company.example'")[0]["n"] == 3


async def test_pkce_ends_in_an_exchange(auth: AuthClient, company: Company) -> None:
    verifier = "v" * 43
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    asked = await company.begin(code_challenge=challenge, code_challenge_method="s256")
    answer = await company.come_back(asked, session_ends_in_s=600)
    assert answer.status == 302
    [code] = parse_qs(urlsplit(answer.headers["location"]).query)["code"]
    assert auth.rows("select 1 from auth.sessions") == []
    wrong = await auth.post("/token?grant_type=pkce", {"auth_code": code, "code_verifier": "x" * 43})
    assert wrong.error == (400, "bad_code_verifier")
    session = await auth.session("/token?grant_type=pkce", {"auth_code": code, "code_verifier": verifier})
    claims = claims_of(auth, session["access_token"])
    assert [entry["method"] for entry in claims["amr"]] == ["sso/saml"]
    [kept] = auth.rows("select not_after from auth.sessions")
    assert timedelta(seconds=500) < kept["not_after"] - datetime.now(UTC) <= timedelta(seconds=600)
    assert auth.rows("select 1 from basalt.sso_session_ends") == []


async def test_a_pkce_flow_is_finished_once(auth: AuthClient, company: Company) -> None:
    asked = await company.begin(code_challenge="c" * 43, code_challenge_method="plain")
    auth.rows("update auth.flow_state set user_id = gen_random_uuid()")
    assert failure(await company.come_back(asked))[0] == "flow_state_already_used"


async def test_the_provider_may_end_the_session(auth: AuthClient, company: Company) -> None:
    session = await company.sign_in(session_ends_in_s=600)
    auth.rows("update auth.sessions set not_after = now() - interval '1 second'")
    answer = await auth.post("/token?grant_type=refresh_token", {"refresh_token": session["refresh_token"]})
    assert answer.error == (400, "session_expired")


async def test_the_provider_may_begin(auth: AuthClient, company: Company) -> None:
    landed(await company.start_there())
    landed(await company.start_there("https://other.example.com/x"), at="https://other.example.com/x")
    landed(await company.start_there("https://evil.example/"))


@pytest.mark.parametrize("sign", [("assertion",), ("response",), ("assertion", "response")])
async def test_assertion_or_response_or_both_are_signed(company: Company, sign: tuple[str, ...]) -> None:
    await company.sign_in(sign=sign)


async def test_a_relay_state_is_good_once(company: Company) -> None:
    asked = await company.begin()
    landed(await company.come_back(asked))
    assert failure(await company.come_back(asked))[0] == "saml_relay_state_not_found"
    asked = await company.begin()
    assert failure(await company.come_back(asked, sign=()))[0] == "validation_failed"
    assert failure(await company.come_back(asked))[0] == "saml_relay_state_not_found"


async def test_of_two_answers_with_one_relay_state_one_comes_in(auth: AuthClient, company: Company) -> None:
    asked = await company.begin()
    answers = await asyncio.gather(*(company.come_back(asked) for _ in range(4)))
    assert sorted(answer.status for answer in answers) == [302, 303, 303, 303]
    assert len(auth.rows("select 1 from auth.sessions")) == 1


async def test_a_relay_state_has_its_time(auth: AuthClient, company: Company) -> None:
    asked = await company.begin()
    auth.rows("update auth.saml_relay_states set created_at = now() - interval '121 seconds'")
    code, description = failure(await company.come_back(asked))
    assert code == "saml_relay_state_expired"
    assert description == "SAML RelayState has expired. Try logging in again?"
    auth.rows(
        "insert into auth.saml_relay_states (id, sso_provider_id, request_id, created_at)"
        " values (gen_random_uuid(), %s, 'old', now() - interval '2 days')",
        company.id,
    )
    await company.begin()
    assert auth.rows("select 1 from auth.saml_relay_states where request_id = 'old'") == []


async def test_an_assertion_is_good_once(auth: AuthClient, company: Company) -> None:
    response = encode(company.idp.response(company.acs_url, company.entity_id))
    answers = await asyncio.gather(*(send(auth, response) for _ in range(4)))
    assert sorted(answer.status for answer in answers) == [302, 303, 303, 303]
    refused = await send(auth, response)
    assert failure(refused) == (
        "validation_failed",
        "SAML Assertion is not valid: it has been used already",
    )


async def test_a_disabled_provider_lets_nobody_in(auth: AuthClient, company: Company) -> None:
    asked = await company.begin()
    await auth.admin("PUT", f"{PROVIDERS}/{company.id}", {"disabled": True})
    assert failure(await company.come_back(asked))[0] == "sso_provider_disabled"
    assert failure(await company.start_there())[0] == "sso_provider_disabled"
    answer = await auth.post("/sso", {"provider_id": company.id})
    assert answer.error == (404, "sso_provider_disabled")


async def test_a_provider_that_is_gone_lets_nobody_in(auth: AuthClient, company: Company) -> None:
    await auth.admin("DELETE", f"{PROVIDERS}/{company.id}")
    code, description = failure(await company.start_there())
    assert code == "saml_idp_not_found"
    assert description == "A SAML connection has not been established with this Identity Provider"


async def test_banned_users_and_new_ones_without_sign_up_are_sent_away(
    auth: AuthClient, start_saml: StartSaml, company: Company
) -> None:
    user_id = claims_of(auth, (await company.sign_in())["access_token"])["sub"]
    await auth.admin("PUT", f"/admin/users/{user_id}", {"ban_duration": "1h"})
    answer = await company.come_back(await company.begin())
    assert failure(answer)[0] == "user_banned"
    assert "error=access_denied" in answer.headers["location"]
    closed = replace(company, auth=await start_saml(enable_signup=False))
    answer = await closed.start_there(name_id="new", attributes={"mail": ["new@company.example"]})
    assert failure(answer)[0] == "signup_disabled"


async def test_confirmations_do_not_stop_a_company(start_saml: StartSaml) -> None:
    auth = await start_saml(email={"enable_confirmations": True})
    company = await a_company(auth)
    await company.sign_in()
    assert auth.inbox() == []


async def test_users_are_known_by_what_stays_the_same(auth: AuthClient, company: Company) -> None:
    async def subject(**options: Any) -> str:
        claims = claims_of(auth, (await company.sign_in(**options))["access_token"])
        user = (await auth.admin("GET", f"/admin/users/{claims['sub']}")).json
        identity: str = user["identities"][0]["id"]
        return identity

    mail = {"mail": ["one@company.example"]}
    identifier = {"urn:oasis:names:tc:SAML:attribute:subject-id": ["s-1"], "mail": ["two@company.example"]}
    assert (
        await subject(name_id_format=EMAIL, name_id="One@Company.example ", attributes=mail)
        == "one@company.example"
    )
    assert await subject(name_id_format=TRANSIENT, attributes=identifier) == "s-1"
    only_name = await subject(name_id_format=EMAIL, name_id="three@company.example", attributes={})
    assert only_name == "three@company.example"
    asked = await company.begin()
    answer = await company.come_back(asked, name_id_format=TRANSIENT)
    assert failure(answer)[0] == "saml_assertion_no_user_id"
    answer = await company.come_back(await company.begin(), attributes={"cn": ["Ada"]})
    assert failure(answer)[0] == "saml_assertion_no_email"
    answer = await company.come_back(await company.begin(), attributes={"mail": ["not an address"]})
    assert failure(answer)[0] == "validation_failed"


async def test_attributes_become_claims_by_the_mapping(auth: AuthClient) -> None:
    keys = {
        "email": {"name": "work"},
        "name": {"names": ["nothing", "DisplayName"]},
        "groups": {"name": "memberOf", "array": True},
        "team": {"name": "team"},
        "plan": {"name": "plan", "default": {"tier": 1}},
        "missing": {"name": "missing"},
        "email_verified": {"name": "team"},
    }
    company = await a_company(auth, attribute_mapping={"keys": keys})
    attributes = {
        "work": ["Ada@Work.example"],
        "mail": ["other@company.example"],
        "displayname": ["Ada Lovelace"],
        "memberOf": ["a", "", "b"],
        "team": ["", "red", "blue"],
    }
    session = await company.sign_in(attributes=attributes)
    claims = claims_of(auth, session["access_token"])
    assert claims["email"] == "ada@work.example"
    metadata = claims["user_metadata"]
    assert metadata["name"] == "Ada Lovelace"
    assert metadata["custom_claims"] == {"groups": ["a", "b"], "team": "red", "plan": {"tier": 1}}
    assert metadata["email_verified"] is True

    wrong = {"keys": {"name": {"name": "memberOf", "array": True}}}
    await auth.admin("PUT", f"{PROVIDERS}/{company.id}", {"attribute_mapping": wrong})
    answer = await company.come_back(await company.begin(), attributes=attributes)
    assert failure(answer)[0] == "unexpected_failure"


async def test_the_metadata_say_what_a_provider_needs(auth: AuthClient, start_saml: StartSaml) -> None:
    answer = await auth.get("/sso/saml/metadata")
    assert answer.headers["content-type"] == "application/xml"
    assert answer.headers["cache-control"] == "public, max-age=600"
    root = etree.fromstring(answer.body)
    base = f"{auth.settings.api_url}/auth/v1/sso/saml"
    assert root.get("entityID") == f"{base}/metadata"
    assert root.find(f".//{{{MD}}}AssertionConsumerService").get("Location") == f"{base}/acs"
    assert [key.get("use") for key in root.iter(f"{{{MD}}}KeyDescriptor")] == ["signing"]
    assert (await start_saml()).keys  # another start, the same certificate
    again = etree.fromstring((await auth.get("/sso/saml/metadata")).body)
    certificate = f".//{{{DS}}}X509Certificate"
    assert root.findtext(certificate) == again.findtext(certificate)
    loaded = x509.load_der_x509_certificate(base64.b64decode(root.findtext(certificate)))
    assert loaded.not_valid_after_utc.year == 2170

    download = await auth.get("/sso/saml/metadata?download=true")
    assert download.headers["content-disposition"] == 'attachment; filename="metadata.xml"'
    valid_until = etree.fromstring(download.body).get("validUntil")
    assert int(valid_until[:4]) >= datetime.now(UTC).year + 4


async def test_the_next_key_is_shown_before_it_is_used(start_saml: StartSaml) -> None:
    saml = replace(SAML, private_key_next=pkcs1_base64(NEXT_KEY), allow_encrypted_assertions=True)
    auth = await start_saml(saml)
    answer = await auth.get("/sso/saml/metadata")
    assert answer.headers["cache-control"] == "public, max-age=60"
    root = etree.fromstring(answer.body)
    assert root.get("cacheDuration") == "PT1H"
    uses = [key.get("use") for key in root.iter(f"{{{MD}}}KeyDescriptor")]
    assert uses == ["signing", "encryption"] * 2
    company = await a_company(auth)
    await company.sign_in()
    await company.sign_in(encrypt_for=NEXT_KEY.public_key())
    shown = (await auth.get("/settings")).json
    assert (shown["saml_enabled"], shown["saml_private_key_next_configured"]) == (True, True)


async def test_without_saml_there_is_no_single_sign_on(start_saml: StartSaml) -> None:
    auth = await start_saml(SamlSettings())
    for answer in (
        await auth.post("/sso", {"domain": "company.example"}),
        await auth.get("/sso/saml/metadata"),
        await auth.post(ACS, b"RelayState="),
    ):
        assert answer.error == (404, "saml_provider_disabled")
    assert (await auth.get("/settings")).json["saml_enabled"] is False
    assert (await auth.admin("GET", PROVIDERS)).json == {"items": []}


PKCE_ERROR = "PKCE flow requires code_challenge_method and code_challenge"


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        (b"no json", (400, "bad_json"), None),
        (b"[]", (400, "bad_json"), None),
        ({"provider_id": "x"}, (400, "bad_json"), None),
        ({"provider_id": 1}, (400, "bad_json"), None),
        ({"domain": ["x"]}, (400, "bad_json"), None),
        ({"domain": "x", "skip_http_redirect": "yes"}, (400, "bad_json"), None),
        ({"domain": "company.example\x00"}, (400, "validation_failed"), None),
        ({}, (400, "validation_failed"), "A provider_id or domain needs to be provided"),
        (
            {"domain": None, "more": 1},
            (400, "validation_failed"),
            "A provider_id or domain needs to be provided",
        ),
        (
            {"provider_id": str(uuid4()), "domain": "x"},
            (400, "validation_failed"),
            "Only one of provider_id or domain supported",
        ),
        ({"provider_id": str(uuid4())}, (404, "sso_provider_not_found"), "No such SSO provider"),
        (
            {"domain": "nobody.example"},
            (404, "sso_provider_not_found"),
            "No SSO provider assigned for this domain",
        ),
        ({"domain": "x" * 100_000}, (404, "sso_provider_not_found"), None),
        (
            {"domain": "company.example", "code_challenge": "c" * 43},
            (400, "validation_failed"),
            PKCE_ERROR,
        ),
        (
            {"domain": "company.example", "code_challenge": "c", "code_challenge_method": "s256"},
            (400, "validation_failed"),
            "code challenge has to be between 43 and 128 characters",
        ),
    ],
)
@pytest.mark.usefixtures("company")
async def test_malformed_sign_ons(
    auth: AuthClient, body: object, error: tuple[int, str], message: str | None
) -> None:
    answer = await auth.post("/sso", body)
    assert answer.error == error
    assert message is None or answer.json["msg"] == message
    assert auth.rows("select 1 from auth.saml_relay_states") == []


async def test_other_methods_are_refused(auth: AuthClient) -> None:
    assert (await auth.get("/sso")).error == (405, "method_not_allowed")
    assert (await auth.get(ACS)).error == (405, "method_not_allowed")
    assert (await auth.post("/sso/saml/metadata")).error == (405, "method_not_allowed")


async def test_a_provider_without_redirects_has_to_begin(auth: AuthClient) -> None:
    idp = SamlIdp()
    metadata = idp.metadata().replace("HTTP-Redirect", "HTTP-POST")
    company = await a_company(auth, idp, metadata_xml=metadata)
    assert (await auth.post("/sso", {"provider_id": company.id})).error == (400, "validation_failed")
    landed(await company.start_there())


async def test_the_address_of_a_provider_may_have_a_query(auth: AuthClient) -> None:
    company = await a_company(auth, SamlIdp(sign_on_url="https://idp.example.com/sso?tenant=a&x=1"))
    await company.sign_in()


async def test_sign_ons_and_assertions_are_limited_by_address(
    start_saml: StartSaml, base_settings: Any
) -> None:
    limit = replace(base_settings.auth.rate_limit, sso=1, saml_assertion=1)
    auth = await start_saml(rate_limit=limit, basalt={"client_address_header": "x-real-ip"})
    headers = {"x-real-ip": "203.0.113.1"}
    assert (await auth.post("/sso", {}, headers=headers)).error == (400, "validation_failed")
    assert (await auth.post("/sso", {}, headers=headers)).error == (429, "over_request_rate_limit")
    assert (await auth.post(ACS, b"", headers=headers)).status == 303
    assert (await auth.post(ACS, b"", headers=headers)).error == (429, "over_request_rate_limit")


async def test_sso_users_cannot_change_what_the_company_manages(auth: AuthClient, company: Company) -> None:
    session = await company.sign_in()
    answer = await auth.send("PUT", "/user", {"password": "something else"}, token=session["access_token"])
    assert answer.error == (422, "user_sso_managed")


async def test_the_name_id_format_is_the_providers(auth: AuthClient) -> None:
    company = await a_company(auth, name_id_format=EMAIL)
    assert (await company.begin()).name_id_format == EMAIL
    answer = await company.come_back(
        await company.begin(), change=setting("//saml:NameID", "Format", None), sign=("assertion",)
    )
    landed(answer)
