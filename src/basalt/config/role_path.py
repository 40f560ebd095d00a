r"""Where the role stands in a token's claims: a path in JSON, RFC 9535, or in PostgREST's older syntax.

`parse_role_path("$.realm.roles[?(@ == 'author')]")` gives a function from claims to the first value that the path
leads to. The older syntax starts with a dot: `.realm."the roles"[0]`, and may end in one filter, `[?(@ ^== "web_")]`.
PostgREST reads both: `docs/references/auth.rst`, "JWT Role Extraction".
"""

import re
from collections.abc import Callable, Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any

from basalt.late import LateModule

if TYPE_CHECKING:
    import jsonpath_rfc9535 as rfc_9535
else:
    rfc_9535 = LateModule("jsonpath_rfc9535")

NOTHING: Any = object()  # RFC 9535's word for what a query that finds no value gives

RolePath = Callable[[dict[str, Any]], Any]

MAX_LENGTH = 1000
NAMES = re.compile(r"\$(?:\.[A-Za-z_][A-Za-z0-9_]*)+")
OLDER_STEP = re.compile(r'\.(?:"([^"]*)"|((?:[^\W_]|[_$@])+))|\[([0-9]{1,9})\]')
OLDER_FILTER = re.compile(r'\[\?\(\s*@\s*(==\^|==|!=|\^==|\*==)\s*"([^"]*)"\)\]')
OLDER_COMPARISONS: Mapping[str, Callable[[str, str], bool]] = {
    "==^": str.endswith,
    "==": str.__eq__,
    "!=": str.__ne__,
    "^==": str.startswith,
    "*==": str.__contains__,
}


def parse_role_path(text: str) -> RolePath:
    """A function from claims to the role's value, `NOTHING` where the path leads nowhere; it raises ValueError for
    claims that are nested too deeply to be searched. Raises ValueError.

    >>> role_of = parse_role_path("$.realm.roles[?(@ != 'other')]")
    >>> role_of({"realm": {"roles": ["other", "author"]}})
    'author'
    >>> parse_role_path('.realm."the roles"[1]')({"realm": {"the roles": ["other", "author"]}})
    'author'
    >>> parse_role_path("$.role")({}) is NOTHING
    True
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a path to the role is longer than {MAX_LENGTH} characters")
    if NAMES.fullmatch(text):
        return _parse_names(text)
    return _parse_rfc_9535(text) if text.startswith("$") else _parse_older(text)


def _parse_names(text: str) -> RolePath:
    """Names alone, as the default: they need no library."""
    names = text.split(".")[1:]
    return lambda claims: reduce(_take_step, names, claims)


def _parse_rfc_9535(text: str) -> RolePath:
    try:
        query = rfc_9535.JSONPathEnvironment().compile(text)
    except (rfc_9535.JSONPathError, OverflowError) as exc:  # a number such as 1e999 overflows
        raise ValueError(f"{text!r} is not a path to the role: {exc}") from exc

    def role_of(claims: dict[str, Any]) -> Any:
        try:
            node = query.find_one(claims)
        except (rfc_9535.JSONPathError, RecursionError) as exc:
            raise ValueError(f"the claims are nested too deeply to find {text!r} in them") from exc
        return NOTHING if node is None else node.value

    return role_of


# PostgREST's older syntax (`Config/DeprecatedJSPath.hs`)


def _parse_older(text: str) -> RolePath:
    at, steps = 0, []
    while (step := OLDER_STEP.match(text, at)) is not None:
        quoted, name, index = step.groups()
        steps.append(int(index) if index else name or quoted)
        at = step.end()
    last = OLDER_FILTER.fullmatch(text, at)
    if last is None and (at < len(text) or not steps):
        raise ValueError(f"{text!r} is not a path to the role: neither '$' nor a step at position {at + 1}")

    def role_of(claims: dict[str, Any]) -> Any:
        found = reduce(_take_step, steps, claims)
        return found if last is None else _first_of(found, OLDER_COMPARISONS[last[1]], last[2])

    return role_of


def _take_step(value: Any, step: str | int) -> Any:
    if isinstance(step, int):
        return value[step] if isinstance(value, list) and step < len(value) else NOTHING
    return value.get(step, NOTHING) if isinstance(value, dict) else NOTHING


def _first_of(value: Any, compare: Callable[[str, str], bool], wanted: str) -> Any:
    inner = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(inner, list):
        return NOTHING
    return next((one for one in inner if isinstance(one, str) and compare(one, wanted)), NOTHING)
