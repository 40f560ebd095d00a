"""Providers and standings on a running project: queued, retried, and nobody waits for them."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import psycopg
import pytest
from psycopg.rows import dict_row

from basalt.postgres import load_access
from tests.fakes.fcm import FakeFcm
from tests.fakes.http2_server import http2_server
from tests.fakes.mixpanel import TOKEN, FakeMixpanel
from tests.fakes.small_server import small_server
from tests.fakes.twilio import ACCOUNT, FakeTwilio
from tests.fakes.twilio import TOKEN as TWILIO_TOKEN
from tests.server import Server, copy_project, running_server

from .conftest import APP, LAT, LNG, App

LIMIT_S = 30


@dataclass
class Running:
    """The app with its worker, and the providers it talks to."""

    server: Server
    fcm: FakeFcm
    mixpanel: FakeMixpanel
    twilio: FakeTwilio
    app: App

    def call(self, function: str, body: dict[str, Any] | None = None, **headers: str) -> Any:
        """A function called as the service role."""
        with self.server.client(self.server.secret_key) as client:
            answer = client.post(f"/functions/v1/{function}", json=body or {}, headers=headers)
            assert answer.status_code == 200, answer.text
            return answer.json()

    def count(self, sql: str, *parameters: Any) -> int:
        return int(self.app.one(sql, *parameters))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    fcm, mixpanel, twilio = FakeFcm(), FakeMixpanel(), FakeTwilio()
    with ExitStack() as stack:
        for fake, answer in ((fcm, fcm.grant), (mixpanel, mixpanel.answer), (twilio, twilio.answer)):
            fake.url = stack.enter_context(small_server(answer))
        fcm_url = stack.enter_context(serving_http2(fcm))
        project = copy_project(APP, tmp_path_factory.mktemp("deliveries") / "gigwork")
        leave_the_inbox(project, fcm, fcm_url, mixpanel, twilio)
        server = stack.enter_context(running_server(project, BASALT_WORKER_MODE="process"))
        admin = stack.enter_context(
            psycopg.connect(server.database_url, row_factory=dict_row, autocommit=True)
        )
        app = App(load_access(project / ".basalt"), admin)
        stack.callback(app.close)
        yield Running(server, fcm, mixpanel, twilio, app)


@contextmanager
def serving_http2(fcm: FakeFcm) -> Iterator[str]:
    """Messages for FCM come over HTTP/2, which a loop of its own serves."""
    url: list[str] = []
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with http2_server(fcm.answer) as server:
            url.append(server.url)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(LIMIT_S)
    try:
        yield url[0]
    finally:
        done.set()
        thread.join(LIMIT_S)


def leave_the_inbox(
    project: Path, fcm: FakeFcm, fcm_url: str, mixpanel: FakeMixpanel, twilio: FakeTwilio
) -> None:
    config = project / "supabase" / "config.toml"
    text = config.read_text("utf-8").replace(
        'environment = "inbox"', 'environment = "sandbox"\nfirst_delay = "100ms"'
    )
    sandbox = f"""
[notify.sandbox.fcm]
service_account = '''{fcm.service_account()}'''
api_url = "{fcm_url}"

[notify.sandbox.twilio]
account_sid = "{ACCOUNT}"
auth_token = "{TWILIO_TOKEN}"
from = "+15005550006"
api_url = "{twilio.url}"

