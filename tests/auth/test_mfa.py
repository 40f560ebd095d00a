"""Second factors: enrolment, codes of authenticator apps, sessions at aal2, and what administrators may do."""

import asyncio
import base64
import time
from dataclasses import replace
from typing import Any

import jwt
import pyotp
import pytest

from basalt.config import Settings
from basalt.config.auth_settings import HookSettings
from tests.auth.conftest import AuthClient, StartAuth

pytestmark = pytest.mark.req("P6")

EMAIL = "ada@example.com"
NOBODY = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
async def auth(start_auth: StartAuth, mfa_settings: Any) -> AuthClient:
    return await start_auth(mfa=mfa_settings)


async def a_session(auth: AuthClient, email: str = EMAIL) -> dict[str, Any]:
    await auth.a_user(email)
    return await auth.sign_in(email)


async def enrol(auth: AuthClient, token: str, name: str = "phone", **more: Any) -> dict[str, Any]:
    body = {"factor_type": "totp", "friendly_name": name, **more}
    answer = await auth.post("/factors", body, token=token)
    assert answer.status == 200, answer.body
    factor: dict[str, Any] = answer.json
    return factor


async def challenge(auth: AuthClient, token: str, factor: dict[str, Any], **options: Any) -> str:
    answer = await auth.post(f"/factors/{factor['id']}/challenge", {}, token=token, **options)
    assert answer.status == 200, answer.body
    challenge_id: str = answer.json["id"]
    return challenge_id


async def verify(auth: AuthClient, token: str, factor: dict[str, Any], code: str, **options: Any) -> Any:
    challenge_id = options.pop("challenge_id", None) or await challenge(auth, token, factor)
    body = {"challenge_id": challenge_id, "code": code}
    return await auth.post(f"/factors/{factor['id']}/verify", body, token=token, **options)


def code_of(factor: dict[str, Any], *, steps: int = 0) -> str:
    """The code of now; `steps` later or earlier."""
    return pyotp.TOTP(factor["totp"]["secret"]).at(int(time.time()), counter_offset=steps)


def code_of_short_secret(secret: str) -> str:
    """pyotp refuses it; GoTrue does not."""

    class Lenient(pyotp.TOTP):
        min_secret_length_bits = 0

    return Lenient(secret).now()


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06}"


def claims(session: dict[str, Any]) -> dict[str, Any]:
    decoded: dict[str, Any] = jwt.decode(session["access_token"], options={"verify_signature": False})
    return decoded


async def at_aal2(auth: AuthClient, email: str = EMAIL) -> tuple[dict[str, Any], dict[str, Any]]:
    """A user's session after a second factor, and the factor."""
    token = (await a_session(auth, email))["access_token"]
    factor = await enrol(auth, token)
    answer = await verify(auth, token, factor, code_of(factor))
    assert answer.status == 200, answer.body
    return answer.json, factor


def forget_used_codes(auth: AuthClient) -> None:
    """As if the next thirty seconds had come."""
    auth.rows("delete from basalt.totp_steps")


async def test_an_enrolled_factor_has_a_secret_a_uri_and_a_picture(auth: AuthClient) -> None:
    token = (await a_session(auth))["access_token"]
    factor = await enrol(auth, token, issuer="My App")
    assert factor["type"] == "totp"
    assert factor["friendly_name"] == "phone"
    parsed = pyotp.parse_uri(factor["totp"]["uri"])
    assert (parsed.issuer, parsed.name, parsed.secret) == ("My App", EMAIL, factor["totp"]["secret"])
    assert len(factor["totp"]["secret"]) == 32
    assert factor["totp"]["qr_code"].startswith("<svg ")
    assert "#" not in factor["totp"]["qr_code"], "clients make a data: URL of it, which would end here"
    default = await enrol(auth, token, "other")
    assert pyotp.parse_uri(default["totp"]["uri"]).issuer == "127.0.0.1:3000"
    user = (await auth.get("/user", token=token)).json
    assert [(f["status"], f["factor_type"], f["friendly_name"]) for f in user["factors"]] == [
        ("unverified", "totp", "phone"),
        ("unverified", "totp", "other"),
    ]
    assert "secret" not in user["factors"][0]


