"""Statements that go through a lane: values as PostgreSQL's text, rows as JSON.

What is asked most (who is this user, refresh this token) takes one round trip so, and no connection is held meanwhile.
"""

from collections.abc import Sequence
from typing import Any

import orjson
from psycopg import AsyncRawCursor
from psycopg.rows import tuple_row

from basalt.auth.users import Transaction
from basalt.postgres import Query

Rows = list[tuple[bytes | None, ...]]


def text_array(values: Sequence[str]) -> bytes:
    r"""An array of texts as PostgreSQL reads it.

    >>> text_array(['a', 'say "hi"', 'back\\slash'])
    b'{"a","say \\"hi\\"","back\\\\slash"}'
    """
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return b"{%s}" % ",".join(f'"{value}"' for value in quoted).encode()


def load_json(value: bytes | None) -> Any:
    return None if value is None else orjson.loads(value)


async def run_in_transaction(tx: Transaction, queries: Sequence[Query]) -> list[Rows]:
    """The same statements on a connection that is inside a transaction."""
    results = []
    async with AsyncRawCursor(tx, row_factory=tuple_row) as cursor:
        for query in queries:
            await cursor.execute(query.sql, [param and param.decode() for param in query.params])
            assert cursor.pgresult is not None
            result = cursor.pgresult
            results.append(
                [
                    tuple(result.get_value(row, column) for column in range(result.nfields))
                    for row in range(result.ntuples)
                ]
            )
    return results
