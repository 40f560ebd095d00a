"""Long work told to people: a line when it begins, one every few seconds, one at its end."""

import time
from collections.abc import Callable
from typing import Final

Tell = Callable[[str], None]
EVERY_S: Final = 5.0


class Progress:
    """`total` is in bytes, 0 where it is not known."""

    def __init__(self, tell: Tell, what: str, *, total: int = 0) -> None:
        self._tell = tell
        self._what = what
        self._total = total
        self._done = 0
        self._due = time.monotonic() + EVERY_S

    def add(self, count: int) -> None:
        self._done += count
        if time.monotonic() >= self._due:
            share = f" of about {render_size(self._total)}" if self._total else ""
            self._tell(f"{self._what}: {render_size(self._done)}{share}")
            self._due = time.monotonic() + EVERY_S

    def end(self) -> None:
        self._tell(f"{self._what}: {render_size(self._done)}")


def render_size(count: int) -> str:
    """
    >>> render_size(0), render_size(1536), render_size(5 * 1024**3)
    ('0 B', '1.5 KiB', '5.0 GiB')
    """
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
