"""What follows from a provider's answer: decisions without I/O, and the statements that write them down.

A message that may be taken later waits for the provider's `Retry-After`, or for a back-off that doubles, of which the
second half is left to chance. So does one whose provider did not answer: with a provider that knows no keys it may
arrive twice. After the last attempt, and after a refusal, the row has failed, and where there is a channel to fall back
to, a job looks whether that is due (`fallback`).

The statements name row, attempt and worker, so that one that is sent twice, or too late, changes nothing.
"""

import random
from collections.abc import Callable, Sequence
from typing import Final, Literal

import orjson
from msgspec import Raw, Struct, json

from basalt.config import NotifySettings
from basalt.jobs import BY_INDEX, array
from basalt.notify.claiming import Claimed
from basalt.postgres import Query
from basalt.senders import LONGEST_PAUSE_S, Outcome

RowEnd = Literal["pending", "held", "sent", "delivered", "failed", "cancelled", "expired"]
MAX_RESPONSE_BYTES = 4096
MAX_CODE_CHARS = 200
RETRY_AFTER_SLACK = 0.1

# A sender's words for "not now" where it did not ask the provider: no attempt. (An open circuit is one: it has failed.)
NOT_ASKED: Final = frozenset({"rate_limited", "provider_paused"})

SETTLE_ROWS = """
with settled as (
    update public.notification_queue as q
    set status = case
            when o.status in ('pending', 'held') and exists (
                select from public.notification_events as e where e.id = q.event_id and e.status = 'cancelled')
            then 'cancelled' else o.status end,
        attempts = case when o.is_uncounted then q.attempts - 1 else q.attempts end,
        provider = coalesce(o.provider, q.provider), error_code = o.error_code, locked_by = null, locked_until = null,
        scheduled_for = case
            when o.status in ('pending', 'held')
            then clock_timestamp() + make_interval(secs => coalesce(o.delay_s, 0))
            else q.scheduled_for end,
        finished_at = case when o.status not in ('pending', 'held') then clock_timestamp() end
    from jsonb_to_recordset($1::jsonb) as o(
        id bigint, attempt integer, status text, delivery text, message_id text, error_code text, response jsonb,
        delay_s double precision, provider text, is_uncounted boolean)
    where q.id = o.id and q.locked_by = $2::uuid and q.attempts = o.attempt
    returning q.id, o.attempt, q.provider, o.delivery, o.message_id, o.response, o.error_code)
insert into public.notification_deliveries (
    queue_id, attempt, provider, status, provider_message_id, response_payload, error_code, delivered_at)
select s.id, s.attempt, s.provider, s.delivery, s.message_id, s.response, s.error_code,
    case when s.delivery = 'delivered' then clock_timestamp() end
from settled as s
where s.delivery is not null
"""
DISABLE_ADDRESSES = """
select basalt.disable_notification_address(q.channel, q.address, q.provider, q.error_code, q.user_id)
from public.notification_queue as q
where q.id = any ($1::bigint[]) and q.status = 'failed'
order by q.user_id
"""
CALL_FALL_BACK = """
select basalt.enqueue_many(jsonb_agg(jsonb_build_object(
    'name', 'basalt.notify.fall_back', 'queue', 'notify', 'priority', q.priority, 'key', 'fall_back:' || q.id,
    'request_id', q.payload ->> 'request_id', 'payload', jsonb_build_object('queue_id', q.id))))
from public.notification_queue as q
where q.id = any ($1::bigint[]) and q.status = 'failed'
    and (q.fallback <> '{}' or q.error_code = 'address_gone')
having count(*) > 0
"""


class Settlement(Struct, frozen=True, gc=False, omit_defaults=True):
    """How a row goes on. `delivery` is the status of the attempt's row in `notification_deliveries`, None where the
    provider was not asked. `is_uncounted`: the attempt does not count."""

    id: int
    attempt: int
    status: RowEnd
    delivery: str | None = None
    message_id: str | None = None
    error_code: str | None = None
    response: Raw | None = None
    delay_s: float = 0.0
    provider: str | None = None
    is_uncounted: bool = False
    is_dead: bool = False


def plan_settlement(
    row: Claimed, outcome: Outcome, settings: NotifySettings, draw: Callable[[], float] = random.random
) -> Settlement:
    """What becomes of a row after an attempt.

    >>> row = Claimed(7, "e", "u", "push", None, "fcm", "token", b"{}", 1, 5, None, 0.0)
    >>> plan_settlement(row, Outcome("accepted", "m1"), NotifySettings()).status
    'sent'
    >>> again = plan_settlement(row, Outcome("retry", error_code="UNAVAILABLE"), NotifySettings(), lambda: 1.0)
    >>> again.status, again.delivery, again.delay_s
    ('pending', 'retrying', 5.0)
    >>> shut = Outcome("retry", error_code="circuit_open", retry_after_s=1.0)
    >>> plan_settlement(row, shut, NotifySettings(), lambda: 1.0).delay_s
    5.0
    >>> plan_settlement(row, Outcome("unknown"), NotifySettings(max_attempts=1)).status
    'failed'
    """
    error_code = _clean(outcome.error_code)[:MAX_CODE_CHARS] or None
    if outcome.verdict == "retry" and error_code in NOT_ASKED:
        pause_s = compute_delay_s(1, outcome.retry_after_s, settings, draw)
        return Settlement(
            row.id, row.attempt, "pending", error_code=error_code, delay_s=pause_s, is_uncounted=True
        )
    status, delivery = _judge(row, outcome, settings)
    return Settlement(
        row.id,
        row.attempt,
        status,
        delivery,
        _clean(outcome.message_id) or None,
        error_code,
        _trim(outcome.response),
        _back_off_s(row.attempt, outcome.retry_after_s, settings, draw) if status == "pending" else 0.0,
        is_dead=outcome.verdict == "dead_address",
    )


