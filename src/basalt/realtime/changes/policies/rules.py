"""The policies that decide what a role reads of a table, and of every table that these policies read in turn.

As PostgreSQL does (`rowsecurity.c`): policies for SELECT or ALL, of the role itself, of roles it is a member of, or of
everybody; a row must satisfy one permissive policy and all restrictive ones."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Final

import msgspec

from basalt.postgres import BOOTSTRAP_DIR, Query

# The tables reached are found through the dependencies that PostgreSQL keeps of each policy. A type of the user's own
# in an expression is let through when it is an enum: casts to other types may run anybody's code.
LOAD_RULES: Final = """
with recursive role as (
    select oid, rolsuper or rolbypassrls as bypasses
    from pg_catalog.pg_roles
    where rolname = $2
),
applying as materialized (
    select policy.oid, policy.polrelid
    from pg_catalog.pg_policy as policy
    cross join role
    where policy.polcmd in ('r', '*')
    and policy.polqual is not null
    and exists (
        select
        from pg_catalog.unnest(policy.polroles) as named(oid)
        where case when named.oid = 0 then true else pg_catalog.pg_has_role(role.oid, named.oid, 'usage') end
    )
),
reached as (
    select $1::oid as oid
    union
    select depend.refobjid
    from reached
    join applying on applying.polrelid = reached.oid
    join pg_catalog.pg_depend as depend
        on depend.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass and depend.objid = applying.oid
        and depend.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
),
policies as (
    select
        policy.polrelid,
        pg_catalog.json_agg(pg_catalog.json_build_object(
            'is_permissive', policy.polpermissive,
            'condition', pg_catalog.pg_get_expr(policy.polqual, policy.polrelid),
            'columns', array(
                select attribute.attname
                from pg_catalog.pg_depend as depend
                join pg_catalog.pg_attribute as attribute
                    on attribute.attrelid = depend.refobjid and attribute.attnum = depend.refobjsubid
                where depend.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass and depend.objid = policy.oid
                and depend.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                and depend.refobjid = policy.polrelid
                and depend.refobjsubid > 0
            ),
            'has_odd_types', exists (
                select
                from pg_catalog.pg_depend as depend
                join pg_catalog.pg_type as type on type.oid = depend.refobjid
                left join pg_catalog.pg_type as element on element.oid = type.typelem
                where depend.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass and depend.objid = policy.oid
                and depend.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass
                and coalesce(element.typtype, type.typtype) <> 'e'
            )
        ) order by policy.oid) as found
    from reached
    join pg_catalog.pg_policy as policy on policy.polrelid = reached.oid
    join applying on applying.oid = policy.oid
    group by policy.polrelid
)
select pg_catalog.json_agg(pg_catalog.json_build_object(
    'oid', class.oid::pg_catalog.int8,
    'schema', namespace.nspname,
    'name', class.relname,
    'is_table', class.relkind in ('r', 'p'),
    'is_filtered', class.relrowsecurity and not role.bypasses
        and (class.relforcerowsecurity or not pg_catalog.pg_has_role(role.oid, class.relowner, 'usage')),
    'is_selectable', pg_catalog.has_table_privilege(role.oid, class.oid, 'select'),
    'policies', coalesce(policies.found, '[]')
))
from reached
cross join role
join pg_catalog.pg_class as class on class.oid = reached.oid
join pg_catalog.pg_namespace as namespace on namespace.oid = class.relnamespace
left join policies on policies.polrelid = class.oid
"""

LOAD_CLAIM_ROUTINES: Final = """
select routine.proname, routine.prosrc
from pg_catalog.pg_proc as routine
join pg_catalog.pg_namespace as namespace on namespace.oid = routine.pronamespace
join pg_catalog.pg_language as language on language.oid = routine.prolang
where namespace.nspname = 'auth'
and routine.pronargs = 0
and language.lanname = 'sql'
and routine.proconfig is null
and pg_catalog.has_function_privilege((select oid from pg_catalog.pg_roles where rolname = $1), routine.oid, 'execute')
"""


class Policy(msgspec.Struct, frozen=True):
    """`condition` as `pg_get_expr` prints it under an empty `search_path`: every name but those of `pg_catalog` has its
    schema. `columns`: those of the table that it reads. `has_odd_types`: it names types of the user's own that are
    no enums."""

    is_permissive: bool
    condition: str
    columns: frozenset[str]
    has_odd_types: bool

    @property
    def reads_whole_row(self) -> bool:
        """Perhaps: `f(todos.*)` leaves no trace among the dependencies."""
        return ".*" in self.condition


class TableRules(msgspec.Struct, frozen=True):
    """For one role. `is_filtered`: row-level security applies to it. `is_selectable`: it may SELECT all columns."""

    oid: int
    schema: str
    name: str
    is_table: bool
    is_filtered: bool
    is_selectable: bool
    policies: tuple[Policy, ...]

    @property
    def columns_read(self) -> frozenset[str]:
        return frozenset().union(*(policy.columns for policy in self.policies))


Rules = Mapping[tuple[str, str], TableRules]


def build_rules_queries(table_oid: int, role: str) -> tuple[Query, Query]:
    """To be run with an empty `search_path`."""
    name = role.encode()
    return Query(LOAD_RULES, (str(table_oid).encode(), name)), Query(LOAD_CLAIM_ROUTINES, (name,))


def read_rules(rows: list[tuple[bytes | None, ...]]) -> Rules:
    """By schema and name: the table asked for and all that its policies reach. Empty where table or role are gone."""
    tables = msgspec.json.decode(rows[0][0] or b"[]", type=list[TableRules])
    return {(table.schema, table.name): table for table in tables}


def read_claim_routines(rows: list[tuple[bytes | None, ...]]) -> frozenset[str]:
    """Which of `auth.uid()`, `auth.role()`, `auth.email()`, `auth.jwt()` are still what the bootstrap made them."""
    ours = _bootstrap_sources()
    return frozenset(
        name.decode()
        for name, source in rows
        if name is not None and source is not None and ours.get(name.decode()) == source.decode().strip()
    )


@cache
def _bootstrap_sources() -> dict[str, str]:
    text = (BOOTSTRAP_DIR / "auth" / "routines" / "claims.sql").read_text("utf-8")
    found = re.findall(r"function auth\.(\w+)\(\) returns.*?\$\$(.*?)\$\$", text, re.DOTALL)
    return {name: source.strip() for name, source in found}
