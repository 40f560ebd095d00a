"""Passkeys: registered by a signed-in user, used to sign in, managed; by a software authenticator."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID

import jwt
import pyotp
import pytest

from basalt.config import Settings
from tests.auth.conftest import AuthClient, StartAuth
from tests.fakes.authenticator import PRESENT, VERIFIED, Authenticator

pytestmark = pytest.mark.req("P6")

EMAIL = "ada@example.com"
NOBODY = "11111111-1111-4111-8111-111111111111"
ONE_PASSWORD = UUID("bada5566-a7aa-401f-bd96-45619a55120d")


@pytest.fixture
def enabled(base_settings: Settings, mfa_settings: Any) -> dict[str, Any]:
    return {"passkey": replace(base_settings.auth.passkey, enabled=True), "mfa": mfa_settings}


@pytest.fixture
async def auth(start_auth: StartAuth, enabled: dict[str, Any]) -> AuthClient:
    return await start_auth(**enabled)


async def signed_in(auth: AuthClient, email: str = EMAIL, **attributes: Any) -> str:
    await auth.a_user(email, **attributes)
    token: str = (await auth.sign_in(email))["access_token"]
    return token


async def options_of(auth: AuthClient, ceremony: str, token: str | None = None) -> tuple[str, dict[str, Any]]:
    answer = await auth.post(f"/passkeys/{ceremony}/options", {}, token=token)
    assert answer.status == 200, answer.body
    assert set(answer.json) == {"challenge_id", "options", "expires_at"}
    return answer.json["challenge_id"], answer.json["options"]


async def register(auth: AuthClient, token: str, authenticator: Authenticator, **wrong: Any) -> Any:
    challenge_id, options = await options_of(auth, "registration", token)
    body = {"challenge_id": challenge_id, "credential": authenticator.create(options, **wrong)}
    return await auth.post("/passkeys/registration/verify", body, token=token)


async def sign_in(auth: AuthClient, authenticator: Authenticator, **wrong: Any) -> Any:
    challenge_id, options = await options_of(auth, "authentication")
    body = {"challenge_id": challenge_id, "credential": authenticator.get(options, **wrong)}
    return await auth.post("/passkeys/authentication/verify", body)


def claims(session: dict[str, Any]) -> dict[str, Any]:
    decoded: dict[str, Any] = jwt.decode(session["access_token"], options={"verify_signature": False})
    return decoded


async def test_a_passkey_is_registered_and_signs_in(auth: AuthClient) -> None:
    token = await signed_in(auth, user_metadata={"name": "Ada Lovelace"})
    authenticator = Authenticator(aaguid=ONE_PASSWORD)
    challenge_id, options = await options_of(auth, "registration", token)
    assert options["user"]["name"] == EMAIL
    assert options["user"]["displayName"] == "Ada Lovelace"
    assert options["authenticatorSelection"] == {
        "residentKey": "required",
        "requireResidentKey": True,
        "userVerification": "preferred",
    }
    body = {"challenge_id": challenge_id, "credential": authenticator.create(options)}
    registered = await auth.post("/passkeys/registration/verify", body, token=token)
    assert registered.status == 200, registered.body
    assert set(registered.json) == {"id", "friendly_name", "created_at"}
    assert registered.json["friendly_name"] == "1Password"

    answer = await sign_in(auth, authenticator)
    assert answer.status == 200, answer.body
    assert answer.headers["cache-control"] == "no-store"
    session = answer.json
    assert session["user"]["email"] == EMAIL
    assert claims(session)["aal"] == "aal1"
    assert [entry["method"] for entry in claims(session)["amr"]] == ["passkey"]
    assert await auth.session("/token?grant_type=refresh_token", {"refresh_token": session["refresh_token"]})
    [listed] = (await auth.get("/passkeys", token=token)).json
    assert set(listed) == {"id", "friendly_name", "created_at", "last_used_at"}
    assert listed["id"] == registered.json["id"]
    actions = auth.rows(
        "select payload->>'action' as action, payload->'traits'->>'passkey_id' as passkey"
        " from auth.audit_log_entries where payload->'traits'->>'passkey_id' is not null order by created_at"
    )
    assert actions == [
        {"action": "passkey_created", "passkey": listed["id"]},
        {"action": "login", "passkey": listed["id"]},
    ]


async def test_sign_in_asks_for_no_name(auth: AuthClient) -> None:
    _, options = await options_of(auth, "authentication")
    assert options["rpId"] == "localhost"
    assert options["userVerification"] == "preferred"
    assert "allowCredentials" not in options


async def test_settings_tell_whether_there_are_passkeys(auth: AuthClient, start_auth: StartAuth) -> None:
    assert (await auth.get("/settings")).json["passkeys_enabled"] is True
    assert (await (await start_auth()).get("/settings")).json["passkeys_enabled"] is False


async def test_switched_off_nothing_of_it_is_there(start_auth: StartAuth) -> None:
    auth = await start_auth()
    token = await signed_in(auth)
    for method, path in (
        ("POST", "/authentication/options"),
        ("POST", "/authentication/verify"),
        ("POST", "/registration/options"),
        ("POST", "/registration/verify"),
        ("GET", ""),
        ("PATCH", f"/{NOBODY}"),
        ("DELETE", f"/{NOBODY}"),
    ):
        answer = await auth.send(method, f"/passkeys{path}", {}, token=token)
        assert answer.error == (404, "passkey_disabled")


WRONG: list[dict[str, Any]] = [
    {"origin": "https://evil.example"},
    {"origin": "https://localhost:3000"},
    {"challenge": "bm90IHRoZSBjaGFsbGVuZ2UgdGhhdCB3YXMgZ2l2ZW4"},
    {"rp_id": "evil.example"},
    {"flags": VERIFIED},
    {"flags": PRESENT | 0x10},
    {"cross_origin": True},
]


async def test_a_wrong_registration_is_refused(auth: AuthClient) -> None:
    token = await signed_in(auth)
    for wrong in [*WRONG, {"type": "webauthn.get"}, {"id": b"x" * 1024}]:
        answer = await register(auth, token, Authenticator(), **wrong)
        assert answer.error == (400, "webauthn_verification_failed"), wrong
        assert answer.json["msg"] == "Credential verification failed"
    assert auth.rows("select 1 from auth.webauthn_credentials") == []


async def test_a_wrong_assertion_is_refused(auth: AuthClient) -> None:
    token = await signed_in(auth)
    eve = await signed_in(auth, "eve@example.com")
    authenticator, other = Authenticator(), Authenticator()
    await register(auth, token, authenticator)
    await register(auth, eve, other)
    strange = [
        {"type": "webauthn.create"},
        {"key": other.credentials[0].key},
        {"user_handle": other.credentials[0].user_handle},
        {"user_handle": b""},
        {"user_handle": b"\xff\xfe"},
        {"user_handle": NOBODY.encode()},
        {"user_handle": authenticator.credentials[0].user_handle.upper()},
        {"user_handle": UUID(authenticator.credentials[0].user_handle.decode()).hex.encode()},
        {"flags": PRESENT | VERIFIED | 0x08},
    ]
    for wrong in [*WRONG, *strange]:
        answer = await sign_in(auth, authenticator, **wrong)
        assert answer.error == (400, "webauthn_verification_failed"), wrong
    assert (await sign_in(auth, authenticator)).status == 200


async def test_a_copied_passkey_is_found_out_by_its_counter(auth: AuthClient) -> None:
    token = await signed_in(auth)
    authenticator = Authenticator(counter=10)
    await register(auth, token, authenticator)
    assert (await sign_in(auth, authenticator)).status == 200
    for counter in (0, 1, 11, 12):
        answer = await sign_in(auth, authenticator, counter=counter)
        assert answer.error == (400, "webauthn_verification_failed"), counter
    assert (await sign_in(auth, authenticator, counter=1000)).status == 200
    [row] = auth.rows("select sign_count from auth.webauthn_credentials")
    assert row["sign_count"] == 1000


async def test_passkeys_that_are_synced_do_not_count(auth: AuthClient) -> None:
    token = await signed_in(auth)
    authenticator = Authenticator(counter=None, flags=PRESENT | VERIFIED | 0x08)
    await register(auth, token, authenticator)
    [row] = auth.rows("select backup_eligible, backed_up from auth.webauthn_credentials")
    assert row == {"backup_eligible": True, "backed_up": False}
    for flags in (PRESENT | VERIFIED | 0x08, PRESENT | VERIFIED | 0x18):
        assert (await sign_in(auth, authenticator, flags=flags)).status == 200
    [row] = auth.rows("select backup_eligible, backed_up from auth.webauthn_credentials")
    assert row == {"backup_eligible": True, "backed_up": True}


async def test_user_verification_is_preferred_not_required(auth: AuthClient) -> None:
    """As in GoTrue: a security key without a PIN signs in too, to aal1."""
    token = await signed_in(auth)
    authenticator = Authenticator(flags=PRESENT)
    assert (await register(auth, token, authenticator)).status == 200
    answer = await sign_in(auth, authenticator)
    assert claims(answer.json)["aal"] == "aal1"


async def test_a_ceremony_is_used_once_whatever_comes_of_it(auth: AuthClient) -> None:
    token = await signed_in(auth)
    authenticator = Authenticator()
    await register(auth, token, authenticator)
    challenge_id, options = await options_of(auth, "authentication")
    body = {"challenge_id": challenge_id, "credential": authenticator.get(options)}
    answers = await asyncio.gather(*(auth.post("/passkeys/authentication/verify", body) for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [200] + [400] * 4
    replayed = await auth.post("/passkeys/authentication/verify", body)
    assert replayed.error == (400, "webauthn_challenge_not_found")
    assert replayed.json["msg"] == "Challenge not found or already used"

    challenge_id, options = await options_of(auth, "authentication")
    failing = {
        "challenge_id": challenge_id,
        "credential": authenticator.get(options, origin="https://evil.example"),
    }
    assert (await auth.post("/passkeys/authentication/verify", failing)).status == 400
    body = {"challenge_id": challenge_id, "credential": authenticator.get(options)}
    again = await auth.post("/passkeys/authentication/verify", body)
    assert again.error == (400, "webauthn_challenge_not_found")


async def test_of_two_assertions_with_one_counter_one_signs_in(auth: AuthClient) -> None:
    token = await signed_in(auth)
    authenticator = Authenticator()
    await register(auth, token, authenticator)
    bodies = []
    for _ in range(4):
        challenge_id, options = await options_of(auth, "authentication")
        bodies.append({"challenge_id": challenge_id, "credential": authenticator.get(options, counter=9)})
    answers = await asyncio.gather(*(auth.post("/passkeys/authentication/verify", body) for body in bodies))
    assert sorted(answer.status for answer in answers) == [200] + [400] * 3


async def test_a_ceremony_expires(auth: AuthClient) -> None:
    token = await signed_in(auth)
    authenticator = Authenticator()
    await register(auth, token, authenticator)
    challenge_id, options = await options_of(auth, "authentication")
    auth.rows("update auth.webauthn_challenges set expires_at = now() - interval '1 second'")
    body = {"challenge_id": challenge_id, "credential": authenticator.get(options)}
    late = await auth.post("/passkeys/authentication/verify", body)
    assert late.error == (400, "webauthn_challenge_expired")
    challenge_id, options = await options_of(auth, "registration", token)
    auth.rows("update auth.webauthn_challenges set expires_at = now() - interval '1 second'")
    body = {"challenge_id": challenge_id, "credential": Authenticator().create(options)}
    late = await auth.post("/passkeys/registration/verify", body, token=token)
    assert late.error == (400, "webauthn_challenge_expired")


async def test_expired_ceremonies_do_not_pile_up(auth: AuthClient) -> None:
    for _ in range(3):
        await options_of(auth, "authentication")
    auth.rows("update auth.webauthn_challenges set expires_at = now() - interval '1 second'")
    await options_of(auth, "authentication")
    assert len(auth.rows("select 1 from auth.webauthn_challenges")) == 1


async def test_a_ceremony_belongs_to_its_user_and_purpose(auth: AuthClient) -> None:
    token = await signed_in(auth)
    eve = await signed_in(auth, "eve@example.com")
    challenge_id, options = await options_of(auth, "registration", token)
    body = {"challenge_id": challenge_id, "credential": Authenticator().create(options)}
    stolen = await auth.post("/passkeys/registration/verify", body, token=eve)
    assert stolen.error == (400, "webauthn_challenge_not_found")
    elsewhere = await auth.post("/passkeys/authentication/verify", body)
    assert elsewhere.error == (400, "webauthn_challenge_not_found")
    assert (await auth.post("/passkeys/registration/verify", body, token=token)).status == 200


async def test_a_credential_is_registered_once(auth: AuthClient) -> None:
    token = await signed_in(auth)
    eve = await signed_in(auth, "eve@example.com")
    assert (await register(auth, token, Authenticator(), id=b"the same id")).status == 200
    answer = await register(auth, eve, Authenticator(), id=b"the same id")
    assert answer.error == (422, "webauthn_credential_exists")
    _, options = await options_of(auth, "registration", token)
    assert [key["id"] for key in options["excludeCredentials"]] == ["dGhlIHNhbWUgaWQ"]


async def test_passkeys_are_limited_also_for_requests_at_once(
    start_auth: StartAuth, enabled: dict[str, Any]
) -> None:
    auth = await start_auth(**{**enabled, "passkey": replace(enabled["passkey"], max_per_user=3)})
    token = await signed_in(auth)
    answers = await asyncio.gather(*(register(auth, token, Authenticator()) for _ in range(6)))
    assert sorted(answer.status for answer in answers) == [200] * 3 + [422] * 3
    refused = next(answer for answer in answers if answer.status == 422)
    assert refused.error == (422, "too_many_passkeys")
    more = await auth.post("/passkeys/registration/options", token=token)
    assert more.error == (422, "too_many_passkeys")


async def test_banned_users_do_not_sign_in(auth: AuthClient) -> None:
    token = await signed_in(auth)
    authenticator = Authenticator()
    await register(auth, token, authenticator)
    auth.rows("update auth.users set banned_until = now() + interval '1 hour'")
    assert (await sign_in(auth, authenticator)).error == (403, "user_banned")
    assert len(auth.rows("select 1 from auth.sessions")) == 1, "the one of before"


async def test_unconfirmed_users_do_not_sign_in(auth: AuthClient) -> None:
    token = await signed_in(auth)
    authenticator = Authenticator()
    await register(auth, token, authenticator)
    auth.rows("update auth.users set email_confirmed_at = null")
    assert (await sign_in(auth, authenticator)).error == (403, "email_not_confirmed")
    auth.rows("update auth.users set email_confirmed_at = now(), phone = '60123456789'")
    assert (await sign_in(auth, authenticator)).error == (403, "phone_not_confirmed")


async def test_a_deleted_user_has_no_passkeys(auth: AuthClient) -> None:
    token = await signed_in(auth)
    authenticator = Authenticator()
    await register(auth, token, authenticator)
    [user] = auth.rows("select id from auth.users")
    await auth.admin("DELETE", f"/admin/users/{user['id']}", {"should_soft_delete": True})
    assert (await sign_in(auth, authenticator)).error == (400, "webauthn_verification_failed")


async def test_a_second_factor_guards_the_passkeys(auth: AuthClient) -> None:
    token = await signed_in(auth)
    passkey = (await register(auth, token, Authenticator())).json["id"]
    factor = (await auth.post("/factors", {"factor_type": "totp"}, token=token)).json
    begun = (await auth.post(f"/factors/{factor['id']}/challenge", token=token)).json["id"]
    body = {"challenge_id": begun, "code": pyotp.TOTP(factor["totp"]["secret"]).now()}
    high = (await auth.post(f"/factors/{factor['id']}/verify", body, token=token)).json["access_token"]
    low = (await auth.sign_in())["access_token"]
    for method, path in (
        ("POST", "/registration/options"),
        ("POST", "/registration/verify"),
        ("DELETE", f"/{passkey}"),
    ):
        answer = await auth.send(method, f"/passkeys{path}", {}, token=low)
        assert answer.error == (403, "insufficient_aal")
        assert answer.json["msg"] == "AAL2 session is required to manage passkeys when MFA is enabled"
    assert (await register(auth, high, Authenticator())).status == 200
    assert (await auth.send("DELETE", f"/passkeys/{passkey}", token=high)).status == 204


async def test_some_users_register_none(start_auth: StartAuth, enabled: dict[str, Any]) -> None:
    auth = await start_auth(**enabled, enable_anonymous_sign_ins=True)
    anonymous = (await auth.session("/signup", {}))["access_token"]
    token = await signed_in(auth)
    for path in ("options", "verify"):
        answer = await auth.post(f"/passkeys/registration/{path}", {}, token=anonymous)
        assert answer.error == (403, "no_authorization")
    auth.rows("update auth.users set is_sso_user = true where email = %s", EMAIL)
    for path in ("options", "verify"):
        answer = await auth.post(f"/passkeys/registration/{path}", {}, token=token)
        assert answer.error == (422, "validation_failed")
        assert answer.json["msg"] == "SSO users cannot register passkeys"


async def test_passkeys_are_named_and_deleted_by_their_user(auth: AuthClient) -> None:
    token = await signed_in(auth)
    eve = await signed_in(auth, "eve@example.com")
    authenticator = Authenticator()
    passkey = (await register(auth, token, authenticator)).json
    assert passkey["friendly_name"] == "Passkey"
    path = f"/passkeys/{passkey['id']}"
    renamed = await auth.send("PATCH", path, {"friendly_name": "My laptop"}, token=token)
    assert renamed.json == {**passkey, "friendly_name": "My laptop"}
    for method in ("PATCH", "DELETE"):
        for target in (path, f"/passkeys/{NOBODY}", "/passkeys/nonsense"):
            answer = await auth.send(method, target, {"friendly_name": "mine"}, token=eve)
            assert answer.error == (404, "validation_failed")
            assert answer.json["msg"] == "Passkey not found"
    assert (await auth.get("/passkeys", token=eve)).json == []
    deleted = await auth.send("DELETE", path, token=token)
    assert (deleted.status, deleted.body) == (204, b"")
    assert (await auth.get("/passkeys", token=token)).json == []
    assert (await sign_in(auth, authenticator)).error == (400, "webauthn_verification_failed")


async def test_administrators_list_and_delete_passkeys(auth: AuthClient) -> None:
    token = await signed_in(auth)
    passkey = (await register(auth, token, Authenticator())).json
    [user] = auth.rows("select id from auth.users")
    path = f"/admin/users/{user['id']}/passkeys"
    assert (await auth.admin("GET", path)).json == [passkey]
    assert (await auth.send("GET", path, token=token)).error == (403, "not_admin")
    assert (await auth.admin("GET", f"/admin/users/{NOBODY}/passkeys")).error == (404, "user_not_found")
    for wrong in (NOBODY, "nonsense"):
        assert (await auth.admin("DELETE", f"{path}/{wrong}")).error == (404, "validation_failed")
    assert (await auth.admin("DELETE", f"{path}/{passkey['id']}")).status == 204
    assert (await auth.admin("GET", path)).json == []


async def test_sign_ins_are_limited_per_address(start_auth: StartAuth, enabled: dict[str, Any]) -> None:
    auth = await start_auth(**enabled, basalt={"client_address_header": "x-real-ip"})
    headers = {"x-real-ip": "203.0.113.1"}
    for path in ("options", "verify"):
        answers = [
            await auth.post(f"/passkeys/authentication/{path}", {}, headers=headers) for _ in range(31)
        ]
        assert [answer.status == 429 for answer in answers] == [False] * 30 + [True]


async def test_malformed_requests_are_told_what_is_wrong(auth: AuthClient) -> None:
    token = await signed_in(auth)
    table: list[tuple[object, str, str]] = [
        (b"", "bad_json", "Could not parse request body as JSON"),
        (b"[]", "bad_json", "an object is expected"),
        ({}, "validation_failed", "challenge_id is required"),
        ({"challenge_id": 7}, "bad_json", "$.challenge_id"),
        ({"challenge_id": NOBODY}, "validation_failed", "credential is required"),
        ({"challenge_id": NOBODY, "credential": None}, "validation_failed", "credential is required"),
        ({"challenge_id": "x", "credential": {}}, "validation_failed", "challenge_id must be a valid UUID"),
        ({"challenge_id": NOBODY, "credential": {"id": "\x00"}}, "validation_failed", "NUL"),
        (
            {"challenge_id": NOBODY, "credential": {}},
            "webauthn_challenge_not_found",
            "not found or already used",
        ),
    ]
    for ceremony in ("registration", "authentication"):
        for body, code, message in table:
            answer = await auth.post(f"/passkeys/{ceremony}/verify", body, token=token)
            assert answer.error == (400, code), body
            assert message in answer.json["msg"], body
        assert (await auth.get(f"/passkeys/{ceremony}/options", token=token)).error[0] == 405
    passkey = (await register(auth, token, Authenticator())).json["id"]
    names: list[tuple[object, str, str]] = [
        (b"", "bad_json", "Could not parse request body as JSON"),
        ({}, "validation_failed", "friendly_name is required"),
        ({"friendly_name": ""}, "validation_failed", "friendly_name is required"),
        ({"friendly_name": 7}, "bad_json", "$.friendly_name"),
        ({"friendly_name": "n" * 121}, "validation_failed", "friendly_name must be 120 characters or less"),
    ]
    for body, code, message in names:
        answer = await auth.send("PATCH", f"/passkeys/{passkey}", body, token=token)
        assert answer.error == (400, code), body
        assert message in answer.json["msg"], body
    assert (await auth.send("PUT", f"/passkeys/{passkey}", {}, token=token)).error[0] == 405
    assert (await auth.post("/passkeys/registration/options")).error == (401, "no_authorization")
    assert (await auth.get("/passkeys")).error == (401, "no_authorization")


async def test_credentials_that_are_none_are_refused(auth: AuthClient) -> None:
    token = await signed_in(auth)
    good = Authenticator().create((await options_of(auth, "registration", token))[1])
    response = good["response"]
    nonsense: list[object] = [
        "text",
        7,
        [],
        {},
        {**good, "id": 7},
        {**good, "type": "password"},
        {**good, "response": "x"},
        {**good, "response": {**response, "clientDataJSON": 7}},
        {**good, "response": {**response, "attestationObject": None}},
        {**good, "authenticatorAttachment": "glued on"},
    ]
    for credential in nonsense:
        for ceremony in ("registration", "authentication"):
            challenge_id, _ = await options_of(auth, ceremony, token)
            body = {"challenge_id": challenge_id, "credential": credential}
            answer = await auth.post(f"/passkeys/{ceremony}/verify", body, token=token)
            assert answer.error == (400, "webauthn_verification_failed"), credential
            assert answer.json["msg"] == "Invalid credential response", credential
