"""What functions reach: queues, storage, the official client, and work that goes on behind the answer."""

import uuid
from typing import Any

import httpx2
import psycopg
import pytest

from tests.functions.calling import call, logged, token_of, wait_for
from tests.server import Server

pytestmark = pytest.mark.req("P9")


def jobs(server: Server, where: str = "true") -> list[tuple[Any, ...]]:
    with psycopg.connect(server.database_url) as connection:
        columns = "id, queue, name, payload, priority, key, request_id, state"
        return connection.execute(f"select {columns} from basalt.jobs where {where} order by id").fetchall()  # type: ignore[arg-type]


def test_a_function_enqueues_jobs(server: Server) -> None:
    headers = {"x-request-id": "enqueues"}
    first = call(server, "context/enqueue?key=once", headers=headers).json()
    assert call(server, "context/enqueue?key=once").json() == first
    (row,) = jobs(server, f"id = {first}")
    assert row == (first, "fast", "context", {"n": 1}, 2, "once", "enqueues", "ready")
    later = call(server, "context/enqueue-later").json()
    assert jobs(server, f"id = {later}")[0][-1] == "scheduled"


def test_a_job_exists_when_its_transaction_is_committed(server: Server) -> None:
    assert call(server, "context/enqueue-and-fail").status_code == 500
    assert jobs(server, "name = 'undone'") == []
    token = token_of(server, str(uuid.uuid4()))
    body = uuid.uuid4().hex
    assert call(server, f"context/enqueue-and-write?body={body}", token=token).json() == "authenticated"
    assert len(jobs(server, "name = 'written'")) == 1
    # The note is refused to somebody without an account, and with it the job.
    assert call(server, f"context/enqueue-and-write?body={body}x").status_code == 403
    assert len(jobs(server, "name = 'written'")) == 1


def test_messages_are_jobs(server: Server) -> None:
    text, mail = call(server, "context/notify").json()
    rows = {row[0]: row for row in jobs(server)}
    assert rows[text][2:4] == ("basalt.text", {"to": "+491701", "text": "hi"})
    assert rows[mail][2] == "basalt.mail"
    assert rows[mail][3]["subject"] == "Hi"


@pytest.mark.parametrize("kind", ["storage", "service-storage"])
def test_a_function_uses_storage(server: Server, kind: str) -> None:
    token = token_of(server, str(uuid.uuid4()))
    seen = call(server, f"context/{kind}", token=token).json()
    assert seen["twice"] == ["KeyAlreadyExists", 409]
    assert len(seen["names"]) == 2
    assert (seen["size"], seen["content"], seen["removed"]) == (8, "replaced", 2)
    assert (seen["urls"], seen["there"]) == ([True, False], [True, False])
    assert seen["url"].startswith(f"{server.url}/storage/v1/object/sign/shelf/")
    assert seen["public"].startswith(f"{server.url}/storage/v1/object/public/shelf/")
    assert httpx2.get(seen["url"]).status_code == 400  # it is removed, but the address was whole


def test_storage_is_the_callers(server: Server) -> None:
    token = token_of(server, str(uuid.uuid4()))
    answer = call(server, "context/not-mine", token=token)
    assert answer.status_code == 403
    assert "row-level security" in answer.json()["error"]["message"]


def test_the_official_client_acts_as_caller_and_as_service(server: Server) -> None:
    token = token_of(server, str(uuid.uuid4()))
    body = uuid.uuid4().hex
    assert call(server, "notes", json={"body": body}, token=token).status_code == 200
    seen = call(server, "context/official", token=token).json()
    assert seen["mine"] == [{"body": body}]
    assert seen["all"] >= 1
    assert call(server, "context/official").json()["mine"] == []


def test_work_goes_on_behind_the_answer(server: Server) -> None:
    text = uuid.uuid4().hex
    headers = {"x-request-id": f"id-{text}"}
    assert call(server, f"context/background?text={text}", headers=headers).json() == "answered"
    assert text not in call(server, "context/done").json()
    assert call(server, f"context/release?text={text}").status_code == 200
    wait_for(lambda: text in call(server, "context/done").json())
    lines = [line for line in logged(server, "function_log") if line.get("request_id") == f"id-{text}"]
    assert [line["line"] for line in lines] == [f"background {text}"]


def test_a_failure_in_the_background_is_in_the_log_with_its_request(server: Server) -> None:
    assert call(server, "context/background-fails", headers={"x-request-id": "behind"}).status_code == 200

    def lines() -> list[str]:
        return [line["line"] for line in logged(server, "function_log") if line.get("request_id") == "behind"]

    wait_for(lambda: any("in the background" in line and "RuntimeError" in line for line in lines()))
