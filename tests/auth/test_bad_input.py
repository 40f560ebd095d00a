"""Malformed, hostile and oversized requests: a clear 4xx in the contract's shape and never a 500."""

import asyncio
import time
from typing import Any

import pytest

from tests.auth.conftest import PASSWORD, AuthClient, StartAuth

pytestmark = pytest.mark.req("P6")

PUBLIC = [
    "/signup",
    "/token?grant_type=password",
    "/token?grant_type=refresh_token",
    "/token?grant_type=pkce",
    "/otp",
    "/magiclink",
    "/verify",
    "/recover",
    "/resend",
]
ADMIN = ["/admin/users", "/admin/generate_link", "/invite"]

UNREADABLE = {
    "empty": b"",
    "text": b"hello",
    "cut": b'{"email": "a@exa',
    "array": b"[]",
    "string": b'"email"',
    "number": b"7",
    "invalid utf-8": b'{"email": "\xff\xfe@example.com"}',
    "lone surrogate": b'{"email": "\\ud800@example.com"}',
    "nested without end": b"[" * 100_000,
    "twice": b'{"email": "a@example.com"} {"email": "b@example.com"}',
    "not a number": b'{"email": NaN}',
}
WRONG_TYPES = {
    "email": [7, True, [], {}, 1.5],
    "phone": [60123456789, ["60123456789"]],
    "password": [12345678, {"a": "b"}],
    "data": ["text", [1], 7],
    "token": [123456],
    "type": [1],
    "refresh_token": [1, {}],
    "auth_code": [1],
    "create_user": ["yes", 1],
    "user_metadata": [[], "x"],
    "email_confirm": ["true"],
}
HOSTILE_TEXTS = [
    "' or 1=1; drop table auth.users; --",
    "a\x00b@example.com",
    "\x00",
    "a@example.com\r\nBcc: b@example.com",
    "%s%(id)s{0}{{ .Token }}",
    "../../etc/passwd",
    "‮moc.elpmaxe@a",
    "😀" * 50,
    "x" * 100_000,
    "-1",
    "+" * 60,
    "9" * 400,
]


def fields(target: str) -> dict[str, Any]:
    """Enough of each endpoint's fields that a request gets past the first checks."""
    return {
        "/signup": {"email": "a@example.com", "password": PASSWORD},
        "/token?grant_type=password": {"email": "a@example.com", "password": PASSWORD},
        "/token?grant_type=refresh_token": {"refresh_token": "aaaabbbbcccc"},
        "/token?grant_type=pkce": {"auth_code": "a", "code_verifier": "b"},
        "/otp": {"email": "a@example.com"},
        "/magiclink": {"email": "a@example.com"},
        "/verify": {"type": "email", "email": "a@example.com", "token": "123456"},
        "/recover": {"email": "a@example.com"},
        "/resend": {"type": "signup", "email": "a@example.com"},
        "/admin/users": {"email": "a@example.com"},
        "/admin/generate_link": {"type": "signup", "email": "a@example.com", "password": PASSWORD},
        "/invite": {"email": "a@example.com"},
    }[target]


async def send(auth: AuthClient, target: str, body: object) -> Any:
    if target in ADMIN:
        return await auth.admin("POST", target, body)
    return await auth.post(target, body)


@pytest.mark.parametrize("target", [*PUBLIC, *ADMIN])
async def test_a_body_that_cannot_be_read_is_bad_json(auth: AuthClient, target: str) -> None:
    for name, body in UNREADABLE.items():
        answer = await send(auth, target, body)
        assert answer.error == (400, "bad_json"), name


@pytest.mark.parametrize("target", [*PUBLIC, *ADMIN])
async def test_a_field_of_the_wrong_type_is_told(auth: AuthClient, target: str) -> None:
    for name, values in WRONG_TYPES.items():
        for value in values:
            answer = await send(auth, target, fields(target) | {name: value})
            assert answer.status < 500, (name, value, answer.body)
            if name in fields(target):
                assert answer.error == (400, "bad_json"), (name, value)
                assert f"$.{name}" in answer.json["msg"]


@pytest.mark.parametrize("target", [*PUBLIC, *ADMIN])
async def test_hostile_texts_do_no_harm(auth: AuthClient, target: str) -> None:
    for name in {
        **fields(target),
        "phone": "",
        "code_challenge": "",
        "channel": "",
        "redirect_to": "",
        "id": "",
    }:
        for text in HOSTILE_TEXTS:
            answer = await send(auth, target, fields(target) | {name: text})
            assert answer.status < 500, (name, text[:40], answer.body)
    assert auth.rows("select count(*) >= 0 as here from auth.users") == [{"here": True}]
    assert not any("\n" in (row["subject"] or "") for row in auth.inbox())


