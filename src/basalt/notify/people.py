"""From people as they are stored to recipients as plans need them, and on to their rows."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

from msgspec.structs import replace

from basalt.notify.audience import Person
from basalt.notify.errors import TemplateError
from basalt.notify.event import Event, Problems
from basalt.notify.planning import Address, PlannedRow, Recipient, plan_rows
from basalt.notify.preferences import CHANNELS, NO_PREFERENCES, Preferences, parse_preferences
from basalt.notify.queueing import NewRow
from basalt.notify.rendering import Writer
from basalt.senders import DeliverySender, choose_provider

NO_ADDRESS: Final = (None,)  # in-app has none

Told = Mapping[str, Mapping[datetime, int]]
Choose = Callable[[str, str | None], str | None]  # channel and an address's own provider → who delivers to it


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


def choosing(senders: Mapping[str, DeliverySender]) -> Choose:
    """`choose_provider` among these, which thinks once."""
    return cache(lambda channel, provider: choose_provider(channel, provider, senders))


def build_recipient(
    person: Person,
    preferences: Preferences,
    told: Told,
    choose: Choose,
    problems: Problems,
) -> Recipient:
    """With the addresses that some provider delivers to."""
    addresses: dict[Any, list[Address]] = {}
    for channel, provider, address, channel_id in person.addresses or ():
        if channel is None or not address:
            continue  # in-app needs none
        chosen = choose(channel, provider)
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


class Undemanding:
    """Those who have said nothing of what they want, nearly everybody. What becomes of a message to them follows from
    their language and from the channels by which they are reached, so that it is planned once for all who are alike."""

    def __init__(self, event: Event, writer: Writer, choose: Choose) -> None:
        self._event = event
        self._writer = writer
        self._choose = choose
        self._routes: dict[tuple[Any, ...], list[NewRow]] = {}

    def write_rows(self, person: Person, problems: Problems) -> list[NewRow]:
        recipient = build_recipient(person, NO_PREFERENCES, {}, self._choose, problems)
        kind = person.locale, *recipient.addresses
        routes = self._routes.get(kind)
        if routes is None:
            rows = write_rows(self._event, person, recipient, self._writer, problems)
            if not any(self._writer.is_personal(new.row.channel, person.locale) for new in rows):
                self._routes[kind] = list({new.row.channel: new for new in rows}.values())
            return rows
        return [
            NewRow(person.user_id, replace(new.row, address=address), new.template_id, new.payload)
            for new in routes
            for address in recipient.addresses.get(new.row.channel, NO_ADDRESS)
        ]
