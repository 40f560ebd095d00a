"""Caches with a bound."""

import pytest

from basalt.bounded_dict import BoundedDict


def filled(max_size: int, count: int) -> BoundedDict[int, str]:
    cache: BoundedDict[int, str] = BoundedDict(max_size)
    for number in range(count):
        cache[number] = "kept"
    return cache


@pytest.mark.parametrize(
    ("max_size", "count", "left"), [(8, 8, range(8)), (8, 9, range(2, 9)), (3, 5, range(2, 5))]
)
def test_the_oldest_quarter_gives_way_when_it_is_full(max_size: int, count: int, left: range) -> None:
    assert list(filled(max_size, count)) == list(left)


def test_a_key_that_is_there_makes_nobody_give_way() -> None:
    cache = filled(8, 8)
    cache[7] = "changed"
    assert (len(cache), cache[0], cache[7]) == (8, "kept", "changed")


def test_a_size_of_one_keeps_the_last_one_and_a_size_of_zero_nothing() -> None:
    assert list(filled(1, 3)) == [2]
    assert not filled(0, 3)
