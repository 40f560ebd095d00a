"""The user whom a command names, by id or by address, and the line that stays of what was done."""

import getpass
import hashlib
from collections.abc import Mapping
from typing import Any, Final, Literal
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from basalt.errors import BasaltError

FIND_BY_ID: Final = "select id, email from auth.users where id = %s"
FIND_BY_EMAIL: Final = "select id, email from auth.users where lower(email) = lower(%s) and not is_sso_user"
NOTE: Final = """
insert into basalt.privacy_log (action, subject_hash, performed_by, counts) values (%s, %s, %s, %s)
"""
# A table that is a policy's to filter would look empty: then rather an error.
SEE_EVERYTHING: Final = "set local row_security = off"


def find_user(
    connection: psycopg.Connection[Any], who: str, *, lock: bool = False
) -> tuple[UUID, str | None]:
    """Id and address. Raises BasaltError where there is no such user."""
    try:
        statement, value = FIND_BY_ID, str(UUID(who))
    except ValueError:
        statement, value = FIND_BY_EMAIL, who
    row = connection.execute(statement + (" for update" if lock else ""), [value]).fetchone()
    if row is None:
        raise BasaltError(
            "user_not_found",
            404,
            f"There is no user {who}.",
            hint="A user is named by the id or the e-mail address in auth.users.",
        )
    return row[0], row[1]


def note(
    connection: psycopg.Connection[Any],
    action: Literal["export", "erase"],
    user_id: UUID,
    counts: Mapping[str, Any],
) -> None:
    """By the operating system's user, for the database's is always the same."""
    digest = hashlib.sha256(str(user_id).encode()).digest()
    connection.execute(NOTE, [action, digest, getpass.getuser(), Jsonb(dict(counts))])
