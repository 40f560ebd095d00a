"""The development Inbox: messages that would have left the house, kept in `basalt.inbox_messages`."""

from collections.abc import Sequence
from typing import Any, Final

import orjson
import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from basalt.senders.delivery import Delivery, Outcome
from basalt.senders.message import Mail, TextMessage

Pool = AsyncConnectionPool[AsyncConnection[dict[str, Any]]]

NUL: Final = "\0"

INSERT_MESSAGE = """
insert into basalt.inbox_messages (channel, recipient, subject, body_text, body_html, kind, data)
values (%(channel)s, %(recipient)s, %(subject)s, %(text)s, %(html)s, %(kind)s, %(data)s)
"""

# One statement for a whole batch. What a worker had kept before it died is kept once.
INSERT_DELIVERIES = """
insert into basalt.inbox_messages (channel, recipient, subject, body_text, body_html, kind, data, details)
select given.channel, given.recipient, nullif(given.subject, ''), given.body, nullif(given.html, ''),
    coalesce(nullif(given.data ->> 'type', ''), 'notification'), given.data, given.details
from unnest(
    %(channels)s::text[], %(recipients)s::text[], %(subjects)s::text[], %(bodies)s::text[], %(htmls)s::text[],
    %(data)s::jsonb[], %(details)s::jsonb[]
) with ordinality as given (channel, recipient, subject, body, html, data, details, place)
order by given.place
on conflict ((details ->> 'key')) do nothing
"""


class Inbox:
    """A `Sender` that keeps what it is given. `pool` logs in as a role that may insert."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def send(self, message: Mail | TextMessage) -> None:
        mail = message if isinstance(message, Mail) else None
        row = {
            "channel": "email" if isinstance(message, Mail) else message.channel,
            "recipient": message.to,
            "subject": mail and mail.subject,
            "text": message.text if isinstance(message, Mail) else message.body,
            "html": mail and mail.html,
            "kind": message.kind,
            "data": orjson.dumps(dict(message.data)).decode(),
        }
        async with self._pool.connection() as connection:
            await connection.execute(INSERT_MESSAGE, row)


class InboxDeliverySender:
    """A `DeliverySender` of every channel; what it has kept has arrived."""

    name = "inbox"
    batch_size = 1000

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def deliver(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        columns = {
            "channels": [one.channel for one in deliveries],
            "recipients": [_clean(one.address) for one in deliveries],
            # A text message has none on its way either.
            "subjects": ["" if one.channel == "sms" else _clean(one.subject) for one in deliveries],
            "bodies": [_clean(one.body) for one in deliveries],
            "htmls": [_clean(one.html) for one in deliveries],
            "data": [_render_json(dict(one.data)) for one in deliveries],
            "details": [_render_json(_details(one)) for one in deliveries],
        }
        try:
            async with self._pool.connection() as connection:
                await connection.execute(INSERT_DELIVERIES, columns)
        except psycopg.Error:  # the pool's own errors are among them
            return [Outcome("retry", error_code="inbox_unavailable")] * len(deliveries)
        return [Outcome("delivered", message_id=one.key) for one in deliveries]

    async def close(self) -> None:
        """The pool is its owner's."""


def _details(delivery: Delivery) -> dict[str, Any]:
    details = {
        "key": delivery.key,
        "request_id": delivery.request_id,
        "badge": delivery.badge,
        "ttl_s": delivery.ttl_s,
        "is_urgent": delivery.is_urgent,
        "collapse_key": delivery.collapse_key,
    }
    return {name: value for name, value in details.items() if value not in (None, "", False)}


def _render_json(value: dict[str, Any]) -> str:
    return orjson.dumps(value, default=str).decode().replace("\\u0000", "\\ufffd")


def _clean(text: str) -> str:
    """PostgreSQL's text holds no NUL."""
    return text.replace(NUL, "\ufffd")
