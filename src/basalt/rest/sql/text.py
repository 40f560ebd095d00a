"""SQL text under construction: quoting, and parameters that take their values from each request."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from basalt.postgres import Name
from basalt.rest.errors import RestError
from basalt.rest.literals import Values

MAX_LENGTH = 1024 * 1024
# PostgreSQL plans as many in 0.4 s, and four times as many in minutes, without heeding a timeout.
MAX_SELECTS = 101
MAX_PARAMS = 65535  # of PostgreSQL's protocol

Param = bytes | None | Callable[[Values], bytes | None]
"""A constant of the shape, or what to take from the values of a request."""


def quote(name: str) -> str:
    """
    >>> quote('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""').replace("\0", "") + '"'


def qualified(name: Name) -> str:
    """
    >>> qualified(("public", "films")), qualified(("", "films"))
    ('"public"."films"', '"films"')
    """
    return f"{quote(name[0])}.{quote(name[1])}" if name[0] else quote(name[1])


def literal(text: str) -> str:
    """A string constant, for names from the schema cache.

    >>> literal("it's")
    "'it''s'"
    """
    escaped = text.replace("'", "''")
    return f"'{escaped}'" if "\\" not in text else "E'" + escaped.replace("\\", "\\\\") + "'"


def array_literal(values: Sequence[str]) -> str:
    """
    >>> array_literal(["a", 'b"c'])
    '{"a","b\\\\"c"}'
    """
    return (
        "{" + ",".join('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values) + "}"
    )


@dataclass(slots=True)
class Statement:
    """`length` is that of the pieces made so far. Filters on an embed repeat the embed's own filters, and the fields of
    a spread its order, so that a short query string could ask for a text without end: building stops before that."""

    params: list[Param] = field(default_factory=list)
    text: str = ""
    length: int = 0
    select_count: int = 0

    def select(self, text: str) -> str:
        """A level, or a question whether there are rows. Raises RestError PGRST100 when there are too many."""
        self.select_count += 1
        if self.select_count > MAX_SELECTS:
            raise _too_long(f"more than {MAX_SELECTS} subqueries, for embeds and filters on them")
        return self.piece(text)

    def piece(self, text: str) -> str:
        """A part of the text that may be there many times. Raises RestError PGRST100 when it gets too long."""
        self.length += len(text)
        if self.length > MAX_LENGTH:
            raise _too_long(f"a statement of more than {MAX_LENGTH} characters")
        return text

    def bind(self, param: Param) -> str:
        """The placeholder of a new parameter. Raises RestError PGRST100 when there are too many."""
        self.params.append(param)
        if len(self.params) > MAX_PARAMS:
            raise _too_long(f"more than {MAX_PARAMS} parameters")
        return f"${len(self.params)}"

    def bind_text(self, slot: int | None, value: str) -> str:
        """A literal of the request; without a slot it belongs to the shape."""
        if slot is None:
            return self.bind(value.encode())
        return self.bind(lambda values: values.literals[slot].encode())  # type: ignore[union-attr]

    def bind_pattern(self, slot: int | None, value: str) -> str:
        """A pattern of `like`, in which `*` stands for `%` (which URLs have another use for)."""
        if slot is None:
            return self.bind(value.replace("*", "%").encode())
        return self.bind(lambda values: values.literals[slot].replace("*", "%").encode())  # type: ignore[union-attr]

    def bind_array(self, slot: int | None, values: Sequence[str]) -> str:
        if slot is None:
            return self.bind(array_literal(values).encode())
        return self.bind(lambda given: array_literal(given.literals[slot]).encode())

    def bind_payload(self) -> str:
        return self.bind(lambda values: values.payload)

    def render(self, values: Values) -> tuple[bytes | None, ...]:
        """The parameters of one request."""
        return tuple(
            [
                param if param.__class__ is bytes or param is None else param(values)  # type: ignore[operator]
                for param in self.params
            ]
        )


def _too_long(what: str) -> RestError:
    return RestError("PGRST100", problem=f"The request needs {what}", hint="Ask for less in one request")
