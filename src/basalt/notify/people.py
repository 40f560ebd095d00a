"""From people as they are stored to recipients as plans need them, and on to their rows."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from basalt.notify.audience import Person
from basalt.notify.errors import TemplateError
from basalt.notify.event import Event, Problems
from basalt.notify.planning import Address, PlannedRow, Recipient, plan_rows
from basalt.notify.preferences import CHANNELS, Preferences, parse_preferences
from basalt.notify.queueing import NewRow
from basalt.notify.rendering import Writer
from basalt.senders import DeliverySender, choose_provider

Told = Mapping[str, Mapping[datetime, int]]


def read_preferences(people: Sequence[Person], problems: Problems) -> dict[str, Preferences]:
    """By user id, of those who have an account."""
    known: dict[str, Preferences] = {}
    for person in people:
        if person.addresses is None:
            problems.add("user_unknown", person.user_id)
            continue
        known[person.user_id] = parsed = parse_preferences(person.preferences)
        if parsed.problems:
            problems.add("preferences_invalid", f"{person.user_id}: {'; '.join(parsed.problems)}")
    return known


def build_recipient(
    person: Person,
    preferences: Preferences,
    told: Told,
    senders: Mapping[str, DeliverySender],
    problems: Problems,
) -> Recipient:
    """With the addresses that some provider delivers to."""
    addresses: dict[Any, list[Address]] = {}
    for channel, provider, address, channel_id in person.addresses or ():
        if channel is None or not address:
            continue  # in-app needs none
        chosen = choose_provider(channel, provider, senders)
        if chosen is None:
            problems.add("provider_missing", f"nobody delivers to {provider or channel}")
        else:
            addresses.setdefault(channel, []).append(Address(chosen, address, channel_id))
    return Recipient(preferences, addresses, told.get(person.user_id, {}))


def write_rows(
    event: Event,
    person: Person,
    recipient: Recipient,
    writer: Writer,
    problems: Problems,
) -> list[NewRow]:
    """The rows of one person with their texts. A template that fails for this person costs them that channel."""
    available = writer.find_channels(person.locale)
    if available.isdisjoint(event.channels or CHANNELS):
        problems.add(
            "template_not_found", f"{person.user_id}: no text in {person.locale or 'the default language'}"
        )
    rows = plan_rows(event.event_type, event.channels, event.priority, available, recipient, event.now)
    return write_planned(rows, person, recipient.preferences, writer, problems)


def write_planned(
    rows: Sequence[PlannedRow],
    person: Person,
    preferences: Preferences,
    writer: Writer,
    problems: Problems,
) -> list[NewRow]:
    new: list[NewRow] = []
    texts: dict[str, tuple[str, int] | None] = {}
    for row in rows:
        if row.channel not in texts:
            try:
                template, number = writer.write(
                    row.channel, person.user_id, person.name, person.locale, preferences
                )
                texts[row.channel] = template.id, number
            except TemplateError as error:
                problems.add(error.code, f"{person.user_id}: {error.message}")
                texts[row.channel] = None
        if (text := texts[row.channel]) is not None:
            new.append(NewRow(person.user_id, row, *text))
    return new
