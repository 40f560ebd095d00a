"""Who left without a word, and where: until it comes back, or has stayed away too long."""

import pytest

from basalt.realtime.changes import departures
from basalt.realtime.changes.departures import Departures

pytestmark = pytest.mark.req("P7")


def key_of(user_id: str) -> departures.Key:
    return ("authenticated", user_id, "realtime:room", (1, 2))


ANN = key_of("ann")
BOB = key_of("bob")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def left(clock: Clock) -> Departures:
    return Departures(clock)


def test_a_place_is_kept_for_its_key_and_given_once(left: Departures) -> None:
    left.add(ANN, (10, 1))
    assert left.take(BOB) is None
    assert left.take(ANN) == (10, 1)
    assert left.take(ANN) is None


def test_of_several_with_one_key_the_earliest_place_comes_first(left: Departures) -> None:
    """Two tabs of one user: who is who cannot be told, and coming twice is better than not at all."""
    for place in ((30, 0), (10, 5), (10, 2), (20, 0)):
        left.add(ANN, place)
    assert [left.take(ANN) for _ in range(5)] == [(10, 2), (10, 5), (20, 0), (30, 0), None]


def test_whoever_stays_away_for_half_a_day_is_forgotten(left: Departures, clock: Clock) -> None:
    left.add(ANN, (10, 0))
    clock.now += departures.LIFE_S
    left.add(ANN, (20, 0))
    clock.now += 1
    left.expire()
    assert left.take(ANN) == (20, 0)
    assert left.take(ANN) is None


def test_their_number_is_bounded_the_oldest_go_first(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departures, "MAX_DEPARTURES", 3)
    left = Departures(clock)
    keys = [key_of(f"user {number}") for number in range(5)]
    for number, key in enumerate(keys):
        left.add(key, (number, 0))
    assert len(left) == 3
    assert [left.take(key) for key in keys] == [None, None, (2, 0), (3, 0), (4, 0)]
    for key in keys:  # those that were taken make room
        left.add(key, (9, 0))
    assert len(left) == 3
