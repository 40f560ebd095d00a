"""What requests hold, checked as the contract words it (Ajv's messages): `body/limit must be <= 1000`."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from basalt.http import Request
from basalt.storage.errors import StorageError, invalid_request

MAX_JSON_BYTES: Final = 1024 * 1024
KINDS: Final[Mapping[str, type | tuple[type, ...]]] = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "object": dict,
    "array": list,
}


async def read_json(request: Request, *, is_required: bool = True) -> dict[str, Any]:
    """The body, a JSON object. Raises StorageError InvalidRequest."""
    body = await request.body(MAX_JSON_BYTES)
    media_type = (request.headers.get("content-type") or "").partition(";")[0].strip().lower()
    if not body:
        if is_required:
            raise invalid_request("body must be object")
        return {}
    if media_type != "application/json":
        raise StorageError(
            "InvalidMimeType", f"Unsupported Media Type: {media_type or 'none'}", label="Error"
        )
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid_request(f"body is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise invalid_request("body must be object")
    return value


def required(body: Mapping[str, Any], name: str, kind: str) -> Any:
    """Raises StorageError InvalidRequest."""
    if name not in body:
        raise invalid_request(f"body must have required property '{name}'")
    return _checked(body[name], kind, f"body/{name}")


def optional(body: Mapping[str, Any], name: str, kind: str) -> Any:
    """None where it is missing or null. Raises StorageError InvalidRequest."""
    value = body.get(name)
    return None if value is None else _checked(value, kind, f"body/{name}")


def number(body: Mapping[str, Any], name: str, default: int, *, low: int = 0, high: int | None = None) -> int:
    """An integer within bounds, given as a number or as digits. Raises StorageError InvalidRequest."""
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, str) and value.lstrip("-").isdecimal() and len(value) < 20:
        value = int(value)
    return in_bounds(_checked(value, "integer", f"body/{name}"), f"body/{name}", low=low, high=high)


def in_bounds(value: int, where: str, *, low: int, high: int | None) -> int:
    """Raises StorageError InvalidRequest."""
    if value < low:
        raise invalid_request(f"{where} must be >= {low}")
    if high is not None and value > high:
        raise invalid_request(f"{where} must be <= {high}")
    return value


def one_of(value: Any, where: str, choices: Sequence[str]) -> str:
    """Raises StorageError InvalidRequest."""
    if value not in choices:
        raise invalid_request(f"{where} must be equal to one of the allowed values")
    return str(value)


def strings(body: Mapping[str, Any], name: str, *, least: int = 1) -> list[str]:
    """A list of texts. Raises StorageError InvalidRequest."""
    values: list[Any] = required(body, name, "array")
    if len(values) < least:
        raise invalid_request(f"body/{name} must NOT have fewer than {least} items")
    for index, value in enumerate(values):
        _checked(value, "string", f"body/{name}/{index}")
    return values


def query_number(query: Mapping[str, str], name: str, *, low: int = 0, high: int | None = None) -> int | None:
    """An integer of the query string. Raises StorageError InvalidRequest."""
    given = query.get(name)
    if given is None:
        return None
    if not given.lstrip("-").isdecimal() or len(given) > 18:
        raise invalid_request(f"querystring/{name} must be integer")
    return in_bounds(int(given), f"querystring/{name}", low=low, high=high)


def _checked(value: Any, kind: str, where: str) -> Any:
    if not isinstance(value, KINDS[kind]) or (kind == "integer" and isinstance(value, bool)):
        raise invalid_request(f"{where} must be {kind}")
    return value
