"""`/notify/v1` over the network: events, previews, providers' webhooks."""

import json
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from psycopg.types.json import Jsonb

from basalt.functions.queue import Notify
from basalt.notify.routes import ROUTES
from tests.fakes.resend import sign_event
from tests.notify.conftest import Connection, a_user
from tests.server import Server

pytestmark = [pytest.mark.req("P13", "H21")]


@pytest.fixture
def ann(sql: Connection) -> UUID:
    return a_user(sql, f"{uuid4()}@example.com")


def until(check: Callable[[], Any], limit_s: float = 15) -> Any:
    """What `check` gives as soon as that is something."""
    end = time.monotonic() + limit_s
    while not (found := check()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return found


def post(
    server: Server, path: str, body: object, *, service: str = "/notify/v1", **headers: str
) -> httpx2.Response:
    """As ASCII, which holds half a letter too."""
    with server.client(server.secret_key) as client:
        named = {"content-type": "application/json", **headers}
        return client.post(f"{service}{path}", content=json.dumps(body), headers=named)


def test_an_event_reaches_its_recipient(notified: Server, sql: Connection, ann: UUID) -> None:
    body = {
        "event_type": "greeting",
        "subject_id": str(ann),
        "context": {"name": "Ann"},
        "dedup_key": str(ann),
        "channels": ["in_app"],
    }
    answer = post(notified, "/events", body, **{"x-request-id": "request-7"})
    assert answer.status_code == 202, answer.text
    event_id = answer.json()["id"]
    assert answer.headers["location"] == f"/notify/v1/events/{event_id}"
    assert post(notified, "/events", body).json() == {"id": event_id}

    def shown() -> Any:
        with notified.client(notified.secret_key) as client:
            progress = client.get(f"/notify/v1/events/{event_id}").json()
        return progress if progress["status"] == "expanded" else None

    progress = until(shown)
    assert (progress["recipients"], progress["failed"], progress["waiting"]) == (1, 0, 0)
    rows = sql.execute(
        "select title, body, type from public.notifications where user_id = %s", [ann]
    ).fetchall()
    assert rows == [("For Ann", "Hello Ann", "greeting")]
    request_id = sql.execute("select request_id from public.notification_events where id = %s", [event_id])
    assert request_id.fetchall() == [("request-7",)]


NESTED: list[Any] = []
for _ in range(400):
    NESTED = [NESTED]
WRONG_EVENTS: dict[str, tuple[dict[str, object], int, str, str]] = {
    "missing variable": (
        {"context": {}},
        400,
        "template_variable_missing",
        "greeting/in_app/en v1: variable 'name'",
    ),
    "type of a variable": (
        {"context": {"name": 1}},
        400,
        "template_variables_invalid",
        "1 is not of type 'string'",
    ),
    "unknown type": ({"event_type": "nope"}, 404, "event_type_not_found", "nope"),
    "channel without template": ({"channels": ["sms"]}, 404, "event_type_not_found", "template for sms"),
    "no channel": ({"channels": []}, 400, "event_invalid", "channels is empty"),
    "unknown channel": (
        {"channels": ["pigeon"]},
        400,
        "notify_request_invalid",
        "Invalid enum value 'pigeon'",
    ),
    "unknown user": ({"subject_id": str(UUID(int=1))}, 404, "event_recipient_not_found", "there is no user"),
    "unknown field": ({"subject": "x"}, 400, "notify_request_invalid", "unknown field `subject`"),
    "no uuid": ({"subject_id": "x"}, 400, "notify_request_invalid", "$.subject_id"),
    "nobody": ({"subject_id": None}, 400, "event_invalid", "a subject_id or an audience"),
    "time without zone": (
        {"expires_at": "2030-01-01T00:00:00"},
        400,
        "event_invalid",
        "expires_at has no time zone",
    ),
    "over": ({"expires_at": "2020-01-01T00:00:00Z"}, 400, "event_invalid", "expires_at is not after"),
    "large context": ({"context": {"name": "x" * 70_000}}, 413, "event_too_large", "more than 65536"),
    "10 MB": ({"context": {"name": "x" * 10_000_000}}, 413, "payload_too_large", "larger than the limit"),
    "deep": ({"context": {"name": "a", "deep": NESTED}}, 400, "event_invalid", "Recursion limit"),
    "long number": ({"context": {"name": "a", "n": 10**30}}, 400, "event_invalid", "64-bit"),
    "a nul in a key": ({"dedup_key": "\0"}, 400, "event_invalid", "NUL"),
    "half a letter": ({"context": {"name": "\ud800"}}, 400, "notify_request_invalid", "body is not"),
    "for ever": ({"expires_at": "9999-12-31T23:59:59Z"}, 400, "event_invalid", "more than ten years ahead"),
    "priority": ({"priority": 10**30}, 400, "notify_request_invalid", "$.priority"),
    "a nul": ({"context": {"name": "\0"}}, 400, "event_invalid", "Unicode escape"),
}


def test_a_wrong_event_is_refused_with_what_is_wrong(notified: Server, sql: Connection, ann: UUID) -> None:
    good = {"event_type": "greeting", "subject_id": str(ann), "context": {"name": "Ann"}}
    for case, (changes, status, code, message) in WRONG_EVENTS.items():
        answer = post(notified, "/events", {**good, **changes})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (status, code), (case, error)
        assert message in error["message"], (case, error)
        assert "max_body_bytes" not in error.get("hint", ""), case  # a larger one would not help here
    for raw in (b"", b"{", b"[" * 100_000, b"\xff", b"[]"):
        with notified.client(notified.secret_key) as client:
            answer = client.post("/notify/v1/events", content=raw)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "notify_request_invalid")
    assert sql.execute("select * from public.notification_events where subject_id = %s", [ann]).rowcount == 0


