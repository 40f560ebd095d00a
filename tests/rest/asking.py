"""Questions to a running REST API, as tests put them."""

import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.server import Server

OBJECT = {"accept": "application/vnd.pgrst.object+json"}
FULL = "return=representation"
UNDO = "tx=rollback"
TRY = {"prefer": f"{FULL}, {UNDO}"}
"""Show what would be there, and leave everything as it was."""


def rest_client(server: Server) -> httpx2.Client:
    """A client of the project's REST API with the anonymous key."""
    client = server.client()
    client.base_url = f"{server.url}/rest/v1"
    return client


def rows(api: httpx2.Client, path: str, **headers: str) -> Any:
    """The body of an answer that must be one."""
    answer = api.get(path, headers=headers)
    assert answer.status_code in (200, 206), answer.text
    return answer.json()


def refused(answer: httpx2.Response) -> tuple[int, str]:
    """Status and code of an answer that must be an error."""
    assert answer.status_code >= 300, answer.text
    return answer.status_code, answer.json()["code"]


def tried(answer: httpx2.Response, status: int) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def case(behaviour: str, path: str, expected: Any) -> Any:
    """One line of a table of behaviours."""
    return pytest.param(path, expected, id=behaviour)


def prefer(*preferences: str, **headers: str) -> dict[str, str]:
    return {"prefer": ", ".join(preferences), **headers}


def wait_until(condition: Callable[[], bool], limit_s: float = 5.0) -> None:
    """For what a notification brings about."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "this was waited for in vain"
        time.sleep(0.02)
