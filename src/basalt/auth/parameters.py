"""Request bodies become values, the way GoTrue's JSON decoding reads them.

Unknown fields are passed over, `null` counts as absent, a wrong type is `bad_json`. What PostgreSQL could not
store (NUL characters, nesting without end) is refused here, before any flow runs.
"""

from typing import Any, Final, TypeVar

import msgspec
import orjson

from basalt.auth.errors import AuthError
from basalt.http import Request

MAX_BODY_BYTES: Final = 1024 * 1024  # GoTrue api.go: limitRequestBody
MAX_DEPTH: Final = 64

Shape = TypeVar("Shape", bound=msgspec.Struct)


async def read_parameters(request: Request, shape: type[Shape]) -> Shape:
    """The body as `shape`. Raises AuthError bad_json, validation_failed, request_entity_too_large."""
    return parse_parameters(await request.body(MAX_BODY_BYTES), shape)


def parse_parameters(body: bytes, shape: type[Shape]) -> Shape:
    """
    >>> class Address(msgspec.Struct):
    ...     email: str = ""
    >>> parse_parameters(b'{"email": "a@example.com", "more": 1}', Address)
    Address(email='a@example.com')
    >>> parse_parameters(b'{"email": null}', Address)
    Address(email='')
    """
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise AuthError("bad_json", f"Could not parse request body as JSON: {exc.msg}") from exc
    if fields is None:
        fields = {}
    if not isinstance(fields, dict):
        raise AuthError("bad_json", "Could not parse request body as JSON: an object is expected")
    _check_storable(fields, 0)
    try:
        return msgspec.convert({name: value for name, value in fields.items() if value is not None}, shape)
    except msgspec.ValidationError as exc:
        raise AuthError("bad_json", f"Could not parse request body as JSON: {exc}") from exc


def _check_storable(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise AuthError("validation_failed", f"The request body is nested deeper than {MAX_DEPTH} levels")
    match value:
        case str():
            if "\x00" in value:
                raise AuthError("validation_failed", "The request body holds a NUL character")
        case dict():
            for name, inner in value.items():
                _check_storable(name, depth)
                _check_storable(inner, depth + 1)
        case list():
            for inner in value:
                _check_storable(inner, depth + 1)
        case _:
            pass