def test_only_the_projects_own_code_may_issue_events(notified: Server, ann: UUID) -> None:
    with notified.client() as client:
        body = {"email": f"{uuid4()}@example.com", "password": "long enough"}
        token = client.post("/auth/v1/signup", json=body).json()["access_token"]
    admin = [route for route in ROUTES.routes if route.access != "signed"]
    assert len(admin) == 6
    for method, path, *_ in admin:
        for headers in (
            {},
            {"apikey": notified.publishable_key},
            {"apikey": notified.anon_key},
            {"apikey": notified.publishable_key, "authorization": f"Bearer {token}"},
        ):
            answer = httpx2.request(method, f"{notified.url}/notify/v1{path}", headers=headers, json={})
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "notify_forbidden")
        answer = httpx2.request(method, f"{notified.url}/notify/v1{path}", headers={"apikey": "x"}, json={})
        assert answer.status_code == 401
    assert post(notified, "/nothing", {}).json()["error"]["code"] == "notify_route_not_found"
    with notified.client(notified.secret_key) as client:
        for event_id in (str(uuid4()), "x"):
            answer = client.get(f"/notify/v1/events/{event_id}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "event_not_found")
        assert client.get("/notify/v1/events").status_code == 405


def test_a_template_is_tried_out_before_it_is_saved(notified: Server) -> None:
    draft = {
        "channel": "email",
        "locale": "de",
        "subject": "Für {{ name }}",
        "body": "Hallo {{ name }}",
        "html": "<b>{{ name }}</b>",
        "context": {"name": "<Ann>"},
    }
    answer = post(notified, "/preview", draft)
    assert answer.status_code == 200, answer.text
    made = answer.json()
    assert (made["subject"], made["body"], made["html"]) == ("Für <Ann>", "Hallo <Ann>", "<b>&lt;Ann&gt;</b>")
    stored = post(
        notified, "/preview", {"event_type": "greeting", "locale": "fr", "context": {"name": "Ann"}}
    )
    assert (stored.json()["body"], stored.json()["locale"], stored.json()["version"]) == (
        "Hello Ann",
        "en",
        1,
    )
    for body, code in (
        ("{{ nobody }}", "template_variable_missing"),
        ("{{ ''.__class__ }}", "template_failed"),
        (
            "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}",
            "template_too_slow",
        ),
        ("{% for a in range(10000) %}0123456789012345678901234567{% endfor %}", "template_too_long"),
        ("{{", "template_invalid"),
    ):
        error = post(notified, "/preview", {**draft, "body": body}).json()["error"]
        assert error["code"] == code, error
    for strange in (
        {"locale": "a-" * 100_000},
        {"metadata_schema": {"minimum": 10**30}, "context": {"n": 10**40}},
    ):
        assert post(notified, "/preview", {**draft, **strange}).status_code in (200, 400)
    assert post(notified, "/preview", {"event_type": "nope"}).json()["error"]["code"] == "template_not_found"


@pytest.mark.req("H21")
def test_a_template_is_checked_and_saved_and_every_version_is_there(notified: Server) -> None:
    kind = f"saved.{uuid4().hex}"
    text = {
        "event_type": kind,
        "channel": "email",
        "subject": "About {{ title }}",
        "body": "{{ title }}",
        "html": "<b>{{ title }}</b>",
        "metadata_schema": {"required": ["title"], "properties": {"title": {"type": "string"}}},
    }
    saved = post(notified, "/templates", {**text, "context": {"title": "<Sax>"}})
    assert saved.status_code == 201, saved.text
    assert saved.headers["location"] == f"/notify/v1/templates/{kind}/email/en"
    assert saved.json()["preview"] == {
        "subject": "About <Sax>",
        "body": "<Sax>",
        "html": "<b>&lt;Sax&gt;</b>",
    }
    again = post(notified, "/templates", {**text, "body": "New: {{ title }}"}).json()
    assert (saved.json()["version"], again["version"], again["preview"]) == (1, 2, None)
    post(notified, "/templates", {**text, "locale": "de-AT", "body": "Neu"})
    with notified.client(notified.secret_key) as client:
        versions = client.get(f"/notify/v1/templates/{kind}/email/en").json()["versions"]
        assert [(one["version"], one["body"], one["is_active"]) for one in versions] == [
            (2, "New: {{ title }}", True),
            (1, "{{ title }}", True),
        ]
        assert versions[1]["metadata_schema"] == text["metadata_schema"]
        older = client.get(f"/notify/v1/templates/{kind}/email/en", params={"before": 2, "limit": 1}).json()
        assert [one["version"] for one in older["versions"]] == [1]
        listed, place = [], {"event_type": kind, "limit": "1"}
        while True:
            page = client.get("/notify/v1/templates", params=place).json()
            listed += [(one["locale"], one["version"]) for one in page["templates"]]
            if page["next"] is None:
                break
            place["after"] = page["next"]
        assert listed == [("de-AT", 1), ("en", 2)]
        for path, status in (
            (f"/{kind}/sms/en", 404),
            (f"/{kind}/email/%00", 400),
            ("?limit=0", 400),
            ("?limit=²", 400),
            ("?after=x", 400),
        ):
            assert client.get(f"/notify/v1/templates{path}").status_code == status, path


WRONG_TEMPLATES: dict[str, tuple[dict[str, object], int, str, str]] = {
    "cannot be read": ({"body": "{{"}, 400, "template_invalid", "saved.no/email/en v1: line 1"),
    "loops": (
        {
            "body": "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
            "context": {},
        },
        400,
        "template_too_slow",
        "saved.no/email/en v1",
    ),
    "unescapes": (
        {"html": "a\n{% autoescape false %}a{% endautoescape %}"},
        400,
        "template_invalid",
        "line 2: `scope` is not",
    ),
    "leaks": ({"body": "{{ ''.__class__ }}", "context": {}}, 400, "template_failed", "__class__"),
    "variable": ({"body": "{{ nobody }}", "context": {}}, 400, "template_variable_missing", "'nobody'"),
    "schema": ({"metadata_schema": {"pattern": "x"}}, 400, "template_invalid", "'pattern' at $"),
    "context": (
        {"metadata_schema": {"required": ["a"]}, "context": {}},
        400,
        "template_variable_missing",
        "'a'",
    ),
    "event type": ({"event_type": "No Good"}, 400, "template_invalid", "No Good is no name of an event"),
    "channel": ({"channel": "pigeon"}, 400, "notify_request_invalid", "Invalid enum value 'pigeon'"),
    "locale": ({"locale": "english"}, 400, "template_invalid", "english is no language tag"),
    "without subject": ({"subject": None}, 400, "template_invalid", "a mail has one"),
    "html of a text": ({"channel": "sms", "html": "<b>"}, 400, "template_invalid", "for mails only"),
    "a nul": ({"body": "\0"}, 400, "notify_request_invalid", "NUL"),
    "a nul in the schema": ({"metadata_schema": {"title": "\0"}}, 400, "notify_request_invalid", "Unicode"),
    "half a letter": ({"body": "\ud800"}, 400, "notify_request_invalid", "body is not"),
    "long number": ({"metadata_schema": {"minimum": 10**30}}, 400, "template_invalid", "64-bit"),
    "large": ({"body": "x" * 70_000}, 400, "template_invalid", "over 65536 characters"),
    "10 MB": ({"body": "x" * 10_000_000}, 413, "payload_too_large", "larger than the limit"),
}


@pytest.mark.req("H21", "M8")
def test_a_wrong_template_is_refused_with_what_is_wrong_and_not_saved(notified: Server) -> None:
    good = {"event_type": "saved.no", "channel": "email", "subject": "S", "body": "x"}
    for case, (changes, status, code, message) in WRONG_TEMPLATES.items():
        answer = post(notified, "/templates", {**good, **changes})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (status, code), (case, error)
        assert message in error["message"], (case, error)
    with notified.client(notified.secret_key) as client:
        assert client.get("/notify/v1/templates?event_type=saved.no").json()["templates"] == []


@pytest.mark.req("H25", "M8")
def test_a_signed_webhook_updates_the_delivery(notified: Server, sql: Connection, ann: UUID) -> None:
    message_id = str(uuid4())
    sql.execute(
        """
        with event as (
            insert into public.notification_events (event_type, subject_id, status)
            values ('greeting', %(user)s, 'expanded') returning id),
        queued as (
            insert into public.notification_queue (event_id, user_id, channel, address, provider, status, finished_at)
            select id, %(user)s, 'email', 'a@example.com', 'resend', 'sent', now() from event returning id)
        insert into public.notification_deliveries (queue_id, attempt, provider, status, provider_message_id)
        select id, 1, 'resend', 'accepted', %(message)s from queued
        """,
        {"user": ann, "message": message_id},
    )

    def send(kind: str, **changes: str) -> httpx2.Response:
        event = {"type": kind, "created_at": "2026-01-01T10:00:00Z", "data": {"email_id": message_id}}
        headers, body = sign_event(event, sent_at=int(time.time()))
        return httpx2.post(
            f"{notified.url}/notify/v1/webhooks/resend", headers={**headers, **changes}, content=body
        )

    assert send("email.delivered").json() == {"applied": 1, "unknown": 0, "refused": 0}
    forged = send("email.bounced", **{"svix-signature": "v1,AAAA"})
    assert (forged.status_code, forged.json()["error"]["code"]) == (401, "report_forged")
    row = sql.execute(
        "select d.status, q.status from public.notification_deliveries as d"
        " join public.notification_queue as q on q.id = d.queue_id where d.provider_message_id = %s",
        [message_id],
    ).fetchone()
    assert row == ("delivered", "delivered")


@pytest.mark.req("H25", "M8")
def test_a_webhook_that_nobody_reads_names_the_environments_own_section(notified: Server) -> None:
    answer = httpx2.post(f"{notified.url}/notify/v1/webhooks/sendgrid", content=b"[]")
    assert answer.status_code == 404
    assert "[notify.sandbox]" in answer.json()["error"]["hint"]


@pytest.mark.req("P8", "H14")
def test_a_function_issues_events(notified: Server, sql: Connection) -> None:
    with notified.client() as client:
        body = {"email": f"{uuid4()}@example.com", "password": "long enough"}
        session = client.post("/auth/v1/signup", json=body).json()
    with notified.client(token=session["access_token"]) as client:
        answer = client.post("/functions/v1/greet", json={"name": "Ann"})
        assert answer.status_code == 200, answer.text
        refused = client.post("/functions/v1/greet", json={})
        assert refused.status_code == 400
        assert "Variable 'name' is missing" in refused.text
        assert client.post("/functions/v1/greet", json={"name": "x", "undone": True}).status_code == 500
    events = sql.execute(
        "select id::text, context from public.notification_events where subject_id = %s",
        [session["user"]["id"]],
    ).fetchall()
    assert events == [(answer.json()["id"], {"name": "Ann"})]


@pytest.mark.req("M8")
async def test_a_function_that_names_people_and_an_audience_is_told_so() -> None:
    notify = Notify(None, None)  # type: ignore[arg-type]  # it does not come to asking
    with pytest.raises(ValueError, match="one of them"):
        await notify.issue("greeting", user_ids=[UUID(int=1)], audience={"everyone": True})


def test_rest_serves_the_engines_routines_to_the_service_role_only(notified: Server, ann: UUID) -> None:
    call = {"event_type": "greeting", "subject_id": str(ann), "context": {"name": "Ann"}}
    with notified.client(notified.secret_key) as client:
        answer = client.post("/rest/v1/rpc/issue_notification", json=call)
        assert answer.status_code == 200, answer.text
        missing = client.post("/rest/v1/rpc/issue_notification", json={**call, "context": {}})
        assert (missing.status_code, missing.json()["code"]) == (400, "PT400")
        unknown = client.post("/rest/v1/rpc/issue_notification", json={**call, "event_type": "nope"})
        assert unknown.status_code == 404
        for name, status in (("\0", 400), ("\ud800", 400), ("x" * 10_000_000, 413)):
            broken = {**call, "context": {"name": name}}
            refused = post(notified, "/rpc/issue_notification", broken, service="/rest/v1")
            assert refused.status_code == status, refused.text
        assert client.post("/rest/v1/rpc/issue_notification", json=call).status_code == 200
    with notified.client() as client:
        assert client.post("/rest/v1/rpc/issue_notification", json=call).status_code in (401, 403)


@pytest.mark.req("M8")
def test_hostile_templates_in_the_table_hurt_their_own_events_only(
    notified: Server, sql: Connection, ann: UUID
) -> None:
    sql.execute("select public.save_notification_template('hostile', 'in_app', '{{ ''''.__class__ }}')")
    event = {"event_type": "hostile", "subject_id": str(ann)}
    refused = post(notified, "/events", event)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "template_failed")
    row = sql.execute("select public.issue_notification('hostile', %s, %s)", [ann, Jsonb({})]).fetchone()
    assert row is not None

    def failed() -> Any:
        return sql.execute(
            "select error from public.notification_events where id = %s and status = 'failed'", [row[0]]
        ).fetchone()

    assert "__class__" in str(until(failed)[0])
