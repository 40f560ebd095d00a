"""Functions written for Deno, in the idioms of public Supabase projects, moved here unchanged."""

import asyncio
import hashlib
import hmac
import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest

from tests.functions.deno_processes import (
    Start,
    a_call,
    answer_of,
    needs_deno,
    stream_of,
    whole_body,
    write_functions,
)

pytestmark = [pytest.mark.req("P9"), needs_deno]


class FakeModel(BaseHTTPRequestHandler):
    """Speaks as much of OpenAI's streaming as the test needs: a piece, a pause until it is told to go on, the end."""

    may_go_on = threading.Event()

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert self.headers["authorization"] == "Bearer sk-test"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'data: {"delta": "%s"}\n\n' % asked["messages"][0]["content"].encode())
        self.wfile.flush()
        assert self.may_go_on.wait(10)
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def model() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), FakeModel) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


async def test_the_old_serve_of_std_answers_with_its_own_cors_headers(start: Start) -> None:
    greet = await start("greet")
    preflight = await answer_of(greet, a_call("/greet", "OPTIONS"))
    assert (preflight.status, preflight.body) == (200, b"ok")
    assert ("access-control-allow-origin", "*") in preflight.headers
    answer = await answer_of(greet, a_call("/greet", body=b'{"name": "Ada"}'))
    assert json.loads(await whole_body(answer)) == {"message": "Hello Ada!"}
    assert ("content-type", "application/json") in answer.headers
    assert (await answer_of(greet, a_call("/greet", body=b"{"))).status == 400


async def test_a_stream_from_elsewhere_is_passed_on_as_it_comes(start: Start, model: str) -> None:
    FakeModel.may_go_on.clear()
    env = {"OPENAI_BASE_URL": model, "OPENAI_API_KEY": "sk-test"}
    chat = await start("chat", env=env)
    answer = await answer_of(chat, a_call("/chat", body=b'{"prompt": "hello"}'))
    assert ("content-type", "text/event-stream") in answer.headers
    stream = stream_of(answer)
    assert await anext(stream) == b'data: {"delta": "hello"}\n\n'
    assert chat.in_flight == 1
    FakeModel.may_go_on.set()
    assert [chunk async for chunk in stream] == [b"data: [DONE]\n\n"]


async def test_a_default_export_with_fetch_and_a_file_beside_it(start: Start) -> None:
    cleanup = await start("cleanup", env={"CRON_SECRET": "s3cret"})
    assert (await answer_of(cleanup, a_call("/cleanup"))).status == 401
    answer = await answer_of(
        cleanup, a_call("/cleanup", body=b'{"ids": [1, 2]}', authorization="Bearer s3cret")
    )
    assert json.loads(await whole_body(answer)) == {"removed": 2, "template": "Removed {n}"}


