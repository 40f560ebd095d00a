"""Hooks: Postgres functions and HTTP endpoints, what they are sent and what their answers do."""

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest

from basalt.auth.hooks import Hooks
from basalt.config import ConfigError, HookSettings, HooksSettings, load_settings, parse_hook
from basalt.http import OutgoingClient
from tests.auth.conftest import PASSWORD, AuthClient, StartAuth
from tests.fakes.small_server import Reply
from tests.fakes.webhook import Webhook, json_reply, webhook

pytestmark = pytest.mark.req("P6")

GRANT = "/token?grant_type=password"
CREDENTIALS = {"email": "ada@example.com", "password": PASSWORD}
SECRETS = [
    "v1,whsec_" + base64.b64encode(b"a" * 24).decode(),
    "v1,whsec_" + base64.b64encode(b"b" * 32).decode(),
]


def pg_hook(function: str) -> HookSettings:
    return HookSettings(uri=f"pg-functions://postgres/public/{function}")


def hooks(**by_name: HookSettings) -> HooksSettings:
    return replace(HooksSettings(), **by_name)


def make_function(auth: AuthClient, body: str, *, name: str = "hook", kind: str = "jsonb") -> None:
    auth.rows("grant usage on schema public to supabase_auth_admin")
    auth.rows(
        f"create or replace function public.{name}(event {kind}) returns {kind} language plpgsql as "
        f"$hook$ begin {body} end $hook$"
    )
    auth.rows(f"revoke execute on function public.{name} from public")
    auth.rows(f"grant execute on function public.{name} to supabase_auth_admin")


def claims_of(session: dict[str, Any]) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(session["access_token"], options={"verify_signature": False})
    return claims


@pytest.fixture
def endpoint() -> Iterator[tuple[Webhook, str]]:
    """A hook's receiving end and its address."""
    service = Webhook(SECRETS)
    with webhook(service) as url:
        yield service, url


def http_hook(url: str) -> HookSettings:
    return HookSettings(uri=url, secrets="|".join(SECRETS))


# --- where hooks lead


@pytest.mark.parametrize(
    ("uri", "secrets", "reason"),
    [
        ("ftp://hooks.example/", SECRETS[0], "must begin with"),
        ("https://", SECRETS[0], "must begin with"),
        ("http://hooks.example/", SECRETS[0], "plain HTTP"),
        ("https://hooks.example/", None, "needs `secrets`"),
        ("https://hooks.example/", "whsec_" + "a" * 32, "v1,whsec_"),
        ("https://hooks.example/", "v1,whsec_short", "v1,whsec_"),
        ("https://hooks.example/", f"{SECRETS[0]}|v1a,whpk_{'a' * 44}:whsk_{'b' * 44}", "v1,whsec_"),
        ("pg-functions://postgres/public", None, "SCHEMA/FUNCTION"),
        ("pg-functions://postgres/public/f/g", None, "SCHEMA/FUNCTION"),
        ("pg-functions://postgres/public/f%22%3b", None, "not the name"),
        ("pg-functions://postgres/public/f();--", None, "not the name"),
        ("pg-functions://postgres/public/" + "f" * 64, None, "not the name"),
        ("https://[::1", SECRETS[0], "not a valid URI"),
    ],
)
async def test_a_hook_that_leads_nowhere_prevents_the_start(
    tmp_path: Path, uri: str, secrets: str | None, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason) as error:
        Hooks(hooks(send_email=HookSettings(uri=uri, secrets=secrets)), OutgoingClient())
    assert error.value.problems[0].key == "auth.hook.send_email"
    (tmp_path / "supabase").mkdir()
    lines = [f"{name} = {json.dumps(value)}" for name, value in (("uri", uri), ("secrets", secrets)) if value]
    (tmp_path / "supabase/config.toml").write_text("\n".join(["[auth.hook.send_email]", *lines]))
    with pytest.raises(ConfigError, match=reason) as error:
        load_settings(tmp_path, {})
    assert error.value.problems[0].key == "auth.hook.send_email"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "host.docker.internal"])
def test_plain_http_is_for_the_own_machine(host: str) -> None:
    assert parse_hook(HookSettings(uri=f"http://{host}:1/hook", secrets=SECRETS[0])) is not None


