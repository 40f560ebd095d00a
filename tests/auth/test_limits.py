"""Limits: per address and kind of request, on guessing passwords, and on what is sent."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from basalt.auth.errors import AuthError
from basalt.auth.guesses import PasswordGuesses
from basalt.auth.limits import Kind, Limits
from basalt.config import AuthRateLimitSettings, AuthSettings, RateLimitSettings, SmtpSettings
from basalt.http import Headers, Request
from basalt.kv import RateStore, build_rates
from basalt.postgres import DatabaseAccess
from tests.auth.conftest import PASSWORD, Answer, AuthClient, StartAuth
from tests.bus.brokers import Postgres

pytestmark = pytest.mark.req("P6")

GRANT = "/token?grant_type=password"
REFRESH = "/token?grant_type=refresh_token"
HEADER = {"client_address_header": "x-real-ip"}


def limits(**by_name: int) -> AuthRateLimitSettings:
    return replace(AuthRateLimitSettings(), **by_name)


def a_request(
    path: str = "/verify", *, client_ip: str = "192.0.2.1", header: str | None = "192.0.2.1"
) -> Request:
    async def nothing() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    pairs = [] if header is None else [(b"x-real-ip", header.encode())]
    return Request(method="POST", path=path, receive=nothing, headers=Headers(pairs), client_ip=client_ip)


def assert_over(answer: Answer, code: str = "over_request_rate_limit") -> int:
    assert answer.error == (429, code)
    return int(answer.headers["retry-after"])


# --- per address and kind


KINDS: list[tuple[Kind, str, float]] = [
    ("anonymous", "anonymous_users", 3600),
    ("sign_in", "sign_in_sign_ups", 300),
    ("otp", "sign_in_sign_ups", 300),
    ("refresh", "token_refresh", 300),
    ("verify", "token_verifications", 300),
    ("web3", "web3", 300),
    ("sso", "sso", 300),
    ("saml_assertion", "saml_assertion", 300),
    ("passkey", "passkey", 300),
    ("factor", "factor", 60),
    ("oauth_client_register", "oauth_client_register", 3600),
]


@pytest.mark.parametrize(("kind", "name", "period_s"), KINDS)
async def test_each_kind_has_its_setting(kind: Kind, name: str, period_s: float) -> None:
    settings = replace(AuthSettings(), rate_limit=limits(**{name: 2}))
    checked = Limits(settings, header="X-Real-IP")
    for _ in range(2):
        await checked.check(kind, a_request())
    with pytest.raises(AuthError, match="Request rate limit reached") as error:
        await checked.check(kind, a_request())
    [(_, wait_s)] = error.value.headers
    assert period_s / 2 - 2 <= int(wait_s) <= period_s / 2
    await checked.check(kind, a_request(client_ip="192.0.2.2"))
    await checked.check(kind, a_request(path="/elsewhere"))


async def test_none_allowed_is_none_and_without_a_header_there_is_no_limit() -> None:
    settings = replace(AuthSettings(), rate_limit=limits(factor=0))
    with pytest.raises(AuthError):
        await Limits(settings, header="X-Real-IP").check("factor", a_request())
    await Limits(settings, header="X-Real-IP").check("factor", a_request(header=None))
    await Limits(settings, header=None).check("factor", a_request())


async def test_behind_known_proxies_everybody_has_an_address_and_a_network_of_ipv6_is_one() -> None:
    checked = Limits(
        replace(AuthSettings(), rate_limit=limits(factor=1)), header="x-forwarded-for", knows_proxies=True
    )
    await checked.check("factor", a_request(header=None, client_ip="2001:db8:1:2::1"))
    with pytest.raises(AuthError):
        await checked.check("factor", a_request(header=None, client_ip="2001:db8:1:2:ffff::9"))
    await checked.check("factor", a_request(header=None, client_ip="2001:db8:1:3::1"))


@pytest.mark.parametrize(
    ("name", "target", "body"),
    [
        ("anonymous_users", "/signup", {}),
        ("sign_in_sign_ups", "/signup", {"email": "a@example.com", "password": "short"}),
        ("sign_in_sign_ups", GRANT, {"email": "a@example.com", "password": "short"}),
        ("sign_in_sign_ups", "/otp", {"email": "a@example.com", "create_user": False}),
        ("sign_in_sign_ups", "/magiclink", {}),
        ("sign_in_sign_ups", "/recover", {"email": "a@example.com"}),
        ("sign_in_sign_ups", "/resend", {"type": "signup", "email": "a@example.com"}),
        ("token_verifications", "/verify", {"type": "email", "email": "a@example.com", "token": "123456"}),
        ("token_refresh", REFRESH, {"refresh_token": "aaaaaaaaaaaa"}),
    ],
)
async def test_requests_of_one_address_are_limited(
    start_auth: StartAuth, name: str, target: str, body: object
) -> None:
    auth = await start_auth(rate_limit=limits(**{name: 1}), basalt=HEADER, enable_anonymous_sign_ins=True)
    options: dict[str, Any] = {"headers": {"x-real-ip": "192.0.2.1"}, "client_ip": "192.0.2.1"}
    assert (await auth.post(target, body, **options)).status != 429
    assert assert_over(await auth.post(target, body, **options)) > 0
    other = {"headers": {"x-real-ip": "192.0.2.2"}, "client_ip": "192.0.2.2"}
    assert (await auth.post(target, body, **other)).status != 429
    assert (await auth.post(target, body)).status != 429


# --- guessing passwords


async def test_an_account_is_guessed_at_only_so_often_from_anywhere(start_auth: StartAuth) -> None:
    auth = await start_auth(rate_limit=limits(password_failures=3))
    await auth.a_user()
    answers: dict[str, list[bytes]] = {}
    for email in ("ada@example.com", "nobody@example.com"):
        for number in range(3):
            answer = await auth.post(
                GRANT, {"email": email, "password": "wrong password"}, client_ip=f"192.0.2.{number}"
            )
            assert answer.error == (400, "invalid_credentials")
        hashed: list[str] = []
        verify = auth.service._passwords.verify

        async def watched(password: str, stored: str | None) -> bool:
            hashed.append(password)  # noqa: B023
            return await verify(password, stored)  # noqa: B023

        auth.service._passwords.verify = watched  # type: ignore[method-assign]
        over = await auth.post(GRANT, {"email": email.upper(), "password": PASSWORD}, client_ip="192.0.2.9")
        assert 290 <= assert_over(over) <= 300  # a third of fifteen minutes
        assert hashed == []
        answers[email] = [over.body]
    assert answers["ada@example.com"] == answers["nobody@example.com"]


async def test_right_passwords_are_not_counted(start_auth: StartAuth) -> None:
    auth = await start_auth(rate_limit=limits(password_failures=2))
    await auth.a_user()
    for _ in range(6):
        await auth.sign_in()
    assert (await auth.post(GRANT, {"email": "ada@example.com", "password": "wrong"})).status == 400
    assert await auth.sign_in()


async def test_many_guesses_at_once_are_no_way_around(start_auth: StartAuth) -> None:
    auth = await start_auth(rate_limit=limits(password_failures=5))
    await auth.a_user()
    guesses = [auth.post(GRANT, {"email": "ada@example.com", "password": f"guess {n}"}) for n in range(60)]
    answers = await asyncio.gather(*guesses)
    tried = [answer for answer in answers if answer.status == 400]
    assert 5 <= len(tried) <= 5 + 3
    assert {answer.status for answer in answers} == {400, 429}
    assert auth.service._auth.limits.passwords._lines == {}


async def test_one_address_guesses_at_many_accounts_only_so_often(start_auth: StartAuth) -> None:
    auth = await start_auth(rate_limit=limits(password_failures=1))
    await auth.a_user()
    for number in range(5):
        body = {"email": f"user{number}@example.com", "password": "wrong password"}
        assert (await auth.post(GRANT, body, client_ip="192.0.2.1")).status == 400
    body = {"email": "ada@example.com", "password": PASSWORD}
    assert_over(await auth.post(GRANT, body, client_ip="192.0.2.1"))
    assert (await auth.post(GRANT, body, client_ip="192.0.2.2")).status == 200
    for number in range(10, 20):  # a development machine is one address for everybody
        body = {"email": f"user{number}@example.com", "password": "wrong password"}
        assert (await auth.post(GRANT, body, client_ip="127.0.0.1")).status == 400


async def test_loopback_is_an_address_like_any_behind_a_proxy() -> None:
    guesses = PasswordGuesses(1, trusts_header=True)
    for number in range(5):
        await guesses.count_wrong(f"user{number}", a_request(client_ip="127.0.0.1"))
    with pytest.raises(AuthError):
        async with guesses.turn("another", a_request(client_ip="127.0.0.1")):
            pass


async def test_a_queue_for_one_account_has_an_end() -> None:
    guesses = PasswordGuesses(1000, trusts_header=False)
    release = asyncio.Event()

    async def attempt() -> None:
        async with guesses.turn("ada@example.com", a_request()):
            await release.wait()

    attempts = [asyncio.create_task(attempt()) for _ in range(300)]
    await asyncio.sleep(0.05)
    refused = [task for task in attempts if task.done()]
    assert len(refused) == 300 - 256
    assert all(isinstance(task.exception(), AuthError) for task in refused)
    release.set()
    await asyncio.gather(*attempts, return_exceptions=True)
    assert guesses._lines == {}


async def test_no_limit_on_wrong_passwords_is_no_limit(start_auth: StartAuth) -> None:
    auth = await start_auth(rate_limit=limits(password_failures=0))
    await auth.a_user()
    for _ in range(25):
        body = {"email": "ada@example.com", "password": "wrong password"}
        assert (await auth.post(GRANT, body)).status == 400


# --- what is sent


async def test_a_mailbox_gets_only_so_many_codes_and_nobody_learns_whether_it_has_an_account(
    start_auth: StartAuth,
) -> None:
    auth = await start_auth(rate_limit=limits(codes_sent=3))
    await auth.a_user()
    bodies = []
    for email in ("ada@example.com", "nobody@example.com"):
        for _ in range(3):
            assert (await auth.post("/recover", {"email": email})).status == 200
        over = await auth.post("/recover", {"email": email.upper()})
        assert 1100 <= assert_over(over, "over_email_send_rate_limit") <= 1200
        assert over.json["msg"] == "email rate limit exceeded"
        bodies.append(over.body)
    assert bodies[0] == bodies[1]
    assert len(auth.inbox("ada@example.com")) == 3
    assert_over(await auth.post("/otp", {"email": "ada@example.com"}), "over_email_send_rate_limit")


async def test_a_number_gets_only_so_many_codes(start_auth: StartAuth) -> None:
    auth = await start_auth(rate_limit=limits(codes_sent=2), sms={"test_otp": {"60100000001": "123456"}})
    for _ in range(2):
        assert (await auth.post("/otp", {"phone": "+60123456789"})).status == 200
    over = await auth.post("/otp", {"phone": "60123456789"})
    assert_over(over, "over_sms_send_rate_limit")
    assert over.json["msg"] == "SMS rate limit exceeded"
    for _ in range(4):  # nothing is sent to numbers under test
        assert (await auth.post("/otp", {"phone": "+60100000001"})).status == 200


async def test_two_mails_in_a_row_are_too_soon_with_and_without_an_account(start_auth: StartAuth) -> None:
    auth = await start_auth(email={"max_frequency_s": 60.0, "enable_confirmations": True})
    await auth.a_user()
    await auth.post("/signup", {"email": "waiting@example.com", "password": PASSWORD})
    bodies = []
    for email in ("ada@example.com", "nobody@example.com"):
        assert (await auth.post("/recover", {"email": email})).status == 200
        soon = await auth.post("/recover", {"email": email})
        assert soon.error == (429, "over_email_send_rate_limit")
        bodies.append(soon.json["msg"].replace("60", "59"))
    assert bodies[0] == bodies[1] == "For security purposes, you can only request this after 59 seconds."
    for email in ("waiting@example.com", "ada@example.com", "stranger@example.com"):
        await auth.post("/resend", {"type": "signup", "email": email})
        soon = await auth.post("/resend", {"type": "signup", "email": email})
        assert soon.error == (429, "over_email_send_rate_limit")


async def test_what_was_too_soon_is_not_counted_as_sent(start_auth: StartAuth) -> None:
    auth = await start_auth(email={"max_frequency_s": 60.0}, rate_limit=limits(codes_sent=2))
    await auth.a_user()
    for _ in range(5):
        await auth.post("/recover", {"email": "ada@example.com"})
    auth.rows("update auth.users set recovery_sent_at = now() - interval '1 hour'")
    assert (await auth.post("/recover", {"email": "ada@example.com"})).status == 200


class Sent:
    """A sender that keeps what it is given."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def send(self, message: Any) -> None:
        self.messages.append(message)


