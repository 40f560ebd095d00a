"""The body: JSON as it came, CSV and forms as JSON, the rest for routines only."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basalt.rest.errors import RestError
from basalt.rest.payload import Payload, parse_payload

pytestmark = pytest.mark.req("P5")

FORM = "application/x-www-form-urlencoded"


def read(
    body: bytes,
    content_type: str | None = None,
    *,
    columns: tuple[str, ...] | None = None,
    is_call: bool = False,
) -> Payload:
    return parse_payload(body, content_type, columns=columns, is_call=is_call)


@pytest.mark.parametrize(
    ("body", "keys", "is_array"),
    [
        (b"{}", (), False),
        (b'{"a":1,"b":null}', ("a", "b"), False),
        (b"[]", (), True),
        (b'[{"a":1},{"a":2}]', ("a",), True),
        (b'[{"a":1,"b":2},{"b":2,"a":1}]', ("a", "b"), True),
        (b"[{},{}]", (), True),
        (b' \n[{"a":12345678901234567890123}]', ("a",), True),
    ],
)
def test_json_passes_as_it_came(body: bytes, keys: tuple[str, ...], is_array: bool) -> None:
    assert read(body) == Payload(body, frozenset(keys), is_array)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "Empty or invalid json"),
        (b"}{ x = 2", "Empty or invalid json"),
        (b'{"a":1} x', "Empty or invalid json"),
        (b'{"a":"\xff"}', "Empty or invalid json"),
        (b"[" * 100_000, "Empty or invalid json"),
        (b'{"a":NaN}', "Empty or invalid json"),
        (b'[{"a":1},{"b":1}]', "All object keys must match"),
        (b'[{"a":1},{"a":1,"b":2}]', "All object keys must match"),
        (b'[{"a":1},2]', "All object keys must match"),
        (b"[1,2]", "All object keys must match"),
        (b"7", "The body must be a JSON object or an array of objects"),
        (b'{"a":"\0"}', "The body holds a NUL character"),
    ],
)
def test_json_that_makes_no_rows_is_refused(body: bytes, problem: str) -> None:
    with pytest.raises(RestError) as raised:
        read(body)
    assert (raised.value.code, raised.value.status, raised.value.message) == ("PGRST102", 400, problem)


def test_with_columns_the_body_is_left_to_postgresql() -> None:
    uneven = b' [{"a":1},{"b":2}]'
    assert read(uneven, columns=("a",)) == Payload(uneven, frozenset({"a"}), is_array=True)
    assert read(b"{nonsense", columns=("a",)) == Payload(b"{nonsense", frozenset({"a"}))


@pytest.mark.parametrize("body", [b"7", b"[1,2]", b'"text"', b'[{"a":1},{"b":2}]'])
def test_a_routine_takes_any_json(body: bytes) -> None:
    assert read(body, is_call=True) == Payload(body, frozenset(), is_array=body.startswith(b"["))


def test_a_routine_called_with_nothing_gets_no_arguments() -> None:
    assert read(b"", is_call=True) == Payload(b"{}", frozenset())


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a,b\n1,x\n2,y", [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]),
        ("a,b\r\n1,x\r\n", [{"a": "1", "b": "x"}]),
        ("a,b\n1,NULL", [{"a": "1", "b": None}]),
        ('a,b\n"x,y","say ""hi"""', [{"a": "x,y", "b": 'say "hi"'}]),
        ('a\n"two\nlines"', [{"a": "two\nlines"}]),
        ("a,b\n\n1,", [{"a": "1", "b": ""}]),
        ("a\n1,2", [{"a": "1"}]),
        ("名\nあ", [{"名": "あ"}]),
    ],
)
def test_csv_becomes_rows_of_text(text: str, rows: list[dict[str, str | None]]) -> None:
    found = read(text.encode(), "text/csv")
    assert json.loads(found.raw) == rows
    assert (found.keys, found.is_array) == (frozenset(rows[0]), True)


@pytest.mark.parametrize("text", [b"a,b\n1", b"", b'a\n"open', b"a\n\xff", b"a\n\0"])
def test_csv_that_cannot_be_read_is_refused(text: bytes) -> None:
    with pytest.raises(RestError) as raised:
        read(text, "text/csv")
    assert raised.value.code == "PGRST102"


def test_a_large_csv_field_is_read() -> None:
    assert json.loads(read(b"a\n" + b"x" * 300_000, "text/csv").raw) == [{"a": "x" * 300_000}]


def test_form_becomes_an_object_and_keeps_its_pairs() -> None:
    found = read(b"a=1&b=x+y%26&a=2&c", FORM)
    assert json.loads(found.raw) == {"a": "2", "b": "x y&", "c": ""}
    assert found.form_pairs == (("a", "1"), ("b", "x y&"), ("a", "2"), ("c", ""))
    assert found.keys == {"a", "b", "c"}


def test_form_that_is_no_text_is_refused() -> None:
    for body in (b"a=%ff", b"a=%00"):
        with pytest.raises(RestError) as raised:
            read(body, FORM)
        assert raised.value.code == "PGRST102"


@pytest.mark.parametrize("content_type", ["text/plain", "text/xml", "application/octet-stream"])
def test_text_xml_and_bytes_are_for_routines(content_type: str) -> None:
    assert read(b"<a/>", content_type, is_call=True) == Payload(b"<a/>", frozenset())
    with pytest.raises(RestError, match=f"Content-Type not acceptable: {content_type}"):
        read(b"<a/>", content_type)


def test_bytes_pass_untouched_and_text_must_be_text() -> None:
    assert read(b"\0\xff", "application/octet-stream", is_call=True).raw == b"\0\xff"
    for content_type in ("text/plain", "text/xml"):
        with pytest.raises(RestError):
            read(b"\xff", content_type, is_call=True)


@pytest.mark.parametrize(
    "content_type", ["image/png", "application/vnd.pgrst.object+json", "nonsense", "text/html"]
)
def test_other_content_types_are_refused(content_type: str) -> None:
    with pytest.raises(RestError) as raised:
        read(b"{}", content_type, is_call=True)
    assert raised.value.message == f"Content-Type not acceptable: {content_type}"


@given(
    st.binary(max_size=80),
    st.sampled_from([None, "text/csv", FORM, "text/plain", "image/png"]),
    st.booleans(),
)
def test_any_body_is_read_or_refused(body: bytes, content_type: str | None, is_call: bool) -> None:
    try:
        read(body, content_type, is_call=is_call)
    except RestError as error:
        code = error.code
    else:
        code = "PGRST102"
    assert code == "PGRST102"