def test_names_in_an_address_are_percent_decoded() -> None:
    hook = parse_hook(HookSettings(uri="pg-functions://postgres/pub%6Cic/Hook_1"))
    assert (hook.schema, hook.function) == ("public", "Hook_1")


# --- Postgres functions


async def test_a_function_makes_the_claims_of_every_token(start_auth: StartAuth) -> None:
    auth = await start_auth(hook=hooks(custom_access_token=pg_hook("hook")))
    make_function(
        auth,
        "return jsonb_build_object('claims', event->'claims' || jsonb_build_object("
        " 'method', event->>'authentication_method', 'about', event->>'user_id',"
        " 'named', event->'metadata'->>'name', 'from', event->'metadata'->>'ip_address'));",
    )
    user = await auth.a_user()
    session = await auth.sign_in()
    claims = claims_of(session)
    assert claims["method"] == "password"
    assert claims["about"] == claims["sub"] == user["id"]
    assert claims["named"] == "customize-access-token"
    assert claims["from"] == "127.0.0.1"
    assert (await auth.get("/user", token=session["access_token"])).status == 200
    refreshed = await auth.session(
        "/token?grant_type=refresh_token", {"refresh_token": session["refresh_token"]}
    )
    assert claims_of(refreshed)["method"] == "token_refresh"


async def test_json_functions_serve_too_and_quoted_names_are_kept(start_auth: StartAuth) -> None:
    auth = await start_auth(hook=hooks(custom_access_token=pg_hook("Hook")))
    make_function(auth, "return event;", name='"Hook"', kind="json")
    await auth.a_user()
    assert claims_of(await auth.sign_in())["role"] == "authenticated"


BAD_CLAIMS = [
    ("return '{}';", "output claims field is missing"),
    (
        "return jsonb_set(event, '{claims,exp}', '\"soon\"') #- '{claims,aud}';",
        "output claims do not conform to the expected schema: \n"
        "- (root): aud is required\n- exp: Invalid type. Expected: integer, given: string\n",
    ),
    (
        """return '{"claims": 1}';""",
        "output claims do not conform to the expected schema: \n"
        "- (root): Invalid type. Expected: object, given: integer\n",
    ),
    (
        "return jsonb_set(event, '{claims,amr}', '[1]');",
        "output claims do not conform to the expected schema: \n"
        "- amr.0: Must validate at least one schema (anyOf)\n",
    ),
]


async def test_claims_that_no_token_may_have_are_refused(start_auth: StartAuth) -> None:
    auth = await start_auth(hook=hooks(custom_access_token=pg_hook("hook")))
    await auth.a_user()
    for body, message in BAD_CLAIMS:
        make_function(auth, body)
        answer = await auth.post(GRANT, CREDENTIALS)
        assert answer.error == (500, "unexpected_failure")
        assert answer.json["msg"] == message
    assert auth.rows("select id from auth.sessions") == []


BAD_ANSWERS = [
    (
        """return '{"error": {"http_code": 403, "message": "not you"}}';""",
        403,
        "unknown",
        "not you",
    ),
    (
        """return '{"error": {"message": "not you"}}';""",
        500,
        "unexpected_failure",
        "not you",
    ),
    # GoTrue passes over an error that it cannot read and lets the caller in.
    (
        """return '{"error": {"http_code": "403", "message": "not you"}}';""",
        500,
        "unexpected_failure",
        "not you",
    ),
    (
        """return '{"error": {"http_code": 200, "message": "not you"}}';""",
        500,
        "unexpected_failure",
        "not you",
    ),
    ("""return '{"error": "no"}';""", 500, "unexpected_failure", "Error unmarshaling JSON output."),
    (
        """return '{"error": {"message": 1}}';""",
        500,
        "unexpected_failure",
        "Error unmarshaling JSON output.",
    ),
    ("return '[]';", 500, "unexpected_failure", "Error unmarshaling JSON output."),
    ("return '1';", 500, "unexpected_failure", "Error unmarshaling JSON output."),
    (
        "perform 1 / 0; return '{}';",
        500,
        "unexpected_failure",
        "Error running hook URI: pg-functions://postgres/public/hook",
    ),
]