async def test_a_server_sends_only_so_many_mails_for_all_users(start_auth: StartAuth) -> None:
    sender = Sent()
    auth = await start_auth(
        email={"smtp": SmtpSettings(host="mail.example.com")},
        rate_limit=limits(email_sent=2),
        sender=sender,
    )
    for name in ("a", "b"):
        await auth.a_user(f"{name}@example.com")
        assert (await auth.post("/recover", {"email": f"{name}@example.com"})).status == 200
    await auth.a_user("c@example.com")
    bodies = []
    for email in ("c@example.com", "nobody@example.com"):
        over = await auth.post("/recover", {"email": email})
        assert 1700 <= assert_over(over, "over_email_send_rate_limit") <= 1800
        bodies.append(over.body)
    assert bodies[0] == bodies[1]
    assert len(sender.messages) == 2
    rows = auth.rows("select recovery_token from auth.users where email = 'c@example.com'")
    assert rows == [{"recovery_token": ""}]


async def test_a_provider_sends_only_so_many_texts_for_all_users(start_auth: StartAuth) -> None:
    auth = await start_auth(rate_limit=limits(sms_sent=0))
    assert (await auth.post("/otp", {"phone": "+60123456789"})).status == 200  # the Inbox costs nothing
    sms = auth.settings.auth.sms
    auth = await start_auth(
        rate_limit=limits(sms_sent=0),
        sms={"vonage": replace(sms.vonage, enabled=True)},
        sender=Sent(),
    )
    assert_over(await auth.post("/otp", {"phone": "+60123456789"}), "over_sms_send_rate_limit")


