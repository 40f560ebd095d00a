"""Codes and links: by e-mail and phone, used once, limited in tries, bound to their address and time."""

import asyncio
import base64
import hashlib
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from tests.auth.conftest import PASSWORD, AuthClient, StartAuth

pytestmark = pytest.mark.req("P6")

EMAIL = "ada@example.com"
PHONE = "60123456789"
VERIFIER = "a-verifier-that-is-long-enough-for-the-rules-of-pkce"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
PKCE = {"code_challenge": CHALLENGE, "code_challenge_method": "s256"}


def link_of(auth: AuthClient, to: str = EMAIL) -> str:
    """Path and query of the link in the newest mail, below the service's prefix."""
    url = urlsplit(auth.inbox(to)[0]["data"]["confirmation_url"])
    return f"{url.path.removeprefix('/auth/v1')}?{url.query}"


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 10 ** len(code):0{len(code)}}"


@pytest.mark.req("G10")
async def test_a_phone_code_signs_a_new_user_up_and_a_known_one_in(auth: AuthClient) -> None:
    assert (await auth.post("/otp", {"phone": f"+{PHONE}", "data": {"role": "worker"}})).json == {}
    [message] = auth.inbox(PHONE)
    assert message["channel"] == "sms"
    code = auth.code(PHONE)
    assert message["body_text"] == f"Your code is {code}"
    assert auth.rows("select phone_confirmed_at from auth.users")[0]["phone_confirmed_at"] is None
    session = await auth.session("/verify", {"type": "sms", "phone": f"+{PHONE}", "token": code})
    assert session["user"]["phone"] == PHONE
    assert session["user"]["user_metadata"]["role"] == "worker"
    assert session["user"]["app_metadata"] == {"provider": "phone", "providers": ["phone"]}
    await auth.post("/otp", {"phone": PHONE, "channel": "whatsapp"})
    assert auth.inbox(PHONE)[0]["channel"] == "whatsapp"
    again = await auth.session("/verify", {"type": "sms", "phone": PHONE, "token": auth.code(PHONE)})
    assert again["user"]["id"] == session["user"]["id"]


