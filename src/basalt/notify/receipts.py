"""The job `basalt.notify.receipts`: what became of messages of which the provider says so only when it is asked.

Expo takes a message and has a receipt of it some minutes later, for a day. Receipts are reports like those of webhooks.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from basalt.jobs import Job
from basalt.notify.reports import apply_reports
from basalt.postgres import Pool
from basalt.senders import DeliverySender, ReceiptSource

PAGE: Final = 1000

# Ids and times rise together: what is older than the receipts ends with this one. It is found from the young end, so
# that no more than a day's deliveries are looked at, however many are kept.
LOAD_START: Final = """
select d.id from public.notification_deliveries as d where d.created_at < now() - interval '1 day'
order by d.id desc
limit 1
"""

# Expo wants a quarter of an hour before it is asked.
LOAD_ACCEPTED: Final = """
select d.id, d.provider_message_id as message_id from public.notification_deliveries as d
where d.provider = %(provider)s and d.status = 'accepted' and d.provider_message_id is not null and d.id > %(after)s
    and d.created_at between now() - interval '1 day' and now() - interval '15 minutes'
order by d.id
limit %(limit)s
"""


class ReceiptGatherer:
    def __init__(self, pool: Pool, senders: Mapping[str, DeliverySender]) -> None:
        self._pool = pool
        self._sources = {
            name: sender for name, sender in senders.items() if isinstance(sender, ReceiptSource)
        }

    async def gather(self, job: Job) -> object:
        """The handler: once through all messages that are old enough and of which nothing is known."""
        applied = 0
        for provider, source in self._sources.items():
            after = await self._load_start()
            while rows := await self._load(provider, after):
                after = rows[-1][0]
                message_ids = [message_id for _, message_id in rows]
                reports = await source.fetch_receipts(message_ids, now=datetime.now(UTC))
                applied += (await apply_reports(self._pool, provider, reports)).applied
        return {"applied": applied}

    async def _load_start(self) -> int:
        async with self._pool.connection() as connection:
            row = await (await connection.execute(LOAD_START)).fetchone()
        start: int = 0 if row is None else row["id"]
        return start

    async def _load(self, provider: str, after: int) -> Sequence[tuple[int, str]]:
        parameters = {"provider": provider, "after": after, "limit": PAGE}
        async with self._pool.connection() as connection:
            found = await (await connection.execute(LOAD_ACCEPTED, parameters)).fetchall()
        return [(row["id"], row["message_id"]) for row in found]
