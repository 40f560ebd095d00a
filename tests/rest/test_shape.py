"""What two requests must have in common to share a plan, and what may differ."""

from typing import Any

import pytest

from basalt.rest.errors import RestError
from basalt.rest.literals import Values
from basalt.rest.request import parse_request
from basalt.rest.shape import MAX_SHAPE_BYTES, Shaped, is_trusted, letter_of, shape_of, values_of
from tests.rest.planning import SCHEMAS, make_request

pytestmark = pytest.mark.req("P5")

FORM = {"content-type": "application/x-www-form-urlencoded"}
CSV = {"content-type": "text/csv"}
BYTES = {"content-type": "application/octet-stream"}

Asked = tuple[Any, ...]
"""Method and target, then headers, then a body."""


def shaped(
    method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> Shaped | None:
    letter = letter_of(make_request(method, target, headers))
    return shape_of(letter, body) if letter is not None else None


def key(asked: Asked) -> Any:
    found = shaped(*asked)
    assert found is not None
    return found.key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("GET", "/films?id=eq.1"), ("GET", "/films?id=eq.2")),
        (("GET", "/films", {"user-agent": "a"}), ("GET", "/films", {"user-agent": "b", "cookie": "c"})),
        (("GET", "/films", {"authorization": "Bearer a"}), ("GET", "/films", {"authorization": "Bearer b"})),
        (("GET", "/rpc/add?a=1&b=2"), ("GET", "/rpc/add?a=3&b=4")),
        (("DELETE", "/films?id=eq.1"), ("DELETE", "/films?id=eq.2")),
        (("PATCH", "/films?id=eq.1", {}, b'{"a":1}'), ("PATCH", "/films?id=eq.2", {}, b'{"a":"x"}')),
        (("POST", "/films", {}, b'{"a":1,"b":2}'), ("POST", "/films", {}, b'{"b":null, "a":[]}')),
        (("POST", "/films", {}, b'[{"a":1}]'), ("POST", "/films", {}, b'[{"a":1},{"a":2}]')),
        (("POST", "/films?columns=a", {}, b'[{"a":1}]'), ("POST", "/films?columns=a", {}, b'[{"b":1},{}]')),
        (("POST", "/films", CSV, b"a,b\n1,2"), ("POST", "/films", CSV, b"b,a\n3,4\n5,6")),
        (("POST", "/rpc/f", {}, b""), ("POST", "/rpc/f", {}, b"{}")),
        (("POST", "/rpc/f", BYTES, b"\0"), ("POST", "/rpc/f", BYTES, b"\xff\xfe")),
        (("POST", "/rpc/f?columns=a", {}, b"{}"), ("POST", "/rpc/f?columns=a", {}, b'{"x":1}')),
    ],
)  # fmt: skip
def test_requests_of_one_shape_share_a_plan(one: Asked, other: Asked) -> None:
    assert key(one) == key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("GET", "/films"), ("HEAD", "/films")),
        (("GET", "/films"), ("GET", "/actors")),
        (("GET", "/films"), ("GET", "/rpc/films")),
        (("GET", "/films?select=id"), ("GET", "/films?select=title")),
        (("GET", "/films?id=eq.1"), ("GET", "/films?id=gt.1")),
        (("GET", "/films?id=eq.1"), ("DELETE", "/films?id=eq.1")),
        (("GET", "/films", {"accept": "text/csv"}), ("GET", "/films")),
        (("GET", "/films", {"accept": "text/csv"}), ("GET", "/films", {"accept": "application/json"})),
        (("GET", "/films", {"prefer": "count=exact"}), ("GET", "/films")),
        (("GET", "/films", {"prefer": "count=exact"}), ("GET", "/films", {"prefer": "count=planned"})),
        (("GET", "/films", {"prefer": "timezone=UTC"}), ("GET", "/films", {"prefer": "timezone=Asia/Tokyo"})),
        (("GET", "/films", {"accept-profile": "public"}), ("GET", "/films")),
        (("GET", "/films", {"accept-profile": "public"}), ("GET", "/films", {"accept-profile": "backstage"})),
        (("GET", "/films", {"range": "0-4"}), ("GET", "/films")),
        (("GET", "/films", {"range": "0-4"}), ("GET", "/films", {"range": "0-5"})),
        (("POST", "/films", {"content-profile": "backstage"}, b"{}"), ("POST", "/films", {}, b"{}")),
        (("POST", "/films", {}, b'{"a":1}'), ("POST", "/films", {}, b'{"b":1}')),
        (("POST", "/films", {}, b'{"a":1}'), ("POST", "/films", {}, b'{"a":1,"b":1}')),
        (("POST", "/films", {}, b'{"a":1}'), ("POST", "/films", {}, b'[{"a":1}]')),
        (("POST", "/films?columns=a", {}, b"{}"), ("POST", "/films?columns=b", {}, b"{}")),
        (("POST", "/films?columns=a", {}, b"{}"), ("POST", "/films?columns=a", {}, b" []")),
        (("POST", "/films", CSV, b"a\n1"), ("POST", "/films", {}, b'[{"a":1}]')),
        (("POST", "/rpc/f", BYTES, b"{}"), ("POST", "/rpc/f", {}, b"{}")),
        (("POST", "/rpc/f", {}, b'{"a":1}'), ("POST", "/rpc/f", {}, b"{}")),
        (("PUT", "/films?id=eq.1", {}, b'{"id":1}'), ("PATCH", "/films?id=eq.1", {}, b'{"id":1}')),
    ],
)  # fmt: skip
def test_what_a_plan_depends_on_is_part_of_the_shape(one: Asked, other: Asked) -> None:
    assert key(one) != key(other)


