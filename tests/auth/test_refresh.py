"""Refresh tokens: rotation, clients that come late or together, and tokens in the wrong hands."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from basalt.auth.refresh_tokens import stored_form
from tests.auth.conftest import Answer, AuthClient, StartAuth

pytestmark = pytest.mark.req("P6")


async def refresh(auth: AuthClient, token: str) -> Answer:
    return await auth.post("/token?grant_type=refresh_token", {"refresh_token": token})


def live_tokens(auth: AuthClient) -> list[str]:
    return [row["token"] for row in auth.rows("select token from auth.refresh_tokens where not revoked")]


def age(auth: AuthClient, seconds: int) -> None:
    """Everything that was used, was used so long ago."""
    auth.rows("update auth.refresh_tokens set updated_at = updated_at - make_interval(secs => %s)", seconds)


@pytest.fixture
async def session(auth: AuthClient) -> dict[str, Any]:
    await auth.a_user()
    return await auth.sign_in()


async def test_a_refresh_gives_a_new_token_of_the_same_session(
    auth: AuthClient, session: dict[str, Any]
) -> None:
    answer = await refresh(auth, session["refresh_token"])
    assert answer.status == 200
    assert answer.json["refresh_token"] != session["refresh_token"]
    assert answer.json["user"]["id"] == session["user"]["id"]
    assert live_tokens(auth) == [stored_form(answer.json["refresh_token"])]
    [row] = auth.rows("select refreshed_at, user_agent from auth.sessions")
    assert row["refreshed_at"] is not None
    assert row["user_agent"] == "tests"
    assert len(auth.rows("select 1 from auth.sessions")) == 1


async def test_tokens_are_stored_hashed_only(auth: AuthClient, session: dict[str, Any]) -> None:
    second = (await refresh(auth, session["refresh_token"])).json["refresh_token"]
    [row] = auth.rows(
        "select string_agg(token || coalesce(parent, ''), ' ') as rows from auth.refresh_tokens"
    )
    assert session["refresh_token"] not in row["rows"]
    assert second not in row["rows"]
    stored = stored_form(second)
    assert (await refresh(auth, stored)).error == (400, "validation_failed")
    assert (await refresh(auth, stored[:40])).error == (400, "refresh_token_not_found")


async def test_tokens_that_gotrue_issued_go_on(auth: AuthClient, session: dict[str, Any]) -> None:
    """After a project has moved here: its tokens stand in the table as they are."""
    auth.rows("update auth.refresh_tokens set token = 'aaaabbbbcccc'")
    second = (await refresh(auth, "aaaabbbbcccc")).json["refresh_token"]
    assert (await refresh(auth, "aaaabbbbcccc")).json["refresh_token"] == second
    auth.rows("update auth.refresh_tokens set token = 'ddddeeeeffff' where not revoked")
    assert (await refresh(auth, "aaaabbbbcccc")).json["refresh_token"] == "ddddeeeeffff"


async def test_a_new_jwt_secret_signs_nobody_out(start_auth: StartAuth) -> None:
    """Successors cannot be derived again then: the one that nobody can tell any more gives way."""
    auth = await start_auth(jwt_secret="a" * 40)
    await auth.a_user()
    first = (await auth.sign_in())["refresh_token"]
    lost = (await refresh(auth, first)).json["refresh_token"]
    renewed = await start_auth(jwt_secret="b" * 40)
    again = (await refresh(renewed, first)).json["refresh_token"]
    assert again != lost
    assert live_tokens(auth) == [stored_form(again)]
    assert (await refresh(renewed, again)).status == 200


async def test_only_the_newest_session_of_a_user_is_refreshed(start_auth: StartAuth) -> None:
    defaults = (await start_auth()).settings.auth.sessions
    auth = await start_auth(sessions=replace(defaults, single_per_user=True))
    await auth.a_user()
    old, new = [(await auth.sign_in())["refresh_token"] for _ in range(2)]
    answer = await refresh(auth, old)
    assert answer.error == (400, "session_expired")
    assert answer.json["msg"] == "Invalid Refresh Token: Session Expired (Revoked by Newer Login)"
    assert (await refresh(auth, new)).status == 200
    tagged = await start_auth(sessions=replace(defaults, single_per_user=True, tags=("web", "mobile")))
    auth.rows("update auth.sessions set tag = 'mobile' where refreshed_at is null")
    assert (await refresh(tagged, old)).status == 200


async def test_a_session_without_its_second_factor_ends_early(start_auth: StartAuth) -> None:
    defaults = (await start_auth()).settings.auth.sessions
    auth = await start_auth(sessions=replace(defaults, allow_low_aal_s=600.0))
    user = await auth.a_user()
    session = await auth.sign_in()
    assert session["expires_in"] == 3600
    auth.rows(
        "insert into auth.mfa_factors (id, user_id, factor_type, status, created_at, updated_at)"
        " values (gen_random_uuid(), %s, 'totp', 'verified', now(), now())",
        user["id"],
    )
    renewed = (await refresh(auth, session["refresh_token"])).json
    assert renewed["expires_in"] <= 600
    auth.rows("update auth.sessions set created_at = now() - interval '11 minutes'")
    answer = await refresh(auth, renewed["refresh_token"])
    assert answer.error == (400, "session_expired")
    assert answer.json["msg"].endswith("(Low AAL: User Needs MFA Verification)")


async def test_twenty_clients_that_refresh_one_token_at_once_get_one_token(
    auth: AuthClient, session: dict[str, Any]
) -> None:
    answers = await asyncio.gather(*(refresh(auth, session["refresh_token"]) for _ in range(20)))
    assert [answer.status for answer in answers] == [200] * 20, {answer.body for answer in answers}
    [token] = {answer.json["refresh_token"] for answer in answers}
    assert live_tokens(auth) == [stored_form(token)]
    assert len(auth.rows("select 1 from auth.refresh_tokens")) == 2


async def test_the_parent_of_the_live_token_is_good_however_late(
    auth: AuthClient, session: dict[str, Any]
) -> None:
    lost = (await refresh(auth, session["refresh_token"])).json["refresh_token"]
    age(auth, 3600)
    again = await refresh(auth, session["refresh_token"])
    assert again.status == 200
    assert again.json["refresh_token"] == lost


async def test_within_the_reuse_interval_an_older_token_gives_the_live_one(
    auth: AuthClient, session: dict[str, Any]
) -> None:
    second = (await refresh(auth, session["refresh_token"])).json["refresh_token"]
    third = (await refresh(auth, second)).json["refresh_token"]
    late = await refresh(auth, session["refresh_token"])
    assert late.json["refresh_token"] == third
    assert live_tokens(auth) == [stored_form(third)]


async def test_a_token_that_comes_again_too_late_ends_its_family(
    auth: AuthClient, session: dict[str, Any]
) -> None:
    second = (await refresh(auth, session["refresh_token"])).json["refresh_token"]
    third = (await refresh(auth, second)).json["refresh_token"]
    age(auth, 60)
    stolen = await refresh(auth, session["refresh_token"])
    assert stolen.error == (400, "refresh_token_already_used")
    assert stolen.json["msg"] == "Invalid Refresh Token: Already Used"
    assert live_tokens(auth) == []
    for token in (second, third):
        assert (await refresh(auth, token)).error == (400, "refresh_token_already_used")


async def test_without_rotation_a_reused_token_fails_alone(start_auth: StartAuth) -> None:
    auth = await start_auth(enable_refresh_token_rotation=False)
    await auth.a_user()
    first = (await auth.sign_in())["refresh_token"]
    second = (await refresh(auth, first)).json["refresh_token"]
    third = (await refresh(auth, second)).json["refresh_token"]
    age(auth, 60)
    assert (await refresh(auth, first)).error == (400, "refresh_token_already_used")
    assert (await refresh(auth, third)).status == 200


async def test_sessions_end_by_time_box_and_by_inactivity(start_auth: StartAuth) -> None:
    defaults = (await start_auth()).settings.auth.sessions
    boxed = await start_auth(sessions=replace(defaults, timebox_s=3600.0))
    await boxed.a_user()
    token = (await boxed.sign_in())["refresh_token"]
    boxed.rows("update auth.sessions set created_at = now() - interval '2 hours'")
    answer = await refresh(boxed, token)
    assert answer.error == (400, "session_expired")
    idle = await start_auth(sessions=replace(defaults, inactivity_timeout_s=600.0))
    token = (await idle.sign_in())["refresh_token"]
    assert (await refresh(idle, token)).status == 200
    idle.rows("update auth.sessions set refreshed_at = now() at time zone 'utc' - interval '11 minutes'")
    answer = await refresh(idle, token)
    assert answer.json["msg"] == "Invalid Refresh Token: Session Expired (Inactivity)"


async def test_a_token_of_an_ended_session_is_unknown(auth: AuthClient, session: dict[str, Any]) -> None:
    await auth.post("/logout", token=session["access_token"])
    assert (await refresh(auth, session["refresh_token"])).error == (400, "refresh_token_not_found")


@pytest.mark.parametrize(
    "token", ["", "short", "UPPERCASE123", "x" * 13, "a' or 1=1 --", "aaaaaaaaaaa\u0661"]
)
async def test_what_is_no_refresh_token_is_refused(auth: AuthClient, token: str) -> None:
    assert (await refresh(auth, token)).error == (400, "validation_failed")


async def test_a_well_formed_unknown_token_is_not_found(auth: AuthClient) -> None:
    assert (await refresh(auth, "aaaabbbbcccc")).error == (400, "refresh_token_not_found")
