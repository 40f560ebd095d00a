"""From `Accept` to what PostgreSQL shall build."""

from dataclasses import replace

import pytest

from basalt.rest.errors import RestError
from basalt.rest.plan import Answer
from tests.rest.planning import SETTINGS, prepared

pytestmark = pytest.mark.req("P5")

OBJECT = "application/vnd.pgrst.object+json"
PLANS = replace(SETTINGS, db_plan_enabled=True)


def answer(accept: str | None, target: str = "/awards", method: str = "GET", **headers: str) -> Answer:
    given = {**headers, **({"accept": accept} if accept is not None else {})}
    return prepared(method, target, given, b"{}", settings=PLANS).answer


@pytest.mark.parametrize(
    ("accept", "form", "media_type"),
    [
        (None, "json", "application/json"),
        ("*/*", "json", "application/json"),
        ("application/json", "json", "application/json"),
        ("text/csv", "csv", "text/csv"),
        ("application/geo+json", "geojson", "application/geo+json"),
        (OBJECT, "object", OBJECT),
        ("application/vnd.pgrst.object", "object", OBJECT),
        (f"{OBJECT};nulls=stripped", "object_stripped", f"{OBJECT};nulls=stripped"),
        (
            "application/vnd.pgrst.array+json;nulls=stripped",
            "json_stripped",
            "application/vnd.pgrst.array+json;nulls=stripped",
        ),
        ("application/vnd.pgrst.array+json", "json", "application/json"),
        ("text/csv;q=0.5, application/json", "json", "application/json"),
        ("image/png, text/csv", "csv", "text/csv"),
        ("image/png, */*", "json", "application/json"),
        ("image/png, application/vnd.pgrst.object+json", "object", OBJECT),
    ],
)
def test_the_first_media_type_that_can_be_made_is_made(
    accept: str | None, form: str, media_type: str
) -> None:
    found = answer(accept)
    assert (found.form, found.media_type) == (form, media_type)


@pytest.mark.parametrize(
    ("accept", "is_singular"),
    [
        (None, False),
        (OBJECT, True),
        (f"{OBJECT};nulls=stripped", True),
        ("application/vnd.pgrst.array+json;nulls=stripped", False),
        (f"application/json, {OBJECT}", False),
        (f"image/png, {OBJECT}", True),
    ],
)
def test_one_object_is_one_row(accept: str | None, is_singular: bool) -> None:
    assert answer(accept).is_singular is is_singular


@pytest.mark.parametrize(
    ("accept", "listed"),
    [
        ("image/png", "image/png"),
        ("image/png, text/plain;q=0.5", "image/png, text/plain"),
        ("application/openapi+json", "application/openapi+json"),
        ("unknown/unknown", "unknown/unknown"),
        ("", ""),
    ],
)
def test_what_nobody_can_make_is_refused(accept: str, listed: str) -> None:
    with pytest.raises(RestError) as raised:
        answer(accept)
    assert (raised.value.code, raised.value.status) == ("PGRST107", 406)
    assert raised.value.message == f"None of these media types are available: {listed}"


# Handlers of the project's own


@pytest.mark.parametrize(
    ("accept", "target", "handler"),
    [
        ("text/html", "/awards", "page"),
        ("text/html", "/films?select=id", "page"),
        ("application/x-films", "/films", "film_list"),
        ("application/x-films", "/films?select=*", "film_list"),
        ("*/*", "/directors", "anything"),
        ("text/html", "/directors", "anything"),
        ("*/*", "/directors?select=id", None),
        ("application/json", "/films", None),
    ],
)
def test_a_handler_of_the_table_goes_before_one_for_any(
    accept: str, target: str, handler: str | None
) -> None:
    found = answer(accept, target)
    assert (found.handler.routine[1] if found.handler else None) == handler
    assert (found.form == "custom") is (handler is not None)


@pytest.mark.parametrize("target", ["/films?select=id", "/films?select=*,awards(*)", "/awards"])
def test_a_handler_of_a_table_wants_whole_rows_of_it(target: str) -> None:
    with pytest.raises(RestError, match="None of these media types"):
        answer("application/x-films", target)


def test_an_answer_is_called_what_the_handler_says() -> None:
    found = answer("*/*", "/directors")
    assert found.media_type == "application/octet-stream"


# Answers without rows


@pytest.mark.parametrize(
    ("method", "target", "prefer", "has_rows"),
    [
        ("GET", "/films", "", True),
        ("HEAD", "/films", "", False),
        ("POST", "/films", "", False),
        ("POST", "/films", "return=minimal", False),
        ("POST", "/films", "return=headers-only", False),
        ("POST", "/films", "return=representation", True),
        ("PATCH", "/films", "return=representation", True),
        ("DELETE", "/films", "", False),
        ("PUT", "/films?id=eq.1", "return=representation", True),
        ("POST", "/rpc/greet", "return=minimal", True),
        ("HEAD", "/rpc/greet", "", False),
    ],
)
def test_nothing_is_built_that_nobody_reads(method: str, target: str, prefer: str, has_rows: bool) -> None:
    found = answer(None, target, method, **({"prefer": prefer} if prefer else {}))
    assert (found.form != "nothing") is has_rows


def test_a_write_of_one_row_is_that_also_without_an_answer() -> None:
    found = answer(OBJECT, "/films", "PATCH")
    assert (found.form, found.is_singular) == ("nothing", True)


# Plans


def test_a_plan_is_of_what_the_media_type_inside_asks_for() -> None:
    found = answer('application/vnd.pgrst.plan+json; for="text/csv"; options=analyze|buffers')
    assert found.plan is not None
    assert (found.form, found.plan.format, found.plan.options) == ("csv", "json", ("analyze", "buffers"))
    assert found.media_type == 'application/vnd.pgrst.plan+json; for="text/csv"; options=analyze|buffers'
    singular = answer(f'application/vnd.pgrst.plan; for="{OBJECT}"')
    assert (singular.form, singular.is_singular) == ("object", False)


def test_plans_are_refused_unless_they_are_enabled() -> None:
    asked = {"accept": "application/vnd.pgrst.plan"}
    with pytest.raises(RestError) as raised:
        prepared("GET", "/films", asked)
    assert raised.value.code == "PGRST107"
    both = {"accept": "application/vnd.pgrst.plan, text/csv;q=0.5"}
    assert prepared("GET", "/films", both).answer.form == "csv"
