"""Security keys as second factors, by a software authenticator: right, wrong in every way, and copied."""

import asyncio
import base64
from dataclasses import replace
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.auth.conftest import AuthClient, StartAuth
from tests.fakes.authenticator import PRESENT, VERIFIED, Authenticator

pytestmark = pytest.mark.req("P6")

EMAIL = "ada@example.com"
AAGUID = UUID("cb69481e-8ff7-4039-93ec-0a2729a154a8")


@pytest.fixture
async def auth(start_auth: StartAuth, mfa_settings: Any) -> AuthClient:
    return await start_auth(mfa=mfa_settings)


async def signed_in(auth: AuthClient, email: str = EMAIL) -> str:
    await auth.a_user(email)
    token: str = (await auth.sign_in(email))["access_token"]
    return token


async def enrol(auth: AuthClient, token: str, name: str = "key") -> str:
    answer = await auth.post("/factors", {"factor_type": "webauthn", "friendly_name": name}, token=token)
    assert answer.status == 200, answer.body
    assert answer.json == {"id": answer.json["id"], "type": "webauthn", "friendly_name": name}
    factor_id: str = answer.json["id"]
    return factor_id


async def challenge(auth: AuthClient, token: str, factor_id: str) -> tuple[str, str, dict[str, Any]]:
    """Id, type and options of a new challenge. What a client says of the relying party counts for nothing."""
    body = {"webauthn": {"rpId": "evil.example", "rpOrigins": ["https://evil.example"]}}
    answer = await auth.post(f"/factors/{factor_id}/challenge", body, token=token)
    assert answer.status == 200, answer.body
    begun = answer.json
    assert begun["type"] == "webauthn"
    assert begun["expires_at"] > 0
    return begun["id"], begun["webauthn"]["type"], begun["webauthn"]["credential_options"]["publicKey"]


async def verify(
    auth: AuthClient, token: str, factor_id: str, challenge_id: str, kind: str, response: object
) -> Any:
    body = {"challenge_id": challenge_id, "webauthn": {"type": kind, "credential_response": response}}
    return await auth.post(f"/factors/{factor_id}/verify", body, token=token)


async def with_a_key(auth: AuthClient, key: Authenticator) -> tuple[str, str]:
    """A user's token at aal2 and the verified factor."""
    token = await signed_in(auth)
    factor_id = await enrol(auth, token)
    challenge_id, kind, options = await challenge(auth, token, factor_id)
    answer = await verify(auth, token, factor_id, challenge_id, kind, key.create(options))
    assert answer.status == 200, answer.body
    return answer.json["access_token"], factor_id


def claims(token: str) -> dict[str, Any]:
    decoded: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return decoded


async def test_a_key_is_enrolled_and_raises_sessions(auth: AuthClient) -> None:
    key = Authenticator(aaguid=AAGUID)
    token = await signed_in(auth)
    factor_id = await enrol(auth, token)
    challenge_id, kind, options = await challenge(auth, token, factor_id)
    assert kind == "create"
    assert options["rp"] == {"id": "localhost", "name": "localhost"}
    assert options["user"]["name"] == EMAIL
    answer = await verify(auth, token, factor_id, challenge_id, kind, key.create(options))
    assert answer.status == 200, answer.body
    assert claims(answer.json["access_token"])["amr"][0]["method"] == "mfa/webauthn"
    assert claims(answer.json["access_token"])["aal"] == "aal2"
    [factor] = answer.json["user"]["factors"]
    assert (factor["status"], factor["web_authn_aaguid"]) == ("verified", str(AAGUID))
    assert factor["last_webauthn_challenge_data"]["type"] == "create"
    assert "web_authn_credential" not in factor

    token = (await auth.sign_in())["access_token"]
    challenge_id, kind, options = await challenge(auth, token, factor_id)
    assert kind == "request"
    assert options["rpId"] == "localhost"
    assert len(options["allowCredentials"]) == 1
    answer = await verify(auth, token, factor_id, challenge_id, kind, key.get(options))
    assert answer.status == 200, answer.body
    assert claims(answer.json["access_token"])["aal"] == "aal2"
    again = await verify(auth, token, factor_id, challenge_id, kind, key.get(options))
    assert again.error == (422, "mfa_factor_not_found"), "the challenge is gone"


