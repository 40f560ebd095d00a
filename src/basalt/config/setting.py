"""How a setting is described: a dataclass field with its default, its sentence and its bounds."""

import re
from collections.abc import Mapping
from dataclasses import Field, field, is_dataclass
from typing import Any, get_args, get_origin


def setting(
    default: Any,
    doc: str,
    *,
    key: str | None = None,
    low: float | None = None,
    high: float | None = None,
    is_secret: bool = False,
) -> Any:
    """A dataclass field with its documentation. `key` is the TOML key where it differs; `low` and `high`
    bound numbers; a secret stands neither in the `repr` of its section nor in a complaint about it."""
    metadata = {"doc": doc, "key": key, "low": low, "high": high, "is_secret": is_secret}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata, repr=not is_secret)
    return field(default=default, metadata=metadata, repr=not is_secret)


def key_of(spec: "Field[Any]") -> str:
    """The TOML key of a setting: its name without the unit, which a rate keeps (`rate_per_s`)."""
    return str(spec.metadata.get("key") or re.sub("(?<!_per)_(s|bytes)$", "", spec.name))


def is_duration(name: str) -> bool:
    return name.endswith("_s") and not name.endswith("_per_s")


def check_bounds(value: object, bounds: Mapping[str, Any]) -> None:
    """Raises ValueError when a number lies outside of `low` and `high` in a field's documentation."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    if bounds["low"] is not None and value < bounds["low"]:
        raise ValueError(f"{value} is below the least allowed value, {bounds['low']}")
    if bounds["high"] is not None and value > bounds["high"]:
        raise ValueError(f"{value} is above the largest allowed value, {bounds['high']}")


def section(kind: type) -> Any:
    """A nested table of settings."""
    return field(default_factory=kind)


def section_of_mapping(hint: Any) -> Any:
    """The kind of section in a mapping of names to sections; None for any other type."""
    named = get_args(hint)[1] if get_origin(hint) is Mapping else None
    return named if is_dataclass(named) else None
