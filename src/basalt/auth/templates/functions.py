"""What templates can call (text/template/funcs.go), and how values look as text (fmt).

Total: no argument, of whatever kind a user's metadata hold it, makes them raise.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote_plus

from basalt.auth.templates.escapers import escape_html

FORMAT: Final = re.compile(
    r"%(?P<flags>[-+# 0]*)(?P<width>\d{0,3})(?:\.(?P<precision>\d{0,2}))?(?P<verb>[a-zA-Z%])"
)
VERBS: Final = frozenset("vsdqtfegxX%")
JS_ESCAPES: Final = {
    "\\": "\\\\",
    "'": "\\'",
    '"': '\\"',
    "<": "\\u003C",
    ">": "\\u003E",
    "&": "\\u0026",
    "=": "\\u003D",
}
TYPE_NAMES: Final[Mapping[type, str]] = {
    str: "string",
    bool: "bool",
    int: "int",
    float: "float64",
    list: "[]interface {}",
    dict: "map[string]interface {}",
}


def is_true(value: object) -> bool:
    """Empty are nil, false, 0 and what has no elements."""
    return bool(value)


def to_text(value: object) -> str:
    """As Go prints it; nothing for nil. Whole numbers print whole, where Go knows JSON's numbers as fractions only.

    >>> to_text({"b": [1, 2.0, True], "a": None})
    'map[a:<nil> b:[1 2 true]]'
    """
    return "" if value is None else _inner_text(value)


def _inner_text(value: object) -> str:
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
        case Mapping():
            return f"map[{' '.join(f'{name}:{_inner_text(value[name])}' for name in sorted(value))}]"
        case list():
            return f"[{' '.join(map(_inner_text, value))}]"
    return str(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_alike(left: object, right: object) -> bool:
    return type(left) is type(right) or (_is_number(left) and _is_number(right))


def _equal(left: object, *others: object) -> bool:
    return any(_are_alike(left, other) and left == other for other in others)


def _less(left: Any, right: Any) -> bool:
    is_ordered = (_is_number(left) and _is_number(right)) or (
        isinstance(left, str) and isinstance(right, str)
    )
    return is_ordered and bool(left < right)


def _length(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace"))  # Go counts bytes
    return len(value) if isinstance(value, list | Mapping) else 0


def _index(value: object, *keys: object) -> object:
    for key in keys:
        if isinstance(value, list) and isinstance(key, int) and 0 <= key < len(value):
            value = value[key]
        else:
            value = value.get(key) if isinstance(value, Mapping) and isinstance(key, str) else None
    return value


def _slice(value: object, start: object = 0, end: object = None) -> object:
    whole: Any = value.encode("utf-8", "replace") if isinstance(value, str) else value
    if not isinstance(whole, bytes | list):
        return None
    first = start if isinstance(start, int) else 0
    last = end if isinstance(end, int) else len(whole)
    cut = whole[max(first, 0) : max(last, 0)]
    return cut.decode("utf-8", "ignore") if isinstance(cut, bytes) else cut


def _print(*values: object) -> str:
    """Spaces stand between two values of which none is a string."""
    pieces: list[str] = []
    for position, value in enumerate(values):
        if position and not isinstance(value, str) and not isinstance(values[position - 1], str):
            pieces.append(" ")
        pieces.append(_inner_text(value))
    return "".join(pieces)


def _print_line(*values: object) -> str:
    return " ".join(map(_inner_text, values)) + "\n"


def _as_one_text(values: tuple[object, ...]) -> str:
    return to_text(values[0]) if len(values) == 1 else _print(*values)


def _escape_js(*values: object) -> str:
    text = _as_one_text(values)
    return "".join(
        JS_ESCAPES.get(character, character if character.isprintable() else f"\\u{ord(character):04X}")
        for character in text
    )


def check_format(pattern: str) -> None:
    """Raises ValueError for what `printf` does not know here."""
    verbs = {found["verb"] for found in FORMAT.finditer(pattern)}
    if "%" in FORMAT.sub("", pattern) or not verbs <= VERBS:
        raise ValueError(f"`printf` knows {' '.join(sorted('%' + verb for verb in VERBS))}")


def _format(pattern: object, *values: object) -> str:
    rest = list(values)

    def replace(found: re.Match[str]) -> str:
        verb = found["verb"]
        if verb == "%":
            return "%"
        if not rest:
            return f"%!{verb}(MISSING)"
        value = rest.pop(0)
        text = _format_one(verb, found["flags"], found["precision"], value)
        return _pad(text, found["flags"], int(found["width"] or 0), is_number=_is_number(value))

    text = FORMAT.sub(replace, str(pattern))
    if rest:
        extra = ", ".join(f"{_type_name(value)}={_inner_text(value)}" for value in rest)
        text += f"%!(EXTRA {extra})"
    return text


def _format_one(verb: str, flags: str, precision: str | None, value: Any) -> str:
    places = None if precision is None else int(precision or 0)
    sign = "+" if "+" in flags else ""
    match verb:
        case "v":
            return _inner_text(value)
        case "s" if isinstance(value, str):
            return value if places is None else value[:places]
        case "q" if isinstance(value, str):
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
        case "t" if isinstance(value, bool):
            return _inner_text(value)
        case "d" if _is_number(value) and (isinstance(value, int) or value.is_integer()):
            return format(int(value), f"{sign}d")
        case "f" | "e" if _is_number(value) and abs(value) < 1e300:
            return format(float(value), f"{sign}.{6 if places is None else places}{verb}")
        case "g" if _is_number(value):
            return _inner_text(value)
        case "x" | "X" if isinstance(value, str):
            digits = value.encode("utf-8", "replace").hex()
            return digits.upper() if verb == "X" else digits
        case "x" | "X" if isinstance(value, int) and not isinstance(value, bool):
            return format(value, verb)
    return f"%!{verb}(<nil>)" if value is None else f"%!{verb}({_type_name(value)}={_inner_text(value)})"


def _pad(text: str, flags: str, width: int, *, is_number: bool) -> str:
    if "-" in flags:
        return text.ljust(width)
    return text.zfill(width) if "0" in flags and is_number else text.rjust(width)


def _type_name(value: object) -> str:
    return TYPE_NAMES.get(type(value), "<nil>")


# `and` and `or` stop at the first value that decides; `render` calls them.
FUNCTIONS: Final[Mapping[str, Callable[..., object]]] = {
    "not": lambda value: not is_true(value),
    "eq": _equal,
    "ne": lambda left, right: not _equal(left, right),
    "lt": _less,
    "le": lambda left, right: _less(left, right) or (_equal(left, right) and left is not None),
    "gt": lambda left, right: _less(right, left),
    "ge": lambda left, right: _less(right, left) or (_equal(left, right) and left is not None),
    "len": _length,
    "index": _index,
    "slice": _slice,
    "print": _print,
    "println": _print_line,
    "printf": _format,
    "html": lambda *values: escape_html(_as_one_text(values)),
    "js": _escape_js,
    "urlquery": lambda *values: quote_plus(_as_one_text(values), safe="", errors="replace"),
}
# function: (fewest, most values)
ARITY: Final[Mapping[str, tuple[int, int | None]]] = {
    "and": (1, None),
    "or": (1, None),
    "not": (1, 1),
    "eq": (2, None),
    "ne": (2, 2),
    "lt": (2, 2),
    "le": (2, 2),
    "gt": (2, 2),
    "ge": (2, 2),
    "len": (1, 1),
    "index": (1, None),
    "slice": (1, 3),
    "print": (0, None),
    "println": (0, None),
    "printf": (1, None),
    "html": (1, None),
    "js": (1, None),
    "urlquery": (1, None),
}
