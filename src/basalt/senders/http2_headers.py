"""Header blocks of HTTP/2 (HPACK, RFC 7541): what `hpack` makes of those that have been seen before is kept.

Requests to one provider and its answers have mostly the same headers, and compressing them is what costs. A block is
kept while neither side's table changes by it; `hpack` alone decides what stands in the tables.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import hpack
from hpack.table import HeaderTable

from basalt.senders.http2_frames import COMPRESSION_ERROR, PROTOCOL_ERROR, Http2Error

LIST_BYTES: Final = 32 * 1024  # of the headers of an answer, as RFC 9113 §6.5.2 counts them
TABLE_BYTES: Final = 4096
KEPT: Final = 256

HeaderList = tuple[tuple[bytes, bytes], ...]
Head = tuple[int, Mapping[bytes, bytes]]


class HeaderEncoder:
    def __init__(self) -> None:
        self._hpack = hpack.Encoder()
        self._kept: dict[HeaderList, bytes] = {}

    def resize(self, size: int) -> None:
        """The other side's table holds `size` bytes at most; how often it changes its mind does not matter."""
        size = min(size, TABLE_BYTES)
        if size == self._hpack.header_table_size:
            return  # said twice, `hpack` would forget to tell it
        self._hpack.header_table_size = size
        changes = self._hpack.table_size_changes
        changes[:] = [min(changes), size]  # RFC 7541 §4.2: the smallest since the last block, and the last
        self._kept.clear()

    def encode(self, headers: HeaderList) -> bytes:
        if (kept := self._kept.get(headers)) is not None:
            return kept
        table = self._hpack.header_table
        newest, is_resized = _newest(table), table.resized
        block: bytes = self._hpack.encode(headers)
        if newest is not _newest(table) or is_resized or len(self._kept) >= KEPT:
            self._kept.clear()
        else:
            self._kept[headers] = block
        return block


class HeaderDecoder:
    def __init__(self) -> None:
        self._hpack = hpack.Decoder(max_header_list_size=LIST_BYTES)
        self._kept: dict[bytes, Head] = {}

    def decode(self, block: bytes) -> Head:
        """The status, which is 0 in trailers, and the other headers. Raises Http2Error."""
        if (kept := self._kept.get(block)) is not None:
            return kept
        table = self._hpack.header_table
        newest, size = _newest(table), table.maxsize
        try:
            fields = self._hpack.decode(block, raw=True)
        except hpack.HPACKError as exc:
            raise Http2Error(COMPRESSION_ERROR, "headers that cannot be read") from exc
        head = read_head([*fields])
        if newest is not _newest(table) or size != table.maxsize or len(self._kept) >= KEPT:
            self._kept.clear()
        else:
            self._kept[block] = head
        return head


def read_head(fields: Sequence[tuple[bytes, bytes]]) -> Head:
    """RFC 9113 §8.3.2: `:status`, three digits, comes first and is the only header of its kind. Of others with the same
    name the first one counts. Raises Http2Error.

    >>> read_head([(b":status", b"200"), (b"date", b"now")])
    (200, {b'date': b'now'})
    """
    status = 0
    if fields and fields[0][0] == b":status":
        digits = fields[0][1]
        if len(digits) != 3 or not digits.isdigit() or digits < b"100":
            raise Http2Error(PROTOCOL_ERROR, "a status that is none")
        status, fields = int(digits), fields[1:]
    headers = dict(reversed(fields))
    if any(name.startswith(b":") for name in headers):
        raise Http2Error(PROTOCOL_ERROR, "a pseudo-header out of its place")
    return status, headers


def encode_literal(name: bytes, value: bytes) -> bytes:
    """A header that neither side remembers (RFC 7541 §6.2.2). The name is shorter than 127 bytes.

    >>> encode_literal(b":path", b"/").hex(" ")
    '00 05 3a 70 61 74 68 01 2f'
    """
    size = len(value)
    if size < 127:
        return b"\0" + bytes((len(name),)) + name + bytes((size,)) + value
    rest, digits = size - 127, bytearray((127,))
    while rest >= 128:
        digits.append(rest & 127 | 128)
        rest >>= 7
    digits.append(rest)
    return b"\0" + bytes((len(name),)) + name + bytes(digits) + value


def _newest(table: HeaderTable) -> object:
    """Another object whenever something was added to the table."""
    return table.dynamic_entries[0] if table.dynamic_entries else None
