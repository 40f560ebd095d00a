"""Functions over HTTP, in real processes on a real database."""

import asyncio
import os
import signal
import time
import uuid
from pathlib import Path

import httpx2
import jwt
import pytest

from tests.functions.calling import call, error_of, logged, token_of, wait_for
from tests.functions.deno_processes import needs_deno
from tests.server import Server

pytestmark = pytest.mark.req("P9")


def test_a_function_sees_the_request_the_caller_and_its_own_environment(server: Server) -> None:
    user = str(uuid.uuid4())
    headers = {"x-request-id": "my-id"}
    answer = call(
        server, "echo/a/b?x=1&y=", method="PUT", content=b"abc", token=token_of(server, user), headers=headers
    )
    seen = answer.json()
    assert seen["method"] == "PUT"
    assert seen["path"] == "/echo/a/b"
    assert seen["query"] == {"x": "1", "y": ""}
    assert seen["bytes"] == 3
    assert (seen["user"], seen["role"], seen["request_id"]) == (user, "authenticated", "my-id")
    assert {
        "SUPABASE_URL",
        "SUPABASE_ANON_KEY",
        "SUPABASE_SERVICE_ROLE_KEY",
        "SUPABASE_DB_URL",
        "OWN_SECRET",
    } <= {*seen["env"]}
    assert "SECRET_OF_GATEWAY" not in seen["env"]


def test_shared_code_status_headers_and_logs(server: Server) -> None:
    answer = call(server, "hello", json={"name": "Ada", "age": 36}, headers={"x-request-id": "logged-1"})
    assert (answer.status_code, answer.text, answer.headers["x-own"]) == (201, "Hello Ada", "yes")
    wait_for(
        lambda: [line for line in logged(server, "function_log") if line.get("request_id") == "logged-1"]
    )
    lines = [line["line"] for line in logged(server, "function_log") if line.get("request_id") == "logged-1"]
    assert "greeting Ada" in lines


@pytest.mark.req("G13")
def test_every_wrong_field_is_named(server: Server) -> None:
    answer = call(server, "hello", json={"name": "A", "age": "old"})
    assert answer.status_code == 400
    error = error_of(answer)
    assert error["code"] == "VALIDATION_ERROR"
    assert [problem["path"] for problem in error["details"]] == ["name", "age"]
    assert error_of(call(server, "hello", content=b"{"))["code"] == "INVALID_JSON"


def test_the_database_is_the_callers_and_the_services(server: Server) -> None:
    one, other = (token_of(server, str(uuid.uuid4())) for _ in range(2))
    row = call(server, "notes", json={"body": "mine"}, token=one).json()
    assert row["price"] == 12.3
    assert b'"price":12.30' in call(server, "notes", json={"body": "exact"}, token=one).content
    assert call(server, "notes", method="GET", token=one).json()["mine"] == [
        {"body": "mine"},
        {"body": "exact"},
    ]
    seen = call(server, "notes", method="GET", token=other).json()
    assert seen["mine"] == []
    assert seen["all"] >= 2
    assert seen["role"] == "authenticated"
    assert call(server, "notes", method="GET").json()["role"] == "anon"


def test_an_error_undoes_the_transaction(server: Server) -> None:
    token = token_of(server, str(uuid.uuid4()))
    answer = call(server, "notes?fail=1", json={"body": "undone"}, token=token)
    assert answer.status_code == 422
    assert error_of(answer)["code"] == "CHANGED_MY_MIND"
    assert call(server, "notes", method="GET", token=token).json()["mine"] == []


def test_errors_of_the_database_become_errors_of_the_function(server: Server) -> None:
    answer = call(server, "refuse")
    error = error_of(answer)
    assert answer.status_code == 409
    assert (error["code"], error["message"]) == ("ALREADY_APPLIED", "You have already applied")
    assert (error["details"], error["hint"]) == ({"gig": 7}, "Look")
    token = token_of(server, str(uuid.uuid4()))
    assert call(server, "notes", json={"body": "twice"}, token=token).status_code == 200
    assert error_of(call(server, "notes", json={"body": "twice"}, token=token))["code"] == "CONFLICT"
    assert error_of(call(server, "notes", json={"body": "not mine"}))["code"] == "FORBIDDEN"


def test_an_unexpected_exception_is_for_the_log_only(server: Server) -> None:
    answer = call(server, "crash")
    assert (answer.status_code, error_of(answer)["code"]) == (500, "SERVER_ERROR")
    assert "hunter2" not in answer.text
    wait_for(lambda: logged(server, "function_crashed"))
    assert "hunter2" in logged(server, "function_crashed")[-1]["traceback"]


def test_only_valid_tokens_and_keys_pass(server: Server) -> None:
    now = int(time.time())
    bare = httpx2.Client(base_url=server.url)
    with bare as client:

        def status(**headers: str) -> int:
            answer = client.post("/functions/v1/echo", headers=headers)
            assert (answer.headers.get("x-relay-error") == "true") == (answer.status_code == 401)
            return answer.status_code

        assert status() == 401
        assert status(authorization="Bearer nonsense") == 401
        assert status(authorization=f"Bearer {token_of(server, 'a', exp=now - 60)}") == 401
        assert status(authorization=f"Bearer {jwt.encode({'role': 'service_role'}, 'x' * 40)}") == 401
        assert status(authorization=f"Bearer {jwt.encode({'role': 'anon'}, None, algorithm='none')}") == 401
        assert status(authorization=f"Bearer {jwt.encode({'own': 1}, server.jwt_secret)}") == 200
        assert status(apikey=server.publishable_key) == 200
        assert status(authorization=f"Bearer {server.anon_key}") == 200
        assert status(authorization=f"Bearer {server.secret_key}") == 200