async def test_what_a_function_answers_wrong_is_an_error(start_auth: StartAuth) -> None:
    auth = await start_auth(hook=hooks(before_user_created=pg_hook("hook")))
    for body, status, code, message in BAD_ANSWERS:
        make_function(auth, body)
        answer = await auth.post("/signup", {"email": "new@example.com", "password": PASSWORD})
        assert answer.error == (status, code), body
        assert answer.json["msg"] == message
    assert auth.rows("select id from auth.users") == []


async def test_what_a_function_raises_is_told(start_auth: StartAuth) -> None:
    auth = await start_auth(hook=hooks(before_user_created=pg_hook("hook")))
    make_function(auth, "raise exception 'closed today' using hint = 'come back';")
    body = {"email": "new@example.com", "password": PASSWORD}
    answer = await auth.post("/signup", body)
    assert answer.status == 500
    assert answer.json == {"code": "P0001", "message": "closed today", "hint": "come back"}
    make_function(auth, "raise sqlstate 'PT402' using message = 'pay first';")
    answer = await auth.post("/signup", body)
    assert answer.status == 402
    assert answer.json == {"code": "PT402", "message": "pay first"}
    make_function(auth, "return null;")
    assert (await auth.post("/signup", body)).status == 200


async def test_a_function_that_is_missing_or_forbidden_is_an_error(start_auth: StartAuth) -> None:
    auth = await start_auth(hook=hooks(before_user_created=pg_hook("hook")))
    body = {"email": "new@example.com", "password": PASSWORD}
    assert (await auth.post("/signup", body)).error == (500, "unexpected_failure")
    make_function(auth, "return '{}';")
    auth.rows("revoke execute on function public.hook from supabase_auth_admin")
    assert (await auth.post("/signup", body)).error == (500, "unexpected_failure")
    auth.rows("grant execute on function public.hook to supabase_auth_admin")
    assert (await auth.post("/signup", body)).status == 200


@pytest.mark.long
async def test_a_function_that_hangs_is_ended_and_its_limit_is_its_own(start_auth: StartAuth) -> None:
    auth = await start_auth(
        hook=hooks(before_user_created=pg_hook("hook"), custom_access_token=pg_hook("ending"))
    )
    make_function(auth, "perform pg_sleep(60); return '{}';")
    make_function(
        auth,
        "return jsonb_set(event, '{claims,limit}', to_jsonb(current_setting('statement_timeout')));",
        name="ending",
    )
    body = {"email": "new@example.com", "password": PASSWORD}
    started = time.monotonic()
    answer = await auth.post("/signup", body)
    assert answer.error == (500, "unexpected_failure")
    assert 1.9 < time.monotonic() - started < 6
    make_function(auth, "return '{}';")
    assert claims_of((await auth.post("/signup", body)).json)["limit"] == "2s"
    # A statement of the flow after the hook may take longer: a trigger that sleeps proves it.
    auth.rows(
        "create function public.slow() returns trigger language plpgsql as "
        "$$ begin perform pg_sleep(2.2); return new; end $$"
    )
    auth.rows("create trigger slow before insert on auth.users for each row execute function public.slow()")
    slow = await auth.post("/signup", {"email": "slow@example.com", "password": PASSWORD})
    assert slow.status == 200


# --- the hooks


async def test_the_hook_before_a_new_user_sees_and_refuses(start_auth: StartAuth) -> None:
    auth = await start_auth(hook=hooks(before_user_created=pg_hook("hook")), enable_anonymous_sign_ins=True)
    make_function(
        auth,
        "if event->'user'->>'email' like '%%@example.com' then return '{}'; end if;"
        " return jsonb_build_object('error', jsonb_build_object('http_code', 403, 'message',"
        " coalesce(nullif(event->'user'->>'email', ''), event->'user'->>'is_anonymous')));",
    )
    assert (await auth.post("/signup", {"email": "a@example.com", "password": PASSWORD})).status == 200
    for target, body, message in (
        ("/signup", {"email": "a@example.org", "password": PASSWORD}, "a@example.org"),
        ("/signup", {}, "true"),
        ("/otp", {"email": "b@example.org"}, "b@example.org"),
        ("/magiclink", {"email": "c@example.org"}, "c@example.org"),
    ):
        answer = await auth.post(target, body)
        assert answer.error == (403, "unknown")
        assert answer.json["msg"] == message
    invited = await auth.admin("POST", "/invite", {"email": "d@example.org"})
    assert invited.error == (403, "unknown")
    made = await auth.admin("POST", "/admin/users", {"email": "e@example.org"})
    assert made.status == 200  # administrators are not asked
    assert len(auth.rows("select id from auth.users")) == 2


