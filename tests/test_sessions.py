"""Session cookies: what is written, what is read back, and what is not believed."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basalt.sessions import CHUNK_BYTES, MAX_CHUNKS, SessionCookies, parse_cookies

pytestmark = pytest.mark.req("G10")

SESSION = {"access_token": "a.b.c", "refresh_token": "aaaabbbbcccc", "user": {"id": "1"}}
NAME = "sb-abcdefgh-auth-token"
METADATA = st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))


@pytest.fixture
def cookies() -> SessionCookies:
    return SessionCookies("https://abcdefgh.example.com", "https://www.example.com")


def browser(set_cookies: list[str], header: str = "") -> str:
    """The `Cookie` header that a browser sends after an answer."""
    jar = parse_cookies(header)
    for line in set_cookies:
        name, _, rest = line.partition("=")
        value, _, attributes = rest.partition(";")
        jar.pop(name, None)
        if "Max-Age=0" not in attributes:
            jar[name] = value
    return "; ".join(f"{name}={value}" for name, value in jar.items())


def with_padding(size: int) -> dict[str, Any]:
    return {**SESSION, "user": {"id": "1", "user_metadata": {"about": "é" * size}}}


def encoded(value: object) -> str:
    return "base64-" + base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_session_is_one_cookie_out_of_the_reach_of_scripts(cookies: SessionCookies) -> None:
    [line] = cookies.write(SESSION)
    assert line.startswith(f"{NAME}=base64-")
    assert line.endswith("; Max-Age=34560000; Path=/; HttpOnly; Secure; SameSite=Lax")
    assert cookies.read(browser([line])) == SESSION


def test_where_cookies_go_follows_the_site_and_the_project() -> None:
    local = SessionCookies("http://127.0.0.1:54321", "http://localhost:3000", http_only=False)
    assert local.name == "sb-127-auth-token"
    [line] = local.write(SESSION)
    assert line.endswith("; Max-Age=34560000; Path=/; SameSite=Lax")
    shared = SessionCookies(
        "https://x.example.com", "https://a.example.com", name="mine", domain="example.com"
    )
    [line] = shared.write(SESSION)
    assert line.startswith("mine=base64-")
    assert "; Path=/; Domain=example.com; HttpOnly; Secure" in line
    for wrong in ({"name": "a;b"}, {"name": "a b"}, {"domain": "example.com; Secure"}):
        with pytest.raises(ValueError, match="cannot be used for a cookie"):
            SessionCookies("https://x.example.com", "https://a.example.com", **wrong)


@given(metadata=METADATA)
def test_any_metadata_comes_back(metadata: dict[str, str]) -> None:
    cookies = SessionCookies("https://abcdefgh.example.com", "https://www.example.com")
    session = {**SESSION, "user": {"id": "1", "user_metadata": metadata}}
    assert cookies.read(browser(cookies.write(session))) == session


def test_a_long_session_is_cut_into_chunks(cookies: SessionCookies) -> None:
    session = with_padding(6000)
    lines = cookies.write(session)
    assert [line.partition("=")[0] for line in lines] == [f"{NAME}.{number}" for number in range(len(lines))]
    assert len(lines) == 6
    assert max(len(line.partition("=")[2].partition(";")[0]) for line in lines) == CHUNK_BYTES
    assert max(map(len, lines)) < 4096
    assert cookies.read(browser(lines)) == session


def test_what_an_earlier_session_left_is_taken_away(cookies: SessionCookies) -> None:
    jar = browser(cookies.write(with_padding(6000)), f"{NAME}-code-verifier=x; other.0=y; {NAME}.x=z")
    for size, count in ((0, 1), (3000, 3), (100, 1)):
        lines = cookies.write(with_padding(size), jar)
        jar = browser(lines, jar)
        own = [name for name in parse_cookies(jar) if name == NAME or name.startswith(f"{NAME}.")]
        assert len(own) == count + 1  # and NAME.x, which is somebody else's
        assert cookies.read(jar) == with_padding(size)
    gone = browser(cookies.clear(jar), jar)
    assert gone == f"{NAME}-code-verifier=x; other.0=y; {NAME}.x=z"
    assert cookies.read(gone) is None
    assert cookies.clear("") == []
    [removal] = cookies.clear(f"{NAME}=x")
    assert removal == f"{NAME}=; Max-Age=0; Path=/; HttpOnly; Secure; SameSite=Lax"


def test_cookies_of_older_versions_are_read(cookies: SessionCookies) -> None:
    assert cookies.read(
        f"{NAME}=" + "%7B%22access_token%22%3A%22a%22%2C%22refresh_token%22%3A%22b%22%7D"
    ) == {
        "access_token": "a",
        "refresh_token": "b",
    }
    assert cookies.read(f'{NAME}="{encoded(SESSION)}"') == SESSION
    assert cookies.read(f"{NAME}={encoded(SESSION)}; {NAME}.0=base64-torn") == SESSION


@pytest.mark.parametrize(
    "header",
    [
        "",
        ";;;",
        NAME,
        f"{NAME}=",
        f"{NAME}=base64-",
        f"{NAME}=base64-!!!!",
        f"{NAME}=base64-A",
        f"{NAME}=base64-_w",  # not UTF-8
        f"{NAME}=hello",
        f"{NAME}=base64-{encoded(SESSION)}",
        f"{NAME}={encoded(SESSION)[:-4]}",
        f"{NAME}.1={encoded(SESSION)}",  # the first chunk is missing
        f"{NAME}={encoded([SESSION])}",
        f"{NAME}={encoded('text')}",
        f"{NAME}={encoded({})}",
        f"{NAME}={encoded({'access_token': 'a'})}",
        f"{NAME}={encoded({'access_token': 1, 'refresh_token': 'b'})}",
        f"{NAME}={encoded({'access_token': '', 'refresh_token': 'b'})}",
        f"{NAME}=" + "[" * 100_000,
        f"{NAME}={encoded({**SESSION, 'more': 'x' * CHUNK_BYTES * MAX_CHUNKS})}",
        "; ".join(f"{NAME}.{number}=x" for number in range(10_000)),
    ],
)
def test_what_is_no_session_is_none(cookies: SessionCookies, header: str) -> None:
    assert cookies.read(header) is None


def test_chunks_of_two_sessions_are_none(cookies: SessionCookies) -> None:
    long_token = {**SESSION, "access_token": "x" * 7000}
    old, new = (parse_cookies(browser(cookies.write(each))) for each in (with_padding(6000), long_token))
    mixed = {**old, f"{NAME}.0": new[f"{NAME}.0"]}
    assert cookies.read("; ".join(f"{name}={value}" for name, value in mixed.items())) is None


def test_what_does_not_fit_is_refused(cookies: SessionCookies) -> None:
    for wrong in ({}, {"access_token": "a"}, {"access_token": "", "refresh_token": "b"}):
        with pytest.raises(ValueError, match="at least an access_token"):
            cookies.write(wrong)
    with pytest.raises(ValueError, match="too long for cookies"):
        cookies.write(with_padding(CHUNK_BYTES * MAX_CHUNKS))
