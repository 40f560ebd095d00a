"""On whose behalf changes are looked at: role and claims of a channel's current token."""

import uuid
from collections.abc import Mapping
from typing import Any
from weakref import WeakValueDictionary


class Claims:
    """One set of claims; channels with equal ones share the object, so that identity is equality. `user_id` is `sub`
    in PostgreSQL's form of a UUID, None where there is none or where it is no UUID."""

    __slots__ = ("__weakref__", "json", "role", "user_id", "values")

    def __init__(self, role: str, json: str, values: Mapping[str, Any]) -> None:
        self.role = role
        self.json = json
        self.values = values
        self.user_id = _uuid(values.get("sub"))


def _uuid(subject: object) -> str | None:
    try:
        return str(uuid.UUID(subject)) if isinstance(subject, str) else None
    except ValueError:
        return None


class SharedClaims:
    """One object for equal claims of all channels that hold it."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[tuple[str, str], Claims] = WeakValueDictionary()

    def share(self, role: str, json: str, values: Mapping[str, Any]) -> Claims:
        """The object for these claims, the same as long as somebody holds it."""
        claims = self._known.get((role, json))
        if claims is None:
            claims = self._known[role, json] = Claims(role, json, values)
        return claims