async def test_the_hook_after_a_new_user_finds_it_in_the_database(start_auth: StartAuth) -> None:
    auth = await start_auth(hook=hooks(after_user_created=pg_hook("hook")), enable_anonymous_sign_ins=True)
    auth.rows("create table public.told (email text, identities int, is_there bool, xact text)")
    auth.rows("grant insert on public.told to supabase_auth_admin")
    make_function(
        auth,
        "insert into public.told select event->'user'->>'email',"
        " jsonb_array_length(event->'user'->'identities'),"
        " exists (select from auth.users where id = (event->'user'->>'id')::uuid"
        "     and xmin::text <> pg_current_xact_id()::xid::text), '';"
        " return '{}';",
    )
    await auth.post("/signup", {"email": "a@example.com", "password": PASSWORD})
    await auth.post("/signup", {"email": "a@example.com", "password": PASSWORD})  # nobody new
    await auth.post("/signup", {})
    await auth.post("/otp", {"email": "b@example.com"})
    await auth.post("/otp", {"email": "b@example.com"})
    await auth.admin("POST", "/invite", {"email": "c@example.com"})
    await auth.admin("POST", "/admin/generate_link", {"type": "magiclink", "email": "d@example.com"})
    told = auth.rows("select email, identities, is_there from public.told")
    assert [tuple(row.values()) for row in told] == [
        ("a@example.com", 1, True),
        ("", 0, True),
        ("b@example.com", 1, True),
        ("c@example.com", 1, True),
        ("d@example.com", 1, True),
    ]


async def test_a_failing_hook_after_a_new_user_leaves_the_user(start_auth: StartAuth) -> None:
    auth = await start_auth(hook=hooks(after_user_created=pg_hook("hook")))
    make_function(auth, """return '{"error": {"http_code": 422, "message": "no room"}}';""")
    answer = await auth.post("/signup", {"email": "a@example.com", "password": PASSWORD})
    assert answer.error == (422, "unknown")
    assert len(auth.rows("select id from auth.users")) == 1


async def test_the_hook_of_passwords_counts_and_refuses(start_auth: StartAuth) -> None:
    auth = await start_auth(hook=hooks(password_verification_attempt=pg_hook("hook")))
    auth.rows("create table public.tries (valid bool)")
    auth.rows("grant select, insert on public.tries to supabase_auth_admin")
    make_function(
        auth,
        "insert into public.tries values ((event->>'valid')::bool);"
        " if (select count(*) from public.tries where not valid) < 3 then"
        """    return '{"decision": "continue"}';"""
        " end if;"
        """ return '{"decision": "reject", "message": "enough", "should_logout_user": true}';""",
    )
    await auth.a_user()
    await auth.a_user("other@example.com")
    session = await auth.sign_in()
    await auth.sign_in("other@example.com")
    wrong = {**CREDENTIALS, "password": "wrong password"}
    assert (await auth.post(GRANT, wrong)).json["msg"] == "Invalid login credentials"
    assert (await auth.post(GRANT, {**wrong, "email": "nobody@example.com"})).status == 400
    assert (await auth.post(GRANT, wrong)).json["msg"] == "Invalid login credentials"
    assert (await auth.get("/user", token=session["access_token"])).status == 200
    refused = await auth.post(GRANT, wrong)
    assert refused.error == (400, "invalid_credentials")
    assert refused.json["msg"] == "enough"
    assert (await auth.get("/user", token=session["access_token"])).error == (403, "session_not_found")
    assert len(auth.rows("select id from auth.sessions")) == 1
    refused = await auth.post(GRANT, CREDENTIALS)  # the right one too
    assert refused.json["msg"] == "enough"
    tries = auth.rows("select valid from public.tries")
    assert [row["valid"] for row in tries] == [True, True, False, False, False, True]


