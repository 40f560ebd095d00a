"""Session cookies from Python to JavaScript and back: `basalt.sessions` and unmodified `@supabase/ssr` read what the
other one wrote, over a running project."""

import json
from typing import Any

import pytest

from basalt.sessions import SessionCookies, parse_cookies
from tests.contract.conftest import run_node
from tests.server import Server

pytestmark = pytest.mark.req("G10", "P6")

PASSWORD = "correct horse battery"


@pytest.mark.parametrize(
    ("email", "about"), [("short@example.com", "Ada"), ("long@example.com", "é😀" * 300)]
)
def test_a_session_goes_from_python_to_javascript_and_back(orchestra: Server, email: str, about: str) -> None:
    cookies = SessionCookies(orchestra.url, "http://localhost:3000")
    with orchestra.client() as http:
        fields = {"email": email, "password": PASSWORD, "data": {"about": about}}
        session = http.post("/auth/v1/signup", json=fields).json()

    # Python writes, JavaScript reads
    written = cookies.write(session)
    assert (len(written) > 1) == (about != "Ada")
    seen = run("read", orchestra, cookie=header_of(written))
    assert seen["session"]["access_token"] == session["access_token"]
    assert seen["session"]["refresh_token"] == session["refresh_token"]
    assert seen["session"]["user"]["user_metadata"]["about"] == about
    assert seen["user"]["email"] == email
    assert seen["set"] == []

    # JavaScript writes over what Python wrote, Python reads
    signed_in = run("sign-in", orchestra, cookie=header_of(written), email=email, password=PASSWORD)
    assert signed_in["error"] is None
    read = cookies.read(header_of(signed_in["set"], written))
    assert read is not None
    assert read["access_token"] != session["access_token"]
    assert read["user"]["user_metadata"]["about"] == about

    # Python takes away what JavaScript wrote
    jar = header_of(signed_in["set"], written)
    gone = header_of(cookies.clear(jar), [f"{name}={value}" for name, value in parse_cookies(jar).items()])
    assert gone == ""


def test_the_same_session_gives_the_same_cookies(orchestra: Server) -> None:
    """Name, encoding, cut and attributes are those of @supabase/ssr, but for `HttpOnly`."""
    with orchestra.client() as http:
        fields = {"email": "same@example.com", "password": PASSWORD, "data": {"about": "é" * 700}}
        http.post("/auth/v1/signup", json=fields)
    theirs = run("sign-in", orchestra, cookie="", email="same@example.com", password=PASSWORD)["set"]
    cookies = SessionCookies(orchestra.url, "http://localhost:3000", http_only=False)
    session = cookies.read(header_of(theirs))
    assert session is not None
    assert cookies.write(session) == theirs


def header_of(set_cookies: list[str], before: list[str] | None = None) -> str:
    """The `Cookie` header that a browser sends after two answers."""
    jar: dict[str, str] = {}
    for line in [*(before or []), *set_cookies]:
        name, _, rest = line.partition("=")
        value, _, attributes = rest.partition(";")
        jar.pop(name, None)
        if "Max-Age=0" not in attributes:
            jar[name] = value
    return "; ".join(f"{name}={value}" for name, value in jar.items())


def run(what: str, server: Server, **given: str) -> dict[str, Any]:
    text = json.dumps({"email": "", "password": "", **given})
    answer: dict[str, Any] = json.loads(run_node(["auth/cookies.mjs", what], server, text=text))
    return answer