async def test_users_without_an_address_can_enrol_too(auth: AuthClient) -> None:
    await auth.a_user("", phone="60123456789", phone_confirm=True, email_confirm=False)
    body = {"phone": "60123456789", "password": "correct horse battery"}
    session = await auth.session("/token?grant_type=password", body)
    factor = await enrol(auth, session["access_token"])
    assert pyotp.parse_uri(factor["totp"]["uri"]).name == "60123456789"


async def test_a_right_code_raises_the_session_to_aal2(auth: AuthClient) -> None:
    before = await a_session(auth)
    assert claims(before)["aal"] == "aal1"
    token = before["access_token"]
    factor = await enrol(auth, token)
    answer = await verify(auth, token, factor, code_of(factor))
    assert answer.status == 200, answer.body
    assert answer.headers["cache-control"] == "no-store"
    after = answer.json
    assert set(after) == {"access_token", "token_type", "expires_in", "expires_at", "refresh_token", "user"}
    told = claims(after)
    assert told["aal"] == "aal2"
    assert [entry["method"] for entry in told["amr"]] == ["totp", "password"]
    assert told["session_id"] == claims(before)["session_id"]
    assert after["user"]["factors"][0]["status"] == "verified"
    [row] = auth.rows("select aal::text, factor_id::text from auth.sessions")
    assert row == {"aal": "aal2", "factor_id": factor["id"]}
    refreshed = await auth.session(
        "/token?grant_type=refresh_token", {"refresh_token": after["refresh_token"]}
    )
    assert claims(refreshed)["aal"] == "aal2"
    actions = [
        row["action"] for row in auth.rows("select payload->>'action' as action from auth.audit_log_entries")
    ]
    assert {"factor_in_progress", "challenge_created", "verification_attempted"} <= set(actions)


async def test_refresh_tokens_of_before_are_worth_nothing_after_the_factor(auth: AuthClient) -> None:
    before = await a_session(auth)
    factor = await enrol(auth, before["access_token"])
    assert (await verify(auth, before["access_token"], factor, code_of(factor))).status == 200
    old = await auth.post("/token?grant_type=refresh_token", {"refresh_token": before["refresh_token"]})
    assert old.error == (400, "refresh_token_not_found")


async def test_sessions_below_aal2_end(auth: AuthClient) -> None:
    other = await a_session(auth)
    session = await auth.sign_in()
    factor = await enrol(auth, session["access_token"])
    assert (await verify(auth, session["access_token"], factor, code_of(factor))).status == 200
    assert (await auth.get("/user", token=session["access_token"])).status == 200
    assert (await auth.get("/user", token=other["access_token"])).error == (403, "session_not_found")


async def test_a_code_is_accepted_once(auth: AuthClient) -> None:
    session, factor = await at_aal2(auth)
    again = await auth.sign_in()
    used = code_of(factor)
    assert (await verify(auth, again["access_token"], factor, used)).error == (422, "mfa_verification_failed")
    older = await verify(auth, again["access_token"], factor, code_of(factor, steps=-1))
    assert older.error == (422, "mfa_verification_failed")
    assert (await verify(auth, again["access_token"], factor, code_of(factor, steps=1))).status == 200
    assert (await auth.get("/user", token=session["access_token"])).status == 200


@pytest.mark.parametrize(("steps", "status"), [(-3, 422), (-1, 200), (1, 200), (3, 422)])
async def test_clocks_may_differ_by_one_step(auth: AuthClient, steps: int, status: int) -> None:
    token = (await a_session(auth))["access_token"]
    factor = await enrol(auth, token)
    assert (await verify(auth, token, factor, code_of(factor, steps=steps))).status == status


async def test_a_wrong_code_is_refused(auth: AuthClient) -> None:
    token = (await a_session(auth))["access_token"]
    factor = await enrol(auth, token)
    for code in (wrong(code_of(factor)), "1", "abcdef", "१२३४५६", code_of(factor) + "0"):
        answer = await verify(auth, token, factor, code)
        assert answer.error == (422, "mfa_verification_failed")
        assert answer.json["msg"] == "Invalid TOTP code entered"
    assert claims(await auth.sign_in())["aal"] == "aal1"
    assert (await verify(auth, token, factor, f" {code_of(factor)} ")).status == 200


