"""Codes by Twilio Verify, which makes, sends and checks them itself."""

import asyncio

import pytest

from basalt.config import TwilioVerifySettings
from tests.auth.conftest import PASSWORD, StartAuth
from tests.fakes.sms import ACCOUNT, SECRET, SERVICE, VERIFY_CODE, FakeSms

pytestmark = pytest.mark.req("P6")

PHONE = "60123456789"


def verify_settings(sms: FakeSms) -> TwilioVerifySettings:
    return TwilioVerifySettings(
        enabled=True, account_sid=ACCOUNT, message_service_sid=SERVICE, auth_token=SECRET, api_url=sms.url
    )


async def test_codes_of_twilio_verify_are_checked_there_and_used_once(
    start_auth: StartAuth, sms: FakeSms
) -> None:
    auth = await start_auth(sms={"twilio_verify": verify_settings(sms)})
    assert (await auth.get("/settings")).json["sms_provider"] == "twilio_verify"
    assert (await auth.post("/otp", {"phone": PHONE})).json == {}
    assert sms.sent == [{"To": f"+{PHONE}", "Channel": "sms"}]
    assert auth.inbox() == []
    body = {"type": "sms", "phone": PHONE, "token": VERIFY_CODE}
    assert (await auth.post("/verify", body | {"token": "000000"})).error == (403, "otp_expired")
    session = await auth.session("/verify", body)
    assert session["user"]["phone_confirmed_at"]
    assert (await auth.post("/verify", body)).error == (403, "otp_expired")
    await auth.post("/otp", {"phone": PHONE, "channel": "whatsapp"})
    assert sms.sent[-1]["Channel"] == "whatsapp"
    answers = await asyncio.gather(*(auth.post("/verify", body) for _ in range(6)))
    assert sorted(answer.status for answer in answers) == [200] + [403] * 5


async def test_twilio_verify_is_not_asked_without_need(start_auth: StartAuth, sms: FakeSms) -> None:
    auth = await start_auth(
        sms={"twilio_verify": verify_settings(sms), "test_otp": {"15555550100": "424242"}}
    )
    body = {"type": "sms", "phone": PHONE, "token": VERIFY_CODE}
    assert (await auth.post("/verify", body)).error == (403, "otp_expired")
    await auth.post("/otp", {"phone": "15555550100"})
    assert await auth.session("/verify", {"type": "sms", "phone": "15555550100", "token": "424242"})
    assert sms.requests == []
    await auth.post("/otp", {"phone": PHONE})
    for _ in range(7):
        await auth.post("/verify", body | {"token": "000000"})
    assert [path.rpartition("/")[2] for path, _ in sms.requests] == ["Verifications"] + [
        "VerificationCheck"
    ] * 5
    assert (await auth.post("/verify", body)).error == (403, "otp_expired")


async def test_twilio_verify_down_proves_nothing(start_auth: StartAuth, sms: FakeSms) -> None:
    auth = await start_auth(sms={"twilio_verify": verify_settings(sms)})
    await auth.post("/otp", {"phone": PHONE})
    sms.next_replies = [(503, "down")]
    body = {"type": "sms", "phone": PHONE, "token": VERIFY_CODE}
    assert (await auth.post("/verify", body)).error == (403, "otp_expired")
    assert await auth.session("/verify", body)


async def test_a_nonce_of_twilio_verify_allows_a_new_password(start_auth: StartAuth, sms: FakeSms) -> None:
    auth = await start_auth(
        email={"secure_password_change": True}, sms={"twilio_verify": verify_settings(sms)}
    )
    await auth.admin("POST", "/admin/users", {"phone": PHONE, "password": PASSWORD, "phone_confirm": True})
    session = await auth.session("/token?grant_type=password", {"phone": PHONE, "password": PASSWORD})
    auth.rows("update auth.sessions set created_at = now() - interval '2 days'")
    token = session["access_token"]
    await auth.get("/reauthenticate", token=token)
    change = {"password": "another good password", "nonce": "000000"}
    answer = await auth.send("PUT", "/user", change, token=token)
    assert answer.error == (422, "reauthentication_not_valid")
    assert (await auth.send("PUT", "/user", change | {"nonce": VERIFY_CODE}, token=token)).status == 200