def plan_without_attempt(row: Claimed, settings: NotifySettings) -> Settlement | None:
    """What becomes of a row that need not be tried: one that has expired, and one whose workers died at every
    attempt."""
    if row.ttl_s is not None and row.ttl_s <= 0:
        return Settlement(row.id, row.attempt, "expired", is_uncounted=True)
    if not row.address:
        return Settlement(row.id, row.attempt, "failed", error_code="address_missing", is_uncounted=True)
    if row.attempt > settings.max_attempts:
        return Settlement(row.id, row.attempt, "failed", error_code="worker_lost", is_uncounted=True)
    return None


def give_back(row: Claimed, *, provider: str | None = None) -> Settlement:
    """As if it had not been claimed; for another `provider`, where one is named."""
    return Settlement(row.id, row.attempt, "pending", provider=provider, is_uncounted=True)


def compute_delay_s(
    attempt: int, retry_after_s: float | None, settings: NotifySettings, draw: Callable[[], float]
) -> float:
    """The pause after the given attempt.

    >>> settings = NotifySettings(first_delay_s=5, longest_delay_s=60)
    >>> [compute_delay_s(attempt, None, settings, lambda: 0.0) for attempt in (1, 2, 3, 5, 5000)]
    [2.5, 5.0, 10.0, 30.0, 30.0]
    >>> compute_delay_s(1, 120, settings, lambda: 0.5), compute_delay_s(1, 1e9, settings, lambda: 0.0)
    (126.0, 3600.0)
    """
    if retry_after_s is not None:
        return min(max(0.0, retry_after_s), LONGEST_PAUSE_S) * (1 + RETRY_AFTER_SLACK * draw())
    pause_s = min(settings.longest_delay_s, settings.first_delay_s * float(2 ** min(attempt - 1, 64)))
    return pause_s * (1 + draw()) / 2


def _back_off_s(
    attempt: int, retry_after_s: float | None, settings: NotifySettings, draw: Callable[[], float]
) -> float:
    """What the provider asks for, and no less than the back-off: a circuit that is open for a second, again and again,
    must not cost all attempts within half a minute."""
    own_s = compute_delay_s(attempt, None, settings, draw)
    return (
        own_s
        if retry_after_s is None
        else max(own_s, compute_delay_s(attempt, retry_after_s, settings, draw))
    )


def build_settlement(batch: Sequence[Settlement], worker_id: bytes) -> list[Query]:
    """One transaction."""
    return [BY_INDEX, Query(SETTLE_ROWS, (json.encode(batch), worker_id)), *build_aftermath(batch)]


def build_aftermath(batch: Sequence[Settlement]) -> list[Query]:
    """What follows from failures, where there are some."""
    queries = []
    if dead := [one.id for one in batch if one.is_dead]:
        queries.append(Query(DISABLE_ADDRESSES, (array(dead),)))
    if failed := [one.id for one in batch if one.status == "failed"]:
        queries.append(Query(CALL_FALL_BACK, (array(failed),)))
    return queries


JUDGEMENTS: Final[dict[str, tuple[RowEnd, str]]] = {
    "accepted": ("sent", "accepted"),
    "delivered": ("delivered", "delivered"),
    "retry": ("pending", "retrying"),
    "unknown": ("pending", "unknown"),
    "refused": ("failed", "failed"),
    "dead_address": ("failed", "failed"),
}


def _judge(row: Claimed, outcome: Outcome, settings: NotifySettings) -> tuple[RowEnd, str]:
    status, delivery = JUDGEMENTS[outcome.verdict]
    if status == "pending" and row.attempt >= settings.max_attempts:
        return "failed", "unknown" if outcome.verdict == "unknown" else "failed"
    return status, delivery


def _clean(text: str) -> str:
    """Without what PostgreSQL's text cannot hold; so that a provider's odd answer costs no batch."""
    return (
        text
        if text.isascii() and "\0" not in text
        else text.replace("\0", "").encode("utf-8", "replace").decode()
    )


def _trim(response: object) -> Raw | None:
    """What is kept of a provider's answer: nothing where it said nothing, and not more than 4 KB.

    >>> for response in ({}, {"id": 1}, {"a": "x" * 5000}):
    ...     print(json.encode(_trim(response)).decode())
    null
    {"id":1}
    {"too_long":true}
    """
    if not response:
        return None
    try:
        rendered = orjson.dumps(response, default=str, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError):
        return Raw(b'{"unreadable":true}')
    if b"\\u0000" in rendered:  # which PostgreSQL's JSON cannot hold
        return Raw(b'{"unreadable":true}')
    return Raw(rendered if len(rendered) <= MAX_RESPONSE_BYTES else b'{"too_long":true}')