def test_put_looks_into_its_body_whatever_columns_says() -> None:
    found = key(("PUT", "/films?columns=a&id=eq.1", {}, b'{"id":1}'))
    assert found != key(("PUT", "/films?columns=a&id=eq.1", {}, b'{"id":1,"b":2}'))


@pytest.mark.parametrize(
    "asked",
    [
        ("POST", "/rpc/f", FORM, b"a=1"),
        ("POST", "/films", {}, b'[{"a":1},{"b":2}]'),
        ("POST", "/films", {}, b"nonsense"),
        ("POST", "/films?a=eq.1;b", {}, b"{}"),
        ("PATCH", "/films", {"range": "0-4"}, b"{}"),
        ("GET", f"/films?title=eq.{'x' * MAX_SHAPE_BYTES}"),
        ("GET", "/films", {"prefer": "x" * MAX_SHAPE_BYTES}),
    ],
)
def test_some_requests_are_looked_at_each_time(asked: Asked) -> None:
    assert shaped(*asked) is None


def test_reads_that_cannot_be_split_are_kept_to_the_letter() -> None:
    found = shaped("GET", "/films?a=eq.1;b=eq.2")
    assert found is not None
    assert found.values is None
    assert found.key != key(("GET", "/films?a=eq.2;b=eq.2"))


def test_a_letter_is_all_that_shapes_a_request_but_its_body() -> None:
    headers = {"accept": "text/csv", "x-other": "a", "prefer": "count=exact"}
    letter = letter_of(make_request("GET", "/films?id=eq.1", headers))
    assert letter is not None
    assert letter.query_string == b"id=eq.1"
    assert letter.headers == ((b"accept", b"text/csv"), (b"prefer", b"count=exact"))


@pytest.mark.parametrize(
    ("asked", "values"),
    [
        (("GET", "/films?id=eq.1&limit=5&offset=6"), Values(("1",), 5, 6)),
        (("GET", "/films?offset=0"), Values()),
        (("GET", "/rpc/add?a=1&id=eq.2"), Values(("2", "1"))),
        (("POST", "/films", {}, b'{"a": 1}'), Values(payload=b'{"a": 1}')),
        (("POST", "/films", CSV, b"a\n1"), Values(payload=b'[{"a":"1"}]')),
        (("POST", "/rpc/f", {}, b""), Values(payload=b"{}")),
        (("PATCH", "/films?or=(a.eq.1,b.in.(2,3))", {}, b"{}"), Values(("1", ("2", "3")), payload=b"{}")),
    ],
)
def test_values_are_those_that_the_parser_finds(asked: Asked, values: Values) -> None:
    found = shaped(*asked)
    method, target, headers, body = (*asked, None, None)[:4]
    api = parse_request(make_request(method, target, headers), body, schemas=SCHEMAS)
    assert found is not None
    assert found.values == values == values_of(api)
    assert is_trusted(found, api)


@pytest.mark.parametrize(
    "target",
    [
        "/films?limit=0",
        "/films?limit=5&offset=1&limit=0",
        "/films?a.select=eq.1",
        '/films?or=(a.eq."1",b.eq.2)&or=(c.cs.x)',
        "/films?or=(a.is.null)(b.eq.2)",
    ],
)
def test_a_shape_that_the_parser_sees_otherwise_is_not_trusted(target: str) -> None:
    found = shaped("GET", target)
    assert found is not None
    try:
        api = parse_request(make_request("GET", target), None, schemas=SCHEMAS)
    except RestError:
        return
    assert not is_trusted(found, api)
