"""Providers and standings on a running project: queued, retried, and nobody waits for them."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import psycopg
import pytest
from psycopg.rows import dict_row

from basalt.postgres import load_access
from tests.fakes.fcm import FakeFcm
from tests.fakes.mixpanel import TOKEN, FakeMixpanel
from tests.fakes.small_server import small_server
from tests.server import Server, copy_project, running_server

from .conftest import APP, LAT, LNG, App

LIMIT_S = 30


@dataclass
class Running:
    """The app with its worker, and the providers it talks to."""

    server: Server
    fcm: FakeFcm
    mixpanel: FakeMixpanel
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
    fcm, mixpanel = FakeFcm(), FakeMixpanel()
    with small_server(fcm.answer_http1) as fcm.url, small_server(mixpanel.answer) as mixpanel.url:
        project = copy_project(APP, tmp_path_factory.mktemp("deliveries") / "gigwork")
        write_secrets(project, fcm, mixpanel)
        with (
            running_server(project, BASALT_WORKER_MODE="process") as server,
            psycopg.connect(server.database_url, row_factory=dict_row, autocommit=True) as admin,
        ):
            yield Running(server, fcm, mixpanel, App(load_access(project / ".basalt"), admin))


def write_secrets(project: Path, fcm: FakeFcm, mixpanel: FakeMixpanel) -> None:
    lines = [
        f"FCM_SERVICE_ACCOUNT='{fcm.service_account()}'",
        f"FCM_API_URL={fcm.url}",
        f"MIXPANEL_PROJECT_TOKEN={TOKEN}",
        f"MIXPANEL_API_URL={mixpanel.url}",
    ]
    (project / "supabase" / "functions" / ".env").write_text("\n".join(lines) + "\n", "utf-8")


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


@pytest.mark.req("G11")
def test_a_notification_is_pushed_to_each_device_and_sent_as_a_text(running: Running) -> None:
    user_id = a_worker_with_device(running, "phone-a", "tablet-a")
    answer = running.call(
        "send-notification",
        {"userId": user_id, "title": "Shift at nine", "data": {"gig": 7}, "channels": ["push", "sms"]},
    )
    assert answer["channels"] == {"in_app": "stored", "push": "queued", "sms": "queued"}
    wait_until(lambda: len(sent_to(running, "phone-a", "tablet-a")) == 2)
    message = sent_to(running, "phone-a")[0]
    assert message["notification"] == {"title": "Shift at nine", "body": ""}
    assert message["data"] == {"gig": "7"}
    phone = running.app.one("select phone from public.users where id = %s", user_id)
    wait_until(lambda: [text["text"] for text in running.server.inbox(phone)] == ["Shift at nine"])


@pytest.mark.req("G11")
def test_a_push_that_fails_is_tried_again_and_arrives_once(running: Running) -> None:
    user_id = a_worker_with_device(running, "flaky", "steady")
    running.fcm.failures["flaky"] = [(503, "UNAVAILABLE"), (429, "QUOTA_EXCEEDED")]
    running.call("send-notification", {"userId": user_id, "title": "Again"})
    wait_until(lambda: sent_to(running, "flaky"))
    assert len(sent_to(running, "flaky")) == len(sent_to(running, "steady")) == 1


@pytest.mark.req("G11")
def test_a_device_without_the_app_is_forgotten(running: Running) -> None:
    user_id = a_worker_with_device(running, "dead-1", "alive-1")
    running.call("send-notification", {"userId": user_id, "title": "Hello"})
    wait_until(lambda: sent_to(running, "alive-1"))
    tokens = "select count(*) from public.device_tokens where user_id = %s"
    wait_until(lambda: running.count(tokens, user_id) == 1)


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
    waiting = "select count(*) from basalt.jobs where name = 'track-event' and payload ->> 'userId' = %s"
    wait_until(lambda: running.count(waiting, worker) == 0)
    found = events_of(running, worker)
    assert found.count("clocked_out") == found.count("clocked_in") == found.count("gig_applied") == 1


@pytest.mark.req("G11")
def test_no_answer_waits_for_a_provider(running: Running) -> None:
    user_id = a_worker_with_device(running, "slow-phone")
    running.fcm.failures["slow-phone"] = [(503, "UNAVAILABLE")] * 3
    answer = running.call("send-notification", {"userId": user_id, "title": "Now"})
    assert answer["channels"]["push"] == "queued"
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