async def test_a_form_with_a_file_goes_in_and_its_bytes_come_out(start: Start) -> None:
    upload = await start("upload")
    content = os.urandom(3_000_000)
    form = httpx2.Request(
        "POST", "http://x/", data={"title": "Ä photo"}, files={"file": ("a.bin", content, "image/png")}
    )
    body = form.read()
    answer = await answer_of(upload, a_call("/upload", body=body, content_type=form.headers["content-type"]))
    assert json.loads(await whole_body(answer)) == {
        "title": "Ä photo",
        "name": "a.bin",
        "type": "image/png",
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    back = await answer_of(upload, a_call("/upload", "GET"))
    assert ("content-length", "3000000") in back.headers
    assert await whole_body(back) == content


async def test_work_behind_an_answer_is_in_flight_until_it_ends(start: Start) -> None:
    lines: list[tuple[str, str]] = []
    reports = await start("enqueue-report", log=lambda *line: lines.append(line))
    started = time.monotonic()
    answer = await answer_of(reports, a_call("/enqueue-report", body=b'{"id": "q1", "ms": 300}'))
    assert (answer.status, await whole_body(answer)) == (202, b"")
    assert time.monotonic() - started < 0.25
    assert reports.in_flight == 1
    while reports.in_flight:
        await asyncio.sleep(0.01)
    assert time.monotonic() - started >= 0.3
    assert await whole_body(await answer_of(reports, a_call("/enqueue-report", "GET"))) == b'["q1"]'
    await answer_of(reports, a_call("/enqueue-report", body=b'{"id": "bad", "ms": 0}'))
    while not any("the report has no rows" in line for _, line in lines):
        await asyncio.sleep(0.01)
    await reports.close()
    assert ("request-1", "report q1 made") in lines
    assert any(line == "shutting down because of shutdown" for _, line in lines)


async def test_a_webhook_is_verified_with_webcrypto(start: Start) -> None:
    webhook = await start("github-webhook", env={"GITHUB_SECRET": "s"})
    body = b'{"action": "opened"}'
    signature = "sha256=" + hmac.new(b"s", body, "sha256").hexdigest()
    headers = {"x_hub_signature_256": signature, "x_github_event": "issues"}
    answer = await answer_of(webhook, a_call("/github-webhook", body=body, **headers))
    assert json.loads(await whole_body(answer)) == {"event": "issues", "action": "opened"}
    assert (await answer_of(webhook, a_call("/github-webhook", body=body + b" ", **headers))).status == 401


async def test_a_redirect_carries_every_cookie(start: Start) -> None:
    answer = await answer_of(await start("go"), a_call("/go/docs", "GET"))
    assert answer.status == 302
    assert ("location", "https://example.com/docs") in answer.headers
    cookies = [value for name, value in answer.headers if name == "set-cookie"]
    assert cookies == ["seen=1; Path=/", "from=short; HttpOnly"]


async def test_what_a_function_sees_of_its_request_and_environment(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SERVER", "x")
    headers = {
        "authorization": "Bearer t",
        "apikey": "k",
        "x_client_info": "supabase-js",
        "x_request_id": "of the client",
        "x_forwarded_for": "203.0.113.7, 10.0.0.1",
        "connection": "close",
    }
    env = {"SUPABASE_URL": "http://127.0.0.1:54321"}
    process = await start("go", env=env)
    call = a_call("/go/å b", "GET", query="tag=a&tag=b%20c", **headers)
    seen = json.loads(await whole_body(await answer_of(process, call)))
    assert seen["url"] == seen["clone"] == "http://127.0.0.1:54321/go/%C3%A5%20b?tag=a&tag=b%20c"
    assert (seen["tags"], seen["ip"]) == (["a", "b c"], "203.0.113.7")
    assert seen["headers"] == {
        "authorization": "Bearer t",
        "apikey": "k",
        "host": "127.0.0.1:54321",
        "user-agent": "test",
        "x-client-info": "supabase-js",
        "x-forwarded-for": "203.0.113.7, 10.0.0.1",
        "x-request-id": "request-1",
    }
    assert "SUPABASE_URL" in seen["env"]
    assert "SECRET_OF_THE_SERVER" not in seen["env"]


async def test_a_head_request_is_answered_without_a_body(start: Start) -> None:
    upload = await start("go")
    for _ in range(2):
        answer = await answer_of(upload, a_call("/go/x", "HEAD"))
        assert (answer.status, await whole_body(answer)) == (404, b"")


async def test_a_router_from_npm_through_the_import_map(start: Start) -> None:
    api = await start("api")
    answer = await answer_of(api, a_call("/api/books/7", "GET", query="verbose=1"))
    assert json.loads(await whole_body(answer)) == {"id": "7", "verbose": "1"}
    assert (await answer_of(api, a_call("/api/books", body=b'{"title": "A"}'))).status == 201
    broken = await answer_of(api, a_call("/api/broken", "GET"))
    assert (broken.status, await whole_body(broken)) == (418, b"handled by the router")
    assert (await answer_of(api, a_call("/api/nothing", "GET"))).status == 404


async def test_stripes_own_library_checks_its_signature(start: Start) -> None:
    env = {"STRIPE_SECRET_KEY": "sk_test_1", "STRIPE_WEBHOOK_SECRET": "whsec_1"}
    webhook = await start("stripe-webhook", env=env)
    body = b'{"id": "evt_1", "object": "event", "type": "invoice.paid"}'
    now = str(int(time.time()))
    signature = hmac.new(b"whsec_1", now.encode() + b"." + body, "sha256").hexdigest()
    headers = {"stripe_signature": f"t={now},v1={signature}"}
    answer = await answer_of(webhook, a_call("/stripe-webhook", body=body, **headers))
    assert json.loads(await whole_body(answer)) == {"received": "invoice.paid"}
    assert (await answer_of(webhook, a_call("/stripe-webhook", body=b"{}", **headers))).status == 400


async def test_cors_answers_need_no_network_once_packages_are_there(start: Start) -> None:
    profile = await start("profile", env={"SUPABASE_URL": "http://127.0.0.1:1", "SUPABASE_ANON_KEY": "k"})
    assert (await answer_of(profile, a_call("/profile", "OPTIONS"))).body == b"ok"


async def test_jsx_is_compiled_as_the_functions_deno_json_says(start: Start, tmp_path: Path) -> None:
    functions = write_functions(
        tmp_path,
        {
            "page/deno.jsonc": """{
                // the factory is our own
                "compilerOptions": { "jsx": "react", "jsxFactory": "h" },
            }""",
            "page/index.ts": 'import { page } from "./page.tsx";\nDeno.serve(() => new Response(page()));\n',
            "page/page.tsx": "const h = (tag: string, _: unknown, text: string) => `<${tag}>${text}</${tag}>`;\n"
            "export const page = () => <b>bold</b>;\n",
        },
    )
    answer = await answer_of(await start("page", functions), a_call("/page"))
    assert answer.body == b"<b>bold</b>"