async def test_metadata_may_hold_what_json_can_and_postgresql_stores(auth: AuthClient) -> None:
    deep = '{"a": ' * 200 + "1" + "}" * 200
    for number, (data, status) in enumerate(
        [
            ('{"big": 1000000000000000000000000000000, "small": -0.0}', 200),
            ('{"beyond": 1e400}', 400),
            ('{"text": "\\u0000"}', 400),
            ('{"\\u0000": 1}', 400),
            ('{"emoji": "😀", "": [null, {}]}', 200),
            (deep, 400),
        ]
    ):
        body = f'{{"email": "u{number}@example.com", "password": "{PASSWORD}", "data": {data}}}'
        answer = await auth.post("/signup", body.encode())
        assert answer.status == status, answer.body


async def test_numbers_of_any_length_in_metadata_are_shown(auth: AuthClient) -> None:
    user = await auth.a_user()
    auth.rows(
        "update auth.users set raw_user_meta_data = jsonb_build_object('long', %s::numeric, 'flag', true)",
        "9" * 400,
    )
    shown = (await auth.admin("GET", f"/admin/users/{user['id']}")).json["user_metadata"]
    assert shown["long"] == "9" * 400
    assert shown["flag"] is True
    session = await auth.sign_in()
    body = {"refresh_token": session["refresh_token"]}
    for answer in (
        await auth.get("/user", token=session["access_token"]),
        await auth.post("/token?grant_type=refresh_token", body),
    ):
        assert answer.status == 200, answer.body


async def test_a_body_beyond_a_megabyte_is_refused(auth: AuthClient) -> None:
    answer = await auth.post("/signup", b'{"email": "' + b"x" * (1024 * 1024) + b'"}')
    assert answer.error == (413, "request_entity_too_large")


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/", 404),
        ("GET", "/admin", 404),
        ("DELETE", "/user", 405),
        ("PATCH", "/signup", 405),
        ("GET", "/token", 405),
        ("GET", "/verify?type=%ff&token=1", 400),
        ("GET", "/verify?type=signup&token=%00", 400),
        ("GET", "/verify?type=signup&token=' or 1=1", 303),
        ("GET", "/verify?" + "a=1&" * 2000, 400),
    ],
)
async def test_paths_methods_and_queries_that_are_not_served(
    auth: AuthClient, method: str, target: str, status: int
) -> None:
    answer = await auth.send(method, target)
    assert answer.status == status, answer.body


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer"},
        {"authorization": "Bearer  "},
        {"authorization": "Basic YTpi"},
        {"authorization": "Bearer a b"},
        {"authorization": "Bearer \xff\xfe"},
        {"authorization": "Bearer " + "x" * 50_000},
        {"authorization": "Bearer e30.e30.e30"},
        {"authorization": "bearer null"},
    ],
)
async def test_odd_credentials_are_refused(auth: AuthClient, headers: dict[str, str]) -> None:
    for target in ("/user", "/admin/users"):
        assert (await auth.get(target, headers=headers)).status in (401, 403)


@pytest.mark.parametrize("claim", ["sub", "session_id", "aud", "role"])
@pytest.mark.parametrize("value", [7, None, [], {}, "", "x", ["authenticated"], "\x00", True])
async def test_odd_claims_of_a_signed_token_are_refused(auth: AuthClient, claim: str, value: object) -> None:
    user = await auth.a_user()
    claims = {
        "sub": user["id"],
        "role": "authenticated",
        "aud": "authenticated",
        "exp": int(time.time()) + 60,
    }
    try:
        token = auth.keys.sign(claims | {claim: value})
    except TypeError:
        pytest.skip("no such token can be made")
    for target in ("/user", "/admin/users"):
        assert (await auth.get(target, token=token)).status < 500


async def test_error_bodies_follow_the_version_that_the_client_asks_for(auth: AuthClient) -> None:
    for version, is_named in (
        ("2024-01-01", True),
        ("2025-07-01", True),
        ("2023-12-31", False),
        ("soon", False),
    ):
        answer = await auth.get("/user", headers={"x-supabase-api-version": version})
        assert answer.status == 401
        assert answer.headers["x-sb-error-code"] == "no_authorization"
        message = "This endpoint requires a valid Bearer token"
        if is_named:
            assert answer.json == {"code": "no_authorization", "message": message}
            assert answer.headers["x-supabase-api-version"] == "2024-01-01"
        else:
            assert answer.json == {"code": 401, "error_code": "no_authorization", "msg": message}