async def test_secrets_of_another_server_are_taken_as_they_are(auth: AuthClient) -> None:
    token = (await a_session(auth))["access_token"]
    factor = await enrol(auth, token)
    short = base64.b32encode(b"only 10 by").decode()
    auth.rows("update auth.mfa_factors set secret = %s", short.lower())
    answer = await verify(auth, token, factor, code_of_short_secret(short))
    assert answer.status == 200, answer.body
    auth.rows("update auth.mfa_factors set secret = %s", '{"key_id": "sealed elsewhere"}')
    token = answer.json["access_token"]
    assert (await verify(auth, token, factor, "123456")).error == (422, "mfa_verification_failed")


async def test_tries_of_a_factor_are_limited_over_all_its_challenges(auth: AuthClient) -> None:
    token = (await a_session(auth))["access_token"]
    factor = await enrol(auth, token)
    challenges = [await challenge(auth, token, factor) for _ in range(20)]
    guesses = [verify(auth, token, factor, wrong(code_of(factor)), challenge_id=one) for one in challenges]
    answers = await asyncio.gather(*guesses)
    assert sorted(answer.status for answer in answers) == [422] * 15 + [429] * 5
    right = await verify(auth, token, factor, code_of(factor))
    assert right.error == (429, "over_request_rate_limit")
    assert right.headers["retry-after"] == "900"
    auth.rows("update basalt.factor_attempts set attempted_at = now() - interval '16 minutes'")
    assert (await verify(auth, token, factor, code_of(factor))).status == 200
    assert auth.rows("select 1 from basalt.factor_attempts") == []


async def test_a_challenge_is_good_for_one_of_two_requests_at_once(auth: AuthClient) -> None:
    token = (await a_session(auth))["access_token"]
    factor = await enrol(auth, token)
    one = await challenge(auth, token, factor)
    codes = [code_of(factor), code_of(factor, steps=1), code_of(factor), code_of(factor, steps=1)]
    answers = await asyncio.gather(*(verify(auth, token, factor, code, challenge_id=one) for code in codes))
    assert sorted(answer.status for answer in answers) == [200, 422, 422, 422]


async def test_a_code_is_good_for_one_of_two_challenges_at_once(auth: AuthClient) -> None:
    token = (await a_session(auth))["access_token"]
    factor = await enrol(auth, token)
    challenges = [await challenge(auth, token, factor) for _ in range(5)]
    code = code_of(factor)
    answers = await asyncio.gather(
        *(verify(auth, token, factor, code, challenge_id=one) for one in challenges)
    )
    assert sorted(answer.status for answer in answers) == [200] + [422] * 4


async def test_two_devices_that_verify_at_once_do_not_block_each_other(auth: AuthClient) -> None:
    """The one that comes first ends the other, which was still at aal1."""
    _, factor = await at_aal2(auth)
    forget_used_codes(auth)
    tokens = [(await auth.sign_in())["access_token"] for _ in range(2)]
    codes = [code_of(factor), code_of(factor, steps=1)]
    challenges = [await challenge(auth, token, factor) for token in tokens]
    answers = await asyncio.gather(
        *(
            verify(auth, token, factor, code, challenge_id=one)
            for token, code, one in zip(tokens, codes, challenges, strict=True)
        )
    )
    assert sorted(answer.status for answer in answers) == [200, 403]


async def test_a_used_challenge_is_refused(auth: AuthClient) -> None:
    token = (await a_session(auth))["access_token"]
    factor = await enrol(auth, token)
    one = await challenge(auth, token, factor)
    assert (await verify(auth, token, factor, code_of(factor), challenge_id=one)).status == 200
    forget_used_codes(auth)
    again = await verify(auth, token, factor, code_of(factor), challenge_id=one)
    assert again.error == (422, "mfa_ip_address_mismatch")


async def test_a_challenge_expires(auth: AuthClient) -> None:
    token = (await a_session(auth))["access_token"]
    factor = await enrol(auth, token)
    one = await challenge(auth, token, factor)
    auth.rows("update auth.mfa_challenges set created_at = now() - interval '301 seconds'")
    late = await verify(auth, token, factor, code_of(factor), challenge_id=one)
    assert late.error == (422, "mfa_challenge_expired")
    assert one in late.json["msg"]
    assert auth.rows("select 1 from auth.mfa_challenges") == []