WRONG: list[dict[str, Any]] = [
    {"origin": "https://evil.example"},
    {"origin": "http://localhost:3000.evil.example"},
    {"challenge": "bm90IHRoZSBjaGFsbGVuZ2UgdGhhdCB3YXMgZ2l2ZW4"},
    {"challenge": ""},
    {"rp_id": "evil.example"},
    {"flags": VERIFIED},
    {"flags": PRESENT | VERIFIED | 0x10},
    {"cross_origin": True},
]


async def test_a_wrong_registration_is_refused(auth: AuthClient) -> None:
    token = await signed_in(auth)
    factor_id = await enrol(auth, token)
    for wrong in [*WRONG, {"type": "webauthn.get"}]:
        challenge_id, kind, options = await challenge(auth, token, factor_id)
        response = Authenticator().create(options, **wrong)
        answer = await verify(auth, token, factor_id, challenge_id, kind, response)
        assert answer.error == (422, "mfa_verification_failed"), wrong
    assert claims((await auth.sign_in())["access_token"])["aal"] == "aal1"
    [factor] = auth.rows("select status::text, web_authn_credential from auth.mfa_factors")
    assert factor == {"status": "unverified", "web_authn_credential": None}


async def test_a_wrong_assertion_is_refused(auth: AuthClient) -> None:
    key = Authenticator()
    _, factor_id = await with_a_key(auth, key)
    token = (await auth.sign_in())["access_token"]
    other = Authenticator()
    stranger = [
        {"type": "webauthn.create"},
        {"counter": 0},
        {"counter": 1},
        {"user_handle": b"somebody else"},
        {"flags": PRESENT | VERIFIED | 0x08},
    ]
    for wrong in [*WRONG, *stranger]:
        challenge_id, kind, options = await challenge(auth, token, factor_id)
        answer = await verify(auth, token, factor_id, challenge_id, kind, key.get(options, **wrong))
        assert answer.error == (422, "mfa_verification_failed"), wrong
    challenge_id, kind, options = await challenge(auth, token, factor_id)
    other.credentials = [replace(key.credentials[0], id=b"unknown")]
    unknown = other.get({**options, "allowCredentials": []})
    answer = await verify(auth, token, factor_id, challenge_id, kind, unknown)
    assert answer.error == (422, "mfa_verification_failed")
    forged = ec.generate_private_key(ec.SECP256R1())
    answer = await verify(auth, token, factor_id, challenge_id, kind, key.get(options, key=forged))
    assert answer.error == (422, "mfa_verification_failed")
    assert (await verify(auth, token, factor_id, challenge_id, kind, key.get(options))).status == 200


async def test_a_key_made_on_the_spot_does_not_answer_for_the_enrolled_one(auth: AuthClient) -> None:
    """Whoever has only the password could make a new credential for the challenge of the old one."""
    _, factor_id = await with_a_key(auth, Authenticator())
    token = (await auth.sign_in())["access_token"]
    challenge_id, _, options = await challenge(auth, token, factor_id)
    creation = {
        "rp": {"id": "localhost"},
        "user": {"id": ""},
        "challenge": options["challenge"],
        "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
    }
    answer = await verify(auth, token, factor_id, challenge_id, "create", Authenticator().create(creation))
    assert answer.error == (400, "validation_failed")
    assert claims(token)["aal"] == "aal1"
    assert (
        auth.rows(
            "select 1 from auth.sessions where id::text = %s and aal = 'aal2'", claims(token)["session_id"]
        )
        == []
    )


