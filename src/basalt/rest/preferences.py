"""The `Prefer` header (RFC 7240) with the preferences that PostgREST knows, and the `Preference-Applied` that
answers it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from basalt.rest.query import Action, Preferences

MAX_INVALID = 32  # more unknown preferences than this are dropped: they are only ever listed in an error

# Each spelling → the field of `Preferences` and its value. Case-sensitive, no spaces around `=`, as in
# PostgREST.
_KNOWN: Mapping[str, tuple[str, str]] = {
    "resolution=merge-duplicates": ("resolution", "merge-duplicates"),
    "resolution=ignore-duplicates": ("resolution", "ignore-duplicates"),
    "return=representation": ("representation", "full"),
    "return=minimal": ("representation", "minimal"),
    "return=headers-only": ("representation", "headers-only"),
    "count=exact": ("count", "exact"),
    "count=planned": ("count", "planned"),
    "count=estimated": ("count", "estimated"),
    "tx=commit": ("transaction", "commit"),
    "tx=rollback": ("transaction", "rollback"),
    "missing=default": ("missing", "default"),
    "missing=null": ("missing", "null"),
    "handling=strict": ("handling", "strict"),
    "handling=lenient": ("handling", "lenient"),
}
NO_PREFERENCES = Preferences()


def parse_preferences(headers: Iterable[str], *, allow_transaction: bool = False) -> Preferences:
    """`Prefer` headers, in order. The first mention of a preference wins; what is not known is kept in
    `.invalid`. `tx=…` counts only with `allow_transaction` (PostgREST's `db-tx-end` with override).

    >>> preferences = parse_preferences(["return=minimal, count=exact", "return=representation, wait=5"])
    >>> preferences.representation, preferences.count, preferences.invalid
    ('minimal', 'exact', ('wait=5',))
    """
    found: dict[str, Any] = {}
    invalid: list[str] = []
    for header in headers:
        for part in header.split(","):
            _read_preference(part.strip(" \t\r\n\v\f"), found, invalid)
    if not allow_transaction:
        found.pop("transaction", None)
    if not found and not invalid:
        return NO_PREFERENCES
    return Preferences(**found, invalid=tuple(invalid))


def _read_preference(text: str, found: dict[str, Any], invalid: list[str]) -> None:
    known = _KNOWN.get(text)
    if known is not None:
        found.setdefault(*known)
    elif text.startswith("timezone="):
        found.setdefault("timezone", text[9:])
    elif text.startswith("max-affected="):
        # Only the first mention counts, even when it is no number (`Preferences.hs: maxAffectedPref`).
        found.setdefault("max_affected", _whole_number(text[13:]))
    elif len(invalid) < MAX_INVALID:
        invalid.append(text)


def _whole_number(text: str) -> int | None:
    digits = text.strip()
    unsigned = digits.removeprefix("-")
    if not (unsigned.isascii() and unsigned.isdigit() and len(unsigned) <= 18):
        return None
    return int(digits)


def render_applied(preferences: Preferences) -> str | None:
    """The value of `Preference-Applied`, None when nothing was applied. `max-affected` is applied under
    strict handling only.

    >>> render_applied(Preferences(count="exact", representation="full"))
    'return=representation, count=exact'
    """
    parts = [
        text for value, render in _rendered(preferences) if value is not None for text in [render(value)]
    ]
    if preferences.max_affected is not None and preferences.handling == "strict":
        parts.append(f"max-affected={preferences.max_affected}")
    return ", ".join(parts) or None


def _rendered(preferences: Preferences) -> tuple[tuple[str | None, Callable[[str], str]], ...]:
    """In the order in which PostgREST lists them."""
    return (
        (preferences.resolution, "resolution={}".format),
        (preferences.missing, "missing={}".format),
        (preferences.representation, _render_return),
        (preferences.count, "count={}".format),
        (preferences.transaction, "tx={}".format),
        (preferences.handling, "handling={}".format),
        (preferences.timezone, "timezone={}".format),
    )


def _render_return(representation: str) -> str:
    return "return=representation" if representation == "full" else f"return={representation}"


@lru_cache(maxsize=512)
def render_meaningful(preferences: Preferences, action: Action, *, has_conflict_target: bool) -> str | None:
    """`Preference-Applied` of those preferences that had a meaning for what was done: `resolution` for an insert that
    can conflict, `return` for writes, `missing` where defaults are filled in, `max-affected` where rows change.

    >>> render_meaningful(Preferences(count="exact", missing="default"), "read", has_conflict_target=False)
    'count=exact'
    """
    is_write = action in ("insert", "update", "delete", "upsert_one")
    return render_applied(
        replace(
            preferences,
            resolution=preferences.resolution if action == "insert" and has_conflict_target else None,
            representation=preferences.representation if is_write else None,
            missing=preferences.missing if action in ("insert", "update") else None,
            max_affected=preferences.max_affected if action in ("update", "delete", "call") else None,
        )
    )
