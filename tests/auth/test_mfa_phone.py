"""Second factors by text message: codes sent, stored hashed, limited in tries, bound to challenge, number and time."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.auth.conftest import AuthClient, StartAuth

pytestmark = pytest.mark.req("P6")

EMAIL = "ada@example.com"
PHONE = "60123456789"


@pytest.fixture
async def auth(start_auth: StartAuth, mfa_settings: Any) -> AuthClient:
    return await start_auth(mfa=mfa_settings)


async def signed_in(auth: AuthClient, email: str = EMAIL) -> str:
    await auth.a_user(email)
    token: str = (await auth.sign_in(email))["access_token"]
    return token


async def enrol(auth: AuthClient, token: str, phone: str = f"+{PHONE}", name: str = "mine") -> Any:
    body = {"factor_type": "phone", "phone": phone, "friendly_name": name}
    return await auth.post("/factors", body, token=token)


async def a_factor(auth: AuthClient, token: str) -> str:
    answer = await enrol(auth, token)
    assert answer.status == 200, answer.body
    factor_id: str = answer.json["id"]
    return factor_id


async def challenge(auth: AuthClient, token: str, factor_id: str, body: object = None) -> Any:
    return await auth.post(f"/factors/{factor_id}/challenge", {} if body is None else body, token=token)


async def verify(auth: AuthClient, token: str, factor_id: str, challenge_id: str, code: str) -> Any:
    body = {"challenge_id": challenge_id, "code": code}
    return await auth.post(f"/factors/{factor_id}/verify", body, token=token)


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06}"


async def test_a_code_by_text_message_raises_the_session(auth: AuthClient) -> None:
    token = await signed_in(auth)
    enrolled = (await enrol(auth, token)).json
    assert {name: enrolled[name] for name in ("type", "friendly_name", "phone")} == {
        "type": "phone",
        "friendly_name": "mine",
        "phone": f"+{PHONE}",
    }
    begun = (await challenge(auth, token, enrolled["id"])).json
    assert begun["type"] == "phone"
    [message] = auth.inbox(PHONE)
    assert (message["channel"], message["kind"]) == ("sms", "mfa")
    answer = await verify(auth, token, enrolled["id"], begun["id"], auth.code(PHONE))
    assert answer.status == 200, answer.body
    [factor] = answer.json["user"]["factors"]
    assert (factor["phone"], factor["status"]) == (PHONE, "verified")
    user = (await auth.get("/user", token=answer.json["access_token"])).json
    assert user["phone"] == "", "a factor's number is not an address of the account"


async def test_codes_are_stored_hashed_only(auth: AuthClient) -> None:
    token = await signed_in(auth)
    await challenge(auth, token, await a_factor(auth, token))
    code = auth.code(PHONE)
    [row] = auth.rows("select to_jsonb(c)::text as text, otp_code from auth.mfa_challenges as c")
    assert len(row["otp_code"]) == 56
    assert code not in row["text"].replace(row["otp_code"], "")


async def test_a_wrong_code_is_refused_and_five_of_them_end_the_code(auth: AuthClient) -> None:
    token = await signed_in(auth)
    factor_id = await a_factor(auth, token)
    begun = (await challenge(auth, token, factor_id)).json["id"]
    code = auth.code(PHONE)
    for _ in range(5):
        answer = await verify(auth, token, factor_id, begun, wrong(code))
        assert answer.error == (422, "mfa_verification_failed")
        assert answer.json["msg"] == "Invalid MFA Phone code entered"
    assert (await verify(auth, token, factor_id, begun, code)).error == (422, "mfa_challenge_expired")
    again = (await challenge(auth, token, factor_id)).json["id"]
    assert (await verify(auth, token, factor_id, again, auth.code(PHONE))).status == 200


async def test_tries_at_once_are_counted_each(auth: AuthClient) -> None:
    token = await signed_in(auth)
    factor_id = await a_factor(auth, token)
    begun = (await challenge(auth, token, factor_id)).json["id"]
    code = auth.code(PHONE)
    await asyncio.gather(*(verify(auth, token, factor_id, begun, wrong(code)) for _ in range(12)))
    assert (await verify(auth, token, factor_id, begun, code)).error == (422, "mfa_challenge_expired")


async def test_new_codes_are_no_way_around_the_limit_of_tries(auth: AuthClient) -> None:
    token = await signed_in(auth)
    factor_id = await a_factor(auth, token)
    for _ in range(3):
        begun = (await challenge(auth, token, factor_id)).json["id"]
        for _ in range(5):
            await verify(auth, token, factor_id, begun, wrong(auth.code(PHONE)))
    begun = (await challenge(auth, token, factor_id)).json["id"]
    answer = await verify(auth, token, factor_id, begun, auth.code(PHONE))
    assert answer.error == (429, "over_request_rate_limit")


async def test_a_code_belongs_to_its_challenge(auth: AuthClient) -> None:
    token = await signed_in(auth)
    factor_id = await a_factor(auth, token)
    first = (await challenge(auth, token, factor_id)).json["id"]
    code = auth.code(PHONE)
    second = (await challenge(auth, token, factor_id)).json["id"]
    if code != auth.code(PHONE):
        answer = await verify(auth, token, factor_id, second, code)
        assert answer.error == (422, "mfa_verification_failed")
    assert (await verify(auth, token, factor_id, first, code)).status == 200


async def test_a_code_is_good_for_one_of_ten_requests_at_once(auth: AuthClient) -> None:
    token = await signed_in(auth)
    factor_id = await a_factor(auth, token)
    begun = (await challenge(auth, token, factor_id)).json["id"]
    code = auth.code(PHONE)
    answers = await asyncio.gather(*(verify(auth, token, factor_id, begun, code) for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [200] + [422] * 4


async def test_a_code_expires(auth: AuthClient) -> None:
    token = await signed_in(auth)
    factor_id = await a_factor(auth, token)
    begun = (await challenge(auth, token, factor_id)).json["id"]
    auth.rows("update auth.mfa_challenges set created_at = now() - interval '301 seconds'")
    answer = await verify(auth, token, factor_id, begun, auth.code(PHONE))
    assert answer.error == (422, "mfa_challenge_expired")


async def test_texts_for_one_factor_keep_their_distance(start_auth: StartAuth, mfa_settings: Any) -> None:
    slow = replace(mfa_settings, phone=replace(mfa_settings.phone, max_frequency_s=30.0))
    auth = await start_auth(mfa=slow)
    token = await signed_in(auth)
    factor_id = await a_factor(auth, token)
    answers = await asyncio.gather(*(challenge(auth, token, factor_id) for _ in range(4)))
    assert sorted(answer.status for answer in answers) == [200, 429, 429, 429]
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.error == (429, "over_sms_send_rate_limit")
    assert refused.json["msg"].startswith("For security purposes, you can only request this after")
    assert len(auth.inbox(PHONE)) == 1


async def test_a_text_goes_by_the_channel_that_was_asked_for(auth: AuthClient) -> None:
    token = await signed_in(auth)
    factor_id = await a_factor(auth, token)
    assert (await challenge(auth, token, factor_id, {"channel": "whatsapp", "unknown": 1})).status == 200
    assert auth.inbox(PHONE)[0]["channel"] == "whatsapp"


async def test_a_factors_text_has_a_template_of_its_own(start_auth: StartAuth, mfa_settings: Any) -> None:
    phone = replace(mfa_settings.phone, template="Second code: {{ .Code }}", otp_length=8)
    auth = await start_auth(mfa=replace(mfa_settings, phone=phone))
    token = await signed_in(auth)
    await challenge(auth, token, await a_factor(auth, token))
    code = auth.code(PHONE)
    assert len(code) == 8
    assert auth.inbox(PHONE)[0]["body_text"] == f"Second code: {code}"


async def test_malformed_challenges_are_told_what_is_wrong(auth: AuthClient) -> None:
    token = await signed_in(auth)
    factor_id = await a_factor(auth, token)
    table: list[tuple[object, str, str]] = [
        (b"", "bad_json", "Could not parse request body as JSON"),
        (b"[", "bad_json", "Could not parse request body as JSON"),
        ({"channel": 7}, "bad_json", "$.channel"),
        ({"channel": "pigeon"}, "validation_failed", "Invalid channel"),
        ({"channel": "s\x00"}, "validation_failed", "NUL"),
        (b"[" * 1000, "bad_json", "Could not parse request body as JSON"),
    ]
    for body, code, message in table:
        answer = await challenge(auth, token, factor_id, body)
        assert answer.error == (400, code), body
        assert message in answer.json["msg"]
    too_large = await challenge(auth, token, factor_id, b"x" * 1_100_000)
    assert too_large.error == (413, "request_entity_too_large")
    assert auth.inbox(PHONE) == []


class Broken:
    async def send(self, message: object) -> None:
        raise OSError("no network")

    async def close(self) -> None:
        """Nothing is open."""


async def test_a_text_that_cannot_be_sent_leaves_no_challenge(
    start_auth: StartAuth, mfa_settings: Any
) -> None:
    auth = await start_auth(mfa=mfa_settings, sender=Broken())
    token = await signed_in(auth)
    factor_id = await a_factor(auth, token)
    assert (await challenge(auth, token, factor_id)).error == (422, "sms_send_failed")
    assert auth.rows("select 1 from auth.mfa_challenges") == []


async def test_a_number_is_one_factor_of_a_user(auth: AuthClient) -> None:
    token = await signed_in(auth)
    first = await a_factor(auth, token)
    second = await enrol(auth, token, f"+{PHONE[:2]} {PHONE[2:]}", "mine")
    assert second.status == 200, "the one that was begun before is replaced"
    assert second.json["id"] != first
    begun = (await challenge(auth, token, second.json["id"])).json["id"]
    verified = await verify(auth, token, second.json["id"], begun, auth.code(PHONE))
    again = await enrol(auth, verified.json["access_token"], name="other")
    assert again.error == (422, "mfa_verified_factor_exists")
    eve = await signed_in(auth, "eve@example.com")
    assert (await enrol(auth, eve)).status == 200, "two people may share a telephone"


async def test_a_number_changed_by_an_administrator_takes_new_codes_only(auth: AuthClient) -> None:
    token = await signed_in(auth)
    factor_id = await a_factor(auth, token)
    begun = (await challenge(auth, token, factor_id)).json["id"]
    [user] = auth.rows("select id from auth.users")
    path = f"/admin/users/{user['id']}/factors/{factor_id}"
    assert (await auth.admin("PUT", path, {"phone": "+60123456780"})).json["phone"] == "60123456780"
    old = await verify(auth, token, factor_id, begun, auth.code(PHONE))
    assert old.error == (422, "mfa_factor_not_found")
    await challenge(auth, token, factor_id)
    assert len(auth.inbox("60123456780")) == 1
    refused = await auth.admin("PUT", path, {"phone": "nonsense"})
    assert refused.error == (400, "validation_failed")
    other = (await enrol(auth, token, f"+{PHONE}", "other")).json["id"]
    taken = await auth.admin("PUT", f"{path.removesuffix(factor_id)}{other}", {"phone": "+60123456780"})
    assert taken.error == (422, "mfa_verified_factor_exists")