async def test_no_secret_reaches_the_log(strict_auth: AuthClient, capfd: pytest.CaptureFixture[str]) -> None:
    auth = strict_auth
    auth.rows(
        """create function public.refuse() returns trigger language plpgsql as $$ begin
            if new.email like 'refused%%' then raise exception 'No'; end if; return new; end $$;
        create trigger refuse before insert on auth.users for each row execute function public.refuse()"""
    )
    await auth.post("/signup", {"email": "refused@example.com", "password": "a secret password"})
    await auth.post("/signup", {"email": "ada@example.com", "password": "a secret password"})
    code = auth.code("ada@example.com")
    session = await auth.session("/verify", {"type": "signup", "email": "ada@example.com", "token": code})
    await auth.post("/token?grant_type=refresh_token", {"refresh_token": session["refresh_token"]})
    log = "".join(capfd.readouterr())
    assert "auth_failed" in log
    for secret in ("a secret password", code, session["refresh_token"], session["access_token"]):
        assert secret not in log


async def test_rate_limits_count_by_the_configured_header_alone(start_auth: StartAuth) -> None:
    from dataclasses import replace

    limits = (await start_auth()).settings.auth.rate_limit
    limited = await start_auth(
        rate_limit=replace(limits, sign_in_sign_ups=3), basalt={"client_address_header": "X-Real-IP"}
    )
    body = {"email": "ada@example.com", "password": "x"}
    answers = [
        await limited.post("/token?grant_type=password", body, headers={"x-real-ip": "203.0.113.7"})
        for _ in range(4)
    ]
    assert [answer.status for answer in answers] == [400, 400, 400, 429]
    assert answers[-1].error == (429, "over_request_rate_limit")
    assert int(answers[-1].headers["retry-after"]) > 0
    unlimited = [await limited.post("/token?grant_type=password", body) for _ in range(5)]
    assert {answer.status for answer in unlimited} == {400}


async def test_a_database_that_is_away_is_503(auth: AuthClient) -> None:
    await auth.a_user()
    token = (await auth.sign_in())["access_token"]
    await asyncio.to_thread(
        auth.rows,
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'supabase_auth_admin'"
        " and datname = current_database()",
    )
    answer = await auth.get("/user", token=token)
    assert answer.status in (200, 503)
    assert (await auth.get("/user", token=token)).status == 200


async def test_settings_and_health_are_those_of_gotrue(auth: AuthClient) -> None:
    health = (await auth.get("/health")).json
    assert health["name"] == "GoTrue"
    settings = (await auth.get("/settings")).json
    assert settings["external"]["email"] is True
    assert settings["external"]["phone"] is True
    assert settings["external"]["google"] is False
    assert len(settings["external"]) == 26
    assert settings["mailer_autoconfirm"] is True
    assert settings["phone_autoconfirm"] is False
    assert settings["disable_signup"] is False


async def test_a_constraint_of_the_project_tells_no_hash_to_anybody(
    auth: AuthClient, capfd: pytest.CaptureFixture[str]
) -> None:
    auth.rows("alter table auth.users add constraint no_bots check (email not like 'bot%%')")
    answer = await auth.post("/signup", {"email": "bot@example.com", "password": PASSWORD})
    assert answer.status == 500
    assert answer.json["code"] == "23514"
    log = "".join(capfd.readouterr())
    assert "23514" in log
    assert "$2b$" not in log + answer.body.decode()


@pytest.mark.long
async def test_a_storm_of_sign_ins_is_refused_before_it_fills_the_memory(
    auth: AuthClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("basalt.auth.passwords.MAX_WAITING", 4)
    auth.rows(  # a hash of a quarter of a second, so that the others do wait
        "insert into auth.users (id, email, encrypted_password, email_confirmed_at)"
        " values (gen_random_uuid(), 'busy@example.com', extensions.crypt('x', extensions.gen_salt('bf', 12)), now())"
    )
    body = {"email": "busy@example.com", "password": PASSWORD}
    answers = await asyncio.gather(*(auth.post("/token?grant_type=password", body) for _ in range(40)))
    assert {answer.status for answer in answers} == {400, 429}


async def test_a_hash_that_would_take_days_is_not_computed(auth: AuthClient) -> None:
    auth.rows(
        "insert into auth.users (id, email, encrypted_password, email_confirmed_at)"
        " values (gen_random_uuid(), 'slow@example.com', %s, now())",
        "$2a$31$" + "a" * 53,
    )
    answer = await auth.post("/token?grant_type=password", {"email": "slow@example.com", "password": "x"})
    assert answer.error == (400, "invalid_credentials")
