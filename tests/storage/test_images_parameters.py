"""Parameters of transformations: what is refused and how, and what an answer says was done."""

from typing import Any

import pytest

from basalt.storage.errors import StorageError
from basalt.storage.images import (
    choose_format,
    claims_of_transform,
    list_transformations,
    parse_claims,
    parse_query,
)

pytestmark = pytest.mark.req("P8")


@pytest.mark.parametrize(
    ("query", "applied"),
    [
        ({}, ""),
        ({"width": "0", "height": "0"}, ""),
        ({"width": "100"}, "width:100,resizing_type:fill"),
        ({"height": "100", "resize": "contain"}, "height:100,resizing_type:fit"),
        ({"width": "100", "height": "50", "resize": "fill"}, "height:50,width:100,resizing_type:force"),
        ({"width": "5000", "height": "2001"}, "height:2000,width:2000,resizing_type:fill"),
        ({"quality": "20"}, "quality:20"),
        ({"format": "origin"}, ""),
        ({"format": "avif"}, "format:avif"),
        ({"resize": "contain"}, ""),
        ({"gravity": "sm", "x_offset": "12"}, "gravity:sm"),
        ({"gravity": "no"}, "gravity:no"),
        ({"gravity": "no", "x_offset": "10"}, "gravity:no:10:0"),
        ({"gravity": "soea", "y_offset": "-0.5"}, "gravity:soea:0:-0.5"),
        ({"x_offset": "0.5"}, ""),
        (
            {
                "width": "200",
                "height": "200",
                "quality": "60",
                "format": "webp",
                "gravity": "fp",
                "x_offset": "0",
                "y_offset": "1",
            },
            "height:200,width:200,resizing_type:fill,quality:60,format:webp,gravity:fp:0:1",
        ),
        ({"width": "1e2"}, "width:100,resizing_type:fill"),
        ({"width": "100.0", "download": "x.png"}, "width:100,resizing_type:fill"),
    ],
)
def test_an_answer_says_what_was_done(query: dict[str, str], applied: str) -> None:
    assert ",".join(list_transformations(parse_query(query))) == applied


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"width": "-1"}, "querystring/width must be >= 0"),
        ({"height": "-1"}, "querystring/height must be >= 0"),
        ({"width": "abc"}, "querystring/width must be integer"),
        ({"width": ""}, "querystring/width must be integer"),
        ({"width": "1.5"}, "querystring/width must be integer"),
        ({"width": "9" * 400}, "querystring/width must be integer"),
        ({"width": "Infinity"}, "querystring/width must be integer"),
        ({"quality": "19"}, "querystring/quality must be >= 20"),
        ({"quality": "101"}, "querystring/quality must be <= 100"),
        ({"resize": "crop"}, "querystring/resize must be equal to one of the allowed values"),
        ({"format": "png"}, "querystring/format must be equal to one of the allowed values"),
        ({"gravity": "obj"}, "querystring/gravity must be equal to one of the allowed values"),
        ({"x_offset": "nan"}, "querystring/x_offset must be number"),
        ({"gravity": "fp", "y_offset": "0"}, "querystring must have required property 'x_offset'"),
        ({"gravity": "fp", "x_offset": "0"}, "querystring must have required property 'y_offset'"),
        ({"gravity": "fp", "x_offset": "1.1", "y_offset": "0"}, "querystring/x_offset must be <= 1"),
        ({"gravity": "fp", "x_offset": "0", "y_offset": "-1"}, "querystring/y_offset must be >= 0"),
        ({"height": "x", "width": "y"}, "querystring/height must be integer"),
    ],
)
def test_a_bad_parameter_is_named(query: dict[str, str], message: str) -> None:
    with pytest.raises(StorageError) as raised:
        parse_query(query)
    assert raised.value.message.startswith(message)
    assert (raised.value.code, raised.value.label, raised.value.http_status) == (
        "InvalidRequest",
        "Error",
        400,
    )


@pytest.mark.parametrize(
    ("transform", "claims"),
    [
        ({}, {}),
        ({"width": 100}, {"transformations": "width:100,resize:cover"}),
        ({"width": "100"}, {"transformations": "width:100,resize:cover"}),
        ({"format": "webp"}, {"transformations": "format:webp", "format": "webp"}),
        ({"format": "origin"}, {"format": "origin"}),
        (
            {"width": 4000, "resize": "contain", "format": "origin"},
            {"transformations": "width:2000,resize:contain", "format": "origin"},
        ),
    ],
)
def test_a_token_keeps_what_was_asked_for(transform: dict[str, Any], claims: dict[str, str]) -> None:
    assert claims_of_transform(transform) == claims
    as_query = {name: str(value) for name, value in transform.items()}
    assert parse_claims(claims) == parse_query(as_query)


def test_faults_in_a_body_are_named_by_their_place() -> None:
    with pytest.raises(StorageError, match="body/transform/width must be integer"):
        claims_of_transform({"width": "wide"})


@pytest.mark.parametrize(
    ("accept", "given", "chosen"),
    [
        ("image/avif,image/webp,image/*,*/*;q=0.8", None, "webp"),
        ("*/*", None, None),
        ("image/*", None, None),
        ("image/webp;q=0", None, None),
        ("IMAGE/WEBP", None, "webp"),
        ("image/webp", "origin", None),
        ("image/webp", "avif", "avif"),
        ("", "webp", "webp"),
    ],
)
def test_the_format_is_chosen(accept: str, given: str | None, chosen: str | None) -> None:
    assert choose_format(parse_query({} if given is None else {"format": given}), accept) == chosen
