"""Media types in `Accept` and `Content-Type`: PostgREST's own and how it spells and orders the others.

Follows PostgREST's `MediaType.hs` and the `parseHttpAccept` that it uses.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

from basalt.rest.query import MediaRange, PlanOption, PlanOptions

ANY = MediaRange("*/*")
JSON = "application/json"
SINGULAR = "application/vnd.pgrst.object+json"
STRIPPED_SINGULAR = "application/vnd.pgrst.object+json;nulls=stripped"
STRIPPED_ARRAY = "application/vnd.pgrst.array+json;nulls=stripped"
MAX_HEADER_LENGTH = 4096
MAX_RANGES = 64
MAX_PLAN_DEPTH = 4  # a plan for a plan for a plan is nobody's question

_KNOWN = frozenset(
    {
        JSON,
        "application/geo+json",
        "text/csv",
        "text/plain",
        "text/xml",
        "application/openapi+json",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
        "*/*",
    }
)
PLAN_OPTIONS: tuple[PlanOption, ...] = ("analyze", "verbose", "settings", "buffers", "wal")
_PLAN_FORMATS: Mapping[str, Literal["json", "text"]] = {
    "application/vnd.pgrst.plan": "text",
    "application/vnd.pgrst.plan+text": "text",
    "application/vnd.pgrst.plan+json": "json",
}
_NAME = re.compile(r"[A-Za-z0-9.*]+/[A-Za-z0-9.*+-]+")
_PARAMETER = re.compile(r"\s*;\s*([A-Za-z0-9-]+)\s*=\s*(?:\"([^\"]*)\"|([A-Za-z0-9|-]+))")


@lru_cache(maxsize=512)
def parse_accept(header: str | None) -> tuple[MediaRange, ...]:
    """What is acceptable, most wanted first: by `q`, then by how specific it is, then by place.

    >>> [one.name for one in parse_accept("text/csv;q=0.5, application/json, */*")]
    ['application/json', '*/*', 'text/csv']
    """
    if header is None:
        return (ANY,)
    entries = header[:MAX_HEADER_LENGTH].split(",")[:MAX_RANGES]
    ranked = sorted((_rank(entry.replace(" ", "")) for entry in entries), key=lambda found: found[0])
    return tuple(parse_media_type(name) for _, name in ranked)


def _rank(entry: str) -> tuple[tuple[float, int], str]:
    name, _, quality = entry.partition(";q=")
    specificity = entry.count(";") - bool(quality) - entry.count("*")
    return (-_parse_quality(quality.partition(";")[0]), -specificity), name


def _parse_quality(text: str) -> float:
    found = re.match(r"[0-9]+(?:\.[0-9]+)?", text)
    return min(float(found[0]), 1000.0) if found else 1.0


def parse_media_type(text: str, depth: int = 0) -> MediaRange:
    """One media type in canonical spelling; what is unknown is left as it is.

    >>> parse_media_type("ApplicatIon/vnd.PgRsT.object").name
    'application/vnd.pgrst.object+json'
    >>> parse_media_type('application/vnd.pgrst.plan; for="text/csv"; options=analyze').plan
    PlanOptions(wanted='text/csv', format='text', options=('analyze',))
    """
    found = _NAME.match(text)
    name = found[0].lower() if found else text.lower()
    if name in _KNOWN:
        return MediaRange(name)
    parameters = _parse_parameters(text, found.end()) if found else {}
    is_stripped = parameters.get("nulls") == "stripped"
    match name:
        case "application/vnd.pgrst.object+json" | "application/vnd.pgrst.object":
            return MediaRange(STRIPPED_SINGULAR if is_stripped else SINGULAR)
        case "application/vnd.pgrst.array+json" | "application/vnd.pgrst.array":
            return MediaRange(STRIPPED_ARRAY if is_stripped else JSON)
        case _ if name in _PLAN_FORMATS and depth < MAX_PLAN_DEPTH:
            return _read_plan(_PLAN_FORMATS[name], parameters, depth)
    return MediaRange(text)


def _parse_parameters(text: str, start: int) -> dict[str, str]:
    found: dict[str, str] = {}
    while (parameter := _PARAMETER.match(text, start)) is not None:
        found[parameter[1].lower()] = parameter[2] if parameter[2] is not None else parameter[3]
        start = parameter.end()
    return found


def _read_plan(format_: Literal["json", "text"], parameters: Mapping[str, str], depth: int) -> MediaRange:
    wanted = parse_media_type(parameters.get("for", JSON), depth + 1).name
    asked = parameters.get("options", "").split("|")
    options = tuple(option for option in PLAN_OPTIONS if option in asked)
    name = f'application/vnd.pgrst.plan+{format_}; for="{wanted}"'
    if options:
        name += f"; options={'|'.join(options)}"
    return MediaRange(name, PlanOptions(wanted, format_, options))


@lru_cache(maxsize=512)
def render_content_type(media_type: str) -> str:
    """`Content-Type` with the charset that PostgREST adds to what it knows, but for bytes.

    >>> render_content_type("text/csv"), render_content_type("image/png")
    ('text/csv; charset=utf-8', 'image/png')
    """
    if media_type == "*/*":
        media_type = JSON
    is_own = media_type in _KNOWN or media_type.startswith("application/vnd.pgrst.")
    return (
        f"{media_type}; charset=utf-8" if is_own and media_type != "application/octet-stream" else media_type
    )
