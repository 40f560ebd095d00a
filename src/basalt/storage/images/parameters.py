"""The parameters of a transformation: checked with the contract's words (Ajv's messages), and the two texts in which
Supabase Storage writes them, `X-Transformations` and the claim of a signed URL (`renderer/image.ts`).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, TypeVar, cast

from basalt.storage.errors import StorageError, invalid_request
from basalt.storage.images.plan import FORMATS, GRAVITIES, MAX_SIDE, RESIZES, Format, Gravity, Plan, Resize

T = TypeVar("T")

NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
MIN_QUALITY: Final = 20
MAX_QUALITY: Final = 100
IMGPROXY_NAMES: Final[Mapping[Resize, str]] = {"cover": "fill", "contain": "fit", "fill": "force"}


def parse_query(query: Mapping[str, str]) -> Plan:
    """The plan of a query string. Raises StorageError InvalidRequest.

    >>> parse_query({"width": "5000", "height": "0", "quality": "60"})
    Plan(width=2000, height=None, resize='cover', quality=60, format=None, gravity=None, x_offset=None, y_offset=None)
    >>> parse_query({"quality": "19"})
    Traceback (most recent call last):
    basalt.storage.errors.StorageError: querystring/quality must be >= 20
    """
    return _parse(query, "querystring")


def parse_transform(transform: Mapping[str, object]) -> Plan:
    """The plan of `transform` in the body of a request. Raises StorageError InvalidRequest.

    >>> parse_transform({"gravity": "fp", "x_offset": 0.5, "y_offset": 2})
    Traceback (most recent call last):
    basalt.storage.errors.StorageError: body/transform/y_offset must be <= 1, body/transform must match "then" schema
    """
    return _parse(transform, "body/transform")


def claims_of_transform(transform: Mapping[str, object]) -> dict[str, str]:
    """The claims `transformations` and `format` of a signed URL, from `transform` in the body; none of them where
    nothing would be done. Raises StorageError InvalidRequest.

    >>> claims_of_transform({"width": 100, "height": 50, "resize": "contain", "quality": 40, "format": "origin"})
    {'transformations': 'height:50,width:100,resize:contain,quality:40', 'format': 'origin'}
    """
    plan = parse_transform(transform)
    claims = {"transformations": ",".join(_list_parts(plan, f"resize:{plan.resize}"))}
    if plan.format is not None:
        claims["format"] = plan.format
    return {name: value for name, value in claims.items() if value}


def parse_claims(claims: Mapping[str, object]) -> Plan:
    """The plan of a signed URL. Tokens were checked when they were made; what an older server wrote there and nobody
    knows (`resize:undefined`) counts for nothing.

    >>> parse_claims({"transformations": "height:50,resize:undefined,gravity:fp:0:1", "format": "origin"})
    Plan(width=None, height=50, resize='cover', quality=None, format='origin', gravity='fp', x_offset=0.0, y_offset=1.0)
    """
    given: dict[str, Any] = {"format": claims.get("format")}
    for part in str(claims.get("transformations") or "").split(","):
        name, _, value = part.partition(":")
        if name == "gravity":
            given["gravity"], given["x_offset"], given["y_offset"] = [*value.split(":"), None, None][:3]
        elif value:
            given[name] = value
    found: dict[str, Any] = {}
    for check in (_sides, _resize, _format, _quality, _gravity):
        try:
            found |= check(given, "token")
        except StorageError:
            continue
    return Plan(**found)


def list_transformations(plan: Plan) -> list[str]:
    """What `X-Transformations` says, in its order.

    >>> ",".join(list_transformations(Plan(width=200, height=100, gravity="no", y_offset=10)))
    'height:100,width:200,resizing_type:fill,gravity:no:0:10'
    """
    return list(_list_parts(plan, f"resizing_type:{IMGPROXY_NAMES[plan.resize]}"))


def choose_format(plan: Plan, accept: str) -> Literal["avif", "webp"] | None:
    """What the image becomes; None is what it was.

    >>> choose_format(Plan(), "image/avif,image/webp,*/*"), choose_format(Plan(format="origin"), "image/webp")
    ('webp', None)
    >>> choose_format(Plan(format="avif"), ""), choose_format(Plan(), "image/webp;q=0, */*")
    ('avif', None)
    """
    match plan.format:
        case None:
            return "webp" if _accepts_webp(accept) else None
        case "origin":
            return None
        case given:
            return given


def _accepts_webp(accept: str) -> bool:
    for item in accept.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        if name == "image/webp":
            return not any(re.fullmatch(r"q=0(\.0*)?", parameter) for parameter in parameters)
    return False


def _list_parts(plan: Plan, resizing: str) -> Iterator[str]:
    if plan.height:
        yield f"height:{plan.height}"
    if plan.width:
        yield f"width:{plan.width}"
    if plan.width or plan.height:
        yield resizing
    if plan.quality:
        yield f"quality:{plan.quality}"
    if plan.format in ("avif", "webp"):
        yield f"format:{plan.format}"
    if plan.gravity:
        has_offsets = plan.gravity != "sm" and (plan.x_offset, plan.y_offset) != (None, None)
        offsets = f":{_show(plan.x_offset)}:{_show(plan.y_offset)}" if has_offsets else ""
        yield f"gravity:{plan.gravity}{offsets}"


def _show(offset: float | None) -> str:
    """As JavaScript writes numbers: `10`, not `10.0`."""
    value = offset or 0
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e21 else repr(value)


# Each check reads some of what was given and returns fields of the plan. Ajv stops at the first fault, and looks at a
# focal point before all else.


def _parse(given: Mapping[str, Any], where: str) -> Plan:
    if given.get("gravity") == "fp":
        _check_focal_point(given, where)
    found: dict[str, Any] = {}
    for check in (_sides, _resize, _format, _quality, _gravity):
        found |= check(given, where)
    return Plan(**found)


def _sides(given: Mapping[str, Any], where: str) -> dict[str, int | None]:
    sides = {name: _integer(given, name, where, low=0) for name in ("height", "width")}
    return {name: min(side, MAX_SIDE) if side else None for name, side in sides.items()}


def _resize(given: Mapping[str, Any], where: str) -> dict[str, Resize]:
    return {"resize": _choice(given, "resize", where, RESIZES) or "cover"}


def _format(given: Mapping[str, Any], where: str) -> dict[str, Format | None]:
    return {"format": _choice(given, "format", where, FORMATS)}


def _quality(given: Mapping[str, Any], where: str) -> dict[str, int | None]:
    return {"quality": _integer(given, "quality", where, low=MIN_QUALITY, high=MAX_QUALITY)}


def _gravity(given: Mapping[str, Any], where: str) -> dict[str, Gravity | float | None]:
    gravity = _choice(given, "gravity", where, GRAVITIES)
    if gravity == "fp":
        _check_focal_point(given, where)
    x_offset, y_offset = (_number(given, name, where) for name in ("x_offset", "y_offset"))
    return {"gravity": gravity, "x_offset": x_offset, "y_offset": y_offset}


def _check_focal_point(given: Mapping[str, Any], where: str) -> None:
    names = ("x_offset", "y_offset")
    fault = next(
        (f" must have required property '{name}'" for name in names if given.get(name) is None), None
    )
    for name in names:
        if fault is None and (value := _number(given, name, where)) is not None and not 0 <= value <= 1:
            fault = f"/{name} must be >= 0" if value < 0 else f"/{name} must be <= 1"
    if fault is not None:
        raise invalid_request(f'{where}{fault}, {where} must match "then" schema')


def _number(given: Mapping[str, Any], name: str, where: str, *, kind: str = "number") -> float | None:
    """A number, or the text of one. Ajv takes `true` for 1; so does this."""
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, (int, float)) or (isinstance(value, str) and NUMBER.fullmatch(value.strip())):
        number = float(value)
        if abs(number) < 1e15 and (kind == "number" or number.is_integer()):
            return number
    raise invalid_request(f"{where}/{name} must be {kind}")


def _integer(
    given: Mapping[str, Any], name: str, where: str, *, low: int, high: int | None = None
) -> int | None:
    value = _number(given, name, where, kind="integer")
    if value is not None and value < low:
        raise invalid_request(f"{where}/{name} must be >= {low}")
    if value is not None and high is not None and value > high:
        raise invalid_request(f"{where}/{name} must be <= {high}")
    return None if value is None else int(value)


def _choice(given: Mapping[str, Any], name: str, where: str, choices: tuple[T, ...]) -> T | None:
    value = given.get(name)
    if value is None:
        return None
    if value not in choices:
        raise invalid_request(f"{where}/{name} must be equal to one of the allowed values")
    return cast(T, value)
