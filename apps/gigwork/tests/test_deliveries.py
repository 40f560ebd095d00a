"""Providers and standings on a running project: queued, retried, and nobody waits for them."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from tests.server import Server

from .acting import LAT, LNG
from .providers import LIMIT_S, Running


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def a_worker_with_device(gigwork: Running, *tokens: str) -> str:
    user_id = gigwork.app.a_user()
    for token in tokens:
        gigwork.app.call(user_id, "register_device", p_token=token, p_platform="android")
    return user_id


@pytest.mark.req("G7", "G11")
def test_a_message_is_under_the_bell_on_each_device_and_a_text(gigwork: Running) -> None:
    user_id = a_worker_with_device(gigwork, "phone-a", "tablet-a")
    answer = gigwork.call(
        "send-notification",
        {"userId": user_id, "title": "Shift at nine", "data": {"gig": 7}, "channels": ["push", "sms"]},
    )
    assert answer["success"] is True
    wait_until(lambda: len(sent_to(gigwork, "phone-a", "tablet-a")) == 2)
    message = sent_to(gigwork, "phone-a")[0]
    assert message["notification"] == {"title": "Shift at nine", "body": ""}
    assert (message["data"]["gig"], message["data"]["kind"]) == ("7", "general")
    phone = gigwork.app.one("select '+' || phone from public.users where id = %s", user_id)
    wait_until(
        lambda: [text["Body"] for text in gigwork.twilio.sent if text["To"] == phone] == ["Shift at nine"]
    )
    token = token_of(gigwork.server, user_id)
    with gigwork.server.client(token=token) as client:
        bell = client.get("/rest/v1/notifications", params={"select": "title,data,read_at"}).json()
    assert [(row["title"], row["data"]["gig"], row["read_at"]) for row in bell] == [
        ("Shift at nine", 7, None)
    ]


@pytest.mark.req("G11")
def test_a_push_that_fails_is_tried_again_and_arrives_once_and_nothing_takes_its_place(
    gigwork: Running,
) -> None:
    user_id = a_worker_with_device(gigwork, "flaky", "steady")
    gigwork.fcm.failures["flaky"] = [(503, "UNAVAILABLE"), (500, "INTERNAL")]
    gigwork.call("send-notification", {"userId": user_id, "title": "Again"})
    wait_until(lambda: sent_to(gigwork, "flaky"))
    assert len(sent_to(gigwork, "flaky")) == len(sent_to(gigwork, "steady")) == 1
    assert not [text for text in gigwork.twilio.sent if text["Body"].startswith("Again")]


@pytest.mark.long
@pytest.mark.req("G11")
def test_a_device_without_the_app_is_disabled(gigwork: Running) -> None:
    user_id = a_worker_with_device(gigwork, "dead-1", "alive-1")
    gigwork.call("send-notification", {"userId": user_id, "title": "Hello"})
    wait_until(lambda: sent_to(gigwork, "alive-1"))
    alive = "select count(*) from public.notification_channels where user_id = %s and is_enabled"
    wait_until(lambda: gigwork.count(alive, user_id) == 1)


@pytest.mark.req("G11")
def test_a_new_gig_reaches_a_worker_near_it_in_their_language_and_the_answer_by_text(
    gigwork: Running,
) -> None:
    worker, far = a_worker_with_device(gigwork, "near-phone"), a_worker_with_device(gigwork, "far-phone")
    employer = gigwork.app.a_user(employer=True)
    for person, lat in ((worker, LAT), (far, LAT + 1)):
        with gigwork.server.client(token=token_of(gigwork.server, person)) as client:
            wish = {"user_id": person, "location": f"POINT({LNG} {lat})", "radius_m": 2000}
            prefer = {"prefer": "resolution=merge-duplicates"}
            answers = [client.post("/rest/v1/gig_alerts", json=wish, headers=prefer) for _ in range(2)]
            assert {answer.status_code for answer in answers} <= {200, 201}, answers[-1].text
            home = {"time_zone": "Asia/Tokyo"}  # an hour later than where the gig is
            assert client.patch("/rest/v1/users", params={"id": f"eq.{person}"}, json=home).status_code == 204
            language = {"user_id": person, "locale": "ms"}
            assert client.post("/rest/v1/notification_preferences", json=language).status_code == 201
    gig = {
        "employer_id": employer, "title": "Pelayan", "category": "food_service", "hourly_rate": 14,
        "location": f"POINT({LNG} {LAT})", "start_date": "2030-05-01", "end_date": "2030-05-01",
        "status": "open", "published_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    with gigwork.server.client(token=token_of(gigwork.server, employer)) as client:
        made = client.post("/rest/v1/gigs", json=gig, headers={"prefer": "return=representation"})
        assert made.status_code == 201, made.text
    wait_until(lambda: sent_to(gigwork, "near-phone"))
    (push,) = sent_to(gigwork, "near-phone")
    assert push["notification"]["title"] == "Kerja baharu berdekatan anda"
    assert push["notification"]["body"] == "Pelayan, MYR 14.00 sejam, mulai 01.05.2030"
    assert push["data"]["gig_id"] == made.json()[0]["id"]
    assert not sent_to(gigwork, "far-phone")
    application = gigwork.app.call(worker, "apply_to_gig", p_gig_id=push["data"]["gig_id"])["application_id"]
    gigwork.app.call(employer, "decide_application", p_application_id=application, p_decision="accepted")
    phone = gigwork.app.one("select '+' || phone from public.users where id = %s", worker)
    expected = ["Anda diterima: Pelayan: anda mula pada 01.05.2030 jam 10:00"]
    wait_until(lambda: [text["Body"] for text in gigwork.twilio.sent if text["To"] == phone] == expected)
    told = "select count(*) from public.notifications where user_id = %s and type = 'application.new'"
    wait_until(lambda: gigwork.count(told, employer) == 1)


@pytest.mark.req("G11")
def test_an_event_with_the_instant_alone_is_told_in_the_time_of_singapore(gigwork: Running) -> None:
    texts = {}
    with gigwork.server.client(gigwork.server.secret_key) as client:
        for event_type in ("application.accepted", "shift.reminder"):
            asked = {
                "event_type": event_type, "channel": "sms", "locale": "en",
                "context": {"gig": "Waiter", "starts_at": "2030-05-01T15:30:00+00:00"},
            }  # fmt: skip
            shown = client.post("/notify/v1/preview", json=asked)
            assert shown.status_code == 200, shown.text
            texts[event_type] = shown.json()["body"]
    assert texts == {
        "application.accepted": "You are accepted: Waiter: you start on 01.05.2030 at 23:30",
        "shift.reminder": "Your shift starts soon: Waiter at 23:30",
    }


@pytest.mark.req("G11")
def test_an_alert_that_waits_for_the_end_of_quiet_hours_is_not_sent_once_the_gig_is_closed(
    gigwork: Running,
) -> None:
    worker, employer = a_worker_with_device(gigwork, "quiet-phone"), gigwork.app.a_user(employer=True)
    lat = LAT - 1  # where no other test wishes for gigs
    with gigwork.server.client(token=token_of(gigwork.server, worker)) as client:
        wish = {"user_id": worker, "location": f"POINT({LNG} {lat})", "radius_m": 2000}
        assert client.post("/rest/v1/gig_alerts", json=wish).status_code == 201
        now = datetime.now(UTC)
        quiet = {
            "user_id": worker, "timezone": "UTC", "quiet_hours_start": f"{now - timedelta(hours=2):%H:%M}",
            "quiet_hours_end": f"{now + timedelta(hours=2):%H:%M}",
        }  # fmt: skip
        assert client.post("/rest/v1/notification_preferences", json=quiet).status_code == 201
    gig = gigwork.app.a_gig(employer, location=f"POINT({LNG} {lat})", status="draft", published_at=None)
    gigwork.app.call(employer, "publish_gig", p_gig_id=gig)
    push = "select status from public.notification_queue where user_id = %s and channel = 'push'"
    wait_until(lambda: gigwork.app.one(push, worker) == "held")
    gigwork.app.call(employer, "close_gig", p_gig_id=gig)
    assert gigwork.app.one(push, worker) == "cancelled"
    assert not sent_to(gigwork, "quiet-phone")


@pytest.mark.req("G11")
@pytest.mark.req("P23")
def test_clocking_out_twice_with_one_key_is_one_clock_out_and_one_event(gigwork: Running) -> None:
    gigwork.mixpanel.outages = 2
    gig_id = gigwork.app.a_gig()
    worker = gigwork.app.an_accepted_worker(gig_id)
    token = token_of(gigwork.server, worker)
    shift = gigwork.app.call(worker, "clock_in", p_gig_id=gig_id, p_lat=LAT, p_lng=LNG)
    body = {"timesheetId": shift["timesheet_id"], "lat": LAT, "lng": LNG}
    with gigwork.server.client(token=token) as client:
        headers = {"Idempotency-Key": f"out-{shift['timesheet_id']}"}
        first, second = (client.post("/functions/v1/clock-out", json=body, headers=headers) for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert first.content == second.content
    assert second.headers["idempotency-replayed"] == "true"
    gigwork.app.balance(worker)
    wait_until(lambda: "clocked_out" in events_of(gigwork, worker))
    wait_until(lambda: "achievement_unlocked" in events_of(gigwork, worker))
    waiting = (
        "select count(*) from basalt.jobs where name = 'basalt.track' and payload ->> 'distinct_id' = %s"
    )
    wait_until(lambda: gigwork.count(waiting, worker) == 0)
    found = events_of(gigwork, worker)
    assert found.count("clocked_out") == found.count("clocked_in") == found.count("gig_applied") == 1


@pytest.mark.req("G11")
def test_no_answer_waits_for_a_provider(gigwork: Running) -> None:
    user_id = a_worker_with_device(gigwork, "slow-phone")
    gigwork.fcm.failures["slow-phone"] = [(503, "UNAVAILABLE")] * 3
    answer = gigwork.call("send-notification", {"userId": user_id, "title": "Now"})
    assert answer["event_id"]
    assert not sent_to(gigwork, "slow-phone")


@pytest.mark.req("G9")
def test_the_standings_are_refreshed_each_hour_of_singapore_and_cached(gigwork: Running) -> None:
    schedule = gigwork.app.admin.execute(
        "select schedule, timezone, active from cron.job where command like '%update-leaderboard%'"
    ).fetchone()
    assert schedule == {"schedule": "0 * * * *", "timezone": "Asia/Singapore", "active": True}
    gig_id = gigwork.app.a_gig()
    worker = gigwork.app.an_accepted_worker(gig_id)
    gigwork.app.admin.execute("delete from cache.kv_store where key like 'leaderboard:%'")
    gigwork.app.admin.execute("select basalt.enqueue('update-leaderboard')")  # what the schedule does
    cached = (
        "select jsonb_path_exists(value, '$[*] ? (@.points_earned >= 10)') from cache.kv_store where key = %s"
    )
    for period in ("daily", "weekly", "monthly", "all_time"):
        wait_until(lambda key=f"leaderboard:{period}": gigwork.app.one(cached, key))  # type: ignore[misc]
    lifetime = (
        "select extract(epoch from expires_at - now()) from cache.kv_store where key = 'leaderboard:weekly'"
    )
    assert 3500 < gigwork.app.one(lifetime) <= 3600
    with gigwork.server.client(token=token_of(gigwork.server, worker)) as client:
        answer = client.get("/functions/v1/leaderboard", params={"period": "weekly"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["standings"][0]["rank"] == 1
        refused = client.get("/functions/v1/leaderboard", params={"period": "hourly"})
        assert refused.json()["error"]["code"] == "VALIDATION_ERROR"


def sent_to(gigwork: Running, *tokens: str) -> list[dict[str, Any]]:
    return [message for message in gigwork.fcm.sent if message["token"] in tokens]


def events_of(gigwork: Running, user_id: str) -> list[str]:
    events = list(gigwork.mixpanel.events.values())
    return [event["event"] for event in events if event["properties"]["distinct_id"] == user_id]


def token_of(server: Server, user_id: str) -> str:
    claims = {"role": "authenticated", "sub": user_id, "aud": "authenticated"}
    return jwt.encode(claims, server.jwt_secret, algorithm="HS256")
