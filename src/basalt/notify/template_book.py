"""Which template there is for an event type, a channel and a person's locale: the active rows of
`public.notification_templates`. Finding one needs nothing of what renders it (`templates`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from basalt.postgres import Pool

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


def list_locales(locale: str | None, default: str) -> Sequence[str]:
    """Where to look for a template, best first.

    >>> list_locales("de-AT", "en")
    ['de-AT', 'de', 'en']
    >>> list_locales(None, "pt-BR")
    ['pt-BR', 'pt']
    """
    wanted = [*_widen(locale or ""), *_widen(default)]
    return list(dict.fromkeys(wanted))


def _widen(locale: str) -> list[str]:
    parts = locale.replace("_", "-").split("-", 4)[:4]
    return ["-".join(parts[:count]) for count in range(len(parts), 0, -1)] if locale else []
