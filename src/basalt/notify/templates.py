"""What a template says to one recipient.

A template's language is a bounded part of Jinja's (`template_language`), so that a hostile or clumsy one costs a
quarter of a second at most and is told what is wrong with it. What a template may count on is its `metadata_schema`,
a JSON Schema of the event's context.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import UndefinedError

from basalt.notify.errors import TemplateError
from basalt.notify.template_book import Template
from basalt.notify.template_budget import check_length, spend, spending
from basalt.notify.template_language import compile_text
from basalt.notify.template_schema import check_context, check_schema

MAX_SUBJECT_CHARS = 998  # of a header line, RFC 5322 §2.1.1


@dataclass(frozen=True, slots=True)
class Rendered:
    """`subject` is one line and empty where the template has none."""

    subject: str
    body: str
    html: str | None


def render(template: Template, variables: Mapping[str, Any]) -> Rendered:
    """The texts for one recipient. `variables` are values of JSON. Raises TemplateError."""
    try:
        with spending():
            subject = _render_text(template.subject or "", variables, is_html=False)
            body = _render_text(template.body, variables, is_html=False)
            html = None if template.html is None else _render_text(template.html, variables, is_html=True)
    except TemplateError as exc:
        raise _named(template, exc) from exc
    subject = " ".join(subject.split())
    if len(subject) > MAX_SUBJECT_CHARS:
        raise TemplateError(
            "template_too_long",
            f"Template {template.label}: the subject has over {MAX_SUBJECT_CHARS} characters",
        )
    return Rendered(subject, body, html)


def build_variables(
    context: Mapping[str, Any],
    *,
    event_id: str,
    event_type: str,
    recipient: Mapping[str, Any],
    subject_id: str | None = None,
    actor_id: str | None = None,
) -> dict[str, Any]:
    """What a template sees: the event's context by its own names, and `event` and `recipient`, which the context cannot
    hide. `recipient` has `user_id`, `locale`, `timezone` and `name`, which may be empty."""
    event = {"id": event_id, "type": event_type, "subject_id": subject_id, "actor_id": actor_id}
    return {**context, "event": event, "recipient": dict(recipient)}


def check_template(template: Template) -> None:
    """That its texts can be read and its schema is one. Raises TemplateError."""
    try:
        for text, is_html in ((template.subject, False), (template.body, False), (template.html, True)):
            if text is not None:
                compile_text(text, is_html=is_html)
        check_schema(template.metadata_schema)
    except TemplateError as exc:
        raise _named(template, exc) from exc


def check_variables(template: Template, context: Mapping[str, Any]) -> None:
    """Hold an event's context against the template's schema. Raises TemplateError template_variable_missing, or
    template_variables_invalid with what is wrong where."""
    try:
        check_context(template.metadata_schema, context)
    except TemplateError as exc:
        raise _named(template, exc) from exc


def _render_text(source: str, variables: Mapping[str, Any], *, is_html: bool) -> str:
    template = compile_text(source, is_html=is_html)
    parts, length = [], 0
    try:
        for part in template.generate(dict(variables)):
            spend(len(part))
            length += len(part)
            check_length(length)
            parts.append(part)
    except UndefinedError as exc:
        name = _undefined_name(exc.message or "")
        told = f"variable {name!r} is missing" if name else (exc.message or "a variable is missing")
        raise TemplateError("template_variable_missing", told, variable=name) from exc
    except TemplateError:
        raise
    except (RecursionError, MemoryError) as exc:
        raise TemplateError("template_failed", "it is nested too deeply") from exc
    except Exception as exc:  # whatever a template raises is its own fault, and nobody else's affair
        raise TemplateError("template_failed", f"{exc}"[:300]) from exc
    return "".join(parts)


def _named(template: Template, error: TemplateError) -> TemplateError:
    return TemplateError(error.code, f"Template {template.label}: {error.message}", variable=error.variable)


def _undefined_name(message: str) -> str | None:
    """From Jinja's sentence, which is all that it gives; None for an element of a list.

    >>> _undefined_name("'name' is undefined"), _undefined_name("'dict object' has no attribute 'city'")
    ('name', 'city')
    """
    names = re.findall(r"'([^']*)'", message)
    return names[-1] if names else None
