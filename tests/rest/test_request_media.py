"""Media types in `Accept` and `Content-Type`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basalt.rest.media import parse_accept, parse_media_type, render_content_type
from basalt.rest.query import PlanOptions

pytestmark = pytest.mark.req("P5")


@pytest.mark.parametrize(
    ("header", "names"),
    [
        (None, ["*/*"]),
        ("application/json", ["application/json"]),
        ("text/html, application/xml;q=0.9, */*;q=0.8", ["text/html", "application/xml", "*/*"]),
        ("text/csv;q=0.5,application/json", ["application/json", "text/csv"]),
        ("*/*,text/csv", ["text/csv", "*/*"]),
        ("text/csv, application/json", ["text/csv", "application/json"]),
        ("text/csv; q=0.1, text/plain ; q = 1", ["text/plain", "text/csv"]),
        ("text/csv;q=x", ["text/csv"]),
    ],
)
def test_accept_is_ordered_by_quality_then_specificity_then_place(
    header: str | None, names: list[str]
) -> None:
    assert [found.name for found in parse_accept(header)] == names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("application/json; charset=utf-8", "application/json"),
        ("APPLICATION/JSON", "application/json"),
        ("application/vnd.pgrst.array+json", "application/json"),
        (
            "application/vnd.pgrst.array+json;nulls=stripped",
            "application/vnd.pgrst.array+json;nulls=stripped",
        ),
        ("application/vnd.pgrst.array; NULLS=stripped", "application/vnd.pgrst.array+json;nulls=stripped"),
        ("application/vnd.pgrst.object", "application/vnd.pgrst.object+json"),
        ("application/vnd.pgrst.object;nulls=kept", "application/vnd.pgrst.object+json"),
        ("application/vnd.twkb", "application/vnd.twkb"),
        ("Unknown/Thing; a=b", "Unknown/Thing; a=b"),
        ("nonsense", "nonsense"),
        ("", ""),
    ],
)
def test_media_types_have_one_spelling(text: str, name: str) -> None:
    found = parse_media_type(text)
    assert (found.name, found.plan) == (name, None)


@pytest.mark.parametrize(
    ("text", "options", "name"),
    [
        (
            "application/vnd.pgrst.plan",
            PlanOptions("application/json", "text"),
            'application/vnd.pgrst.plan+text; for="application/json"',
        ),
        (
            'application/vnd.pgrst.plan+json;for="text/csv"',
            PlanOptions("text/csv", "json"),
            'application/vnd.pgrst.plan+json; for="text/csv"',
        ),
        (
            "application/vnd.pgrst.plan ; for=\"text/xml\" ; options=wal|analyze|nonsense",
            PlanOptions("text/xml", "text", ("analyze", "wal")),
            'application/vnd.pgrst.plan+text; for="text/xml"; options=analyze|wal',
        ),
        (
            'application/vnd.pgrst.plan+text; for="application/vnd.pgrst.object"; options=verbose|buffers',
            PlanOptions("application/vnd.pgrst.object+json", "text", ("verbose", "buffers")),
            'application/vnd.pgrst.plan+text; for="application/vnd.pgrst.object+json"; options=verbose|buffers',
        ),
    ],
)  # fmt: skip
def test_plans_carry_their_options(text: str, options: PlanOptions, name: str) -> None:
    found = parse_media_type(text)
    assert (found.plan, found.name) == (options, name)


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("application/json", "application/json; charset=utf-8"),
        ("*/*", "application/json; charset=utf-8"),
        ("text/csv", "text/csv; charset=utf-8"),
        (
            "application/vnd.pgrst.object+json;nulls=stripped",
            "application/vnd.pgrst.object+json;nulls=stripped; charset=utf-8",
        ),
        ("application/octet-stream", "application/octet-stream"),
        ("image/png", "image/png"),
    ],
)
def test_charset_is_said_of_what_postgrest_knows(name: str, content_type: str) -> None:
    assert render_content_type(name) == content_type


@given(st.text(max_size=60))
def test_any_header_is_read(text: str) -> None:
    assert parse_accept(text)
