"""What a person wants, as `public.notification_preferences` says it.

`channel_settings` has this shape; every member may be missing:

    {
      "push":   {"enabled": false},
      "email":  {"enabled": true, "digest": "daily"},
      "fallback": ["email"],
      "events": {
        "gig.new": {"channels": ["in_app", "push"], "digest": "none"},
        "offer":   {"enabled": false}
      }
    }

- A channel (`in_app`, `email`, `push`, `sms`) that is not `enabled` is not used; `digest` (`none`, `hourly`, `daily`,
  `weekly`) takes the place of the column `digest_frequency` for that channel.
- `fallback`: which channels may take the place of one that fails, in this order; an empty list is none.
- `events`, by event type, are more particular and win: of the channels that the event is sent by, `channels` are those
  to be used, even where one is not enabled in general; `"enabled": false` is none at all, in-app included; `digest` and
  `fallback` as above.

What has another shape counts as not said, and is named in the event's `error`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import time
from typing import Any, Final, Literal, TypeGuard, get_args
from zoneinfo import ZoneInfo

from basalt.notify.digests import DigestFrequency
from basalt.notify.quiet_hours import QuietHours, find_zone

NotifyChannel = Literal["in_app", "email", "push", "sms"]
CHANNELS: Final[tuple[NotifyChannel, ...]] = get_args(NotifyChannel)
FREQUENCIES: Final[tuple[DigestFrequency, ...]] = get_args(DigestFrequency)
UTC_ZONE: Final = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class Choice:
    """What somebody said about an event or a channel; None where nothing."""

    is_enabled: bool | None = None
    channels: tuple[NotifyChannel, ...] | None = None
    digest: DigestFrequency | None = None
    fallback: tuple[NotifyChannel, ...] | None = None


@dataclass(frozen=True, slots=True)
class Preferences:
    """`problems` are sentences about what could not be read."""

    by_channel: Mapping[NotifyChannel, Choice] = field(default_factory=dict)
    by_event: Mapping[str, Choice] = field(default_factory=dict)
    fallback: tuple[NotifyChannel, ...] | None = None
    digest: DigestFrequency = "none"
    hourly_limit: int | None = None
    quiet: QuietHours | None = None
    zone: ZoneInfo = UTC_ZONE
    problems: tuple[str, ...] = ()

    def wants(self, channel: NotifyChannel, event_type: str) -> bool:
        """Whether a message of this kind may come by this channel.

        >>> calm = parse_preferences({"channel_settings": {"push": {"enabled": False}, "events": {
        ...     "gig.new": {"channels": ["push"]}, "offer": {"enabled": False}}}})
        >>> [calm.wants("push", kind) for kind in ("gig.new", "chat", "offer")]
        [True, False, False]
        >>> [calm.wants("in_app", kind) for kind in ("gig.new", "chat", "offer")]
        [False, True, False]
        """
        event = self.by_event.get(event_type, NO_CHOICE)
        if event.is_enabled is False:
            return False
        if event.channels is not None:
            return channel in event.channels
        return self.by_channel.get(channel, NO_CHOICE).is_enabled is not False

    def find_digest(self, channel: NotifyChannel, event_type: str) -> DigestFrequency:
        """How messages of this kind are gathered: the event's word, then the channel's, then the person's."""
        if channel == "in_app":
            return "none"
        event = self.by_event.get(event_type, NO_CHOICE)
        return event.digest or self.by_channel.get(channel, NO_CHOICE).digest or self.digest

    def find_fallback(self, event_type: str) -> tuple[NotifyChannel, ...] | None:
        """None where nothing was said."""
        event = self.by_event.get(event_type, NO_CHOICE)
        return self.fallback if event.fallback is None else event.fallback


NO_CHOICE: Final = Choice()
NO_PREFERENCES: Final = Preferences()


def parse_preferences(row: Mapping[str, Any] | None) -> Preferences:
    """From the columns of `notification_preferences`; times are `time` or `HH:MM[:SS]`.

    >>> settings = {"pigeon": {}, "push": {"enabled": "no"}}
    >>> parse_preferences({"channel_settings": settings, "timezone": "Mars/Olympus"}).problems
    ('there is no channel pigeon', 'push.enabled is not true or false', 'there is no time zone Mars/Olympus')
    """
    if not row:
        return NO_PREFERENCES
    problems: list[str] = []
    settings = row.get("channel_settings") or {}
    if not isinstance(settings, dict):
        problems.append("channel_settings is no object")
        settings = {}
    by_channel: dict[NotifyChannel, Choice] = {}
    for name, value in settings.items():
        if is_channel(name):
            by_channel[name] = _parse_choice(name, value, problems)
        elif name not in ("events", "fallback"):
            problems.append(f"there is no channel {name}")
    zone = find_zone(str(row.get("timezone") or "UTC"))
    if zone is None:
        problems.append(f"there is no time zone {row['timezone']}")
        zone = UTC_ZONE
    return Preferences(
        by_channel,
        _parse_events(settings.get("events"), problems),
        _parse_channels("fallback", settings.get("fallback"), problems),
        _parse_frequency("digest_frequency", row.get("digest_frequency"), problems) or "none",
        row.get("rate_limit_per_hour"),
        _parse_quiet(row, zone),
        zone,
        tuple(problems),
    )


def _parse_events(value: object, problems: list[str]) -> dict[str, Choice]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        problems.append("events is no object")
        return {}
    return {str(name): _parse_choice(f"events.{name}", choice, problems) for name, choice in value.items()}


def _parse_choice(name: str, value: object, problems: list[str]) -> Choice:
    if not isinstance(value, dict):
        problems.append(f"{name} is no object")
        return NO_CHOICE
    is_enabled = value.get("enabled")
    if is_enabled is not None and not isinstance(is_enabled, bool):
        problems.append(f"{name}.enabled is not true or false")
        is_enabled = None
    return Choice(
        is_enabled,
        _parse_channels(f"{name}.channels", value.get("channels"), problems),
        _parse_frequency(f"{name}.digest", value.get("digest"), problems),
        _parse_channels(f"{name}.fallback", value.get("fallback"), problems),
    )


def _parse_channels(name: str, value: object, problems: list[str]) -> tuple[NotifyChannel, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        problems.append(f"{name} is no list")
        return None
    problems.extend(f"{name}: there is no channel {channel}" for channel in value if not is_channel(channel))
    return tuple(channel for channel in value if is_channel(channel))


def _parse_frequency(name: str, value: object, problems: list[str]) -> DigestFrequency | None:
    if value is None:
        return None
    if _is_frequency(value):
        return value
    problems.append(f"{name} is none of {', '.join(FREQUENCIES)}")
    return None


def _parse_quiet(row: Mapping[str, Any], zone: ZoneInfo) -> QuietHours | None:
    start, end = (_parse_time(row.get(name)) for name in ("quiet_hours_start", "quiet_hours_end"))
    return QuietHours(start, end, zone) if start is not None and end is not None else None


def _parse_time(value: Sequence[str] | time | None) -> time | None:
    if value is None or isinstance(value, time):
        return value
    text = str(value)
    return time.max if text.startswith("24") else time.fromisoformat(text)  # PostgreSQL has 24:00


def is_channel(name: object) -> TypeGuard[NotifyChannel]:
    return name in CHANNELS


def _is_frequency(name: object) -> TypeGuard[DigestFrequency]:
    return name in FREQUENCIES
