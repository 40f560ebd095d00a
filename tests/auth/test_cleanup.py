"""What Auth no longer needs goes, what it needs stays."""

from dataclasses import replace

import pytest

from basalt.auth.cleanup import BATCH, clean_up
from basalt.postgres import LanePool
from tests.auth.conftest import AuthClient

pytestmark = pytest.mark.req("P6")


@pytest.fixture
async def lanes(auth: AuthClient):
    pool = LanePool(auth.access.conninfo("supabase_auth_admin"), name="cleanup")
    await pool.open()
    yield pool
    await pool.close()


async def test_used_tokens_and_ended_sessions_go(auth: AuthClient, lanes: LanePool) -> None:
    await auth.a_user()
    ended, living = [await auth.sign_in() for _ in range(2)]
    await auth.post("/token?grant_type=refresh_token", {"refresh_token": living["refresh_token"]})
    auth.rows("update auth.refresh_tokens set updated_at = now() - interval '25 hours' where revoked")
    auth.rows("update auth.sessions set not_after = now() - interval '25 hours' where refreshed_at is null")
    assert await clean_up(lanes, auth.settings.auth) == 2
    assert len(auth.rows("select 1 from auth.sessions")) == 1
    assert [row["revoked"] for row in auth.rows("select revoked from auth.refresh_tokens")] == [False]
    assert (await auth.get("/user", token=living["access_token"])).status == 200
    assert (await auth.get("/user", token=ended["access_token"])).error == (403, "session_not_found")
    assert await clean_up(lanes, auth.settings.auth) == 0


async def test_abandoned_flows_and_unverified_factors_go(auth: AuthClient, lanes: LanePool) -> None:
    user = await auth.a_user()
    for hours in (1, 25):
        auth.rows(
            "insert into auth.flow_state (id, provider_type, authentication_method, created_at)"
            " values (gen_random_uuid(), 'email', 'otp', now() - make_interval(hours => %s))",
            hours,
        )
        auth.rows(
            "insert into auth.mfa_factors (id, user_id, factor_type, status, created_at, updated_at)"
            " values (gen_random_uuid(), %s, 'totp', 'unverified', now() - make_interval(hours => %s), now())",
            user["id"],
            hours,
        )
        auth.rows(
            "insert into auth.oauth_client_states (id, provider_type, created_at)"
            " values (gen_random_uuid(), 'google', now() - make_interval(hours => %s))",
            hours,
        )
    kept = "select 1 from auth.flow_state union all select 1 from auth.mfa_factors union all"
    assert await clean_up(lanes, auth.settings.auth) == 3
    assert len(auth.rows(f"{kept} select 1 from auth.oauth_client_states")) == 3


async def test_anonymous_users_go_when_a_time_is_set(auth: AuthClient, lanes: LanePool) -> None:
    auth.rows(
        "insert into auth.users (id, is_anonymous, created_at) select gen_random_uuid(), n %% 2 = 0,"
        " now() - interval '31 days' from generate_series(1, %s) as n",
        2 * BATCH + 20,
    )
    settings = replace(auth.settings.auth, enable_anonymous_sign_ins=True)
    assert await clean_up(lanes, settings) == 0
    settings = replace(settings, anonymous_user_retention_days=30)
    assert [await clean_up(lanes, settings) for _ in range(3)] == [BATCH, 10, 0]
    assert len(auth.rows("select 1 from auth.users")) == BATCH + 10
