"""Queues over the API, by unmodified supabase-js and supabase-py: what Supabase's "Queues" guides do."""

import psycopg
import pytest
from postgrest.exceptions import APIError
from supabase import ClientOptions, create_client

from tests.contract.conftest import run_steps
from tests.server import Server

pytestmark = [
    pytest.mark.req("P10"),
    # supabase-py leaves the sockets of its HTTP clients to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def test_supabase_js_sends_reads_and_is_refused_what_is_not_its(club: Server) -> None:
    run_steps("queues.mjs", club)
    with psycopg.connect(club.database_url) as connection:
        archived = connection.execute(
            "select message from pgmq.a_foo union all select message from pgmq.a_requests"
        )
        messages = [message for (message,) in archived.fetchall()]
    assert [message.get("hello") or message["wish"] for message in messages] == [
        "now",
        "a table by the window",
    ]


def test_supabase_py_sends_and_pops(club: Server) -> None:
    with psycopg.connect(club.database_url) as connection:
        connection.execute("select pgmq.create('letters')")
    options = ClientOptions(auto_refresh_token=False, persist_session=False)
    queues = create_client(club.url, club.service_role_key, options).schema("pgmq_public")
    visitor = create_client(club.url, club.anon_key, options).schema("pgmq_public")

    sent = queues.rpc(
        "send", {"queue_name": "letters", "message": {"hello": "world"}, "sleep_seconds": 30}
    ).execute()
    assert sent.data == [1]
    batch = {"queue_name": "letters", "messages": [{"n": 1}, {"n": 2}]}
    assert queues.rpc("send_batch", batch).execute().data == [2, 3]
    read = queues.rpc("read", {"queue_name": "letters", "sleep_seconds": 30, "n": 1}).execute().data
    assert [(message["msg_id"], message["message"]) for message in read] == [(2, {"n": 1})]
    popped = queues.rpc("pop", {"queue_name": "letters"}).execute().data
    assert [(message["msg_id"], message["message"]) for message in popped] == [(3, {"n": 2})]
    assert queues.rpc("archive", {"queue_name": "letters", "message_id": 2}).execute().data is True
    assert queues.rpc("delete", {"queue_name": "letters", "message_id": 1}).execute().data is True
    with pytest.raises(APIError, match="permission denied for table q_letters"):
        visitor.rpc("pop", {"queue_name": "letters"}).execute()