# --- guessing codes


async def test_every_code_is_void_after_five_wrong_tries(start_auth: StartAuth) -> None:
    auth = await start_auth(email={"enable_confirmations": True, "secure_password_change": True})
    await auth.a_user()
    token = (await auth.sign_in())["access_token"]
    phone, new = "60123456789", "new@example.com"
    changes: list[tuple[dict[str, str], dict[str, str], str]] = [
        ({"phone": phone}, {"type": "phone_change", "phone": phone}, phone),
        ({"email": new}, {"type": "email_change", "email": new}, new),
    ]
    for change, proof, mailbox in changes:
        assert (await auth.send("PUT", "/user", change, token=token)).status == 200
        code = auth.code(mailbox)
        wrong = "000000" if code != "000000" else "111111"
        for _ in range(5):
            assert (await auth.post("/verify", {**proof, "token": wrong})).error == (403, "otp_expired")
        late = await auth.post("/verify", {**proof, "token": code})
        assert late.error == (403, "otp_expired"), change


async def test_a_guess_counts_against_everybody_who_changes_to_the_same_address(
    start_auth: StartAuth,
) -> None:
    auth = await start_auth(email={"double_confirm_changes": False})
    for email in ("ada@example.com", "eve@example.com"):
        await auth.a_user(email)
        token = (await auth.sign_in(email))["access_token"]
        body = {"email": "new@example.com"}
        assert (await auth.send("PUT", "/user", body, token=token)).status == 200
    codes = [message["data"]["token"] for message in auth.inbox("new@example.com")]
    wrong = next(code for code in ("000000", "111111", "222222") if code not in codes)
    proof = {"type": "email_change", "email": "new@example.com"}
    for code in (*[wrong] * 5, *codes):
        refused = await auth.post("/verify", {**proof, "token": code})
        assert refused.error == (403, "otp_expired")


