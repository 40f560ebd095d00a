"""What a message says: a template rendered for an event, once for everybody where it speaks to nobody in particular.

A template that reads `recipient` (`user_id`, `locale`, `timezone` and `name`, which is empty where the account has
none) is rendered for each person. A message's `data` is the context's own `data`, with `event_id` and `type`; the
context's `collapse_key` and `badge` go along where a provider has such things.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from basalt.notify.event import Event, EventError
from basalt.notify.preferences import CHANNELS, NotifyChannel, Preferences
from basalt.notify.template_book import Template, TemplateBook
from basalt.notify.templates import (
    Rendered,
    build_variables,
    check_variables,
    render,
)

NOBODY: Final = "00000000-0000-0000-0000-000000000000"


def rehearse(
    template: Template,
    context: Mapping[str, Any],
    *,
    event_type: str,
    event_id: str = NOBODY,
    subject_id: str | None = None,
    actor_id: str | None = None,
) -> Rendered:
    """What a template makes of a context for somebody who has no name. Raises TemplateError, so that what would go
    wrong for everybody is known before anything is queued."""
    check_variables(template, context)
    variables = build_variables(
        context,
        event_id=event_id,
        event_type=event_type,
        recipient=_sample_recipient(template.locale, subject_id),
        subject_id=subject_id,
        actor_id=actor_id,
    )
    return render(template, variables)


def _sample_recipient(locale: str, user_id: str | None = None) -> Mapping[str, str]:
    return {"user_id": user_id or NOBODY, "locale": locale, "timezone": "UTC", "name": ""}


def is_personal(template: Template) -> bool:
    """Whether it may say something else to another person. Who only writes the word pays with time."""
    return any("recipient" in (text or "") for text in (template.subject, template.body, template.html))


class Writer:
    """Renders an event's messages and keeps each text once: `payloads`, which rows refer to by their numbers."""

    def __init__(self, event: Event, book: TemplateBook) -> None:
        self._event = event
        self._book = book
        self._templates: dict[tuple[str, str | None], Template | None] = {}
        self._numbers: dict[str, int] = {}
        self._available: dict[str | None, frozenset[NotifyChannel]] = {}
        self._personal: dict[str, bool] = {}
        self.payloads: list[dict[str, Any]] = []
        self.char_count = 0

    def check(self) -> None:
        """That every template of the event can be rendered, before anything is queued. Raises EventError for none, and
        TemplateError."""
        templates = [
            template
            for template in self._book.of_event_type(self._event.event_type)
            if self._event.channels is None or template.channel in self._event.channels
        ]
        if not templates:
            raise EventError("template_not_found", f"No channel has a template for {self._event.event_type}")
        event = self._event
        for template in templates:
            rehearse(
                template,
                event.context,
                event_type=event.event_type,
                event_id=event.id,
                subject_id=event.subject_id,
                actor_id=event.actor_id,
            )

    def list_channels(self) -> Sequence[NotifyChannel]:
        """Those for which some language has a template."""
        known = {template.channel for template in self._book.of_event_type(self._event.event_type)}
        return [channel for channel in CHANNELS if channel in known]

    def find_missing(self) -> Sequence[NotifyChannel]:
        """Channels that the event names and for which no language has a template."""
        known = self.list_channels()
        return [channel for channel in self._event.channels or () if channel not in known]

    def find_channels(self, locale: str | None) -> frozenset[NotifyChannel]:
        """Those for which there is a template in this language or one near to it."""
        if locale not in self._available:
            self._available[locale] = frozenset(
                channel for channel in CHANNELS if self._find(channel, locale) is not None
            )
        return self._available[locale]

    def write(
        self,
        channel: NotifyChannel,
        user_id: str,
        name: str,
        locale: str | None,
        preferences: Preferences,
    ) -> tuple[Template, int]:
        """The template and the number of the payload. Raises TemplateError."""
        template = self._find(channel, locale)
        assert template is not None  # of `find_channels`
        if not self._is_personal(template):
            if template.id not in self._numbers:
                self._numbers[template.id] = self._keep(template, _sample_recipient(template.locale))
            return template, self._numbers[template.id]
        recipient = {
            "user_id": user_id,
            "locale": locale or template.locale,
            "timezone": preferences.zone.key,
            "name": name,
        }
        return template, self._keep(template, recipient)

    def is_personal(self, channel: NotifyChannel, locale: str | None) -> bool:
        """Whether the message may say something else to another person."""
        template = self._find(channel, locale)
        return template is not None and self._is_personal(template)

    def _is_personal(self, template: Template) -> bool:
        if template.id not in self._personal:
            self._personal[template.id] = is_personal(template)
        return self._personal[template.id]

    def _find(self, channel: NotifyChannel, locale: str | None) -> Template | None:
        key = channel, locale
        if key not in self._templates:
            self._templates[key] = self._book.find(self._event.event_type, channel, locale)
        return self._templates[key]

    def _keep(self, template: Template, recipient: Mapping[str, str]) -> int:
        rendered = render(template, self._build_variables(recipient))
        self.payloads.append(build_payload(self._event, rendered.subject, rendered.body, rendered.html))
        self.char_count += len(rendered.subject) + len(rendered.body) + len(rendered.html or "")
        return len(self.payloads) - 1

    def _build_variables(self, recipient: Mapping[str, str]) -> dict[str, Any]:
        event = self._event
        return build_variables(
            event.context,
            event_id=event.id,
            event_type=event.event_type,
            recipient=recipient,
            subject_id=event.subject_id,
            actor_id=event.actor_id,
        )


def build_payload(event: Event, subject: str, body: str, html: str | None) -> dict[str, Any]:
    """A row's `payload`; what is empty is left out."""
    context = event.context
    own = context.get("data")
    badge, collapse_key = context.get("badge"), context.get("collapse_key")
    payload = {
        "subject": subject,
        "body": body,
        "html": html,
        "data": {**(own if isinstance(own, dict) else {}), "event_id": event.id, "type": event.event_type},
        "collapse_key": collapse_key if isinstance(collapse_key, str) else None,
        "badge": badge if isinstance(badge, int) and not isinstance(badge, bool) else None,
        "request_id": event.request_id,
    }
    return {name: value for name, value in payload.items() if value is not None and value != ""}