async def test_a_challenge_tells_until_when_it_lives(auth: AuthClient) -> None:
    token = (await a_session(auth))["access_token"]
    factor = await enrol(auth, token)
    answer = await auth.send("POST", f"/factors/{factor['id']}/challenge", token=token)
    assert answer.status == 200, "no body is needed for an authenticator app"
    assert set(answer.json) == {"id", "type", "expires_at"}
    assert 298 <= answer.json["expires_at"] - time.time() <= 301


async def test_a_challenge_is_answered_from_the_address_that_asked(auth: AuthClient) -> None:
    token = (await a_session(auth))["access_token"]
    factor = await enrol(auth, token)
    one = await challenge(auth, token, factor)
    auth.rows("update auth.mfa_challenges set ip_address = '203.0.113.7'")
    answer = await verify(auth, token, factor, code_of(factor), challenge_id=one)
    assert answer.error == (422, "mfa_ip_address_mismatch")


async def test_a_challenge_belongs_to_its_factor(auth: AuthClient) -> None:
    token = (await a_session(auth))["access_token"]
    first, second = await enrol(auth, token, "first"), await enrol(auth, token, "second")
    one = await challenge(auth, token, first)
    for challenge_id in (one, NOBODY):
        answer = await verify(auth, token, second, code_of(second), challenge_id=challenge_id)
        assert answer.error == (422, "mfa_factor_not_found")
        assert answer.json["msg"] == "MFA factor with the provided challenge ID not found"


async def test_nobody_reaches_the_factor_of_somebody_else(auth: AuthClient) -> None:
    token = (await a_session(auth))["access_token"]
    factor = await enrol(auth, token)
    eve = (await a_session(auth, "eve@example.com"))["access_token"]
    for method, path in (("DELETE", ""), ("POST", "/challenge"), ("POST", "/verify")):
        body = {"challenge_id": NOBODY, "code": "123456"}
        answer = await auth.send(method, f"/factors/{factor['id']}{path}", body, token=eve)
        assert answer.error == (404, "mfa_factor_not_found")
        answer = await auth.send(method, f"/factors/nonsense{path}", body, token=eve)
        assert answer.error == (404, "validation_failed")
        assert (await auth.send(method, f"/factors/{factor['id']}{path}", body)).error == (
            401,
            "no_authorization",
        )


async def test_verifying_gives_up_what_else_was_begun_with_the_type(auth: AuthClient) -> None:
    token = (await a_session(auth))["access_token"]
    await enrol(auth, token, "abandoned")
    factor = await enrol(auth, token)
    session = (await verify(auth, token, factor, code_of(factor))).json
    assert [f["friendly_name"] for f in session["user"]["factors"]] == ["phone"]


async def test_a_second_factor_needs_a_session_at_aal2(auth: AuthClient) -> None:
    session, factor = await at_aal2(auth)
    low = (await auth.sign_in())["access_token"]
    answer = await auth.post("/factors", {"factor_type": "totp", "friendly_name": "second"}, token=low)
    assert answer.error == (403, "insufficient_aal")
    assert answer.json["msg"] == "AAL2 required to enroll a new factor"
    second = await enrol(auth, session["access_token"], "second")
    assert (await verify(auth, session["access_token"], second, code_of(second))).status == 200
    refused = await auth.send("DELETE", f"/factors/{factor['id']}", token=low)
    assert refused.error == (403, "session_not_found"), "it was below aal2 when the second one was verified"


async def test_a_factor_begun_before_the_first_one_opens_nothing_afterwards(auth: AuthClient) -> None:
    """Somebody with the password could have begun a factor of another type, to verify it later."""
    await auth.a_user()
    eve = (await auth.sign_in())["access_token"]
    body = {"factor_type": "phone", "phone": "+60123456789", "friendly_name": "eve's"}
    trap = (await auth.post("/factors", body, token=eve)).json
    ada = (await auth.sign_in())["access_token"]
    factor = await enrol(auth, ada)
    high = (await verify(auth, ada, factor, code_of(factor))).json["access_token"]
    eve = (await auth.sign_in())["access_token"]
    one = await challenge(auth, eve, trap)
    code = auth.code("60123456789")
    answer = await verify(auth, eve, trap, code, challenge_id=one)
    assert answer.error == (403, "insufficient_aal")
    assert (await verify(auth, high, trap, code, challenge_id=one)).status == 200


