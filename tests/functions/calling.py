"""How tests call functions and read the log."""

import json
import time
from collections.abc import Callable
from typing import Any

import httpx2
import jwt

from tests.server import Server


def token_of(server: Server, user_id: str, **claims: Any) -> str:
    base = {"role": "authenticated", "sub": user_id, "aud": "authenticated"}
    return jwt.encode({**base, **claims}, server.jwt_secret, algorithm="HS256")


def call(server: Server, path: str, method: str = "POST", **options: Any) -> httpx2.Response:
    with server.client(token=options.pop("token", None)) as client:
        return client.request(method, f"/functions/v1/{path}", **options)


def error_of(answer: httpx2.Response) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert error["requestId"] == answer.headers["x-request-id"]
    assert error["timestamp"].endswith("Z")
    return error


def logged(server: Server, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def wait_for(condition: Callable[[], object], limit_s: float = 10) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)
