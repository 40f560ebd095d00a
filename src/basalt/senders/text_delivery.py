"""Notifications by the provider of text messages that Auth has (`auth.sms`), where the engine has none of its own."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from basalt.http import OutgoingClient, OutgoingError
from basalt.senders.delivery import Delivery, Outcome, deliver_each
from basalt.senders.message import SendError, TextMessage, TextSender


@dataclass(frozen=True)
class TextDeliverySender:
    """A `DeliverySender`. These providers say little: what they do not take is refused."""

    name: str
    sender: TextSender
    http: OutgoingClient
    slots: asyncio.Semaphore
    batch_size: int = 50

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
                cause = exc.__cause__
                if not isinstance(cause, OutgoingError):
                    return Outcome("refused", error_code="not_taken", response={"message": str(exc)[:500]})
                return Outcome("unknown" if cause.was_sent else "retry", error_code=cause.reason)
        return Outcome("accepted")
