"""Statements that go through a lane: values as PostgreSQL's text, rows as JSON.

What is asked most (who is this user, refresh this token) takes one round trip so, and no connection is held meanwhile.
"""

import json
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


def as_json(statement: str, *names: str) -> str:
    """A statement with named parameters as one for a lane, whose rows are JSON.

    >>> as_json("select id from auth.users where phone = %(phone)s and email like 'a%%'", "phone")
    "select row_to_json(found) from (select id from auth.users where phone = $1 and email like 'a%') as found"
    """
    for number, name in enumerate(names, 1):
        statement = statement.replace(f"%({name})s", f"${number}")
    inner = statement.replace("%%", "%")
    return f"select row_to_json(found) from ({inner}) as found"  # noqa: S608 - of constants


def load_json(value: bytes | None) -> Any:
    """The value of JSON as PostgreSQL keeps it, where numbers have any length.

    >>> load_json(b'{"far": 1' + b"0" * 400 + b"}")["far"] > 10**399
    True
    """
    if value is None:
        return None
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return json.loads(value)


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
