"""Redirects and phone numbers, without a database."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basalt.auth.addresses import normalise_phone
from basalt.auth.errors import AuthError, auth_error
from basalt.auth.redirects import Redirects
from basalt.config import AuthSettings
from basalt.errors import BasaltError

pytestmark = pytest.mark.req("P6")

ALLOWED = AuthSettings(
    site_url="https://shop.example.com",
    additional_redirect_urls=(
        "https://*.preview.example.com/**",
        "https://app.example.com/callback",
        "myapp://**",
        "exp://192.168.*.*:8081/--/*",
        "https://{one,two}.example.org/[ab]?",
    ),
)


@pytest.mark.parametrize(
    ("url", "is_allowed"),
    [
        ("https://shop.example.com", True),
        ("https://shop.example.com/any/path?x=1#y", True),
        ("https://SHOP.example.com/", True),
        ("http://shop.example.com/", False),
        ("https://shop.example.com:8443/", False),
        ("https://shop.example.com.evil.net/", False),
        ("https://shop.example.com@evil.net/", False),
        ("https://evil.net\\@shop.example.com/", False),
        ("https://shop.example.com\\.evil.net/", False),
        ("https://a.preview.example.com/x/y", True),
        ("https://a.b.preview.example.com/x", False),
        ("https://evil.net/.preview.example.com/x", False),
        ("https://evil.net#.preview.example.com/x", False),
        ("https://evil.net?.preview.example.com/x", False),
        ("https://x@a.preview.example.com/x", False),
        ("https://app.example.com/callback", True),
        ("https://app.example.com/callback#done", True),
        ("https://app.example.com/callback/more", False),
        ("https://app.example.com/callback?next=/", False),
        ("myapp://login/done", True),
        ("myapp://", True),
        ("otherapp://login", False),
        ("exp://192.168.1.20:8081/--/login", True),
        ("exp://10.0.0.1:8081/--/login", False),
        ("https://two.example.org/b7", True),
        ("https://three.example.org/b7", False),
        ("https://two.example.org/c7", False),
        ("http://127.0.0.1:54321/x", True),
        ("http://[::1]:3000/x", True),
        ("http://2130706433/", False),
        ("http://169.254.169.254/", False),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("//evil.net", False),
        ("/path", False),
        ("", False),
        ("https://", False),
        ("https://shop.example.com:99999/", False),
        ("https://shop.example.com/\r\nset-cookie: a=b", False),
        ("https://shop.example.com/ x", False),
        ("http://[::1", False),
    ],
)
def test_links_lead_where_the_project_allows(url: str, is_allowed: bool) -> None:
    assert Redirects(ALLOWED).is_allowed(url) is is_allowed


@given(st.text(max_size=60))
def test_any_text_is_allowed_or_not_without_an_exception(text: str) -> None:
    redirects = Redirects(ALLOWED)
    redirects.is_allowed(text)
    redirects.is_allowed("https://" + text)
    assert redirects.choose((text, None)) in (text, ALLOWED.site_url)


@pytest.mark.req("G10")
@pytest.mark.parametrize(
    ("typed", "digits"),
    [
        ("+60123456789", "60123456789"),
        ("60123456789", "60123456789"),
        ("+60 12-345 6789", "60123456789"),
        ("+65 9123 4567", "6591234567"),
        ("+1 (415) 555-2671", "14155552671"),
        ("+44 (0)20 7946 0958", "442079460958"),
        ("15555550100", "15555550100"),
    ],
)
def test_numbers_are_stored_as_e164_digits(typed: str, digits: str) -> None:
    assert normalise_phone(typed) == digits


@pytest.mark.parametrize(
    "typed", ["", "+", "0123456", "phone", "+1", "12345678901234567", "+60123456789;ext=5x"]
)
def test_what_is_no_number_is_refused(typed: str) -> None:
    with pytest.raises(AuthError) as refused:
        normalise_phone(typed)
    assert refused.value.code == "validation_failed"


def test_a_store_of_counts_that_is_away_is_not_called_the_database() -> None:
    away = BasaltError("rate_limit_unavailable", 503, "Requests cannot be counted just now")
    told = auth_error(away)
    assert (told.status, told.code, told.message) == (
        503,
        "unavailable",
        "Requests cannot be counted just now",
    )
