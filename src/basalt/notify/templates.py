"""Templates: rows of `public.notification_templates`, found by event type, channel and locale, and rendered.

A template's language is a bounded part of Jinja's (`template_language`), so that a hostile or clumsy one costs a
quarter of a second at most and is told what is wrong with it. What a template may count on is its `metadata_schema`,
a JSON Schema of the event's context.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from jinja2 import UndefinedError

from basalt.notify.errors import TemplateError
from basalt.notify.template_budget import check_length, spend, spending
from basalt.notify.template_language import compile_text
from basalt.notify.template_schema import check_context, check_schema
from basalt.postgres import Pool

MAX_SUBJECT_CHARS = 998  # of a header line, RFC 5322 §2.1.1

# A row that changes gets another xmin.
LOAD_STAMP = """
select md5(coalesce(string_agg(t.id::text || t.xmin::text, ',' order by t.id), '')) as stamp
from public.notification_templates as t
"""
LOAD_TEMPLATES = """
select id::text as id, event_type, channel, locale, version, subject_template as subject, body_template as body,
    html_template as html, metadata_schema
from public.notification_templates
where is_active
order by event_type, channel, locale, version
"""


@dataclass(frozen=True, slots=True)
class Template:
    id: str
    event_type: str
    channel: str
    locale: str
    version: int
    subject: str | None
    body: str
    html: str | None = None
    metadata_schema: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """As people name it: `order.shipped/email/de v3`."""
        return f"{self.event_type}/{self.channel}/{self.locale} v{self.version}"


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


def list_locales(locale: str | None, default: str) -> Sequence[str]:
    """Where to look for a template, best first.

    >>> list_locales("de-AT", "en")
    ['de-AT', 'de', 'en']
    >>> list_locales(None, "pt-BR")
    ['pt-BR', 'pt']
    """
    wanted = [*_widen(locale or ""), *_widen(default)]
    return list(dict.fromkeys(wanted))


class TemplateBook:
    """The active templates, as they were at the last `refresh`."""

    def __init__(self, pool: Pool, *, default_locale: str) -> None:
        self._pool = pool
        self._default_locale = default_locale
        self._stamp: str | None = None
        self._newest: Mapping[tuple[str, str, str], Template] = MappingProxyType({})

    async def refresh(self) -> None:
        """Look whether any template has changed, and only then load them."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(LOAD_STAMP)).fetchone()
            assert row is not None
            if row["stamp"] == self._stamp:
                return
            rows = await (await connection.execute(LOAD_TEMPLATES)).fetchall()
            self.fill([Template(**values) for values in rows])
            self._stamp = row["stamp"]

    def fill(self, templates: Sequence[Template]) -> None:
        """Of several versions the newest counts."""
        ordered = sorted(templates, key=lambda template: template.version)
        self._newest = {(one.event_type, one.channel, one.locale.lower()): one for one in ordered}

    def find(self, event_type: str, channel: str, locale: str | None) -> Template | None:
        """The newest version in the locale, or in the nearest that there is; None where the channel has no text for
        this event type."""
        for candidate in list_locales(locale, self._default_locale):
            found = self._newest.get((event_type, channel, candidate.lower()))
            if found is not None:
                return found
        return None

    def of_event_type(self, event_type: str) -> Sequence[Template]:
        """The newest version for every channel and locale."""
        return [one for (name, _, _), one in self._newest.items() if name == event_type]


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


def _widen(locale: str) -> list[str]:
    parts = locale.replace("_", "-").split("-", 4)[:4]
    return ["-".join(parts[:count]) for count in range(len(parts), 0, -1)] if locale else []
