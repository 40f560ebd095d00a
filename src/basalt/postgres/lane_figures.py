"""What the lanes of this process have to tell, by the name of their pool. A pool counts for itself, so that a request
pays for an addition; the sums are made when somebody looks."""

from typing import Protocol

from basalt.observe import Counter, Gauge, before_scrape

OPEN = Gauge("basalt_lanes", "Open lanes.", ["lanes"])
IN_FLIGHT = Gauge("basalt_lane_requests_in_flight", "Requests on lanes.", ["lanes"])
WAITING = Gauge("basalt_lane_requests_waiting", "Requests that wait for a place on a lane.", ["lanes"])
ANSWERED = Counter("basalt_lane_requests_total", "Requests that PostgreSQL has answered.", ["lanes"])
WAITS = Counter("basalt_lane_waits_total", "Requests that had to wait for a place.", ["lanes"])
REFUSALS = Counter("basalt_lane_refusals_total", "Requests that got no place.", ["lanes", "reason"])
OPENED = Counter("basalt_lanes_opened_total", "Lanes opened.", ["lanes"])
LOST = Counter("basalt_lanes_lost_total", "Lanes whose connection broke.", ["lanes"])


class CountedPool(Protocol):
    name: str
    answered: int  # since it was told last

    @property
    def lane_count(self) -> int: ...

    @property
    def in_flight(self) -> int: ...

    @property
    def waiting(self) -> int: ...


_pools: dict[CountedPool, None] = {}


def count_pool(pool: CountedPool) -> None:
    """From its opening on."""
    _pools[pool] = None


def forget_pool(pool: CountedPool) -> None:
    """It is closed."""
    if pool in _pools:
        _tell()
        del _pools[pool]


def _tell() -> None:
    for gauge in (OPEN, IN_FLIGHT, WAITING):
        gauge.clear()
    for pool in _pools:
        OPEN.add(pool.lane_count, pool.name)
        IN_FLIGHT.add(pool.in_flight, pool.name)
        WAITING.add(pool.waiting, pool.name)
        ANSWERED.add(pool.answered, pool.name)
        pool.answered = 0


before_scrape(_tell)
