"""Users managed by a back end: service_role and secret key only."""

from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest

from tests.auth.conftest import PASSWORD, AuthClient

pytestmark = pytest.mark.req("P6")

EMAIL = "ada@example.com"
SOMEBODY = "7c1f6a3e-58d1-4f0a-9b39-0f8f6d1c2b3a"
ADMIN_ROUTES = [
    ("GET", "/admin/users"),
    ("POST", "/admin/users"),
    ("GET", f"/admin/users/{SOMEBODY}"),
    ("PUT", f"/admin/users/{SOMEBODY}"),
    ("DELETE", f"/admin/users/{SOMEBODY}"),
    ("POST", "/admin/generate_link"),
    ("POST", "/invite"),
]


@pytest.mark.req("P4")
@pytest.mark.parametrize(("method", "path"), ADMIN_ROUTES)
async def test_nobody_but_an_administrator_gets_in(auth: AuthClient, method: str, path: str) -> None:
    await auth.a_user()
    token = (await auth.sign_in())["access_token"]
    assert (await auth.send(method, path, {})).error == (401, "no_authorization")
    for key in (auth.keys.anon_key, auth.keys.publishable_key, token):
        assert (await auth.send(method, path, {}, token=key)).error == (403, "not_admin")
    assert (await auth.send(method, path, {}, token="sb_secret_wrong")).error == (403, "bad_jwt")


@pytest.mark.req("P4")
async def test_every_kind_of_administrator_gets_in(auth: AuthClient) -> None:
    custom = auth.keys.sign({"role": "supabase_admin", "sub": "back-end"})
    for token in (auth.keys.service_role_key, auth.keys.secret_key, custom):
        assert (await auth.get("/admin/users", token=token)).status == 200
    alone = await auth.get("/admin/users", headers={"apikey": auth.keys.secret_key})
    assert alone.status == 200


async def test_a_user_is_made_with_everything_an_administrator_may_set(auth: AuthClient) -> None:
    wanted = str(uuid4())
    answer = await auth.admin(
        "POST",
        "/admin/users",
        {
            "id": wanted,
            "email": EMAIL,
            "phone": "+60123456789",
            "password": PASSWORD,
            "email_confirm": True,
            "phone_confirm": True,
            "role": "manager",
            "user_metadata": {"name": "Ada"},
            "app_metadata": {"plan": "pro"},
            "ban_duration": "1h30m",
        },
    )
    user = answer.json
    assert answer.status == 200, answer.body
    assert (user["id"], user["email"], user["phone"], user["role"]) == (
        wanted,
        EMAIL,
        "60123456789",
        "manager",
    )
    assert user["app_metadata"] == {"provider": "email", "providers": ["email", "phone"], "plan": "pro"}
    assert user["user_metadata"] == {"name": "Ada", "email_verified": True}
    assert {identity["provider"] for identity in user["identities"]} == {"email", "phone"}
    assert user["email_confirmed_at"]
    assert user["phone_confirmed_at"]
    assert user["banned_until"]
    shown = (await auth.admin("GET", f"/admin/users/{wanted}")).json
    assert shown == user


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "validation_failed"),
        ({"email": EMAIL}, 422, "email_exists"),
        ({"email": EMAIL.upper()}, 422, "email_exists"),
        ({"phone": "60123456789"}, 422, "phone_exists"),
        ({"email": "b@example.com", "id": "7"}, 400, "validation_failed"),
        ({"email": "b@example.com", "id": "00000000-0000-0000-0000-000000000000"}, 400, "validation_failed"),
        ({"email": "b@example.com", "ban_duration": "soon"}, 400, "validation_failed"),
        ({"email": "b@example.com", "ban_duration": "99999999999999h"}, 400, "validation_failed"),
        ({"email": "b@example.com", "password": "a", "password_hash": "b"}, 400, "validation_failed"),
        ({"email": "b@example.com", "password_hash": "plain"}, 400, "validation_failed"),
        ({"email": "b@example.com", "role": "x" * 300}, 400, "validation_failed"),
    ],
)
async def test_a_user_that_cannot_be_is_refused(
    auth: AuthClient, body: object, status: int, code: str
) -> None:
    await auth.a_user(phone="60123456789")
    assert (await auth.admin("POST", "/admin/users", body)).error == (status, code)


