"""The filters of templates. Only those whose cost is bounded by what they are given are here; each spends from the
budget before it begins, and what it makes is checked before it goes on. Jinja's own where they fit.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import wraps
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jinja2 import Environment, Undefined, pass_eval_context
from jinja2.filters import FILTERS
from jinja2.nodes import EvalContext
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import escape

from basalt.notify.errors import TemplateError
from basalt.notify.template_budget import check_length, spend, spend_on

JINJAS = (
    "abs",
    "capitalize",
    "count",
    "d",
    "default",
    "e",
    "escape",
    "first",
    "float",
    "last",
    "length",
    "lower",
    "max",
    "min",
    "reverse",
    "sort",
    "string",
    "title",
    "trim",
    "truncate",
    "upper",
    "urlencode",
    "wordcount",
)
# Values of JSON, and what Jinja passes first.
TAKEN = (str, bool, int, float, type(None), Mapping, Sequence, Undefined, EvalContext, Environment)
MAX_DECIMALS = 15
DATE_FORMAT = re.compile(r"(?:%[A-Za-z%]|[^%]){1,100}", re.DOTALL)


def build_filters() -> dict[str, Callable[..., Any]]:
    """By name; those that Jinja has and this table has not are unknown to templates."""
    own: dict[str, Callable[..., Any]] = {
        "date": _date,
        "int": _int,
        "join": _join,
        "replace": _replace,
        "round": _round,
        "sum": _sum,
        "tojson": _to_json,
        "unique": _unique,
    }
    filters = {name: FILTERS[name] for name in JINJAS} | own
    return {name: _bounded(function) for name, function in filters.items()}


@pass_eval_context
def concatenate(eval_ctx: EvalContext, parts: Iterable[object]) -> str:
    """What `~` does, bounded."""
    texts = [_text(check_printable(part), is_html=eval_ctx.autoescape) for part in parts]
    length = sum(map(len, texts))
    spend(length)
    check_length(length)
    return _text("", is_html=eval_ctx.autoescape).join(texts)


def check_printable(value: Any) -> Any:
    """What `{{ … }}` and `~` show of a value. Null is nothing; a list has no one form: join it, or loop over it."""
    if value is None:
        return ""
    if isinstance(value, (str, bool, int, float, Undefined)):
        return value
    if isinstance(value, (Mapping, Sequence)):
        kind = "a mapping" if isinstance(value, Mapping) else "a list"
        told = f"{kind} cannot be printed: loop over it, or use |join or |tojson"
    else:
        told = f"{type(value).__name__} cannot be printed"
    raise TemplateError("template_failed", told)


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)  # takes over what Jinja is to pass first
    def bounded(*args: Any, **named: Any) -> Any:
        for value in (*args, *named.values()):
            if not isinstance(value, TAKEN):  # a function would show where in memory it is
                raise TemplateError("template_failed", f"filters do not take {type(value).__name__}")
            spend_on(value)
        result = function(*args, **named)
        if isinstance(result, str):
            check_length(len(result))
            return result
        is_plain = result is None or isinstance(result, (bool, int, float, Mapping, list, tuple, Undefined))
        return result if is_plain else list(result)

    return bounded


def _text(value: object, *, is_html: bool) -> str:
    return escape(value) if is_html else str(value)


@pass_eval_context
def _join(
    eval_ctx: EvalContext, values: Iterable[Any], between: str = "", attribute: str | None = None
) -> str:
    """`names|join(", ")`, `people|join(", ", attribute="name")`."""
    chosen = [value if attribute is None else value[attribute] for value in values]
    texts = [_text(value, is_html=eval_ctx.autoescape) for value in chosen]
    separator = _text(between, is_html=eval_ctx.autoescape)
    check_length(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


@pass_eval_context
def _replace(eval_ctx: EvalContext, text: str, old: str, new: str) -> str:
    text = _text(text, is_html=eval_ctx.autoescape)
    old, new = _text(old, is_html=eval_ctx.autoescape), _text(new, is_html=eval_ctx.autoescape)
    check_length(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


def _round(value: float, decimals: int = 0) -> float:
    if not 0 <= decimals <= MAX_DECIMALS:
        raise TemplateError("template_failed", f"round() takes 0 to {MAX_DECIMALS} decimals")
    return round(value, decimals) if decimals else round(value)


def _int(value: Any, default: int = 0) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return default


def _sum(values: Iterable[Any], attribute: str | None = None) -> float:
    chosen: list[float] = [value if attribute is None else value[attribute] for value in values]
    if not all(isinstance(value, (int, float)) for value in chosen):
        raise TemplateError("template_failed", "sum() adds numbers only")
    return sum(chosen)


def _unique(values: Iterable[Any]) -> list[Any]:
    """Texts and numbers once each, in their order."""
    return list(dict.fromkeys(values))


def _to_json(value: Any) -> str:
    return htmlsafe_json_dumps(value)


def _date(value: str, pattern: str = "%Y-%m-%d", zone: str | None = None) -> str:
    """`starts_at|date("%d.%m.%Y, %H:%M", "Europe/Berlin")`: an instant or day in ISO 8601, in a time zone."""
    if not DATE_FORMAT.fullmatch(pattern):
        raise TemplateError("template_failed", "date() takes a pattern such as '%d.%m.%Y %H:%M'")
    try:
        instant = datetime.fromisoformat(value)
        if zone is not None:
            instant = instant.astimezone(ZoneInfo(zone))
    except (TypeError, ValueError, OverflowError, ZoneInfoNotFoundError, OSError) as exc:
        raise TemplateError(
            "template_failed", f"date() cannot read {value!r:.60} in zone {zone!r:.60}"
        ) from exc
    return instant.strftime(pattern)