async def test_names_of_factors_are_unique_per_user(auth: AuthClient) -> None:
    token = (await a_session(auth))["access_token"]
    await enrol(auth, token, "mine")
    answer = await auth.post("/factors", {"factor_type": "totp", "friendly_name": "mine"}, token=token)
    assert answer.error == (422, "mfa_factor_name_conflict")
    assert answer.json["msg"] == 'A factor with the friendly name "mine" for this user already exists'
    await enrol(auth, token, "")
    unnamed = await auth.post("/factors", {"factor_type": "totp"}, token=token)
    assert unnamed.error == (422, "mfa_factor_name_conflict"), "no name is a name too, in GoTrue"
    eve = (await a_session(auth, "eve@example.com"))["access_token"]
    assert await enrol(auth, eve, "mine")


async def test_factors_are_limited_also_for_requests_at_once(auth: AuthClient) -> None:
    token = (await a_session(auth))["access_token"]
    bodies = [{"factor_type": "totp", "friendly_name": f"app {number}"} for number in range(14)]
    answers = await asyncio.gather(*(auth.post("/factors", body, token=token) for body in bodies))
    assert sorted(answer.status for answer in answers) == [200] * 10 + [422] * 4
    refused = next(answer for answer in answers if answer.status == 422)
    assert refused.error == (422, "too_many_enrolled_mfa_factors")
    assert len(auth.rows("select 1 from auth.mfa_factors")) == 10


async def test_an_unverified_factor_is_given_up_after_a_while(auth: AuthClient) -> None:
    token = (await a_session(auth))["access_token"]
    await enrol(auth, token, "abandoned")
    challenged = await enrol(auth, token, "challenged")
    await challenge(auth, token, challenged)
    auth.rows("update auth.mfa_factors set created_at = now() - interval '301 seconds'")
    assert await enrol(auth, token, "abandoned")
    answer = await auth.post("/factors", {"factor_type": "totp", "friendly_name": "challenged"}, token=token)
    assert answer.error == (422, "mfa_factor_name_conflict")


async def test_unenrolling_lowers_the_session(auth: AuthClient) -> None:
    session, factor = await at_aal2(auth)
    answer = await auth.send("DELETE", f"/factors/{factor['id']}", token=session["access_token"])
    assert answer.json == {"id": factor["id"]}
    refreshed = await auth.session(
        "/token?grant_type=refresh_token", {"refresh_token": session["refresh_token"]}
    )
    assert claims(refreshed)["aal"] == "aal1"
    assert [entry["method"] for entry in claims(refreshed)["amr"]] == ["password"]
    assert "factors" not in refreshed["user"]
    assert auth.rows("select aal::text, factor_id from auth.sessions") == [{"aal": "aal1", "factor_id": None}]


async def test_a_verified_factor_goes_only_from_aal2_an_unverified_one_from_anywhere(
    auth: AuthClient,
) -> None:
    token = (await a_session(auth))["access_token"]
    begun = await enrol(auth, token, "begun")
    assert (await auth.send("DELETE", f"/factors/{begun['id']}", token=token)).json == {"id": begun["id"]}
    factor = await enrol(auth, token)
    assert (await verify(auth, token, factor, code_of(factor))).status == 200
    low = (await auth.sign_in())["access_token"]
    answer = await auth.send("DELETE", f"/factors/{factor['id']}", token=low)
    assert answer.error == (422, "insufficient_aal")
    assert answer.json["msg"] == "AAL2 required to unenroll verified factor"


async def test_a_session_of_two_factors_stays_at_aal2_with_one_of_them(auth: AuthClient) -> None:
    session, factor = await at_aal2(auth)
    token = session["access_token"]
    body = {"factor_type": "phone", "phone": "+60123456789", "friendly_name": "number"}
    number = (await auth.post("/factors", body, token=token)).json
    one = await challenge(auth, token, number)
    session = (await verify(auth, token, number, auth.code("60123456789"), challenge_id=one)).json
    assert [entry["method"] for entry in claims(session)["amr"]] == ["mfa/phone", "totp", "password"]
    token = session["access_token"]
    assert (await auth.send("DELETE", f"/factors/{factor['id']}", token=token)).status == 200
    session = await auth.session(
        "/token?grant_type=refresh_token", {"refresh_token": session["refresh_token"]}
    )
    assert claims(session)["aal"] == "aal2"
    assert [entry["method"] for entry in claims(session)["amr"]] == ["mfa/phone", "password"]
    assert (await auth.send("DELETE", f"/factors/{number['id']}", token=token)).status == 200
    session = await auth.session(
        "/token?grant_type=refresh_token", {"refresh_token": session["refresh_token"]}
    )
    assert claims(session)["aal"] == "aal1"


