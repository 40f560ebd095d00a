"""Places in the log as clients keep them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basalt.realtime.changes.position import WHOLE, parse_position, render_position

pytestmark = pytest.mark.req("P7", "S9")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 10**9 - 1) | st.just(WHOLE))
def test_what_is_rendered_is_read_again(lsn: int, number: int) -> None:
    assert parse_position(render_position((lsn, number))) == (lsn, number)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("0/0", (0, WHOLE)),
        ("16/B374D848", (0x16B374D848, WHOLE)),
        ("16/B374D848.0", (0x16B374D848, 0)),
        ("FFFFFFFF/FFFFFFFF.999999999", (2**64 - 1, 999_999_999)),
        ("00000001/00000002.01", (0x100000002, 1)),
    ],
)
def test_places_are_read(text: str, position: tuple[int, int]) -> None:
    assert parse_position(text) == position


@pytest.mark.parametrize(
    "text",
    ["", "/", "0", "1/", "/1", "1/1.", "1/1.x", "1/1.-1", "g/1", "a/1", " 1/1", "1/1\n", "1/1.1.1", "١/1", "1/1.١",
     "123456789/1", "1/1.1234567890", "-1/1", "1/1 or 1=1"],
)  # fmt: skip
def test_what_is_no_place_is_none(text: str) -> None:
    assert parse_position(text) is None


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=20))
def test_no_text_breaks_it(text: str) -> None:
    found = parse_position(text)
    assert found is None or parse_position(render_position(found)) == found


def test_the_whole_of_a_transaction_comes_behind_each_of_its_changes() -> None:
    assert (10, 0) < (10, 10**9 - 1) < (10, WHOLE) < (11, 0)
