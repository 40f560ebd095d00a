"""A template's `metadata_schema`: a JSON Schema (2020-12) of the context that an event must bring.

What of JSON Schema can be checked in a time that grows with the value alone is here: no references, no patterns. Each
keyword that is checked is paid for as a step of rendering is (`template_budget`), because a list of a thousand allowed
values, held against a thousand values, is a million steps.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.validators import extend

from basalt.notify.errors import TemplateError
from basalt.notify.template_budget import spending, weigh

MAX_VIOLATIONS = 10
SCHEMA_KEYWORDS: Final = frozenset(
    {
        "$schema",
        "additionalProperties",
        "const",
        "default",
        "description",
        "enum",
        "examples",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "properties",
        "required",
        "title",
        "type",
    }
)
MAX_SCHEMA_DEPTH = 10


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raises TemplateError template_invalid."""
    _load_validator(schema)


def check_context(schema: Mapping[str, Any], context: Mapping[str, Any]) -> None:
    """Raises TemplateError template_variable_missing, template_variables_invalid with what is wrong where, or
    template_too_slow."""
    validator = _load_validator(schema)
    with spending():
        violations = [
            error for error, _ in zip(validator.iter_errors(context), range(MAX_VIOLATIONS), strict=False)
        ]
    missing = [name for error in violations for name in _missing_names(error)]
    if missing:
        message = f"variable {missing[0]!r} is missing"
        raise TemplateError("template_variable_missing", message, variable=missing[0])
    if violations:
        told = "; ".join(f"{error.json_path}: {error.message:.200}" for error in violations)
        raise TemplateError("template_variables_invalid", told)


def _load_validator(schema: Mapping[str, Any]) -> Draft202012Validator:
    try:
        text = json.dumps(schema, sort_keys=True)
    except (RecursionError, TypeError, ValueError) as exc:
        raise TemplateError("template_invalid", "metadata_schema is nested too deeply") from exc
    return _validator(text)


@lru_cache(maxsize=256)
def _validator(schema_json: str) -> Draft202012Validator:
    schema = json.loads(schema_json)
    for place, keyword in _unsupported(schema, "$", MAX_SCHEMA_DEPTH):
        raise TemplateError("template_invalid", f"metadata_schema: {keyword!r} at {place} is not supported")
    try:
        Draft202012Validator.check_schema(schema)
    except Exception as exc:  # jsonschema's SchemaError, whose import is of no other use
        reason = getattr(exc, "message", str(exc))
        raise TemplateError("template_invalid", f"metadata_schema: {reason:.200}") from exc
    return _PAID_VALIDATOR(schema)


def _unsupported(schema: object, place: str, depth: int) -> Iterator[tuple[str, str]]:
    """Places and keywords outside what is checked."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict) or depth == 0:
        yield place, "a schema nested this deeply" if depth == 0 else type(schema).__name__
        return
    for keyword, value in schema.items():
        if keyword not in SCHEMA_KEYWORDS:
            yield place, keyword
        elif keyword == "properties" and isinstance(value, dict):
            for name, inner in value.items():
                yield from _unsupported(inner, f"{place}.{name}", depth - 1)
        elif keyword in ("items", "additionalProperties"):
            yield from _unsupported(value, f"{place}[]", depth - 1)


def _missing_names(error: Any) -> list[str]:
    """The names that a `required` of the schema asks for in vain."""
    if error.validator != "required":
        return []
    before = ".".join(str(part) for part in error.absolute_path)
    return [
        f"{before}.{name}" if before else name for name in error.validator_value if name not in error.instance
    ]


def _paid(keyword: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        weigh(value)
        yield from keyword(validator, value, instance, schema) or ()

    return check


_PAID_VALIDATOR = extend(
    Draft202012Validator,
    {
        name: _paid(keyword)
        for name, keyword in Draft202012Validator.VALIDATORS.items()
        if name in SCHEMA_KEYWORDS
    },
)
