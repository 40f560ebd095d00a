"""What messages for devices have in common, whoever carries them."""

import math
from typing import Any, Final
from uuid import NAMESPACE_OID, UUID, uuid3, uuid5

import orjson

from basalt.senders.delivery import Delivery

TAG_BYTES: Final = 64


def collapse_tag(delivery: Delivery) -> str:
    """By what a device recognises a message that takes the place of an earlier one: the caller's key, else the
    delivery's own, so that a message which comes twice is shown once. At most 64 characters, of those for headers."""
    tag = delivery.collapse_key or delivery.key
    return tag if len(tag) <= TAG_BYTES and is_header_value(tag) else str(uuid5(NAMESPACE_OID, tag))


def is_header_value(text: str) -> bool:
    """RFC 9113 §8.2.1: a server may end the whole connection over one that is none.

    >>> [is_header_value(text) for text in ("gigs", " gigs", "two\\nlines")]
    [True, False, False]
    """
    return text.isascii() and text.isprintable() and text == text.strip()


def key_as_uuid(key: str, *, is_random: bool = False) -> str:
    """The key of a delivery for providers that want UUIDs, the same for every attempt. `is_random`: version 3 or 4,
    which is all that OneSignal takes.

    >>> key_as_uuid("7E57D004-2B97-4E7A-B45F-5387367791CD")
    '7e57d004-2b97-4e7a-b45f-5387367791cd'
    >>> key_as_uuid("4711:fcm"), key_as_uuid("4711:fcm", is_random=True)
    ('86270bc3-9618-5e7d-ad6a-bc5af5c6e189', '79acfdf5-459b-30c4-997c-6b306dc030a8')
    """
    try:
        given = UUID(key)
    except ValueError:
        return str((uuid3 if is_random else uuid5)(NAMESPACE_OID, key))
    return str(given) if not is_random or given.version in (3, 4) else str(uuid3(NAMESPACE_OID, key))


def ttl_seconds(ttl_s: float) -> int:
    """Whole seconds, and none where the time is over."""
    return max(0, math.floor(ttl_s))


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object of an answer; empty where it is none."""
    try:
        found = orjson.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
