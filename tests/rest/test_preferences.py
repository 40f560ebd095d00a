"""`Prefer` and `Preference-Applied`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basalt.rest.preferences import MAX_INVALID, parse_preferences, render_applied, render_meaningful
from basalt.rest.query import ApiRequest, ParsedQuery, Preferences, TableTarget

pytestmark = pytest.mark.req("P5")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], Preferences()),
        ([""], Preferences(invalid=("",))),
        (
            ["resolution=ignore-duplicates, count=exact, timezone=America/Los_Angeles, max-affected=100"],
            Preferences(
                resolution="ignore-duplicates", count="exact", timezone="America/Los_Angeles", max_affected=100
            ),
        ),
        (
            ["resolution=merge-duplicates", "missing=null", "handling=lenient", "invalid"],
            Preferences(resolution="merge-duplicates", missing="null", handling="lenient", invalid=("invalid",)),
        ),
        (
            ["count=exact,    tx=commit   ,return=representation , missing=default, handling=strict, anything"],
            Preferences(
                count="exact", representation="full", transaction="commit", missing="default", handling="strict",
                invalid=("anything",),
            ),
        ),
        (["return=minimal", "return=representation"], Preferences(representation="minimal")),
        (["tx=commit, tx=rollback"], Preferences(transaction="commit")),
        (["count = exact", "Return=minimal"], Preferences(invalid=("count = exact", "Return=minimal"))),
        (["max-affected=many"], Preferences(max_affected=None)),
        (["max-affected=many, max-affected=5"], Preferences(max_affected=None)),
        (["max-affected=-1"], Preferences(max_affected=-1)),
        (["count=rough"], Preferences(invalid=("count=rough",))),
    ],
)  # fmt: skip
def test_preferences_are_read(headers: list[str], expected: Preferences) -> None:
    assert parse_preferences(headers, allow_transaction=True) == expected


def test_transaction_preference_counts_only_where_the_server_allows_it() -> None:
    assert parse_preferences(["tx=rollback"]).transaction is None
    assert parse_preferences(["tx=rollback"]).invalid == ()


@given(st.lists(st.text(max_size=40), max_size=6))
def test_any_header_is_read(headers: list[str]) -> None:
    parse_preferences(headers)


def test_unknown_preferences_are_bounded() -> None:
    assert len(parse_preferences(["a," * 1000]).invalid) == MAX_INVALID


EVERYTHING = Preferences(
    resolution="merge-duplicates",
    representation="full",
    count="exact",
    transaction="commit",
    missing="default",
    handling="strict",
    timezone="UTC",
    max_affected=3,
)


def test_applied_preferences_keep_postgrests_order() -> None:
    assert render_applied(EVERYTHING) == (
        "resolution=merge-duplicates, missing=default, return=representation, count=exact, tx=commit, "
        "handling=strict, timezone=UTC, max-affected=3"
    )
    assert render_applied(Preferences(max_affected=3)) is None
    assert render_applied(Preferences(invalid=("a",))) is None


@pytest.mark.parametrize(
    ("method", "action", "applied"),
    [
        ("GET", "read", "count=exact, tx=commit, handling=strict, timezone=UTC"),
        ("POST", "insert", "resolution=merge-duplicates, missing=default, return=representation, count=exact, "
                           "tx=commit, handling=strict, timezone=UTC"),
        ("PUT", "upsert_one", "return=representation, count=exact, tx=commit, handling=strict, timezone=UTC"),
        ("PATCH", "update", "missing=default, return=representation, count=exact, tx=commit, handling=strict, "
                            "timezone=UTC, max-affected=3"),
        ("DELETE", "delete", "return=representation, count=exact, tx=commit, handling=strict, timezone=UTC, "
                             "max-affected=3"),
        ("POST", "call", "count=exact, tx=commit, handling=strict, timezone=UTC, max-affected=3"),
    ],
)  # fmt: skip
def test_only_what_had_a_meaning_is_applied(method: str, action: str, applied: str) -> None:
    request = ApiRequest(method, action, TableTarget("films"), "public", ParsedQuery(), EVERYTHING)  # type: ignore[arg-type]
    assert render_meaningful(request.preferences, request.action, has_conflict_target=True) == applied


def test_resolution_without_anything_to_conflict_on_is_not_applied() -> None:
    wanted = Preferences(resolution="merge-duplicates")
    request = ApiRequest("POST", "insert", TableTarget("logs"), "public", ParsedQuery(), wanted)
    assert render_meaningful(request.preferences, request.action, has_conflict_target=False) is None