async def test_a_nonce_is_void_after_five_wrong_tries(start_auth: StartAuth) -> None:
    auth = await start_auth(email={"secure_password_change": True})
    await auth.a_user()
    token = (await auth.sign_in())["access_token"]
    auth.rows("update auth.sessions set created_at = now() - interval '2 days'")
    assert (await auth.get("/reauthenticate", token=token)).status == 200
    nonce = auth.code("ada@example.com")
    wrong = "000000" if nonce != "000000" else "111111"
    for given in (*[wrong] * 5, nonce):
        body = {"password": "another password", "nonce": given}
        refused = await auth.send("PUT", "/user", body, token=token)
        assert refused.error == (422, "reauthentication_not_valid")


async def test_a_limited_answer_is_one_that_the_gateway_may_pass_on(auth: AuthClient) -> None:
    await auth.a_user()
    for _ in range(20):
        await auth.post(GRANT, {"email": "ada@example.com", "password": "wrong password"})
    over = await auth.post(
        GRANT,
        {"email": "ada@example.com", "password": PASSWORD},
        headers={"x-supabase-api-version": "2024-01-01"},
    )
    assert over.status == 429
    assert over.json == {"code": "over_request_rate_limit", "message": "Request rate limit reached"}
    assert over.headers["retry-after"] == "45"


# --- several gateways


async def test_gateways_count_wrong_passwords_and_messages_together_and_alone_without_their_store(
    database: DatabaseAccess, cluster_access: DatabaseAccess
) -> None:
    def gateway() -> Limits:
        rates = build_rates(
            RateLimitSettings(store="postgres", timeout_s=2.0),
            conninfo=database.conninfo("authenticator"),
            project_id="shop",
            url=None,
        )
        stores.append(rates)
        settings = replace(AuthSettings(), rate_limit=limits(password_failures=2, codes_sent=2))
        return Limits(settings, header=None, rates=rates)

    async def guess(gateway: Limits, account: str) -> bool:
        try:
            async with gateway.passwords.turn(account, a_request()):
                await gateway.passwords.count_wrong(account, a_request())
        except AuthError:
            return False
        return True

    stores: list[RateStore] = []
    one, two = gateway(), gateway()
    assert [await guess(each, "ada") for each in (one, two, one, two)] == [True, True, False, False]
    await one.check_sending("email", "ada@example.com")
    await two.check_sending("email", "Ada@example.com")
    with pytest.raises(AuthError):
        await one.check_sending("email", "ada@example.com")
    broker = Postgres(database, cluster_access)
    await broker.cut()
    for alone in (one, two):
        assert [await guess(alone, "ada") for _ in range(3)] == [True, True, False]
    await broker.restore()
    for store in stores:
        await store.close()