async def test_an_id_is_given_once(auth: AuthClient) -> None:
    user = await auth.a_user()
    body = {"id": user["id"], "email": "b@example.com"}
    assert (await auth.admin("POST", "/admin/users", body)).error == (409, "conflict")


async def test_a_changed_password_or_address_ends_what_was_outstanding(auth: AuthClient) -> None:
    user = await auth.a_user()
    session = await auth.sign_in()
    await auth.post("/recover", {"email": EMAIL})
    code = auth.code(EMAIL)
    body = {"email": "new@example.com", "password": "another password", "app_metadata": {"plan": "pro"}}
    changed = await auth.admin("PUT", f"/admin/users/{user['id']}", body)
    assert changed.json["email"] == "new@example.com"
    assert changed.json["app_metadata"]["plan"] == "pro"
    stale = {"type": "recovery", "email": "new@example.com", "token": code}
    assert (await auth.post("/verify", stale)).error == (403, "otp_expired")
    assert (await auth.get("/user", token=session["access_token"])).error == (403, "session_not_found")
    assert await auth.sign_in("new@example.com", "another password")


async def test_users_are_listed_in_pages(auth: AuthClient) -> None:
    for number in range(5):
        await auth.a_user(f"user{number}@example.com", user_metadata={"full_name": f"User {number}"})
    answer = await auth.admin("GET", "/admin/users?page=2&per_page=2")
    assert [user["email"] for user in answer.json["users"]] == ["user2@example.com", "user1@example.com"]
    assert answer.json["aud"] == "authenticated"
    assert answer.headers["x-total-count"] == "5"
    assert answer.headers["link"] == (
        '</admin/users?page=3&per_page=2>; rel="next", </admin/users?page=3&per_page=2>; rel="last"'
    )
    oldest = await auth.admin("GET", "/admin/users?sort=created_at%20asc&per_page=1")
    assert oldest.json["users"][0]["email"] == "user0@example.com"
    named = await auth.admin("GET", "/admin/users?filter=USER%203")
    assert [user["email"] for user in named.json["users"]] == ["user3@example.com"]
    assert (await auth.admin("GET", "/admin/users?page=999999999")).json["users"] == []


@pytest.mark.parametrize(
    "query",
    ["page=x", "page=-1", "per_page=1e9", "page=99999999999999999999", "sort=email", "sort=created_at+up"],
)
async def test_a_list_that_cannot_be_is_refused(auth: AuthClient, query: str) -> None:
    assert (await auth.admin("GET", f"/admin/users?{query}")).error == (400, "validation_failed")


async def test_a_deleted_user_is_gone_at_once(auth: AuthClient) -> None:
    user = await auth.a_user()
    session = await auth.sign_in()
    assert (await auth.admin("DELETE", f"/admin/users/{user['id']}")).json == {}
    assert (await auth.get("/user", token=session["access_token"])).status == 403
    assert (await auth.admin("GET", f"/admin/users/{user['id']}")).error == (404, "user_not_found")
    assert (await auth.admin("DELETE", "/admin/users/7")).error == (404, "validation_failed")
    assert auth.rows("select 1 from auth.identities") == []


async def test_a_soft_deleted_user_leaves_only_an_id(auth: AuthClient) -> None:
    user = await auth.a_user(phone="60123456789", user_metadata={"name": "Ada"})
    await auth.sign_in()
    await auth.admin("DELETE", f"/admin/users/{user['id']}", {"should_soft_delete": True})
    [row] = auth.rows(
        "select u.*, i.provider_id, i.identity_data from auth.users u join auth.identities i on true"
    )[:1]
    assert row["deleted_at"]
    text = str({name: value for name, value in row.items() if name != "id"})
    assert "ada" not in text.lower().replace("metadata", "")
    assert "60123456789" not in text
    assert auth.rows("select 1 from auth.sessions") == []
    body = {"email": EMAIL, "password": PASSWORD}
    assert (await auth.post("/token?grant_type=password", body)).error == (400, "invalid_credentials")
    assert (await auth.a_user())["id"] != user["id"]