@pytest.mark.parametrize("kind", ["totp", "phone", "webauthn"])
async def test_kinds_of_factors_can_be_switched_off(
    start_auth: StartAuth, mfa_settings: Any, kind: str
) -> None:
    section = "web_authn" if kind == "webauthn" else kind
    off = replace(getattr(mfa_settings, section), enroll_enabled=False)
    auth = await start_auth(mfa=replace(mfa_settings, **{section: off}))
    token = (await a_session(auth))["access_token"]
    body = {"factor_type": kind, "phone": "+60123456789"}
    assert (await auth.post("/factors", body, token=token)).error == (422, f"mfa_{kind}_enroll_not_enabled")
    off = replace(getattr(mfa_settings, section), verify_enabled=False)
    auth = await start_auth(mfa=replace(mfa_settings, **{section: off}))
    factor = (await auth.post("/factors", body, token=token)).json
    given = {
        "challenge_id": NOBODY,
        "code": "123456",
        "webauthn": {"type": "create", "credential_response": {}},
    }
    for path in ("challenge", "verify"):
        answer = await auth.post(f"/factors/{factor['id']}/{path}", given, token=token)
        assert answer.error == (422, f"mfa_{kind}_verify_not_enabled")


async def test_anonymous_users_have_no_factors(start_auth: StartAuth, mfa_settings: Any) -> None:
    auth = await start_auth(mfa=mfa_settings, enable_anonymous_sign_ins=True)
    token = (await auth.session("/signup", {}))["access_token"]
    requests = [
        ("POST", ""),
        ("DELETE", f"/{NOBODY}"),
        ("POST", f"/{NOBODY}/verify"),
        ("POST", f"/{NOBODY}/challenge"),
    ]
    for method, path in requests:
        answer = await auth.send(method, f"/factors{path}", {"factor_type": "totp"}, token=token)
        assert answer.error == (403, "no_authorization")


async def test_a_token_without_a_session_enrols_nothing(auth: AuthClient) -> None:
    user = await auth.a_user()
    token = auth.keys.sign({"sub": user["id"], "aud": "authenticated", "exp": int(time.time()) + 60})
    answer = await auth.post("/factors", {"factor_type": "totp"}, token=token)
    assert answer.error == (403, "session_not_found")


async def test_challenges_and_verifications_are_limited_per_address(
    start_auth: StartAuth, mfa_settings: Any
) -> None:
    auth = await start_auth(mfa=mfa_settings, basalt={"client_address_header": "x-real-ip"})
    token = (await a_session(auth))["access_token"]
    factor = await enrol(auth, token)
    headers = {"x-real-ip": "203.0.113.1"}
    for path in ("challenge", "verify"):
        target = f"/factors/{factor['id']}/{path}"
        answers = [
            await auth.post(target, {"challenge_id": NOBODY, "code": "1"}, token=token, headers=headers)
            for _ in range(16)
        ]
        assert [answer.status == 429 for answer in answers] == [False] * 15 + [True]
        assert answers[-1].error == (429, "over_request_rate_limit")


BAD_ENROLMENTS: list[tuple[object, str, str]] = [
    (b"", "bad_json", "Could not parse request body as JSON"),
    (b"[]", "bad_json", "an object is expected"),
    (b"{", "bad_json", "Could not parse"),
    ({"factor_type": 7}, "bad_json", "$.factor_type"),
    ({"factor_type": "totp", "friendly_name": ["x"]}, "bad_json", "$.friendly_name"),
    ({"factor_type": "totp", "issuer": {}}, "bad_json", "$.issuer"),
    ({}, "validation_failed", "factor_type needs to be totp, phone, or webauthn"),
    ({"factor_type": "TOTP"}, "validation_failed", "factor_type needs to be totp, phone, or webauthn"),
    ({"factor_type": "sms"}, "validation_failed", "factor_type needs to be totp, phone, or webauthn"),
    ({"factor_type": "totp", "friendly_name": "a\x00b"}, "validation_failed", "NUL"),
    ({"factor_type": "totp", "friendly_name": "n" * 256}, "validation_failed", "255 characters or less"),
    ({"factor_type": "totp", "issuer": "i" * 1000}, "validation_failed", "issuer is too long"),
    ({"factor_type": "phone"}, "validation_failed", "Phone number required to enroll Phone factor"),
    (
        {"factor_type": "phone", "phone": "x"},
        "validation_failed",
        "Invalid phone number format (E.164 required)",
    ),
    ({"factor_type": "phone", "phone": 6012}, "bad_json", "$.phone"),
]


