"""Request headers as ASGI delivers them: a list of lower-case names and raw values, looked up without
copying."""

from collections.abc import Iterable


class Headers:
    """Immutable and case-insensitive by construction: ASGI servers lower-case the names. Values are Latin-1
    (RFC 9110 §5.5)."""

    __slots__ = ("_first", "raw")

    def __init__(self, raw: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.raw: list[tuple[bytes, bytes]] = raw if isinstance(raw, list) else list(raw)
        self._first = dict(reversed(self.raw))

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of `name` (given in lower case).

        >>> Headers([(b"range", b"0-9")]).get("range")
        '0-9'
        """
        value = self._first.get(name.encode("latin-1"))
        return default if value is None else value.decode("latin-1")

    def get_all(self, name: str) -> list[str]:
        """Every value of `name`, in the order received; a header may be repeated (`Prefer`)."""
        wanted = name.encode("latin-1")
        return [value.decode("latin-1") for key, value in self.raw if key == wanted]

    def __contains__(self, name: str) -> bool:
        return name.encode("latin-1") in self._first
