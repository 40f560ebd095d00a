"""Sign-in by password: seeds, imports, bans, wrong passwords, and what the access token says."""

import statistics
import time

import bcrypt
import jwt
import pytest
from argon2 import PasswordHasher

from tests.auth.conftest import PASSWORD, AuthClient, StartAuth

pytestmark = pytest.mark.req("P6")

GRANT = "/token?grant_type=password"


async def test_the_access_token_holds_gotrues_claims(auth: AuthClient) -> None:
    user = await auth.a_user(user_metadata={"full_name": "Ada"})
    session = await auth.sign_in()
    claims = jwt.decode(
        session["access_token"], auth.keys.jwt_secret, algorithms=["HS256"], audience="authenticated"
    )
    issued_at = claims.pop("iat")
    [method] = claims.pop("amr")
    session_id = claims.pop("session_id")
    assert method["method"] == "password"
    assert isinstance(method["timestamp"], int)
    assert str(auth.rows("select id from auth.sessions")[0]["id"]) == session_id
    assert claims == {
        "iss": f"{auth.settings.api_url}/auth/v1",
        "sub": user["id"],
        "aud": "authenticated",
        "exp": issued_at + 3600,
        "email": "ada@example.com",
        "phone": "",
        "app_metadata": {"provider": "email", "providers": ["email"]},
        "user_metadata": {"full_name": "Ada", "email_verified": True},
        "role": "authenticated",
        "aal": "aal1",
        "is_anonymous": False,
    }
    assert session["expires_at"] == claims["exp"]
    assert session["user"]["last_sign_in_at"]


@pytest.mark.req("P4")
async def test_asymmetric_keys_sign_and_are_published(start_auth: StartAuth) -> None:
    auth = await start_auth(jwt_algorithm="ES256")
    await auth.a_user()
    session = await auth.sign_in()
    answer = await auth.get("/.well-known/jwks.json")
    assert answer.headers["cache-control"] == "public, max-age=600"
    keys = jwt.PyJWKSet.from_dict(answer.json)
    header = jwt.get_unverified_header(session["access_token"])
    claims = jwt.decode(
        session["access_token"], keys[header["kid"]].key, algorithms=["ES256"], audience="authenticated"
    )
    assert claims["sub"] == session["user"]["id"]
    assert all("d" not in key for key in answer.json["keys"])
    assert (await auth.get("/user", token=session["access_token"])).status == 200


async def test_a_user_of_a_seed_signs_in(auth: AuthClient) -> None:
    auth.rows(
        """insert into auth.users (instance_id, id, aud, role, email, encrypted_password, email_confirmed_at,
            raw_app_meta_data, raw_user_meta_data, created_at, updated_at)
        values ('00000000-0000-0000-0000-000000000000', gen_random_uuid(), 'authenticated', 'authenticated',
            'seed@example.com', extensions.crypt('seeded', extensions.gen_salt('bf')), now(),
            '{"provider":"email","providers":["email"]}', '{}', now(), now())"""
    )
    session = await auth.sign_in("seed@example.com", "seeded")
    assert session["user"]["identities"] == []
    assert session["user"]["app_metadata"] == {"provider": "email", "providers": ["email"]}
    refreshed = await auth.post(
        "/token?grant_type=refresh_token", {"refresh_token": session["refresh_token"]}
    )
    assert refreshed.status == 200
    assert (await auth.get("/user", token=refreshed.json["access_token"])).status == 200


async def test_the_barest_row_that_can_sign_in_does(auth: AuthClient) -> None:
    auth.rows(
        """insert into auth.users (id, email, encrypted_password, email_confirmed_at)
        values (gen_random_uuid(), 'bare@example.com',
            extensions.crypt('seeded', extensions.gen_salt('bf')), now())"""
    )
    session = await auth.sign_in("BARE@example.com", "seeded")
    assert session["user"]["app_metadata"] == {}
    assert session["user"]["created_at"]


async def test_a_ban_without_end_is_understood(auth: AuthClient) -> None:
    user = await auth.a_user()
    auth.rows("update auth.users set banned_until = 'infinity'")
    assert (await auth.post(GRANT, {"email": user["email"], "password": PASSWORD})).error == (
        400,
        "user_banned",
    )


