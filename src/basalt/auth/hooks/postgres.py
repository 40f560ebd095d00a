"""Hooks that are Postgres functions (GoTrue hooks/hookspgfunc).

The function runs on the flow's own connection as `supabase_auth_admin`, with a limit on its time, in a savepoint:
when it fails, the flow's transaction can still be ended in an orderly way.
"""

from contextlib import suppress
from typing import Any, Final

import orjson
import psycopg
from psycopg import sql

from basalt.auth.errors import AuthError
from basalt.auth.users import Transaction
from basalt.config import PostgresHook

# Two statements, one round trip. The savepoint takes the time limit back with it when the function fails.
BEGIN: Final = "savepoint basalt_hook; set local statement_timeout = 2000"
END: Final = "release savepoint basalt_hook; set local statement_timeout to default"
UNDO: Final = "rollback to savepoint basalt_hook; release savepoint basalt_hook"


async def ask_function(tx: Transaction, hook: PostgresHook, payload: dict[str, Any]) -> dict[str, Any]:
    """Raises psycopg.Error, AuthError unexpected_failure for an answer that is no JSON object."""
    call = sql.SQL("select {}(%s)").format(sql.Identifier(hook.schema, hook.function))
    argument = orjson.dumps(payload).decode()  # untyped, so that both json and jsonb parameters take it
    await tx.execute(BEGIN)
    try:
        row = await (await tx.execute(call, (argument,))).fetchone()
        await tx.execute(END)
    except psycopg.Error:
        if not tx.broken:
            await tx.execute(UNDO)
        raise
    return _object(next(iter(row.values())) if row else None)


def _object(answer: object) -> dict[str, Any]:
    """`null` is an answer without anything in it."""
    if isinstance(answer, str):
        with suppress(orjson.JSONDecodeError):
            answer = orjson.loads(answer)
    if answer is None:
        return {}
    if not isinstance(answer, dict):
        raise AuthError("unexpected_failure", "Error unmarshaling JSON output.")
    return answer
