"""The user whom a command names, by id or by address, and the line that stays of what was done."""

import getpass
import hashlib
import os
from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final, Literal
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from basalt.errors import BasaltError

FIND_BY_ID: Final = "select id from auth.users where id = %s"
FIND_BY_EMAIL: Final = "select id from auth.users where lower(email) = lower(%s) and not is_sso_user"
FIND_ERASURE: Final = """
select performed_at from basalt.privacy_log where subject_hash = %s and action = 'erase' order by id desc limit 1
"""
END_SESSIONS: Final = "delete from auth.sessions where user_id = %s"
LOCK: Final = "select from auth.users where id = %s for update"
NOTE: Final = """
insert into basalt.privacy_log (action, subject_hash, performed_by, counts) values (%s, %s, %s, %s)
"""
# A table that is a policy's to filter would look empty: then rather an error.
SEE_EVERYTHING: Final = "set local row_security = off"


def find_user(connection: psycopg.Connection[Any], who: str) -> UUID:
    """The id. Raises BasaltError where there is no such user, or where an address is several users'."""
    try:
        statement, value = FIND_BY_ID, str(UUID(who))
    except ValueError:
        statement, value = FIND_BY_EMAIL, who
    found = [row[0] for row in connection.execute(statement, [value]).fetchmany(2)]
    if len(found) > 1:
        raise BasaltError(
            "user_ambiguous", 409, f"{who} is the address of several users.", hint="Name the user by the id."
        )
    if not found:
        raise _unknown(connection, who, value)
    user_id: UUID = found[0]
    return user_id


def lock_user(connection: psycopg.Connection[Any], user_id: UUID) -> None:
    """Nobody signs in as the user, or refers to the row, until the transaction ends. Sessions go before: Auth locks
    them before the user's row, and whoever refreshes one would wait for us, and we for him. Raises BasaltError where
    somebody else has erased the user just now."""
    connection.execute(END_SESSIONS, [user_id])
    if connection.execute(LOCK, [user_id]).fetchone() is None:
        raise _unknown(connection, str(user_id), str(user_id))


def _unknown(connection: psycopg.Connection[Any], who: str, value: str) -> BasaltError:
    """Tells of an erasure that has taken place, as after a command that was killed in the end."""
    row = connection.execute(FIND_ERASURE, [_hash(value)]).fetchone()
    hint = "A user is named by the id or the e-mail address in auth.users."
    if row is not None:
        hint = f"The user was erased at {row[0].astimezone(UTC):%Y-%m-%d %H:%M:%SZ}."
    return BasaltError("user_not_found", 404, f"There is no user {who}.", hint=hint)


def note(
    connection: psycopg.Connection[Any],
    action: Literal["export", "erase"],
    user_id: UUID,
    counts: Mapping[str, Any],
) -> None:
    """By the operating system's user, for the database's is always the same."""
    connection.execute(NOTE, [action, _hash(str(user_id)), _operator(), Jsonb(dict(counts))])


def _operator() -> str:
    """In a container the process may have a number for which there is no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _hash(user_id: str) -> bytes:
    return hashlib.sha256(user_id.encode()).digest()
