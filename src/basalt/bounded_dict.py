"""A cache that cannot grow over its bound."""

from itertools import islice
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedDict(dict[K, V]):
    """A dict that forgets its oldest quarter when it is full, at once, which is cheaper than one each time. Only
    assigning to an item keeps to the bound; a size of 0 keeps nothing.

    >>> cache = BoundedDict(4)
    >>> for number in range(5):
    ...     cache[number] = "kept"
    >>> list(cache)
    [1, 2, 3, 4]
    """

    __slots__ = ("max_size",)

    def __init__(self, max_size: int) -> None:
        super().__init__()
        self.max_size = max_size

    def __setitem__(self, key: K, value: V) -> None:
        if self.max_size == 0:
            return
        if len(self) >= self.max_size and key not in self:
            for old in list(islice(self, max(1, self.max_size // 4))):
                del self[old]
        super().__setitem__(key, value)
