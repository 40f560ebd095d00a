"""What the notification engine hands to a provider, and what it learns from it.

One `DeliverySender` per provider (`resend.py`, `fcm.py`, …). It is given batches, keeps to the provider's limits
itself, and answers for each message. What a message's fate is stays the engine's decision: a sender says what the
provider said.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol, runtime_checkable

from msgspec import Struct

from basalt import observe

Verdict = Literal["accepted", "delivered", "retry", "unknown", "refused", "dead_address"]
ReportStatus = Literal["delivered", "opened", "clicked", "bounced", "complained", "failed"]


class Delivery(Struct, frozen=True, gc=False):
    """One message to one address. `key` is the same for every attempt: providers that know idempotency keys are given
    it. `request_id` goes along in headers where the provider keeps them. `address` is a mail address, a number in
    E.164, a device token, or a Web Push subscription as JSON. `channel` is for the Inbox, which takes all of them.
    `data["unsubscribe_url"]` becomes a mail's List-Unsubscribe."""

    key: str
    address: str
    subject: str = ""
    body: str = ""
    html: str = ""
    data: Mapping[str, Any] = {}
    ttl_s: float | None = None
    is_urgent: bool = False
    collapse_key: str = ""
    badge: int | None = None
    request_id: str = ""
    channel: str = ""


class Outcome(Struct, frozen=True, gc=False):
    """What became of one `Delivery`.

    `accepted`: the provider has it · `delivered`: it has arrived, as far as this provider ever says · `retry`: not
    taken, may be taken later (`retry_after_s`) · `unknown`: no answer, it may be on its way; trying again may send it
    twice, unless the provider knows keys · `refused`: never to be taken · `dead_address`: never again to this
    address."""

    verdict: Verdict
    message_id: str = ""
    error_code: str = ""
    response: Mapping[str, Any] = {}
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class StatusReport:
    """What a provider said later about a message that it had accepted. `id` makes a repeated report recognisable. A
    bounce that `is_permanent` ends the address."""

    id: str
    message_id: str
    status: ReportStatus
    at: datetime
    error_code: str = ""
    is_permanent: bool = False
    response: Mapping[str, Any] = field(default_factory=dict)


class ForgedReportError(Exception):
    """The signature of a webhook is missing or wrong, or its time is too far off."""


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """A webhook as it came: `url` as the provider knows it, `headers` in lower case."""

    url: str
    headers: Mapping[str, str]
    body: bytes


async def deliver_each(
    deliver: Callable[[Delivery], Awaitable[Outcome]], deliveries: Sequence[Delivery]
) -> Sequence[Outcome]:
    """All at once, each under the id of the request that it came from."""

    async def one(delivery: Delivery) -> Outcome:
        observe.request_id.set(delivery.request_id)  # of its own task
        return await deliver(delivery)

    return await asyncio.gather(*map(one, deliveries))


class DeliverySender(Protocol):
    """`name` is the provider's, as in `notification_deliveries.provider`. `batch_size` is how many deliveries are best
    given at once."""

    @property
    def name(self) -> str: ...

    @property
    def batch_size(self) -> int: ...

    async def deliver(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """One outcome per delivery, in their order. Never raises for what a provider does or fails to do."""

    async def close(self) -> None:
        """Give back connections."""


@runtime_checkable
class ReceiptSource(Protocol):
    """Of a provider that tells what became of a message only when it is asked: a `DeliverySender` that has receipts."""

    async def fetch_receipts(self, message_ids: Sequence[str], *, now: datetime) -> Sequence[StatusReport]:
        """By the ids of accepted messages; an id without a report is not known yet, or could not be asked for."""


class ReportReader(Protocol):
    """Reads a provider's status webhooks."""

    def read_reports(self, request: ReportRequest, *, now: datetime) -> Sequence[StatusReport]:
        """Raises ForgedReportError, ValueError for what is no report."""
