"""What the loops of one engine tell each other."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from basalt.jobs.upkeep import QueueState


@dataclass(slots=True, eq=False)
class Signals:
    """`news`: jobs may be ready. `schedule`: jobs may be due soon. `activity`: jobs came or may have come since the
    last sweep. `room`: a slot may be free. `renew_all`: a cancellation may have been missed. `queues` are those
    known."""

    news: asyncio.Event = field(default_factory=asyncio.Event)
    schedule: asyncio.Event = field(default_factory=asyncio.Event)
    activity: asyncio.Event = field(default_factory=asyncio.Event)
    room: asyncio.Event = field(default_factory=asyncio.Event)
    renew_all: bool = False
    is_stopping: bool = False
    queues: Sequence[QueueState] = ()

    @property
    def queue_names(self) -> list[str]:
        return [queue.name for queue in self.queues]

    def tell_news(self) -> None:
        self.news.set()
        self.activity.set()

    def tell_schedule(self) -> None:
        self.schedule.set()

    def tell_gap(self) -> None:
        """Notifications may have been missed."""
        self.renew_all = True
        self.tell_news()
        self.tell_schedule()

    def stop(self) -> None:
        """Every loop that looks for work ends."""
        self.is_stopping = True
        for event in (self.news, self.schedule, self.activity, self.room):
            event.set()
