"""A worker's day through unmodified supabase-py."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from postgrest.exceptions import APIError
from supabase import Client, ClientOptions, create_client
from supabase_auth.errors import AuthApiError
from supabase_functions.errors import FunctionsHttpError

from tests.contract.conftest import collect_sockets  # noqa: F401  the fixture is for every test here
from tests.server import Server

from .providers import Running

# supabase-py leaves the sockets of its HTTP clients to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
HERE = {"lat": 1.3521, "lng": 103.8198}
MakeClient = Callable[[], Client]


@pytest.fixture
def server(gigwork: Running) -> Server:
    return gigwork.server


@pytest.fixture
def make_client(server: Server) -> MakeClient:
    options = ClientOptions(auto_refresh_token=False, persist_session=False)
    return lambda: create_client(server.url, server.anon_key, options)


@pytest.fixture
def service(server: Server) -> Client:
    return create_client(server.url, server.service_role_key, ClientOptions(auto_refresh_token=False))


def sign_in(client: Client, server: Server, phone: str) -> str:
    """Sign in by a phone code; the user's id."""
    client.auth.sign_in_with_otp({"phone": f"+{phone}"})
    code = server.inbox(phone)[0]["data"]["token"]
    answer = client.auth.verify_otp({"phone": f"+{phone}", "token": code, "type": "sms"})
    assert answer.user is not None
    return answer.user.id


def refusal(client: Client, function: str, body: dict[str, Any]) -> FunctionsHttpError:
    with pytest.raises(FunctionsHttpError) as caught:
        client.functions.invoke(function, {"body": body})
    return caught.value


@pytest.mark.req("G3", "G4", "G5", "G6", "G8", "G10", "G13", "G14", "P5", "P6", "P9")
def test_a_worker_lives_through_a_day(server: Server, make_client: MakeClient, service: Client) -> None:
    employer, worker, stranger = make_client(), make_client(), make_client()
    employer_id = sign_in(employer, server, "6581110002")
    service.table("users").update({"role": "employer"}).eq("id", employer_id).execute()
    gig_id = post_gig(employer)
    worker_id = sign_in(worker, server, "6581110001")

    found = worker.rpc(
        "search_gigs", {"p_user_lat": HERE["lat"], "p_user_lng": HERE["lng"], "p_max_distance_km": 2}
    ).execute()
    assert found.data[0]["id"] == gig_id

    applied = worker.rpc("apply_to_gig", {"p_gig_id": gig_id}).execute()
    with pytest.raises(APIError) as twice:
        worker.rpc("apply_to_gig", {"p_gig_id": gig_id}).execute()
    assert "ALREADY_APPLIED" in str(twice.value.message)

    decision = {"p_application_id": applied.data["application_id"], "p_decision": "accepted"}
    employer.rpc("decide_application", decision).execute()

    far = refusal(worker, "clock-in", {"gigId": gig_id, "lat": 1.36, "lng": HERE["lng"]})
    assert far.status == 400
    opened = worker.functions.invoke("clock-in", {"body": {"gigId": gig_id, **HERE}, "responseType": "json"})
    closed = worker.functions.invoke(
        "clock-out", {"body": {"timesheetId": opened["timesheet_id"], **HERE}, "responseType": "json"}
    )
    assert closed["points_earned"] == 50
    assert closed["new_achievements"]

    profile = (
        worker.table("users")
        .select("total_points, points_log(points)")
        .eq("id", worker_id)
        .single()
        .execute()
        .data
    )
    assert profile["total_points"] == sum(row["points"] for row in profile["points_log"]) >= 60

    sign_in(stranger, server, "6581110003")
    for table in ("gig_applications", "timesheets", "points_log", "user_achievements"):
        assert stranger.table(table).select("*").execute().data == [], table
    assert refusal(stranger, "clock-out", {"timesheetId": opened["timesheet_id"], **HERE}).status == 404


@pytest.mark.req("P6")
def test_a_refresh_gives_a_new_session_and_sign_out_ends_it(server: Server, make_client: MakeClient) -> None:
    client = make_client()
    client.auth.sign_up({"email": "py@example.com", "password": "correct horse"})
    session = client.auth.sign_in_with_password(
        {"email": "py@example.com", "password": "correct horse"}
    ).session
    assert session is not None
    refreshed = client.auth.refresh_session(session.refresh_token).session
    assert refreshed is not None
    assert refreshed.refresh_token != session.refresh_token
    client.auth.sign_out()
    with pytest.raises(AuthApiError) as caught:
        make_client().auth.get_user(refreshed.access_token)
    assert caught.value.code == "session_not_found"


@pytest.mark.req("P5")
def test_queries_of_the_builder_arrive_as_meant(make_client: MakeClient) -> None:
    gigs = make_client().table("gigs")
    cheap = (
        gigs.select("id, city, hourly_rate", count="exact")
        .lt("hourly_rate", 12)
        .order("hourly_rate")
        .limit(5)
        .execute()
    )
    assert len(cheap.data) == 5
    assert cheap.count is not None
    assert cheap.count > 5
    assert cheap.data == sorted(cheap.data, key=lambda row: row["hourly_rate"])
    one = make_client().table("gigs").select("*").eq("id", cheap.data[0]["id"]).maybe_single().execute()
    assert one is not None
    assert one.data["city"] == cheap.data[0]["city"]
    with pytest.raises(APIError) as caught:
        make_client().table("gigs").select("id").eq("status", "open").single().execute()
    assert caught.value.code == "PGRST116"


def post_gig(employer: Client) -> str:
    today = datetime.now(ZoneInfo("Asia/Singapore")).date().isoformat()
    gig = {
        "title": "Stock taker",
        "category": "retail",
        "location": f"POINT({HERE['lng']} {HERE['lat']})",
        "hourly_rate": 11,
        "currency": "SGD",
        "start_date": today,
        "end_date": today,
        "status": "open",
        "published_at": datetime.now(UTC).isoformat(),
    }
    identifier: str = employer.table("gigs").insert(gig).execute().data[0]["id"]
    return identifier
