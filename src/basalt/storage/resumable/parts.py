"""Which of the parts in the store make up what has arrived of an upload."""

from collections.abc import Collection, Sequence
from typing import Final

from basalt.storage.errors import StorageError
from basalt.storage.stores import Part

MAX_PARTS: Final = 10_000


def counted(parts: Sequence[Part], lost: Collection[int]) -> list[Part]:
    """In order, up to the first that is missing; those written off (`leases`) do not count.

    >>> parts = [Part(number, 5, "") for number in (1, 2, 3, 5)]
    >>> [part.number for part in counted(parts, {2})]
    [1, 3]
    """
    found: list[Part] = []
    for part in parts:
        if part.number in lost:
            continue
        if part.number != next_number(found, lost):
            break
        found.append(part)
    return found


def next_number(found: Sequence[Part], lost: Collection[int]) -> int:
    """The number of the part after those that count. Raises StorageError InvalidRequest where there are too many.

    >>> next_number([], ()), next_number([Part(1, 5, "")], {2})
    (1, 3)
    """
    number = found[-1].number + 1 if found else 1
    while number in lost:
        number += 1
    if number > MAX_PARTS:
        raise StorageError(
            "InvalidRequest", f"The upload came in more than {MAX_PARTS} pieces; send larger ones"
        )
    return number


def size_of(parts: Sequence[Part]) -> int:
    return sum(part.size for part in parts)
