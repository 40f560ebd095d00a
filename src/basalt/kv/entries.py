"""Which keys and values a cache takes. The rules are the narrower ones of both engines, so that what one of them keeps
the other one would."""

import re
from typing import Any

import orjson

from basalt.errors import BasaltError

MAX_KEY_BYTES = 1024  # an index entry of PostgreSQL holds 2,704
MAX_TTL_S = 100 * 365 * 86400.0
# `\u0000` that is no text of a backslash and five letters: jsonb does not take it.
NUL_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def check_key(key: str) -> None:
    """Raises BasaltError cache_key_invalid."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError as exc:
        raise _invalid_key("holds half of a surrogate pair") from exc
    if size == 0:
        raise _invalid_key("is empty")
    if size > MAX_KEY_BYTES:
        raise _invalid_key(f"has {size} bytes; {MAX_KEY_BYTES} are allowed")
    if "\0" in key:
        raise _invalid_key("holds a NUL character")


def check_ttl(ttl_s: float) -> None:
    """Raises BasaltError cache_ttl_invalid."""
    if not 0 < ttl_s <= MAX_TTL_S:
        raise BasaltError(
            "cache_ttl_invalid",
            400,
            f"A value is kept for more than 0 seconds and at most a century, not {ttl_s}",
        )


def encode_value(value: Any, *, max_bytes: int) -> bytes:
    """The value as JSON. Raises BasaltError cache_value_invalid and cache_value_too_large.

    >>> encode_value({"a": [1, None]}, max_bytes=100)
    b'{"a":[1,null]}'
    """
    try:
        raw = orjson.dumps(value)
    except TypeError as exc:
        raise BasaltError("cache_value_invalid", 400, f"The value is not JSON: {exc}") from exc
    if len(raw) > max_bytes:
        raise BasaltError(
            "cache_value_too_large",
            413,
            f"The value has {len(raw)} bytes as JSON, {max_bytes} are allowed",
            hint="Cache less, or raise basalt.cache.max_value in supabase/config.toml",
        )
    if b"\\u0000" in raw and NUL_ESCAPE.search(raw):
        raise BasaltError("cache_value_invalid", 400, "A text in the value holds a NUL character")
    return raw


def decode_value(raw: bytes) -> Any:
    """What `encode_value` was given, as JSON has it: tuples are lists, dates are text."""
    return orjson.loads(raw)


def _invalid_key(problem: str) -> BasaltError:
    return BasaltError("cache_key_invalid", 400, f"The key of a cached value {problem}")
