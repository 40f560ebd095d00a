"""Rules of a running project, counted in its database."""

import psycopg
import pytest
from postgrest import APIError, SyncPostgrestClient
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.server import Server

pytestmark = pytest.mark.req("P15")


def test_codes_are_limited_by_address_of_the_mailbox(orders: Server) -> None:
    with orders.client() as client:
        answers = [
            client.post("/auth/v1/otp", json={"email": f"{name}@example.com"})
            for name in ("nobody", "NOBODY", "nobody", "somebody")
        ]
    over = answers[2]
    assert over.status_code == 429
    assert over.json()["error_code"] == "over_request_rate_limit"  # as Auth's own limits say it
    assert 1700 < int(over.headers["retry-after"]) <= 1800
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["1", "0", "0", "1"]
    assert answers[0].headers["ratelimit-policy"] == '"codes";q=2;w=3600'
    assert 429 not in [answers[0].status_code, answers[3].status_code]
    with psycopg.connect(orders.database_url) as connection:
        assert connection.execute("select count(*) > 1 from basalt.rate_limits").fetchone() == (True,)


def test_a_client_of_rest_reads_what_was_over(orders: Server) -> None:
    with SyncPostgrestClient(f"{orders.url}/rest/v1", headers={"apikey": orders.publishable_key}) as client:
        client.table("countries").select("*").execute()
        with pytest.raises(APIError) as over:
            client.table("countries").select("*").execute()
    assert over.value.code == "rate_limit_exceeded"
    assert over.value.message == "Over the limit of 1 request an hour"


def test_a_handshake_over_the_limit_is_refused_as_http(orders: Server) -> None:
    url = f"{orders.url.replace('http', 'ws', 1)}/realtime/v1/websocket?apikey={orders.publishable_key}&vsn=1.0.0"
    for _ in range(2):
        connect(url).close()
    with pytest.raises(InvalidStatus) as refused:
        connect(url)
    assert refused.value.response.status_code == 429
    assert refused.value.response.headers["retry-after"] == "1800"
