"""Paths to the role: what they find, and what is none."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basalt.config import NOTHING, parse_role_path

pytestmark = pytest.mark.req("P5")

CLAIMS: dict[str, Any] = {
    "role": "author",
    "realm": {"roles": ["reader", "web_author", "editor"], "levels": [3, 12], "on": True, "none": None},
    "https://id.test/claims": {"role": "by url"},
    "it's": {'a "b"': "quoted"},
    "teams": [{"name": "red", "lead": False}, {"name": "blue", "lead": True}],
    "naïve": "unicode",
}

RFC_9535 = [
    ("$.role", "author"),
    ("$['role']", "author"),
    ('$["role"]', "author"),
    ("$ ['role']", "author"),
    ("$.naïve", "unicode"),
    ("$['https://id.test/claims'].role", "by url"),
    (r"$['it\'s']['a \u0022b\u0022']", "quoted"),
    (r"$['\u0072ole']", "author"),
    ("$.realm.roles[1]", "web_author"),
    ("$.realm.roles[-1]", "editor"),
    ("$.realm.roles[7]", NOTHING),
    ("$.realm.roles[-7]", NOTHING),
    ("$.realm.roles[1:]", "web_author"),
    ("$.realm.roles[::-1]", "editor"),
    ("$.realm.roles[::0]", NOTHING),
    ("$.realm.roles[*]", "reader"),
    ("$.realm.*[2]", "editor"),
    ("$.realm.roles[9, 0]", "reader"),
    ("$..name", "red"),
    ("$..[?@.lead].name", "red"),
    ("$..['lead']", False),
    ("$.realm.on", True),
    ("$.realm.none", None),
    ("$.missing", NOTHING),
    ("$.role.more", NOTHING),
    ("$.role[0]", NOTHING),
    ("$.realm.roles[?(@ == 'editor')]", "editor"),
    ('$.realm.roles[?@ != "reader"]', "web_author"),
    ("$.realm.roles[?'editor' == @]", "editor"),
    ("$.realm.roles[?(@ == 'nobody')]", NOTHING),
    ("$.realm.roles[?search(@, '^web_')]", "web_author"),
    ("$.realm.roles[?match(@, 'edit')]", NOTHING),
    ("$.realm.roles[?match(@, 'edit.*')]", "editor"),
    ("$.realm.roles[?!search(@, 'r$')]", NOTHING),
    ("$.realm.roles[?search(@, '(')]", NOTHING),
    ("$.realm.levels[?search(@, '1')]", NOTHING),
    ("$.realm.levels[?@ > 3]", 12),
    ("$.realm.levels[?@ <= 3.0]", 3),
    ("$.realm.levels[?@ > 'a']", NOTHING),
    ("$.realm.levels[?@ >= true]", NOTHING),
    ("$.realm[?@ == 1]", NOTHING),
    ("$.realm[?@ == true]", True),
    ("$.realm[?@ == null]", None),
    ("$.teams[?@.lead == true].name", "blue"),
    ("$.teams[?@.name == 'red' || @.lead == true].name", "red"),
    ("$.teams[?@.name != 'red' && (@.lead == true)].name", "blue"),
    ("$.teams[?!(@.lead == true)].name", "red"),
    ("$.teams[?!@.absent].name", "red"),
    ("$.teams[?@.absent == @.other].name", "red"),
    ("$.teams[?@.name == $.role].name", NOTHING),
]
OLDER = [
    (".role", "author"),
    (".realm.roles[1]", "web_author"),
    (".realm.roles[7]", NOTHING),
    ('."https://id.test/claims".role', "by url"),
    (".teams[1].name", "blue"),
    (".missing", NOTHING),
    (".role.more", NOTHING),
    ('.realm.roles[?(@ == "editor")]', "editor"),
    ('.realm.roles[?(@ != "reader")]', "web_author"),
    ('.realm.roles[?(@ ^== "edi")]', "editor"),
    ('.realm.roles[?(@ ==^ "author")]', "web_author"),
    ('.realm.roles[?(@*=="b_a")]', "web_author"),
    ('.teams[?(@ == "red")]', NOTHING),
]


@pytest.mark.parametrize(("path", "found"), [*RFC_9535, *OLDER])
def test_a_path_leads_to_the_first_value_it_finds(path: str, found: object) -> None:
    value = parse_role_path(path)(CLAIMS)
    assert (value, type(value)) == (found, type(found))


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            "role",
            "1",
            "@.role",
            "$role",
            "$.",
            "$[",
            "$[]",
            "$['a",
            "$.a]",
            "$.1",
            "$.a b",
            "$.a;",
            "$[01]",
        ),
        *("$[-0]", r"$['\x']", r"$['\ud800']", "$.a[?]", "$.a[?1]", "$.a[?(1)]", "$.a[?@ ==]", "$.a[?@ = 1]"),
        *("$.a[?(@]", "$.a[?search(@)]", "$.a[?search(@, 'a]", "$.a[?@ == 1e999]", "$.a[?@ == 'x'] ;"),
        *(
            ".",
            ".a;",
            ".a-b",
            "[x]",
            ".a[-1]",
            '.a[?(@ == "b")].c',
            ".a[?(@ =)]",
            '.a[?(@ < "b")]',
            '.a[?(@ == "b)]',
        ),
        "$" + ".a" * 600,
    ],
)
def test_what_is_no_path_is_refused_with_its_place(path: str) -> None:
    with pytest.raises(ValueError, match=r"is not a path to the role|longer than 1000"):
        parse_role_path(path)


@given(st.text(alphabet="$@.[]()?!='\"*,: abc01&|\\u", max_size=40))
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        role_of = parse_role_path(text)
    except ValueError:
        return
    role_of(CLAIMS)


def test_parentheses_may_be_as_deep_as_a_path_is_long() -> None:
    assert (
        parse_role_path("$.teams[?" + "(" * 450 + "@.lead == true" + ")" * 450 + "].name")(CLAIMS) == "blue"
    )


def nested(depth: int) -> dict[str, Any]:
    deep: dict[str, Any] = {"role": "bottom"}
    for _ in range(depth):
        deep = {"a": deep}
    return deep


def test_claims_that_are_too_deep_to_be_searched_have_no_role() -> None:
    assert parse_role_path("$..role")(nested(90)) == "bottom"
    for path in ("$..role", "$[?@ == $.b]"):
        with pytest.raises(ValueError, match="the claims are nested too deeply"):
            parse_role_path(path)({"a": nested(1000), "b": nested(1000)})
