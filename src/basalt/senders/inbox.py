"""The development Inbox: messages that would have left the house, kept in `basalt.inbox_messages`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from basalt.senders.message import Mail, TextMessage

Pool = AsyncConnectionPool[AsyncConnection[dict[str, Any]]]

INSERT_MESSAGE = """
insert into basalt.inbox_messages (channel, recipient, subject, body_text, body_html, kind, data)
values (%(channel)s, %(recipient)s, %(subject)s, %(text)s, %(html)s, %(kind)s, %(data)s)
"""

SELECT_MESSAGES = """
select id, channel, recipient as "to", subject, body_text as text, body_html as html, kind, data, created_at
from basalt.inbox_messages
where (%(to)s::text is null or recipient = %(to)s)
order by id desc
limit %(limit)s
"""


@dataclass(frozen=True, slots=True)
class InboxMessage:
    id: int
    channel: str
    to: str
    subject: str | None
    text: str
    html: str | None
    kind: str
    data: dict[str, Any]
    created_at: datetime


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


async def load_inbox(pool: Pool, *, to: str | None = None, limit: int = 50) -> list[InboxMessage]:
    """The newest messages, to one recipient or to all."""
    async with pool.connection() as connection:
        cursor = await connection.execute(SELECT_MESSAGES, {"to": to, "limit": limit})
        return [InboxMessage(**row) for row in await cursor.fetchall()]
