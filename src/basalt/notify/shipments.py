"""The short way of a large fan-out: a page's messages go straight to their provider, and become rows of the queue when
it is known what became of them.

Before they leave they stand in one row of `basalt.notification_shipments`, written in the transaction of the page,
under a lease like claimed rows. A worker that dies leaves that row; when its lease has ended, the messages are put
into the queue as attempts without an answer. So everything that holds for the queue holds here; what is saved is two
of three writes of each row. Who is waiting in the queue already is not overtaken: there is a short way only while
nobody waits for the provider (`Outflow.has_room`).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from msgspec import json
from psycopg.types.json import Jsonb

from basalt.jobs import BY_INDEX
from basalt.notify.claiming import Claimed, Claimer
from basalt.notify.event import Connection, Event
from basalt.notify.measures import QUEUED
from basalt.notify.queueing import NewRow
from basalt.notify.settlement import Settlement, build_aftermath
from basalt.postgres import Query

LEAST = 25  # messages of a page by one provider

INSERT_SHIPMENT: Final = """
insert into basalt.notification_shipments (
    event_id, provider, worker_id, locked_until, ids, user_ids, channel_ids, addresses, text_numbers, texts, priority,
    expires_at)
select %(event_id)s, %(provider)s, %(worker_id)s, clock_timestamp() + make_interval(secs => %(lease_s)s),
    array(select nextval(pg_get_serial_sequence('public.notification_queue', 'id')) from generate_series(1, %(count)s)),
    %(user_ids)s::uuid[], %(channel_ids)s::uuid[], %(addresses)s::text[], %(text_numbers)s::integer[], %(texts)s,
    %(priority)s, %(expires_at)s
returning id, ids, extract(epoch from expires_at - clock_timestamp())::float as ttl_s
"""
SETTLE_SHIPMENT = "select basalt.settle_shipment($1::bigint, $2::uuid, $3::jsonb)"


@dataclass(slots=True)
class Shipment:
    """Messages of one provider that are in hand together; `ends` gathers what became of them."""

    id: int
    provider: str
    rows: Sequence[Claimed]
    ends: list[Settlement] = field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        return len(self.ends) == len(self.rows)


async def insert_shipment(
    connection: Connection,
    event: Event,
    provider: str,
    rows: Sequence[NewRow],
    payloads: Sequence[Any],
    *,
    claimer: Claimer,
) -> Shipment:
    """In the transaction of the page: to be sent when it is committed."""
    texts: dict[tuple[Any, ...], int] = {}
    numbers = [texts.setdefault(_key_of_text(new), len(texts)) for new in rows]
    addresses = [new.row.address for new in rows if new.row.address is not None]
    params = {
        "event_id": event.id,
        "provider": provider,
        "worker_id": claimer.worker_id,
        "lease_s": claimer.lease_s,
        "count": len(rows),
        "user_ids": render_array([new.user_id for new in rows]),
        "channel_ids": render_array([address.channel_id for address in addresses]),
        "addresses": render_array([address.address for address in addresses]),
        "text_numbers": render_array([str(number) for number in numbers]),
        "texts": Jsonb([_render_text(key, payloads) for key in texts], dumps=orjson.dumps),
        "priority": event.priority,
        "expires_at": event.expires_at,
    }
    made = await (await connection.execute(INSERT_SHIPMENT, params)).fetchone()
    assert made is not None
    for channel, count in Counter(new.row.channel for new in rows).items():
        QUEUED.add(count, channel, "pending")
    said = [orjson.dumps(payloads[key[-1]]) for key in texts]
    claimed = [
        Claimed(
            row_id,
            event.id,
            new.user_id,
            new.row.channel,
            address.channel_id,
            provider,
            address.address,
            said[number],
            1,
            event.priority,
            made["ttl_s"],
            0.0,
        )
        for row_id, new, address, number in zip(made["ids"], rows, addresses, numbers, strict=True)
    ]
    return Shipment(made["id"], provider, claimed)


def build_shipment_settlement(shipment: Shipment, worker_id: bytes) -> list[Query]:
    """One transaction. It may be sent twice."""
    settled = Query(SETTLE_SHIPMENT, (b"%d" % shipment.id, worker_id, json.encode(shipment.ends)))
    return [BY_INDEX, settled, *build_aftermath(shipment.ends)]


def render_array(values: Sequence[str | None]) -> str:
    """An array's text, which psycopg takes ten times as long to make.

    >>> print(render_array(["a", None, 'say "no"', "c:\\\\", "{x, y}", "NULL", ""]))
    {"a",NULL,"say \\"no\\"","c:\\\\","{x, y}","NULL",""}
    """
    return (
        "{"
        + ",".join(
            "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
            for value in values
        )
        + "}"
    )


def _key_of_text(new: NewRow) -> tuple[Any, ...]:
    return new.row.channel, new.template_id, new.row.fallback, new.payload


def _render_text(key: tuple[Any, ...], payloads: Sequence[Any]) -> dict[str, Any]:
    channel, template_id, fallback, payload = key
    return {
        "channel": channel,
        "template_id": template_id,
        "fallback": fallback,
        "payload": payloads[payload],
    }
