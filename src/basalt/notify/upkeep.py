"""What dispatchers do beside delivering: keep their leases, find another provider for rows whose own is gone, call for
digests, receipts and the clean-up, measure how far behind they are.

Every dispatcher does all of it. Statements skip rows that somebody else has locked.
"""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from basalt.jobs import BY_INDEX, JobsDatabase, array
from basalt.notify.claiming import Claimer
from basalt.notify.measures import OLDEST_DUE_SECONDS
from basalt.notify.settlement import Settlement, give_back
from basalt.postgres import Query
from basalt.senders import DeliverySender, ReceiptSource, choose_provider

PROVIDERS: Final = (
    "resend",
    "sendgrid",
    "smtp",
    "twilio",
    "messagebird",
    "textlocal",
    "vonage",
    "fcm",
    "apns",
    "expo",
    "onesignal",
    "webpush",
    "inbox",
)
STRAY_BATCH = 200

RENEW_LEASES = """
update public.notification_queue as q
set locked_until = clock_timestamp() + make_interval(secs => $3::double precision)
where q.id = any ($1::bigint[]) and q.locked_by = $2::uuid
"""

RENEW_SHIPMENTS = """
update basalt.notification_shipments as s
set locked_until = clock_timestamp() + make_interval(secs => $3::double precision)
where s.id = any ($1::bigint[]) and s.worker_id = $2::uuid
"""
TAKE_OVER_SHIPMENTS = Query("select basalt.take_over_shipments()")
APPLY_MISSED_REPORTS = Query("select basalt.apply_missed_reports()")

LOAD_ADDRESS_PROVIDERS = """
select q.id, c.provider from public.notification_queue as q
join public.notification_channels as c on c.id = q.channel_id
where q.id = any ($1::bigint[])
"""

CALL_FOR_DIGESTS = Query("""
select basalt.enqueue('basalt.notify.digest', queue => 'notify', key => 'digest')
where exists (
    select from public.notification_queue as q where q.status = 'digest' and q.scheduled_for <= now())
""")

CALL_FOR_RECEIPTS = Query("""
select basalt.enqueue(
    'basalt.notify.receipts', queue => 'notify', key => 'receipts', run_at => now() + interval '5 minutes')
""")

LOAD_OLDEST_DUE = """
select p.name, (
    select extract(epoch from now() - min(d.scheduled_for)) from generate_series(0, 9) as line(priority)
    cross join lateral (
        select q.scheduled_for from public.notification_queue as q
        where q.status in ('pending', 'held') and q.provider = p.name and q.priority = line.priority
            and q.scheduled_for <= now()
        order by q.scheduled_for limit 1) as d)
from unnest($1::text[]) as p(name)
"""

CLEAN_UP: Final = (
    Query("select basalt.note_used_channels()"),
    Query("select basalt.archive_notifications()"),
    Query("select basalt.delete_old_notifications()"),
    Query("select basalt.delete_old_deliveries()"),
)


class Upkeep:
    def __init__(
        self,
        database: JobsDatabase,
        worker_id: UUID,
        claimer: Claimer,
        senders: Mapping[str, DeliverySender],
        *,
        lease_s: float,
    ) -> None:
        self._database = database
        self._worker_id = str(worker_id).encode()
        self._claimer = claimer
        self._senders = senders
        self._lease_s = str(lease_s).encode()

    async def renew_leases(self, ids: Sequence[int], shipments: Sequence[int]) -> None:
        """Of rows and shipments in hand."""
        queries = [
            Query(statement, (array(wanted), self._worker_id, self._lease_s))
            for statement, wanted in ((RENEW_LEASES, ids), (RENEW_SHIPMENTS, shipments))
            if wanted
        ]
        if queries:
            await self._database.execute([BY_INDEX, *queries])

    async def take_over_shipments(self) -> None:
        """What workers were sending when they died."""
        await self._database.execute([TAKE_OVER_SHIPMENTS])

    async def apply_missed_reports(self) -> None:
        """Of providers that were quicker than the note that they have the message."""
        await self._database.execute([APPLY_MISSED_REPORTS])

    async def call_for_digests(self) -> None:
        await self._database.execute([CALL_FOR_DIGESTS])

    async def call_for_receipts(self) -> None:
        """Where a provider says only then what became of a message when it is asked."""
        if any(isinstance(sender, ReceiptSource) for sender in self._senders.values()):
            await self._database.execute([CALL_FOR_RECEIPTS])

    async def adopt_strays(self) -> list[Settlement]:
        """Rows whose provider is no longer configured: another one, or the end."""
        gone = [name for name in PROVIDERS if name not in self._senders]
        rows = await self._claimer.claim(gone, STRAY_BATCH) if gone else []
        if not rows:
            return []
        _, answer = await self._database.execute(
            [BY_INDEX, Query(LOAD_ADDRESS_PROVIDERS, (array(row.id for row in rows),))]
        )
        known = {int(row_id or 0): (name or b"").decode() for row_id, name in answer.rows}
        ends = []
        for row in rows:
            provider = choose_provider(row.channel, known.get(row.id) or None, self._senders)
            ends.append(
                give_back(row, provider=provider)
                if provider
                else Settlement(row.id, row.attempt, "failed", error_code="provider_missing")
            )
        return ends

    async def measure(self) -> None:
        """For the metrics."""
        names = f"{{{','.join(self._senders)}}}".encode()
        _, answer = await self._database.execute([BY_INDEX, Query(LOAD_OLDEST_DUE, (names,))])
        for name, age_s in answer.rows:
            OLDEST_DUE_SECONDS.set(float(age_s or 0), (name or b"").decode())

    async def clean_up(self) -> None:
        """Archive and delete what is old by the settings: bounded steps until nothing is left."""
        for step in CLEAN_UP:
            while True:
                (answer,) = await self._database.execute([step])
                if answer.rows[0][0] in (b"0", None):
                    break