async def test_an_invitation_is_accepted_by_its_link_or_code(auth: AuthClient) -> None:
    invited = await auth.admin("POST", "/invite", {"email": EMAIL, "data": {"team": "blue"}})
    assert invited.json["invited_at"]
    assert invited.json["user_metadata"]["team"] == "blue"
    assert auth.inbox(EMAIL)[0]["kind"] == "invite"
    session = await auth.session("/verify", {"type": "invite", "email": EMAIL, "token": auth.code(EMAIL)})
    token = session["access_token"]
    assert (await auth.send("PUT", "/user", {"password": PASSWORD}, token=token)).status == 200
    assert await auth.sign_in()
    assert (await auth.admin("POST", "/invite", {"email": EMAIL})).error == (422, "email_exists")


@pytest.mark.parametrize(
    ("link_type", "verification_type", "exists"),
    [
        ("signup", "signup", False),
        ("invite", "invite", False),
        ("magiclink", "magiclink", True),
        ("magiclink", "signup", False),
        ("recovery", "recovery", True),
    ],
)
async def test_a_link_is_made_without_a_mail(
    auth: AuthClient, link_type: str, verification_type: str, exists: bool
) -> None:
    if exists:
        await auth.a_user()
    body = {
        "type": link_type,
        "email": EMAIL,
        "password": PASSWORD,
        "redirect_to": "http://127.0.0.1:3000/in",
    }
    made = (await auth.admin("POST", "/admin/generate_link", body)).json
    assert made["verification_type"] == verification_type
    assert made["redirect_to"] == "http://127.0.0.1:3000/in"
    assert made["email"] == EMAIL
    assert auth.inbox() == []
    link = urlsplit(made["action_link"])
    assert parse_qs(link.query)["token"] == [made["hashed_token"]]
    followed = await auth.get(f"/verify?{link.query}")
    assert followed.headers["location"].startswith("http://127.0.0.1:3000/in#access_token=")


async def test_links_for_a_change_of_address_are_made_one_by_one(strict_auth: AuthClient) -> None:
    auth = strict_auth
    await auth.a_user()
    for link_type in ("email_change_current", "email_change_new"):
        body = {"type": link_type, "email": EMAIL, "new_email": "new@example.com"}
        made = (await auth.admin("POST", "/admin/generate_link", body)).json
        assert made["verification_type"] == link_type
        if link_type == "email_change_current":
            current = made
    first = await auth.post("/verify", {"type": "email_change", "token_hash": current["hashed_token"]})
    assert first.json["msg"].startswith("Confirmation link accepted")
    second = {"type": "email_change", "token_hash": made["hashed_token"]}
    assert (await auth.session("/verify", second))["user"]["email"] == "new@example.com"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"type": "recovery", "email": "nobody@example.com"}, 404, "user_not_found"),
        ({"type": "fax", "email": EMAIL}, 400, "validation_failed"),
        ({"type": "signup", "email": EMAIL, "password": PASSWORD}, 422, "email_exists"),
        ({"type": "signup", "email": "new@example.com"}, 400, "validation_failed"),
        ({"type": "email_change_new", "email": EMAIL}, 400, "validation_failed"),
        ({"type": "recovery"}, 400, "validation_failed"),
    ],
)
async def test_a_link_that_cannot_be_is_refused(
    auth: AuthClient, body: object, status: int, code: str
) -> None:
    await auth.a_user()
    assert (await auth.admin("POST", "/admin/generate_link", body)).error == (status, code)


async def test_the_audit_log_is_read_by_pages_and_scopes(auth: AuthClient) -> None:
    await auth.a_user()
    await auth.sign_in()
    answer = await auth.admin("GET", "/admin/audit")
    assert [entry["payload"]["action"] for entry in answer.json] == ["login", "user_signedup"]
    assert set(answer.json[0]) == {"id", "payload", "created_at", "ip_address"}
    assert answer.headers["x-total-count"] == "2"
    page = await auth.admin("GET", "/admin/audit?page=2&per_page=1")
    assert [entry["payload"]["action"] for entry in page.json] == ["user_signedup"]
    for query, found in {
        "author:ada@": ["login"],
        "action:signed": ["user_signedup"],
        "type:account": ["login"],
        "action:%25": [],
        "action:": ["login", "user_signedup"],
    }.items():
        answer = await auth.admin("GET", f"/admin/audit?query={query}")
        assert [entry["payload"]["action"] for entry in answer.json] == found, query
    for query in ("nothing:x", "author"):
        assert (await auth.admin("GET", f"/admin/audit?query={query}")).error == (400, "validation_failed")
    assert (await auth.admin("GET", "/admin/audit?page=x")).error == (400, "validation_failed")
