"""The secrets that functions find in their environment: rows of `basalt.secrets`, sealed (`sealing`) before they
leave this process, so that statements, logs, dumps and replicas hold nothing to read.
Only the database's owner may read the table: `conninfo` logs in as `supabase_admin`.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import psycopg

from basalt.access.sealing import Sealer
from basalt.errors import BasaltError

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
RESERVED: Final = "SUPABASE_"
MAX_VALUE_BYTES: Final = 48 * 1024
MAX_SECRETS: Final = 100

LOAD = 'select name, sealed, updated_at from basalt.secrets order by name collate "C"'
LOCK = "lock table basalt.secrets in share row exclusive mode"
STORE = """
insert into basalt.secrets as s (name, sealed)
select * from unnest(%s::text[], %s::bytea[])
on conflict (name) do update set sealed = excluded.sealed, updated_at = now()
"""
REMOVE = "delete from basalt.secrets where name = any(%s) returning name"
RESEAL = """
update basalt.secrets as s set sealed = resealed.sealed
from unnest(%s::text[], %s::bytea[]) as resealed (name, sealed)
where s.name = resealed.name
"""


class SecretsError(BasaltError):
    """A name or value that cannot be stored. The value does not stand in the message."""


@dataclass(frozen=True)
class SecretEntry:
    """A secret as lists show it. The digest is the SHA-256 of the value, made for the list: kept in the database it
    would give short values away."""

    name: str
    digest: str
    updated_at: datetime


def load_secrets(conninfo: str, sealer: Sealer) -> dict[str, str]:
    """All secrets in clear, by their names. Raises SealingError where this node lacks the key."""
    with _connect(conninfo) as connection:
        return {name: sealer.unseal(name, sealed) for name, sealed, _ in connection.execute(LOAD)}


def list_secrets(conninfo: str, sealer: Sealer) -> list[SecretEntry]:
    """Raises SealingError where this node lacks the key."""
    with _connect(conninfo) as connection:
        return [
            SecretEntry(name, hashlib.sha256(sealer.unseal(name, sealed).encode()).hexdigest(), updated_at)
            for name, sealed, updated_at in connection.execute(LOAD)
        ]


def store_secrets(conninfo: str, sealer: Sealer, values: Mapping[str, str]) -> None:
    """All of them or none. Raises SecretsError for a name or value that cannot be, and SealingError where what is
    stored was sealed with a key that this node lacks: nodes would not understand each other."""
    for name, value in values.items():
        check_name(name)
        check_value(name, value)
    with _connect(conninfo) as connection:
        connection.execute(LOCK)
        stored = {name: sealer.unseal(name, sealed) for name, sealed, _ in connection.execute(LOAD)}
        if len(stored.keys() | values.keys()) > MAX_SECRETS:
            raise SecretsError("too_many_secrets", 400, f"A project has at most {MAX_SECRETS} secrets")
        connection.execute(STORE, [list(values), [sealer.seal(*item) for item in values.items()]])


def remove_secrets(conninfo: str, names: Sequence[str]) -> list[str]:
    """Returns those that there were. Needs no key."""
    with _connect(conninfo) as connection:
        return [name for (name,) in connection.execute(REMOVE, [list(names)])]


def reseal_secrets(conninfo: str, sealer: Sealer) -> int:
    """What an older key sealed is sealed with the present one, in one transaction. Returns how many."""
    with _connect(conninfo) as connection:
        connection.execute(LOCK)
        older = [
            (name, sealer.seal(name, sealer.unseal(name, sealed)))
            for name, sealed, _ in connection.execute(LOAD)
            if not sealer.is_current(sealed)
        ]
        if older:
            connection.execute(RESEAL, [[name for name, _ in older], [sealed for _, sealed in older]])
    return len(older)


def check_name(name: str) -> None:
    """Raises SecretsError.

    >>> check_name("SUPABASE_URL")
    Traceback (most recent call last):
    basalt.access.secrets.SecretsError: SUPABASE_URL cannot be set: names that start with SUPABASE_ are Basalt's own
    """
    if NAME.fullmatch(name) is None:
        raise SecretsError(
            "invalid_secret_name",
            400,
            f"{name[:80]!r} cannot be the name of a secret",
            hint="Letters, digits and underscores, not a digit first, 256 at most",
        )
    if name.startswith(RESERVED):
        raise SecretsError(
            "reserved_secret_name",
            400,
            f"{name} cannot be set: names that start with {RESERVED} are Basalt's own",
        )


def check_value(name: str, value: str) -> None:
    """Raises SecretsError."""
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise SecretsError("invalid_secret_value", 400, f"The value of {name} is not UTF-8") from None
    if "\0" in value:
        raise SecretsError("invalid_secret_value", 400, f"The value of {name} holds a zero byte")
    if size > MAX_VALUE_BYTES:
        raise SecretsError(
            "secret_too_large",
            400,
            f"The value of {name} has {size} bytes; at most {MAX_VALUE_BYTES} are stored",
        )


def _connect(conninfo: str) -> psycopg.Connection:
    return psycopg.connect(conninfo, application_name="basalt/secrets", connect_timeout=10)
