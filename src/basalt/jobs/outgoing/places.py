"""Places for requests in flight: so many in all, and of each host only a share, so that one receiver that hangs does
not hold up the others."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from basalt.bounded_dict import BoundedDict

SHARE = 4
SHARE_WHILE_FAILING = 16
REMEMBERED_HOSTS = 500


@dataclass(frozen=True, slots=True)
class Room:
    """`by_host` has the hosts that are used or failing now, `others` is what any other may have; `full` have none."""

    free: int
    by_host: Mapping[str, int]
    others: int
    full: list[str]


class Places:
    """A quarter of all places is the most that one host gets, a sixteenth while it does not answer.

    >>> places = Places(64)
    >>> [places.take("slow") for _ in range(3)] and places.room_for([]).by_host["slow"]
    13
    >>> places.leave("slow", answered=False)
    >>> places.room_for([]).by_host["slow"], places.room_for([]).others, places.room_for([]).free
    (2, 16, 62)
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._share = max(1, total // SHARE)
        self._share_while_failing = max(1, total // SHARE_WHILE_FAILING)
        self._used: Counter[str] = Counter()
        self._failing: BoundedDict[str, bool] = BoundedDict(REMEMBERED_HOSTS)

    def take(self, host: str) -> None:
        self._used[host] += 1

    def leave(self, host: str, *, answered: bool) -> None:
        self._used[host] -= 1
        if not self._used[host]:
            del self._used[host]
        if answered:
            self._failing.pop(host, None)
        else:
            self._failing[host] = True

    @property
    def used(self) -> int:
        return self._used.total()

    def room_for(self, claimed: Iterable[str]) -> Room:
        """What is left when the `claimed` hosts have their places, too."""
        used = self._used + Counter(claimed)
        by_host = {
            host: max(0, self._share_of(host) - used[host]) for host in used.keys() | self._failing.keys()
        }
        full = [host for host, room in by_host.items() if not room]
        return Room(max(0, self._total - used.total()), by_host, self._share, full)

    def _share_of(self, host: str) -> int:
        return self._share_while_failing if host in self._failing else self._share