async def test_malformed_enrolments_are_told_what_is_wrong(auth: AuthClient) -> None:
    token = (await a_session(auth))["access_token"]
    for body, code, message in BAD_ENROLMENTS:
        answer = await auth.post("/factors", body, token=token)
        assert answer.error == (400, code), body
        assert message in answer.json["msg"], body
    assert auth.rows("select 1 from auth.mfa_factors") == []
    assert (await auth.get("/factors", token=token)).error == (405, "method_not_allowed")
    assert await enrol(auth, token, "n" * 255, unknown=[1])


BAD_VERIFICATIONS: list[tuple[object, int, str, str]] = [
    (b"", 400, "bad_json", "Could not parse request body as JSON"),
    (b"null", 400, "validation_failed", "Code needs to be non-empty"),
    ({}, 400, "validation_failed", "Code needs to be non-empty"),
    ({"challenge_id": NOBODY}, 400, "validation_failed", "Code needs to be non-empty"),
    ({"challenge_id": "nonsense", "code": "123456"}, 400, "bad_json", "$.challenge_id"),
    ({"challenge_id": 7, "code": "123456"}, 400, "bad_json", "$.challenge_id"),
    ({"challenge_id": NOBODY, "code": 123456}, 400, "bad_json", "$.code"),
    ({"challenge_id": NOBODY, "code": "1\x00"}, 400, "validation_failed", "NUL"),
    ({"code": "123456"}, 422, "mfa_factor_not_found", "challenge ID not found"),
    ({"challenge_id": NOBODY, "code": "1" * 100_000}, 422, "mfa_factor_not_found", "challenge ID not found"),
    ({"challenge_id": NOBODY, "code": "1", "webauthn": "x"}, 400, "bad_json", "$.webauthn"),
]


async def test_malformed_verifications_are_told_what_is_wrong(auth: AuthClient) -> None:
    token = (await a_session(auth))["access_token"]
    factor = await enrol(auth, token)
    for body, status, code, message in BAD_VERIFICATIONS:
        answer = await auth.post(f"/factors/{factor['id']}/verify", body, token=token)
        assert answer.error == (status, code), body
        assert message in answer.json["msg"], body
    for method, path in (("GET", ""), ("PUT", ""), ("GET", "/verify"), ("DELETE", "/challenge")):
        answer = await auth.send(method, f"/factors/{factor['id']}{path}", token=token)
        assert answer.error == (405, "method_not_allowed")


async def test_administrators_see_change_and_delete_factors(auth: AuthClient) -> None:
    session, factor = await at_aal2(auth)
    path = f"/admin/users/{session['user']['id']}/factors"
    [shown] = (await auth.admin("GET", path)).json
    assert (shown["id"], shown["status"], shown["factor_type"]) == (factor["id"], "verified", "totp")
    assert set(shown) == {
        "id", "created_at", "updated_at", "status", "friendly_name", "factor_type", "phone", "last_challenged_at",
    }  # fmt: skip
    changed = await auth.admin(
        "PUT", f"{path}/{factor['id']}", {"friendly_name": "renamed", "phone": "+60123456789"}
    )
    assert (changed.json["friendly_name"], changed.json["phone"]) == ("renamed", ""), "an app has no number"
    deleted = await auth.admin("DELETE", f"{path}/{factor['id']}")
    assert deleted.json["id"] == factor["id"]
    assert (await auth.admin("GET", path)).json == []
    refreshed = await auth.session(
        "/token?grant_type=refresh_token", {"refresh_token": session["refresh_token"]}
    )
    assert claims(refreshed)["aal"] == "aal1"
    logged = auth.rows(
        "select payload->>'action' as action, payload->>'actor_username' as by from auth.audit_log_entries"
        " where payload->>'action' in ('factor_updated', 'factor_deleted') order by created_at"
    )
    assert logged == [
        {"action": "factor_updated", "by": "service_role"},
        {"action": "factor_deleted", "by": EMAIL},
    ]


