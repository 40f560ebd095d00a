"""The address of a proxy, as PostgREST takes one (`Config/Proxy.hs`)."""

import pytest

from basalt.config import parse_proxy_uri

pytestmark = pytest.mark.req("P5")


@pytest.mark.parametrize(
    "text",
    [
        "http://films.example",
        "https://films.example/",
        "https://films.example:65535/a%20b/c;d=1",
        "HTTP://127.0.0.1:1",
        "http://[::1]:8080/",
        "http://films.example//",
        "http://films.example:0080",
    ],
)
def test_an_absolute_address_is_a_proxy_uri(text: str) -> None:
    assert parse_proxy_uri(text).scheme in ("http", "https")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "films.example",
        "//films.example/",
        "/films",
        "http:films.example",
        "http://",
        "http:///films",
        "ftp://films.example",
        "http+unix://films.example",
        "http://films.example/?",
        "http://films.example/?page=1",
        "http://films.example/#top",
        "http://fritz@films.example/",
        "http://@films.example/",
        "http://films.example:",
        "http://films.example:0/",
        "http://films.example:65536/",
        "http://films.example:x/",
        "http://films example/",
        "http://films.example/a b",
        "http://films.example/100%",
        "http://films.example/é",
        "http://[::1/",
        "http://[films]/",
        "http://[::1::2]/",
        "http://films.example/\n",
    ],
)
def test_nothing_else_is_a_proxy_uri(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an address such as https://example\.com:8443/base"):
        parse_proxy_uri(text)