[notify.sandbox.mixpanel]
token = "{TOKEN}"
api_url = "{mixpanel.url}"
"""
    config.write_text(text + sandbox, "utf-8")


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def a_worker_with_device(running: Running, *tokens: str) -> str:
    user_id = running.app.a_user()
    for token in tokens:
        running.app.call(user_id, "register_device", p_token=token, p_platform="android")
    return user_id


@pytest.mark.req("G7", "G11")
def test_a_message_is_under_the_bell_on_each_device_and_a_text(running: Running) -> None:
    user_id = a_worker_with_device(running, "phone-a", "tablet-a")
    answer = running.call(
        "send-notification",
        {"userId": user_id, "title": "Shift at nine", "data": {"gig": 7}, "channels": ["push", "sms"]},
    )
    assert answer["success"] is True
    wait_until(lambda: len(sent_to(running, "phone-a", "tablet-a")) == 2)
    message = sent_to(running, "phone-a")[0]
    assert message["notification"] == {"title": "Shift at nine", "body": ""}
    assert (message["data"]["gig"], message["data"]["kind"]) == ("7", "general")
    phone = running.app.one("select '+' || phone from public.users where id = %s", user_id)
    wait_until(
        lambda: [text["Body"] for text in running.twilio.sent if text["To"] == phone] == ["Shift at nine"]
    )
    token = token_of(running.server, user_id)
    with running.server.client(token=token) as client:
        bell = client.get("/rest/v1/notifications", params={"select": "title,data,read_at"}).json()
    assert [(row["title"], row["data"]["gig"], row["read_at"]) for row in bell] == [
        ("Shift at nine", 7, None)
    ]


@pytest.mark.req("G11")
def test_a_push_that_fails_is_tried_again_and_arrives_once_and_nothing_takes_its_place(
    running: Running,
) -> None:
    user_id = a_worker_with_device(running, "flaky", "steady")
    running.fcm.failures["flaky"] = [(503, "UNAVAILABLE"), (500, "INTERNAL")]
    running.call("send-notification", {"userId": user_id, "title": "Again"})
    wait_until(lambda: sent_to(running, "flaky"))
    assert len(sent_to(running, "flaky")) == len(sent_to(running, "steady")) == 1
    assert not [text for text in running.twilio.sent if text["Body"].startswith("Again")]


@pytest.mark.long
@pytest.mark.req("G11")
def test_a_device_without_the_app_is_disabled(running: Running) -> None:
    user_id = a_worker_with_device(running, "dead-1", "alive-1")
    running.call("send-notification", {"userId": user_id, "title": "Hello"})
    wait_until(lambda: sent_to(running, "alive-1"))
    alive = "select count(*) from public.notification_channels where user_id = %s and is_enabled"
    wait_until(lambda: running.count(alive, user_id) == 1)


@pytest.mark.req("G11")
def test_a_new_gig_reaches_a_worker_near_it_in_their_language_and_the_answer_by_text(
    running: Running,
) -> None:
    worker, far = a_worker_with_device(running, "near-phone"), a_worker_with_device(running, "far-phone")
    employer = running.app.a_user(employer=True)
    for person, lat in ((worker, LAT), (far, LAT + 1)):
        with running.server.client(token=token_of(running.server, person)) as client:
            wish = {"user_id": person, "location": f"POINT({LNG} {lat})", "radius_m": 2000}
            prefer = {"prefer": "resolution=merge-duplicates"}
            answers = [client.post("/rest/v1/gig_alerts", json=wish, headers=prefer) for _ in range(2)]
            assert {answer.status_code for answer in answers} <= {200, 201}, answers[-1].text
            language = {"user_id": person, "locale": "ms"}
            assert client.post("/rest/v1/notification_preferences", json=language).status_code == 201
    gig = {
        "employer_id": employer, "title": "Pelayan", "category": "food_service", "hourly_rate": 14,
        "location": f"POINT({LNG} {LAT})", "start_date": "2030-05-01", "end_date": "2030-05-01",
        "status": "open", "published_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    with running.server.client(token=token_of(running.server, employer)) as client:
        made = client.post("/rest/v1/gigs", json=gig, headers={"prefer": "return=representation"})
        assert made.status_code == 201, made.text
    wait_until(lambda: sent_to(running, "near-phone"))
    (push,) = sent_to(running, "near-phone")
    assert push["notification"]["title"] == "Kerja baharu berdekatan anda"
    assert push["notification"]["body"] == "Pelayan, MYR 14.00 sejam, mulai 01.05.2030"
    assert push["data"]["gig_id"] == made.json()[0]["id"]
    assert not sent_to(running, "far-phone")
    application = running.app.call(worker, "apply_to_gig", p_gig_id=push["data"]["gig_id"])["application_id"]
    running.app.call(employer, "decide_application", p_application_id=application, p_decision="accepted")
    phone = running.app.one("select '+' || phone from public.users where id = %s", worker)
    expected = ["Anda diterima: Pelayan: anda mula pada 01.05.2030 jam 09:00"]
    wait_until(lambda: [text["Body"] for text in running.twilio.sent if text["To"] == phone] == expected)
    told = "select count(*) from public.notifications where user_id = %s and type = 'application.new'"
    wait_until(lambda: running.count(told, employer) == 1)


@pytest.mark.req("G11")
@pytest.mark.req("P23")
def test_clocking_out_twice_with_one_key_is_one_clock_out_and_one_event(running: Running) -> None:
    running.mixpanel.outages = 2
    gig_id = running.app.a_gig()
    worker = running.app.an_accepted_worker(gig_id)
    token = token_of(running.server, worker)
    shift = running.app.call(worker, "clock_in", p_gig_id=gig_id, p_lat=LAT, p_lng=LNG)
    body = {"timesheetId": shift["timesheet_id"], "lat": LAT, "lng": LNG}
    with running.server.client(token=token) as client:
        headers = {"Idempotency-Key": f"out-{shift['timesheet_id']}"}
        first, second = (client.post("/functions/v1/clock-out", json=body, headers=headers) for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert first.content == second.content
    assert second.headers["idempotency-replayed"] == "true"
    running.app.balance(worker)
    wait_until(lambda: "clocked_out" in events_of(running, worker))
    wait_until(lambda: "achievement_unlocked" in events_of(running, worker))
    waiting = (
        "select count(*) from basalt.jobs where name = 'basalt.track' and payload ->> 'distinct_id' = %s"
    )
    wait_until(lambda: running.count(waiting, worker) == 0)
    found = events_of(running, worker)
    assert found.count("clocked_out") == found.count("clocked_in") == found.count("gig_applied") == 1


@pytest.mark.req("G11")
def test_no_answer_waits_for_a_provider(running: Running) -> None:
    user_id = a_worker_with_device(running, "slow-phone")
    running.fcm.failures["slow-phone"] = [(503, "UNAVAILABLE")] * 3
    answer = running.call("send-notification", {"userId": user_id, "title": "Now"})
    assert answer["event_id"]
    assert not sent_to(running, "slow-phone")


@pytest.mark.req("G9")
def test_the_standings_are_refreshed_each_hour_of_singapore_and_cached(running: Running) -> None:
    schedule = running.app.admin.execute(
        "select schedule, timezone, active from cron.job where command like '%update-leaderboard%'"
    ).fetchone()
    assert schedule == {"schedule": "0 * * * *", "timezone": "Asia/Singapore", "active": True}
    gig_id = running.app.a_gig()
    worker = running.app.an_accepted_worker(gig_id)
    running.app.admin.execute("select basalt.enqueue('update-leaderboard')")  # what the schedule does
    cached = (
        "select jsonb_path_exists(value, '$[*] ? (@.points_earned >= 10)') from cache.kv_store where key = %s"
    )
    for period in ("daily", "weekly", "monthly", "all_time"):
        wait_until(lambda key=f"leaderboard:{period}": running.app.one(cached, key))  # type: ignore[misc]
    lifetime = (
        "select extract(epoch from expires_at - now()) from cache.kv_store where key = 'leaderboard:weekly'"
    )
    assert 3500 < running.app.one(lifetime) <= 3600
    with running.server.client(token=token_of(running.server, worker)) as client:
        answer = client.get("/functions/v1/leaderboard", params={"period": "weekly"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["standings"][0]["rank"] == 1
        refused = client.get("/functions/v1/leaderboard", params={"period": "hourly"})
        assert refused.json()["error"]["code"] == "VALIDATION_ERROR"


def sent_to(running: Running, *tokens: str) -> list[dict[str, Any]]:
    return [message for message in running.fcm.sent if message["token"] in tokens]


def events_of(running: Running, user_id: str) -> list[str]:
    events = list(running.mixpanel.events.values())
    return [event["event"] for event in events if event["properties"]["distinct_id"] == user_id]


def token_of(server: Server, user_id: str) -> str:
    claims = {"role": "authenticated", "sub": user_id, "aud": "authenticated"}
    return jwt.encode(claims, server.jwt_secret, algorithm="HS256")
