"""The shape of a request: all that its plan and its statement depend on, and nothing that may differ between two
requests that share them."""

from collections.abc import Hashable
from typing import NamedTuple

from basalt.http import Request
from basalt.rest.errors import RestError
from basalt.rest.literals import Split, Values, fill_shape, number_literals, split_query
from basalt.rest.parameters import parse_parameters
from basalt.rest.payload import parse_payload
from basalt.rest.query import ApiRequest

MAX_SHAPE_BYTES = 4096
SHAPING_HEADERS = frozenset(
    {b"accept", b"accept-profile", b"content-profile", b"content-type", b"prefer", b"range"}
)
PAYLOAD_METHODS = frozenset({"POST", "PUT", "PATCH"})
CALL_PREFIX = "/rpc/"
BATCH_PATH = "/rpc/basalt_batch"


class Letter(NamedTuple):
    """A request to the letter, but for its body: `headers` are those that shape the answer."""

    method: str
    path: str
    query_string: bytes
    headers: tuple[tuple[bytes, bytes], ...]


class Shaped(NamedTuple):
    """`values` is None where only the parser can tell them: then the key is the request to the letter."""

    key: Hashable
    values: Values | None
    split: Split | None
    takes_arguments: bool = False


def letter_of(request: Request) -> Letter | None:
    """None for what is too long to be kept."""
    headers = tuple([pair for pair in request.headers.raw if pair[0] in SHAPING_HEADERS])
    size = len(request.query_string) + len(request.raw_path) + sum([len(pair[1]) for pair in headers])
    if size > MAX_SHAPE_BYTES:
        return None
    return Letter(request.method, request.raw_path, request.query_string, headers)


def shape_of(letter: Letter, body: bytes | None) -> Shaped | None:
    """None for what needs a closer look each time."""
    method, path, query_string, headers = letter
    if path == BATCH_PATH:
        return None
    is_call = path.startswith(CALL_PREFIX) and path.count("/") == 2
    is_read = method in ("GET", "HEAD")
    has_range = any(name == b"range" for name, _ in headers)
    takes_arguments = is_call and is_read
    split = None if has_range else split_query(query_string, takes_arguments=takes_arguments)
    if split is None:
        return Shaped(letter, None, None) if is_read else None
    payload = None
    keys: Hashable = None
    if method in PAYLOAD_METHODS:
        content_type = next((value for name, value in headers if name == b"content-type"), None)
        has_columns = method != "PUT" and any(part.startswith("columns=") for part in split.shape)
        try:
            parsed = parse_payload(
                body or b"",
                None if content_type is None else content_type.decode("latin-1"),
                columns=() if has_columns else None,
                is_call=is_call,
            )
        except RestError:
            return None  # path, method and profile may be wrong too, and are complained about first
        if parsed.form_pairs:
            return None
        payload, keys = parsed.raw, (parsed.keys, parsed.is_array)
    values = Values(split.literals, split.limit, split.offset or 0, payload)
    return Shaped((method, path, split.shape, keys, headers), values, split, takes_arguments)


def values_of(api: ApiRequest) -> Values:
    """The values of a request that was parsed."""
    return Values(api.literals, api.top_range.limit, api.top_range.offset, api.payload)


def is_trusted(shaped: Shaped, api: ApiRequest) -> bool:
    """Whether the parser found just what `split_query` did, so that it need not look at the next one."""
    found = shaped.values
    if found is None or shaped.split is None:
        return True
    has_same_values = found.literals == api.literals and (found.limit, found.offset) == (
        api.top_range.limit,
        api.top_range.offset,
    )
    return has_same_values and _is_understood(shaped.split.shape, takes_arguments=shaped.takes_arguments)


def _is_understood(shape: tuple[str, ...], *, takes_arguments: bool) -> bool:
    """The same values are not enough: in `or=(a.fts.1)(b.eq.1)` the parser finds the first one and ignores the second,
    `split_query` knows the second alone. So they are asked again, about values that differ from each other."""
    query_string = fill_shape(shape)
    split = split_query(query_string, takes_arguments=takes_arguments)
    try:
        query, _ = parse_parameters(query_string, takes_arguments=takes_arguments)
    except RestError:
        return False
    return split is not None and split.shape == shape and number_literals(query)[1] == split.literals
