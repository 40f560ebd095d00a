"""Route tables."""

import pytest

from basalt.errors import BasaltError
from basalt.http import Request, Response, Route, RouteTable


async def nothing(request: Request, **segments: str) -> Response:
    return Response(200)


TABLE = RouteTable(
    [
        Route("GET", "/users", "admin", nothing),
        Route("POST", "/users", "admin", nothing),
        Route("GET", "/users/me", "user", nothing),
        Route("GET", "/users/{user_id}", "admin", nothing),
        Route("DELETE", "/users/{user_id}/factors/{factor_id}", "admin", nothing),
        Route("POST", "/files/list/{folder}", "user", nothing),
        Route("GET", "/files/{folder}/{path*}", "user", nothing),
        Route("GET", "/files/public/{folder}/{path*}", "public", nothing),
    ]
)


def test_a_literal_segment_goes_before_a_named_one() -> None:
    assert TABLE.match("GET", "/users/me")[0].path == "/users/me"  # type: ignore[index]


def test_named_segments_are_decoded() -> None:
    _, segments = TABLE.match("DELETE", "/users/a%20b/factors/1%2F2")  # type: ignore[misc]
    assert segments == {"user_id": "a b", "factor_id": "1/2"}


def test_an_unknown_path_is_nothing() -> None:
    assert TABLE.match("GET", "/nobody") is None
    assert TABLE.match("GET", "/users//factors/1") is None


def test_an_unknown_method_names_the_known_ones() -> None:
    with pytest.raises(BasaltError) as caught:
        TABLE.match("PATCH", "/users")
    assert caught.value.status == 405
    assert ("Allow", "GET, POST") in caught.value.headers


def test_head_is_answered_by_get() -> None:
    assert TABLE.match("HEAD", "/users")[0].method == "GET"  # type: ignore[index]


def test_a_rest_of_the_path_keeps_its_slashes() -> None:
    _, segments = TABLE.match("GET", "/files/f/a///b%2Fc/")  # type: ignore[misc]
    assert segments == {"folder": "f", "path": "a///b/c/"}
    assert TABLE.match("GET", "/files/f//x")[1]["path"] == "/x"  # type: ignore[index]


def test_a_rest_of_the_path_is_never_empty() -> None:
    assert TABLE.match("GET", "/files/f/") is None
    assert TABLE.match("GET", "/files/f") is None


def test_a_literal_goes_before_a_rest_where_it_has_the_method() -> None:
    assert TABLE.match("GET", "/files/public/f/x")[0].access == "public"  # type: ignore[index]
    assert TABLE.match("HEAD", "/files/public/x")[1] == {"folder": "public", "path": "x"}  # type: ignore[index]
    assert TABLE.match("GET", "/files/list/x")[1] == {"folder": "list", "path": "x"}  # type: ignore[index]
    assert TABLE.match("POST", "/files/list/x")[1] == {"folder": "x"}  # type: ignore[index]