def test_a_function_without_verification_takes_anything(server: Server) -> None:
    with httpx2.Client(base_url=server.url) as client:
        for headers in ({}, {"authorization": "Bearer nonsense"}, {"apikey": "nonsense"}):
            answer = client.post("/functions/v1/open", headers=headers)
            assert (answer.status_code, answer.json()) == (200, {"role": "anon"})


def test_unknown_and_disabled_functions_are_404(server: Server) -> None:
    for name in ("nothing", "off", "_shared", "..%2fecho", ""):
        answer = call(server, name)
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND"), name


@needs_deno
def test_a_function_for_deno_is_served_beside_those_in_python(server: Server) -> None:
    answer = call(server, "deno")
    assert (answer.status_code, answer.text) == (200, "hi")


def test_a_function_that_cannot_be_loaded_names_file_and_line(server: Server) -> None:
    answer = call(server, "broken")
    assert (answer.status_code, error_of(answer)["code"]) == (503, "BOOT_ERROR")
    assert "broken/index.py, line 3: invalid syntax" in error_of(answer)["message"]
    assert "async def handler" in error_of(call(server, "handlerless"))["message"]


def test_a_timeout_is_told_and_the_handler_cancelled(server: Server) -> None:
    started = time.monotonic()
    answer = call(server, "slow")
    assert (answer.status_code, error_of(answer)["code"]) == (504, "FUNCTION_TIMEOUT")
    assert time.monotonic() - started < 5
    wait_for(lambda: "cancelled in order" in server.log.read_text())


async def test_an_endless_loop_hurts_no_other_function(server: Server) -> None:
    headers = {"apikey": server.publishable_key}
    async with httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=20) as client:
        looping = asyncio.create_task(client.post("/functions/v1/slow?how=loop"))
        for _ in range(20):
            assert (await client.post("/functions/v1/echo")).status_code == 200
        assert (await looping).status_code == 504
        wait_for(lambda: logged(server, "function_killed"))
        assert (await client.post("/functions/v1/slow")).status_code == 504


async def test_a_process_that_ends_hurts_no_other_function_and_is_replaced(server: Server) -> None:
    headers = {"apikey": server.publishable_key}
    async with httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=20) as client:
        first = (await client.post("/functions/v1/exit")).json()
        answers = await asyncio.gather(
            client.post("/functions/v1/exit?now=1"), *(client.post("/functions/v1/echo") for _ in range(30))
        )
        assert (answers[0].status_code, error_of(answers[0])["code"]) == (502, "FUNCTION_CRASHED")
        assert {answer.status_code for answer in answers[1:]} == {200}
        assert (await client.post("/functions/v1/exit")).json() != first


def test_memory_beyond_the_limit_is_refused_to_the_function(server: Server) -> None:
    answer = call(server, "hog")
    assert (answer.status_code, error_of(answer)["code"]) == (503, "FUNCTION_OUT_OF_MEMORY")
    assert call(server, "echo").status_code == 200


def test_a_client_that_leaves_cancels_the_handler(server: Server) -> None:
    with pytest.raises(httpx2.TimeoutException):
        call(server, "wait", timeout=0.5)
    wait_for(lambda: "the client left" in server.log.read_text())


def test_large_bodies_pass_both_ways(server: Server) -> None:
    assert call(server, "echo", content=b"x" * 9_000_000).json()["bytes"] == 9_000_000


def test_a_changed_file_counts_from_the_next_request(server: Server) -> None:
    shared = server.project_dir / "supabase" / "functions" / "_shared" / "greetings.py"
    original = shared.read_text()
    body = {"name": "Ada", "age": 36}
    assert call(server, "hello", json=body).text == "Hello Ada"
    shared.write_text(original.replace("Hello", "Goodbye"))
    wait_for(lambda: call(server, "hello", json=body).text == "Goodbye Ada", limit_s=3)
    shared.write_text(original)


async def test_many_calls_at_once_keep_their_callers_apart(server: Server) -> None:
    async with httpx2.AsyncClient(base_url=server.url, timeout=30) as client:

        async def ask() -> None:
            user = str(uuid.uuid4())
            answer = await client.post(
                "/functions/v1/echo", headers={"authorization": f"Bearer {token_of(server, user)}"}
            )
            assert answer.json()["user"] == user

        await asyncio.gather(*(ask() for _ in range(200)))


def test_no_function_outlives_a_killed_gateway(server: Server) -> None:
    pid = call(server, "exit").json()
    gateway = next(path for path in Path("/proc").glob("[0-9]*") if _is_gateway(path, server))
    os.kill(int(gateway.name), signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{pid}").exists())
    wait_for(lambda: _status(server) == 200, limit_s=20)


def _is_gateway(path: Path, server: Server) -> bool:
    try:
        words = (path / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"basalt.gateway" in words and str(server.project_dir).encode() in words


def _status(server: Server) -> int:
    try:
        return call(server, "echo").status_code
    except httpx2.HTTPError:
        return 0