@pytest.mark.req("G10")
async def test_a_phone_code_is_good_for_one_of_ten_requests_at_once(auth: AuthClient) -> None:
    await auth.post("/otp", {"phone": PHONE})
    body = {"type": "sms", "phone": PHONE, "token": auth.code(PHONE)}
    answers = await asyncio.gather(*(auth.post("/verify", body) for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [200] + [403] * 9
    assert len(auth.rows("select 1 from auth.sessions")) == 1


async def test_too_many_wrong_tries_end_a_code(auth: AuthClient) -> None:
    await auth.post("/otp", {"phone": PHONE})
    code = auth.code(PHONE)
    for _ in range(5):
        answer = await auth.post("/verify", {"type": "sms", "phone": PHONE, "token": wrong(code)})
        assert answer.error == (403, "otp_expired")
    right = await auth.post("/verify", {"type": "sms", "phone": PHONE, "token": code})
    assert right.error == (403, "otp_expired")
    await auth.post("/otp", {"phone": PHONE})
    assert await auth.session("/verify", {"type": "sms", "phone": PHONE, "token": auth.code(PHONE)})


async def test_tries_at_once_are_counted_each(auth: AuthClient) -> None:
    await auth.post("/otp", {"phone": PHONE})
    code = auth.code(PHONE)
    guesses = [{"type": "sms", "phone": PHONE, "token": wrong(code)}] * 20
    await asyncio.gather(*(auth.post("/verify", guess) for guess in guesses))
    right = await auth.post("/verify", {"type": "sms", "phone": PHONE, "token": code})
    assert right.error == (403, "otp_expired")


async def test_a_few_wrong_tries_do_no_harm(auth: AuthClient) -> None:
    await auth.post("/otp", {"email": EMAIL})
    code = auth.code(EMAIL)
    for _ in range(4):
        await auth.post("/verify", {"type": "email", "email": EMAIL, "token": wrong(code)})
    assert await auth.session("/verify", {"type": "email", "email": EMAIL, "token": code})


async def test_codes_are_stored_hashed_only(auth: AuthClient) -> None:
    await auth.post("/otp", {"phone": PHONE})
    code = auth.code(PHONE)
    [row] = auth.rows("select u.confirmation_token, t.token_hash from auth.users u, auth.one_time_tokens t")
    hashed = hashlib.sha224(f"{PHONE}{code}".encode()).hexdigest()
    assert row == {"confirmation_token": hashed, "token_hash": hashed}


async def test_a_code_expires(auth: AuthClient) -> None:
    await auth.post("/otp", {"phone": PHONE})
    auth.rows("update auth.users set confirmation_sent_at = now() - interval '61 seconds'")
    body = {"type": "sms", "phone": PHONE, "token": auth.code(PHONE)}
    assert (await auth.post("/verify", body)).error == (403, "otp_expired")


async def test_texts_to_one_number_keep_their_distance(start_auth: StartAuth) -> None:
    auth = await start_auth(sms={"max_frequency_s": 30.0})
    await auth.post("/otp", {"phone": PHONE})
    assert (await auth.post("/otp", {"phone": PHONE})).error == (429, "over_sms_send_rate_limit")
    assert len(auth.inbox(PHONE)) == 1


async def test_of_requests_at_once_one_sends_a_text(start_auth: StartAuth) -> None:
    auth = await start_auth(sms={"max_frequency_s": 30.0})
    answers = await asyncio.gather(*(auth.post("/otp", {"phone": PHONE}) for _ in range(6)))
    assert sorted(answer.status for answer in answers) == [200] + [429] * 5
    assert len(auth.inbox(PHONE)) == 1


async def test_numbers_under_test_have_a_fixed_code_and_get_no_text(start_auth: StartAuth) -> None:
    auth = await start_auth(sms={"test_otp": {"15555550100": "424242"}})
    answer = await auth.post("/otp", {"phone": "+15555550100"})
    assert answer.json == {"message_id": "test-otp"}
    assert auth.inbox() == []
    body = {"type": "sms", "phone": "15555550100", "token": "424242"}
    assert (await auth.session("/verify", body))["user"]["phone"] == "15555550100"
    assert (await auth.post("/verify", body | {"token": "424243"})).error == (403, "otp_expired")


async def test_a_sender_that_fails_leaves_no_user_behind(start_auth: StartAuth) -> None:
    class BrokenSender:
        async def send(self, message: object) -> None:
            raise ConnectionError("provider is down")

    auth = await start_auth(sender=BrokenSender())
    assert (await auth.post("/otp", {"phone": PHONE})).error == (422, "sms_send_failed")
    mail = await auth.post("/otp", {"email": EMAIL})
    assert mail.status == 500
    assert "provider is down" not in mail.body.decode()
    assert auth.rows("select 1 from auth.users") == []


@pytest.mark.parametrize("address", [{"email": "nobody@example.com"}, {"phone": "6591234567"}])
async def test_nobody_is_created_against_the_callers_wish(auth: AuthClient, address: dict[str, str]) -> None:
    answer = await auth.post("/otp", {**address, "create_user": False})
    assert answer.error == (422, "otp_disabled")
    assert auth.rows("select 1 from auth.users") == []


@pytest.mark.parametrize("confirmations", [True, False])
@pytest.mark.parametrize("verification_type", ["email", "magiclink"])
async def test_a_mailed_code_signs_in(
    start_auth: StartAuth, confirmations: bool, verification_type: str
) -> None:
    auth = await start_auth(email={"enable_confirmations": confirmations})
    await auth.post("/otp", {"email": EMAIL})
    kind = "signup" if confirmations and verification_type == "magiclink" else verification_type
    session = await auth.session("/verify", {"type": kind, "email": EMAIL, "token": auth.code(EMAIL)})
    assert session["user"]["email_confirmed_at"]
    await auth.post("/magiclink", {"email": EMAIL})
    assert auth.inbox(EMAIL)[0]["kind"] == "magic_link"
    again = await auth.session(
        "/verify", {"type": verification_type, "email": EMAIL, "token": auth.code(EMAIL)}
    )
    assert again["user"]["id"] == session["user"]["id"]


async def test_a_code_is_bound_to_its_address_and_occasion(auth: AuthClient) -> None:
    await auth.a_user()
    await auth.a_user("eve@example.com")
    await auth.post("/recover", {"email": EMAIL})
    code = auth.code(EMAIL)
    for body in (
        {"type": "recovery", "email": "eve@example.com", "token": code},
        {"type": "signup", "email": EMAIL, "token": code},
        {"type": "email_change", "email": EMAIL, "token": code},
        {"type": "recovery", "token_hash": "0" * 56},
    ):
        assert (await auth.post("/verify", body)).error == (403, "otp_expired"), body
    assert await auth.session("/verify", {"type": "recovery", "email": EMAIL, "token": code})


async def test_a_token_hash_out_of_a_mail_of_ones_own_signs_in_once(auth: AuthClient) -> None:
    await auth.a_user()
    await auth.post("/recover", {"email": EMAIL})
    token_hash = auth.inbox(EMAIL)[0]["data"]["token_hash"]
    body = {"type": "recovery", "token_hash": token_hash}
    assert await auth.session("/verify", body)
    assert (await auth.post("/verify", body)).error == (403, "otp_expired")


async def test_a_followed_link_brings_the_session_in_the_fragment(strict_auth: AuthClient) -> None:
    await strict_auth.post("/signup", {"email": EMAIL, "password": PASSWORD})
    link = link_of(strict_auth)
    assert (await strict_auth.send("HEAD", link)).status == 405
    answer = await strict_auth.get(link)
    assert answer.status == 303
    target = urlsplit(answer.headers["location"])
    assert target._replace(fragment="").geturl() == "http://127.0.0.1:3000"
    values = dict(parse_qsl(target.fragment, keep_blank_values=True))
    assert list(values) == sorted(values)
    assert values["type"] == "signup"
    assert values["sb"] == ""
    assert (await strict_auth.get("/user", token=values["access_token"])).status == 200
    again = urlsplit((await strict_auth.get(link)).headers["location"])
    assert parse_qs(again.fragment)["error_code"] == ["otp_expired"]
    assert parse_qs(again.fragment)["error"] == ["access_denied"]
    assert parse_qs(again.fragment)["error_description"] == ["Email link is invalid or has expired"]


async def test_a_link_leads_only_to_allowed_places(start_auth: StartAuth) -> None:
    auth = await start_auth(additional_redirect_urls=("https://app.example.com/**",))
    await auth.a_user()
    await auth.post("/recover?redirect_to=https://app.example.com/new-password", {"email": EMAIL})
    link = link_of(auth)
    assert "redirect_to=https://app.example.com/new-password" in link
    elsewhere = link.replace("app.example.com", "evil.example.net")
    target = urlsplit((await auth.get(elsewhere)).headers["location"])
    assert target.netloc == "127.0.0.1:3000"
    await auth.post(
        "/recover?redirect_to=https://evil.example.net/",
        {"email": EMAIL},
        headers={
            "host": "evil.example.net",
            "x-forwarded-host": "evil.example.net",
            "referer": "https://evil.example.net/",
        },
    )
    assert "evil" not in link_of(auth)


async def test_a_pkce_flow_ends_in_a_code_that_only_the_verifier_turns_into_a_session(
    strict_auth: AuthClient,
) -> None:
    await strict_auth.post("/signup", {"email": EMAIL, "password": PASSWORD, **PKCE})
    answer = await strict_auth.get(link_of(strict_auth))
    target = urlsplit(answer.headers["location"])
    [code] = parse_qs(target.query)["code"]
    assert target.fragment == ""
    exchange = {"auth_code": code, "code_verifier": "x" * 43}
    assert (await strict_auth.post("/token?grant_type=pkce", exchange)).error == (400, "bad_code_verifier")
    exchange["code_verifier"] = VERIFIER
    answers = await asyncio.gather(*(strict_auth.post("/token?grant_type=pkce", exchange) for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [200] + [404] * 4
    [session] = [answer.json for answer in answers if answer.status == 200]
    assert session["user"]["email_confirmed_at"]


@pytest.mark.parametrize("flow", ["/otp", "/recover"])
async def test_every_mailed_link_can_be_a_pkce_flow(auth: AuthClient, flow: str) -> None:
    await auth.a_user()
    await auth.post(flow, {"email": EMAIL, **PKCE})
    location = (await auth.get(link_of(auth))).headers["location"]
    [code] = parse_qs(urlsplit(location).query)["code"]
    assert await auth.session("/token?grant_type=pkce", {"auth_code": code, "code_verifier": VERIFIER})


async def test_the_code_of_a_pkce_mail_can_also_be_typed_in(auth: AuthClient) -> None:
    await auth.a_user()
    await auth.post("/otp", {"email": EMAIL, **PKCE})
    assert await auth.session("/verify", {"type": "email", "email": EMAIL, "token": auth.code(EMAIL)})


async def test_a_stale_pkce_code_is_refused(auth: AuthClient) -> None:
    await auth.a_user()
    await auth.post("/otp", {"email": EMAIL, **PKCE})
    location = (await auth.get(link_of(auth))).headers["location"]
    [code] = parse_qs(urlsplit(location).query)["code"]
    auth.rows("update auth.flow_state set auth_code_issued_at = now() - interval '6 minutes'")
    exchange = {"auth_code": code, "code_verifier": VERIFIER}
    assert (await auth.post("/token?grant_type=pkce", exchange)).error == (422, "flow_state_expired")


async def test_recovery_of_an_unknown_address_is_answered_the_same(auth: AuthClient) -> None:
    await auth.a_user()
    for target in ("/recover", "/resend"):
        known = await auth.post(target, {"email": EMAIL, "type": "signup"})
        unknown = await auth.post(target, {"email": "nobody@example.com", "type": "signup"})
        assert (known.status, known.body) == (unknown.status, unknown.body) == (200, b"{}")
    assert auth.inbox("nobody@example.com") == []


async def test_what_is_still_open_can_be_sent_again(strict_auth: AuthClient) -> None:
    await strict_auth.post("/signup", {"email": EMAIL, "password": PASSWORD})
    await strict_auth.post("/resend", {"type": "signup", "email": EMAIL})
    assert len(strict_auth.inbox(EMAIL)) == 2
    await strict_auth.session("/verify", {"type": "signup", "email": EMAIL, "token": strict_auth.code(EMAIL)})
    await strict_auth.post("/resend", {"type": "signup", "email": EMAIL})
    assert len(strict_auth.inbox(EMAIL)) == 2
    await strict_auth.post("/otp", {"phone": PHONE})
    await strict_auth.post("/resend", {"type": "sms", "phone": PHONE})
    assert len(strict_auth.inbox(PHONE)) == 2


@pytest.mark.parametrize(
    ("target", "body", "status"),
    [
        ("/otp", {}, 400),
        ("/otp", {"email": EMAIL, "phone": PHONE}, 400),
        ("/otp", {"email": EMAIL, "channel": "sms"}, 400),
        ("/otp", {"phone": PHONE, "channel": "pigeon"}, 400),
        ("/otp", {"phone": "0123"}, 400),
        ("/otp", {"phone": "+1"}, 400),
        ("/magiclink", {}, 422),
        ("/recover", {}, 400),
        ("/resend", {"type": "recovery", "email": EMAIL}, 400),
        ("/resend", {"type": "signup"}, 400),
        ("/resend", {"type": "sms", "email": EMAIL}, 400),
        ("/verify", {}, 400),
        ("/verify", {"type": "signup"}, 400),
        ("/verify", {"type": "fax", "email": EMAIL, "token": "1"}, 400),
        ("/verify", {"type": "signup", "token": "1", "token_hash": "2"}, 400),
        ("/verify", {"type": "signup", "token": "123456"}, 400),
        ("/verify", {"type": "signup", "token": "123456", "email": "not an address"}, 422),
        ("/verify", {"type": "signup", "token": "123456", "email": EMAIL, "phone": PHONE}, 400),
        ("/verify", {"type": "signup", "token_hash": "1", "email": EMAIL}, 400),
        ("/verify", {"type": "sms", "token": "123456", "phone": "tel"}, 400),
    ],
)
async def test_an_incomplete_request_is_refused(
    auth: AuthClient, target: str, body: object, status: int
) -> None:
    assert (await auth.post(target, body)).error == (status, "validation_failed")


@pytest.mark.parametrize("query", ["", "type=signup", "token=1", "type=fax&token=1", "type=sms&token=pkce_1"])
async def test_a_link_that_no_mail_contains_is_refused(auth: AuthClient, query: str) -> None:
    assert (await auth.get(f"/verify?{query}")).error == (400, "validation_failed")


async def test_a_wrong_phone_code_is_403_where_phones_are_off(start_auth: StartAuth) -> None:
    auth = await start_auth(sms={"enable_signup": False})
    answer = await auth.post("/verify", {"type": "sms", "phone": PHONE, "token": "123456"})
    assert answer.error == (403, "otp_expired")
    assert (await auth.post("/otp", {"phone": PHONE})).error == (400, "phone_provider_disabled")