async def test_what_the_hook_of_passwords_wrote_stays_when_it_answers_with_an_error(
    start_auth: StartAuth,
) -> None:
    auth = await start_auth(hook=hooks(password_verification_attempt=pg_hook("hook")))
    auth.rows("create table public.tries (valid bool)")
    auth.rows("grant insert on public.tries to supabase_auth_admin")
    make_function(
        auth,
        "insert into public.tries values ((event->>'valid')::bool);"
        """ return '{"error": {"http_code": 429, "message": "slowly"}}';""",
    )
    await auth.a_user()
    answer = await auth.post(GRANT, CREDENTIALS)
    assert answer.error == (429, "unknown")
    assert len(auth.rows("select valid from public.tries")) == 1


async def test_the_default_words_of_a_rejection_are_gotrues(start_auth: StartAuth) -> None:
    auth = await start_auth(hook=hooks(password_verification_attempt=pg_hook("hook")))
    make_function(auth, """return '{"decision": "reject"}';""")
    await auth.a_user()
    answer = await auth.post(GRANT, CREDENTIALS)
    assert answer.error == (400, "invalid_credentials")
    assert answer.json["msg"] == "Further password verification attempts will be rejected."


# --- HTTP


async def test_an_endpoint_gets_a_signed_request(
    start_auth: StartAuth, endpoint: tuple[Webhook, str]
) -> None:
    service, url = endpoint
    service.replies = [json_reply({}, content_type="application/json; charset=utf-8")]
    auth = await start_auth(hook=hooks(before_user_created=http_hook(f"{url}/hook?key=1")))
    body = {"email": "new@example.com", "password": PASSWORD, "data": {"name": "Ann"}}
    assert (await auth.post("/signup", body)).status == 200
    assert service.rejected == []
    [payload] = service.payloads
    assert payload["user"]["email"] == "new@example.com"
    assert payload["user"]["user_metadata"] == {"name": "Ann"}
    assert PASSWORD not in str(payload)
    metadata = payload["metadata"]
    assert set(metadata) == {"uuid", "time", "name", "ip_address"}
    assert metadata["name"] == "before-user-created"
    assert service.requests[0].path == "/hook?key=1"
    assert len(service.requests[0].headers["webhook-signature"].split(" ")) == 2


async def test_an_answer_without_content_is_an_approval(
    start_auth: StartAuth, endpoint: tuple[Webhook, str]
) -> None:
    service, url = endpoint
    service.replies = [Reply(204), json_reply(None), json_reply({}, 202)]
    auth = await start_auth(hook=hooks(before_user_created=http_hook(url)))
    for number in range(3):
        body = {"email": f"new{number}@example.com", "password": PASSWORD}
        assert (await auth.post("/signup", body)).status == 200
    assert len(service.payloads) == 3


BAD_REPLIES = [
    (Reply(500), 500, "unexpected_failure", "Unexpected status code returned from hook: 500"),
    (Reply(400), 500, "unexpected_failure", "Invalid payload sent to hook"),
    (Reply(401), 500, "unexpected_failure", "Hook requires authorization token"),
    (Reply(429), 500, "unexpected_failure", "Service currently unavailable due to hook"),
    (Reply(503), 500, "unexpected_failure", "Service currently unavailable due to hook"),
    (
        Reply(307, b"", {"location": "/elsewhere"}),
        500,
        "unexpected_failure",
        "Unexpected status code returned from hook: 307",
    ),
    (
        Reply(200, b"{}"),
        400,
        "hook_payload_invalid_content_type",
        "Invalid Content-Type: Missing Content-Type header",
    ),
    (
        Reply(200, b"{}", {"content-type": "text/html"}),
        400,
        "hook_payload_invalid_content_type",
        "Invalid JSON response. Received content-type: text/html",
    ),
    (
        Reply(200, b" " * (200 * 1024 + 1), {"content-type": "application/json"}),
        422,
        "hook_payload_over_size_limit",
        "Payload size exceeded size limit of 204800 bytes",
    ),
    (
        Reply(200, b"<html>", {"content-type": "application/json"}),
        500,
        "unexpected_failure",
        "Error unmarshaling JSON output.",
    ),
    (json_reply([]), 500, "unexpected_failure", "Error unmarshaling JSON output."),
    (json_reply({"error": {"http_code": 451, "message": "the law"}}), 451, "unknown", "the law"),
]


