"""What the worker runs side by side: jobs, schedules, outgoing requests."""

import asyncio
from typing import Protocol


class Part(Protocol):
    """Several workers run the same part at once, and one may be killed at any moment."""

    @property
    def name(self) -> str:
        """For the log."""

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set, end what is in hand, return. A database that is away for a while is waited for;
        what else goes wrong is raised, and the worker starts the part again after a pause."""