@pytest.mark.parametrize(
    "stored",
    [
        bcrypt.hashpw(b"imported", bcrypt.gensalt(4, prefix=b"2a")).decode(),
        bcrypt.hashpw(b"imported", bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$"),
        PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash("imported"),
    ],
    ids=["bcrypt-2a", "bcrypt-2y", "argon2id"],
)
async def test_imported_hashes_sign_in(auth: AuthClient, stored: str) -> None:
    made = await auth.admin(
        "POST",
        "/admin/users",
        {"email": "import@example.com", "password_hash": stored, "email_confirm": True},
    )
    assert made.status == 200, made.body
    assert (await auth.sign_in("import@example.com", "imported"))["user"]["id"] == made.json["id"]
    wrong = await auth.post(GRANT, {"email": "import@example.com", "password": "exported"})
    assert wrong.error == (400, "invalid_credentials")


async def test_unknown_user_wrong_password_and_no_password_are_one_answer(auth: AuthClient) -> None:
    await auth.a_user()
    await auth.post("/otp", {"email": "codes-only@example.com"})
    bodies = []
    for email in ("nobody@example.com", "ada@example.com", "codes-only@example.com", "not an address"):
        answer = await auth.post(GRANT, {"email": email, "password": "wrong password"})
        assert answer.error == (400, "invalid_credentials")
        bodies.append(answer.body)
    assert len(set(bodies)) == 1
    assert auth.sent[-1].json["msg"] == "Invalid login credentials"


async def test_an_unknown_user_costs_a_hash_too(start_auth: StartAuth) -> None:
    auth = await start_auth()
    auth.service._passwords._nobody = bcrypt.hashpw(b"nobody", bcrypt.gensalt(9)).decode()
    auth.rows(
        """insert into auth.users (id, email, encrypted_password, email_confirmed_at)
        values (gen_random_uuid(), 'known@example.com', %s, now())""",
        bcrypt.hashpw(b"known", bcrypt.gensalt(9)).decode(),
    )

    async def median_s(email: str) -> float:
        times = []
        for _ in range(7):
            started = time.perf_counter()
            await auth.post(GRANT, {"email": email, "password": "wrong password"})
            times.append(time.perf_counter() - started)
        return statistics.median(times)

    known, unknown = await median_s("known@example.com"), await median_s("nobody@example.com")
    assert 0.5 < known / unknown < 2


async def test_a_banned_user_is_told_so_only_with_the_right_password(auth: AuthClient) -> None:
    user = await auth.a_user()
    session = await auth.sign_in()
    banned = await auth.admin("PUT", f"/admin/users/{user['id']}", {"ban_duration": "24h"})
    assert banned.json["banned_until"]
    wrong = await auth.post(GRANT, {"email": "ada@example.com", "password": "wrong password"})
    assert wrong.error == (400, "invalid_credentials")
    right = await auth.post(GRANT, {"email": "ada@example.com", "password": PASSWORD})
    assert right.error == (400, "user_banned")
    gone = await auth.get("/user", token=session["access_token"])
    assert gone.status == 403
    refused = await auth.post("/token?grant_type=refresh_token", {"refresh_token": session["refresh_token"]})
    assert refused.status == 400
    lifted = await auth.admin("PUT", f"/admin/users/{user['id']}", {"ban_duration": "none"})
    assert "banned_until" not in lifted.json
    assert await auth.sign_in()


async def test_a_password_that_todays_rules_refuse_still_signs_in_and_is_told(start_auth: StartAuth) -> None:
    auth = await start_auth(minimum_password_length=10)
    await auth.admin(
        "POST",
        "/admin/users",
        {"email": "old@example.com", "password": "old one", "email_confirm": True},
    )
    session = await auth.sign_in("old@example.com", "old one")
    assert session["weak_password"]["reasons"] == ["length"]


async def test_passwords_are_read_up_to_bcrypts_limit(auth: AuthClient) -> None:
    await auth.session("/signup", {"email": "long@example.com", "password": "é" * 36})
    assert await auth.sign_in("long@example.com", "é" * 36)


@pytest.mark.parametrize(
    ("target", "body", "status", "code"),
    [
        (GRANT, {"password": PASSWORD}, 400, "validation_failed"),
        (
            GRANT,
            {"email": "a@example.com", "phone": "60123456789", "password": "x"},
            400,
            "validation_failed",
        ),
        ("/token", {"email": "a@example.com", "password": "x"}, 400, "invalid_credentials"),
        ("/token?grant_type=implicit", {}, 400, "invalid_credentials"),
        ("/token?grant_type=pkce", {}, 400, "validation_failed"),
        ("/token?grant_type=pkce", {"auth_code": "a", "code_verifier": "b"}, 404, "flow_state_not_found"),
    ],
)
async def test_a_grant_that_is_not_complete_is_refused(
    auth: AuthClient, target: str, body: object, status: int, code: str
) -> None:
    assert (await auth.post(target, body)).error == (status, code)