async def test_a_challenge_to_create_does_not_make_a_second_key(auth: AuthClient) -> None:
    token = await signed_in(auth)
    factor_id = await enrol(auth, token)
    first = await challenge(auth, token, factor_id)
    second = await challenge(auth, token, factor_id)
    answer = await verify(auth, token, factor_id, *first[:2], Authenticator().create(first[2]))
    assert answer.status == 200
    token = answer.json["access_token"]
    again = await verify(auth, token, factor_id, *second[:2], Authenticator().create(second[2]))
    assert again.error == (400, "validation_failed")


async def test_a_challenge_is_good_for_one_of_two_requests_at_once(auth: AuthClient) -> None:
    key = Authenticator()
    _, factor_id = await with_a_key(auth, key)
    token = (await auth.sign_in())["access_token"]
    challenge_id, kind, options = await challenge(auth, token, factor_id)
    responses = [key.get(options) for _ in range(4)]
    answers = await asyncio.gather(
        *(verify(auth, token, factor_id, challenge_id, kind, response) for response in responses)
    )
    assert sorted(answer.status for answer in answers) == [200, 422, 422, 422]


async def test_a_counter_is_good_for_one_of_two_challenges_at_once(auth: AuthClient) -> None:
    key = Authenticator()
    _, factor_id = await with_a_key(auth, key)
    token = (await auth.sign_in())["access_token"]
    begun = [await challenge(auth, token, factor_id) for _ in range(3)]
    responses = [key.get(options, counter=7) for _, _, options in begun]
    answers = await asyncio.gather(
        *(
            verify(auth, token, factor_id, challenge_id, kind, response)
            for (challenge_id, kind, _), response in zip(begun, responses, strict=True)
        )
    )
    assert sorted(answer.status for answer in answers) == [200, 422, 422]


async def test_keys_that_do_not_count_are_fine(auth: AuthClient) -> None:
    key = Authenticator(counter=None)
    _, factor_id = await with_a_key(auth, key)
    for _ in range(2):
        token = (await auth.sign_in())["access_token"]
        challenge_id, kind, options = await challenge(auth, token, factor_id)
        assert (await verify(auth, token, factor_id, challenge_id, kind, key.get(options))).status == 200


async def test_a_key_without_a_pin_is_a_second_factor_too(auth: AuthClient) -> None:
    """User verification is preferred, as in GoTrue: the password was the first factor."""
    key = Authenticator(flags=PRESENT)
    token, _ = await with_a_key(auth, key)
    assert claims(token)["aal"] == "aal2"


async def test_any_key_of_the_user_answers_and_the_session_depends_on_that_one(auth: AuthClient) -> None:
    first, second = Authenticator(), Authenticator()
    token, first_id = await with_a_key(auth, first)
    second_id = await enrol(auth, token, "second")
    challenge_id, kind, options = await challenge(auth, token, second_id)
    assert len(options["excludeCredentials"]) == 1
    token = (await verify(auth, token, second_id, challenge_id, kind, second.create(options))).json[
        "access_token"
    ]
    low = (await auth.sign_in())["access_token"]
    challenge_id, kind, options = await challenge(auth, low, first_id)
    assert len(options["allowCredentials"]) == 2
    high = (await verify(auth, low, first_id, challenge_id, kind, second.get(options))).json["access_token"]
    [row] = auth.rows(
        "select factor_id::text from auth.sessions where id::text = %s", claims(high)["session_id"]
    )
    assert row["factor_id"] == second_id
    assert (await auth.send("DELETE", f"/factors/{second_id}", token=token)).status == 200
    rows = auth.rows("select id::text, aal::text from auth.sessions order by created_at")
    assert {row["id"]: row["aal"] for row in rows}[claims(high)["session_id"]] == "aal1"


async def test_one_credential_is_one_factor(auth: AuthClient) -> None:
    token, _ = await with_a_key(auth, Authenticator())
    [row] = auth.rows("select web_authn_credential->>'id' as id from auth.mfa_factors")
    second_id = await enrol(auth, token, "second")
    challenge_id, kind, options = await challenge(auth, token, second_id)
    same = Authenticator().create({**options, "excludeCredentials": []}, id=base64.b64decode(row["id"]))
    answer = await verify(auth, token, second_id, challenge_id, kind, same)
    assert answer.error == (422, "webauthn_credential_exists")


