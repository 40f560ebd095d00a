"""Notifications by the provider of text messages that Auth has (`auth.sms`), where the engine has none of its own."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from basalt.http import OutgoingClient
from basalt.senders.delivery import Delivery, Outcome, deliver_each
from basalt.senders.message import SendError, TextMessage, TextSender
from basalt.senders.provider_answer import KEPT_CHARS

CONCURRENCY: Final = 4


@dataclass(frozen=True)
class TextDeliverySender:
    """A `DeliverySender`. `http` is the sender's, and closed with this."""

    name: str
    sender: TextSender
    http: OutgoingClient
    batch_size: int = 50
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONCURRENCY))

    async def deliver(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        return await deliver_each(self._deliver_one, deliveries)

    async def close(self) -> None:
        await self.http.close()

    async def _deliver_one(self, delivery: Delivery) -> Outcome:
        message = TextMessage(delivery.address.removeprefix("+"), delivery.body, "notification")
        async with self.slots:
            try:
                await self.sender.send(message)
            except SendError as exc:
                response = {"message": str(exc)[:KEPT_CHARS]}
                return Outcome(exc.fate, error_code=exc.code, response=response)
        return Outcome("accepted")
