"""An upload as `multipart/form-data` (RFC 7578), read as it arrives: fields are kept, the file is passed on."""

from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from python_multipart import MultipartParser
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import parse_options_header

from basalt.storage.errors import StorageError

MAX_FIELDS: Final = 100
MAX_FIELD_BYTES: Final = 2 * 1024 * 1024  # user metadata may be a megabyte
MAX_HEADER_BYTES: Final = 16 * 1024


def boundary_of(content_type: str | None) -> bytes | None:
    """The boundary of a form; None for any other body. Raises StorageError InvalidMimeType when a form has none."""
    if content_type is None or not content_type.lower().startswith("multipart/form-data"):
        return None
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary or len(boundary) > 200:
        raise StorageError("InvalidMimeType")
    return boundary


class FormUpload:
    """`find_file` reads up to the first part with a file name, `file` gives its bytes, and reads on to the end of the
    form. `fields` grows with what has been read. Raises StorageError InvalidRequest for what is no form."""

    def __init__(self, boundary: bytes, chunks: AsyncIterator[bytes]) -> None:
        self.fields: dict[str, str] = {}
        self.content_type: str | None = None
        self.filename = ""
        self._chunks = chunks
        self._pieces: deque[bytes] = deque()
        self._headers: dict[bytes, bytes] = {}
        self._header_name = b""
        self._header_value = b""
        self._field: bytearray | None = None
        self._name = ""
        self._in_file = False
        self._has_file = False
        self._file_ended = False
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._take_header_name,
                "on_header_value": self._take_header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._take_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    async def find_file(self) -> None:
        """Raises StorageError InvalidRequest `No content provided` where there is none."""
        while not self._has_file and await self._feed():
            pass
        if not self._has_file:
            raise StorageError("InvalidRequest", "No content provided", label="Error")

    async def file(self) -> AsyncIterator[bytes]:
        """Raises StorageError when the form ends in the middle."""
        while True:
            while self._pieces:
                yield self._pieces.popleft()
            if self._file_ended or not await self._feed():
                break
        while await self._feed():
            pass
        if not self._ended:
            raise StorageError("InvalidRequest", "The form ends before its last boundary", label="Error")

    async def _feed(self) -> bool:
        """Whether there was more to read."""
        chunk = await anext(self._chunks, None)
        if chunk is None:
            return False
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise StorageError("InvalidRequest", "The form is malformed", label="Error") from error
        return True

    # What the parser reports

    def _begin_part(self) -> None:
        self._headers = {}
        self._field = None
        self._in_file = False

    def _take_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]
        self._check_header()

    def _take_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]
        self._check_header()

    def _check_header(self) -> None:
        if len(self._header_name) + len(self._header_value) > MAX_HEADER_BYTES:
            raise StorageError("InvalidRequest", "A header of the form is too long", label="Error")

    def _end_header(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"filename" in options:
            # Only the first file counts; what comes after it is read past.
            self._in_file = not self._has_file
            if self._in_file:
                self._has_file = True
                declared = self._headers.get(b"content-type")
                self.content_type = None if declared is None else declared.decode("latin-1")
                self.filename = options[b"filename"].decode("utf-8", "replace")
            return
        if len(self.fields) >= MAX_FIELDS:
            raise StorageError("InvalidRequest", "The form has too many fields", label="Error")
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._field = bytearray()

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._pieces.append(data[start:end])
        elif self._field is not None:
            self._field += data[start:end]
            if len(self._field) > MAX_FIELD_BYTES:
                raise StorageError("InvalidRequest", "A field of the form is too long", label="Error")

    def _end_part(self) -> None:
        if self._in_file:
            self._file_ended = True
            self._in_file = False
        elif self._field is not None:
            self.fields[self._name] = self._field.decode("utf-8", "replace")

    def _end(self) -> None:
        self._ended = True
