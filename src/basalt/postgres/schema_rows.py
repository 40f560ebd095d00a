"""What several statements of the schema cache share: domains, names and the settings of routines and roles."""

from collections.abc import Iterable
from sys import intern
from typing import Any, LiteralString

import psycopg

from basalt.postgres.schema_cache import Name

Cursor = psycopg.Cursor[Any]

ISOLATION = "default_transaction_isolation"


# A domain may lie over a domain: each with the type that is under all of them. (pg_basetype came with PostgreSQL 17.)
DOMAINS: LiteralString = """
with recursive
domain_steps as (
    select oid as domain, typbasetype as base
    from pg_catalog.pg_type
    where typtype = 'd'
    union all
    select s.domain, t.typbasetype
    from domain_steps as s
    join pg_catalog.pg_type as t on t.oid = s.base
    where t.typtype = 'd'
),
domains as (
    select s.domain, t.oid as base, t.typnamespace as namespace
    from domain_steps as s
    join pg_catalog.pg_type as t on t.oid = s.base
    where t.typtype <> 'd'
)"""


def intern_name(schema: str, name: str) -> Name:
    return intern(schema), intern(name)


def read_settings(settings: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """`name=value` each, without the isolation level, which must be known before the transaction begins."""
    pairs = ((intern(name), intern(value)) for name, _, value in (s.partition("=") for s in settings))
    return tuple(pair for pair in pairs if pair[0] != ISOLATION)


def isolation_level(value: str) -> str:
    """PostgreSQL treats `read uncommitted` as `read committed`."""
    level = value.lower()
    return level if level in ("repeatable read", "serializable") else "read committed"
