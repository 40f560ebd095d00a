"""What Storage counts."""

from typing import Final

from basalt.observe import Counter

BYTES: Final = Counter("basalt_storage_bytes_total", "Bytes of objects, `in` and `out`.", ["direction"])