async def test_what_an_endpoint_answers_wrong_is_an_error(
    start_auth: StartAuth, endpoint: tuple[Webhook, str]
) -> None:
    service, url = endpoint
    auth = await start_auth(hook=hooks(before_user_created=http_hook(url)))
    for reply, status, code, message in BAD_REPLIES:
        service.requests.clear()
        service.replies = [reply]
        answer = await auth.post("/signup", {"email": "new@example.com", "password": PASSWORD})
        assert answer.error == (status, code), reply
        assert answer.json["msg"] == message
        assert len(service.requests) == 1
    assert auth.rows("select id from auth.users") == []


@pytest.mark.long
async def test_a_slow_endpoint_is_given_up(start_auth: StartAuth, endpoint: tuple[Webhook, str]) -> None:
    service, url = endpoint

    def slow(payload: Any) -> Reply:
        time.sleep(6)
        return json_reply({})

    service.replies = [slow]
    auth = await start_auth(hook=hooks(before_user_created=http_hook(url)))
    started = time.monotonic()
    answer = await auth.post("/signup", {"email": "new@example.com", "password": PASSWORD})
    assert answer.error == (422, "hook_timeout")
    assert answer.json["msg"] == "Failed to reach hook within maximum time of 5.000000 seconds"
    assert 4.5 < time.monotonic() - started < 5.8


async def test_a_busy_endpoint_is_asked_again(start_auth: StartAuth, endpoint: tuple[Webhook, str]) -> None:
    service, url = endpoint
    service.replies = [Reply(429, b"", {"retry-after": "1"}), json_reply({})]
    auth = await start_auth(hook=hooks(before_user_created=http_hook(url)))
    answer = await auth.post("/signup", {"email": "new@example.com", "password": PASSWORD})
    assert answer.status == 200
    assert service.times[1] - service.times[0] >= 1
    identifiers = {request.headers["webhook-id"] for request in service.requests}
    assert len(identifiers) == 2
    assert service.rejected == []


async def test_an_endpoint_that_stays_busy_is_given_up(
    start_auth: StartAuth, endpoint: tuple[Webhook, str]
) -> None:
    service, url = endpoint
    service.replies = [Reply(503, b"", {"retry-after": "0"})]
    auth = await start_auth(hook=hooks(before_user_created=http_hook(url)))
    body = {"email": "new@example.com", "password": PASSWORD}
    answer = await auth.post("/signup", body)
    assert answer.error == (500, "unexpected_failure")
    assert answer.json["msg"] == "Service currently unavailable due to hook"
    assert len(service.requests) == 3
    service.requests.clear()
    service.replies = [Reply(503, b"", {"retry-after": "3600"})]  # longer than there is time
    started = time.monotonic()
    assert (await auth.post("/signup", body)).status == 500
    assert time.monotonic() - started < 2
    assert len(service.requests) == 1


@pytest.mark.long
async def test_an_endpoint_that_is_not_there_is_tried_three_times(start_auth: StartAuth) -> None:
    with webhook(Webhook(SECRETS)) as url:
        pass
    auth = await start_auth(hook=hooks(before_user_created=http_hook(url)))
    started = time.monotonic()
    answer = await auth.post("/signup", {"email": "new@example.com", "password": PASSWORD})
    assert answer.error == (422, "hook_timeout_after_retry")
    assert answer.json["msg"] == "Failed to reach hook after maximum retries"
    assert 3.9 < time.monotonic() - started < 5.5


async def test_each_run_is_logged_without_its_payload(
    start_auth: StartAuth, endpoint: tuple[Webhook, str], capsys: pytest.CaptureFixture[str]
) -> None:
    service, url = endpoint
    service.replies = [json_reply({"error": {"http_code": 403, "message": "private words"}})]
    auth = await start_auth(hook=hooks(before_user_created=http_hook(f"{url}/hook?key=topsecret")))
    await auth.post("/signup", {"email": "new@example.com", "password": PASSWORD})
    logged = capsys.readouterr().err
    [line] = [line for line in logged.splitlines() if "hook_ran" in line]
    assert '"hook":"before_user_created"' in line
    assert f'"target":"{url}/hook"' in line
    assert '"outcome":"unknown"' in line
    for private in ("topsecret", "new@example.com", "private words", "whsec"):
        assert private not in logged
