"""Bodies of HTML forms and of `FormData`: fields and files, within bounds."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from basalt.functions.errors import FunctionError

MAX_PARTS: Final = 1000
MAX_HEADER_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class FormFile:
    """`filename` is what the client calls it: never a path to write to."""

    filename: str
    content_type: str
    body: bytes


class Form:
    """Fields are texts, files `FormFile`s; a name may come several times."""

    def __init__(self, items: list[tuple[str, str | FormFile]]) -> None:
        self._items = items

    def get(self, name: str) -> str | FormFile | None:
        """The first of this name."""
        return next((value for key, value in self._items if key == name), None)

    def get_all(self, name: str) -> list[str | FormFile]:
        return [value for key, value in self._items if key == name]

    def text(self, name: str) -> str | None:
        """The first field of this name."""
        return next((value for key, value in self._items if key == name and isinstance(value, str)), None)

    def file(self, name: str) -> FormFile | None:
        """The first file of this name."""
        return next(
            (value for key, value in self._items if key == name and isinstance(value, FormFile)), None
        )

    def __iter__(self) -> Iterator[tuple[str, str | FormFile]]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


def parse_form(body: bytes, content_type: str) -> Form:
    """A body of `multipart/form-data` or `application/x-www-form-urlencoded`. Raises FunctionError INVALID_FORM (400).

    >>> parse_form(b"a=1&b=x+y&a=2", "application/x-www-form-urlencoded").get_all("a")
    ['1', '2']
    """
    kind, options = parse_options_header(content_type)
    if kind == b"application/x-www-form-urlencoded":
        return _parse_urlencoded(body)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= 200:
        raise FunctionError("INVALID_FORM", "The body is not a form", hint="Send multipart/form-data")
    reader = _Reader()
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as exc:
        raise FunctionError("INVALID_FORM", "The form is malformed") from exc
    if not reader.is_complete:
        raise FunctionError("INVALID_FORM", "The form ends before its last boundary")
    return Form(reader.items)


def _parse_urlencoded(body: bytes) -> Form:
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARTS)
    except ValueError as exc:
        raise FunctionError("INVALID_FORM", f"The form is malformed, or has over {MAX_PARTS} fields") from exc
    return Form(list(fields))


class _Reader:
    """Puts together what the parser reports."""

    def __init__(self) -> None:
        self.items: list[tuple[str, str | FormFile]] = []
        self.is_complete = False
        self._headers: dict[bytes, bytes] = {}
        self._header_name = b""
        self._header_value = b""
        self._pieces: list[bytes] = []

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._take_name,
            "on_header_value": self._take_value,
            "on_header_end": self._end_header,
            "on_part_data": lambda data, start, end: self._pieces.append(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._complete,
        }

    def _begin(self) -> None:
        if len(self.items) >= MAX_PARTS:
            raise FunctionError("INVALID_FORM", f"The form has over {MAX_PARTS} parts")
        self._headers, self._pieces = {}, []

    def _take_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]
        self._check_header()

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]
        self._check_header()

    def _check_header(self) -> None:
        if len(self._header_name) + len(self._header_value) > MAX_HEADER_BYTES:
            raise FunctionError("INVALID_FORM", "A header of the form is too long")

    def _end_header(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        body = b"".join(self._pieces)
        if b"filename" not in options:
            self.items.append((name, body.decode("utf-8", "replace")))
            return
        kind = self._headers.get(b"content-type", b"application/octet-stream").decode("latin-1")
        self.items.append((name, FormFile(options[b"filename"].decode("utf-8", "replace"), kind, body)))

    def _complete(self) -> None:
        self.is_complete = True