async def test_the_relying_party_is_configured(start_auth: StartAuth, mfa_settings: Any) -> None:
    auth = await start_auth(mfa=mfa_settings, site_url="https://app.example.com/welcome")
    token = await signed_in(auth)
    factor_id = await enrol(auth, token)
    challenge_id, kind, options = await challenge(auth, token, factor_id)
    assert options["rp"]["id"] == "app.example.com"
    key = Authenticator(origin="https://app.example.com")
    assert (await verify(auth, token, factor_id, challenge_id, kind, key.create(options))).status == 200

    section = replace(
        auth.settings.auth.webauthn,
        rp_id="example.com",
        rp_display_name="Example",
        rp_origins=("https://a.example.com", "https://b.example.com"),
    )
    auth = await start_auth(mfa=mfa_settings, webauthn=section)
    token = await signed_in(auth, "eve@example.com")
    factor_id = await enrol(auth, token)
    challenge_id, kind, options = await challenge(auth, token, factor_id)
    assert options["rp"] == {"id": "example.com", "name": "Example"}
    key = Authenticator(origin="https://b.example.com")
    assert (await verify(auth, token, factor_id, challenge_id, kind, key.create(options))).status == 200


async def test_without_a_host_there_is_no_relying_party(start_auth: StartAuth, mfa_settings: Any) -> None:
    auth = await start_auth(mfa=mfa_settings, site_url="myapp:")
    token = await signed_in(auth)
    factor_id = await enrol(auth, token)
    answer = await auth.post(f"/factors/{factor_id}/challenge", {}, token=token)
    assert answer.error == (500, "unexpected_failure")


async def test_malformed_responses_are_told_what_is_wrong(auth: AuthClient) -> None:
    token = await signed_in(auth)
    factor_id = await enrol(auth, token)
    challenge_id, _, options = await challenge(auth, token, factor_id)
    good = Authenticator().create(options)
    bad_response = {**good, "response": {**good["response"], "attestationObject": "AAAA"}}
    empty_response = {**good, "response": {}}
    table: list[tuple[object, int, str, str]] = [
        (None, 400, "validation_failed", "WebAuthn config required"),
        ("create", 400, "bad_json", "$.webauthn"),
        ({}, 400, "validation_failed", "WebAuthn type must be create or request"),
        ({"type": "made"}, 400, "validation_failed", "WebAuthn type must be create or request"),
        ({"type": 7}, 400, "bad_json", "$.webauthn.type"),
        ({"type": "create"}, 400, "validation_failed", "credential_response required"),
        ({"type": "request", "credential_response": good}, 400, "validation_failed", "by type create"),
        (
            {"type": "create", "credential_response": "x"},
            400,
            "validation_failed",
            "Invalid credential_response",
        ),
        (
            {"type": "create", "credential_response": {}},
            400,
            "validation_failed",
            "Invalid credential_response",
        ),
        ({"type": "create", "credential_response": empty_response}, 400, "validation_failed", "Invalid cred"),
        (
            {"type": "create", "credential_response": {**good, "rawId": "%%%"}},
            422,
            "mfa_verification_failed",
            "Invalid",
        ),
        ({"type": "create", "credential_response": bad_response}, 422, "mfa_verification_failed", "Invalid"),
    ]
    for given, status, code, message in table:
        body = {"challenge_id": challenge_id, "webauthn": given}
        answer = await auth.post(f"/factors/{factor_id}/verify", body, token=token)
        assert answer.error == (status, code), given
        assert message in answer.json["msg"], given
    assert (await verify(auth, token, factor_id, challenge_id, "create", good)).status == 200
    empty = await auth.post(f"/factors/{factor_id}/challenge", b"", token=token)
    assert empty.error == (400, "bad_json")
