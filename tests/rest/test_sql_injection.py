"""What no request can bring into a statement: names and casts that are not words, and values."""

from typing import Any
from urllib.parse import quote

import pglast.parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basalt.rest.errors import RestError
from tests.rest.planning import parameters, prepared
from tests.rest.statements import COUNTED, FULL, read, source

pytestmark = pytest.mark.req("P5")


def test_names_are_quoted_whatever_they_hold() -> None:
    select = quote(r'"a\"b","x\"y":"C d","emb\"ed"->k')
    found = source(read(f"/we%22ird?select={select}&order=%22drop%20table%22"))
    assert '"we""ird"."a""b"' in found
    assert '"we""ird"."C d" as "x""y"' in found
    assert '"we""ird"."emb""ed"' in found
    assert found.endswith('order by "we""ird"."drop table"')


@pytest.mark.parametrize("cast", ["int4range", "double precision", "my_type", "_int4"])
def test_a_cast_is_words(cast: str) -> None:
    assert f'cast("films"."id" as {cast})' in source(read(f"/films?select=id::{cast.replace(' ', '%20')}"))


@pytest.mark.parametrize("cast", ["my$type", "größe"])
def test_a_cast_of_other_characters_is_refused(cast: str) -> None:
    with pytest.raises(RestError) as raised:
        read(f"/films?select=id::{quote(cast)}")
    assert raised.value.code == "PGRST100"


MARK = "Xy7Zq"
hostile = st.sampled_from(
    [f"'{MARK}", f"{MARK}$1", f"{MARK}--", f"{MARK};", f"{MARK}\\", f"{MARK}*", f"{MARK}é"]
)


@settings(max_examples=100)
@given(hostile, hostile, hostile)
def test_values_never_stand_in_the_text(one: str, two: str, three: str) -> None:
    one, two, three = quote(one), quote(two), quote(three)
    target = (
        f"/films?title=eq.{one}&id=in.({two},{three})&data->>{MARK}=eq.{one}&or=(title.like.{two},search.fts.{three})"
        f"&select=id,data->{MARK},awards(name)&awards.name=eq.{one}"
    )
    for found in (
        prepared("GET", target, {"prefer": "count=exact"}),
        prepared("PATCH", target, FULL, b'{"title":"' + MARK.encode() + b'"}'),
    ):
        text = found.statement.text
        assert MARK not in text.replace(f'as "{MARK}"', "")
        assert sum(MARK.encode() in (value or b"") for value in parameters(found)) >= 6


def test_one_text_serves_all_requests_of_a_shape() -> None:
    texts = {
        read(f"/films?id=in.({numbers})&title=eq.{title}&limit={limit}&offset=2").statement.text
        for numbers, title, limit in [("1", "a", 1), ("1,2,3", "b%27", 50), ("", "", 999)]
    }
    assert len(texts) == 1


@pytest.mark.parametrize(
    "asked",
    [
        ("GET", "/films?select=*,awards(*,films(*)),...directors!director_id(name)&or=(id.eq.1,title.is.null)&limit=1"),
        ("GET", "/films?select=count(),price.sum(),year,...directors!director_id(born.min())"),
        ("POST", "/films?columns=id,title", {"prefer": "resolution=merge-duplicates, missing=default"}, b"[]"),
        ("PUT", "/films?id=eq.1", {}, b'{"id":1}'),
        ("PATCH", "/films?id=eq.1", {"prefer": "handling=strict, max-affected=1"}, b'{"title":"a"}'),
        ("DELETE", "/films?select=id", FULL),
        ("POST", "/rpc/add", {"prefer": "count=exact"}, b'{"a":1}'),
    ],
)  # fmt: skip
def test_every_text_is_one_statement(asked: Any) -> None:
    found = prepared(*asked, settings=COUNTED)
    assert len(pglast.parser.split(found.statement.text)) == 1