async def test_administration_of_factors_refuses_what_does_not_fit(auth: AuthClient) -> None:
    session, factor = await at_aal2(auth)
    await enrol(auth, session["access_token"], "second")
    path = f"/admin/users/{session['user']['id']}/factors"
    table: list[tuple[str, str, object, int, str]] = [
        ("PUT", f"{path}/{factor['id']}", {"friendly_name": "second"}, 422, "mfa_factor_name_conflict"),
        ("PUT", f"{path}/{factor['id']}", {"friendly_name": 7}, 400, "bad_json"),
        ("PUT", f"{path}/{factor['id']}", {"friendly_name": "n" * 256}, 400, "validation_failed"),
        ("PUT", f"{path}/{factor['id']}", b"", 400, "bad_json"),
        ("PUT", f"{path}/{NOBODY}", {}, 404, "mfa_factor_not_found"),
        ("DELETE", f"{path}/{NOBODY}", None, 404, "mfa_factor_not_found"),
        ("DELETE", f"{path}/nonsense", None, 404, "validation_failed"),
        ("GET", f"/admin/users/{NOBODY}/factors", None, 404, "user_not_found"),
        ("GET", "/admin/users/nonsense/factors", None, 404, "validation_failed"),
        ("POST", path, {}, 405, "method_not_allowed"),
    ]
    for method, target, body, status, code in table:
        assert (await auth.admin(method, target, body)).error == (status, code), target
    stranger = await auth.send("GET", path, token=session["access_token"])
    assert stranger.error == (403, "not_admin")


async def test_no_secret_of_a_factor_is_shown_or_logged(
    auth: AuthClient, capfd: pytest.CaptureFixture[str]
) -> None:
    session, factor = await at_aal2(auth)
    secret = factor["totp"]["secret"]
    shown = [answer.body.decode() for answer in auth.sent if secret in answer.body.decode()]
    assert len(shown) == 1, "only the answer to the enrolment"
    entries = auth.rows("select payload::text from auth.audit_log_entries")
    assert not [entry for entry in entries if secret in entry["payload"]]
    assert secret not in capfd.readouterr().err
    assert session["user"]["factors"][0]["id"] == factor["id"]


HOOK = """
create table public.attempts (user_id uuid, factor_id uuid, factor_type text, valid boolean);
grant usage on schema public to supabase_auth_admin;
grant insert on public.attempts to supabase_auth_admin;
create function public.mfa_hook(event jsonb) returns jsonb language plpgsql as $$
begin
    insert into public.attempts select * from jsonb_populate_record(null::public.attempts, event);
    if (event->>'valid')::boolean then return '{"decision": "continue"}'; end if;
    return '{"decision": "reject", "message": "that was the last try"}';
end $$;
revoke execute on function public.mfa_hook from public;
grant execute on function public.mfa_hook to supabase_auth_admin;
"""


async def test_a_hook_may_reject_a_verification(
    start_auth: StartAuth, mfa_settings: Any, base_settings: Settings
) -> None:
    hook = HookSettings(uri="pg-functions://postgres/public/mfa_hook")
    section = replace(base_settings.auth.hook, mfa_verification_attempt=hook)
    auth = await start_auth(mfa=mfa_settings, hook=section)
    auth.rows(HOOK)
    session, factor = await at_aal2(auth)
    token = session["access_token"]
    answer = await verify(auth, token, factor, wrong(code_of(factor)))
    assert answer.error == (403, "mfa_verification_rejected")
    assert answer.json["msg"] == "that was the last try"
    assert auth.rows("select 1 from auth.sessions") == []
    user, told = session["user"]["id"], {"factor_type": "totp"}
    asked = auth.rows("select user_id::text, factor_id::text, factor_type, valid from public.attempts")
    assert asked == [
        {"user_id": user, "factor_id": factor["id"], **told, "valid": valid} for valid in (True, False)
    ]
