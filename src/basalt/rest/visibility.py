"""What a role may use of the exposed schemas: asked as that role, because only PostgreSQL knows what membership and
inheritance add up to."""

import orjson

VISIBLE = """
select json_agg(found.oid::bigint) from (
    select c.oid from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where n.nspname = any($1) and c.relkind in ('r', 'v', 'm', 'f', 'p') and has_schema_privilege(n.oid, 'usage')
        and (pg_has_role(c.relowner, 'usage')
             or has_table_privilege(c.oid, 'select, insert, update, delete, truncate, references, trigger')
             or has_any_column_privilege(c.oid, 'select, insert, update, references'))
    union all
    select p.oid from pg_catalog.pg_proc as p
    join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
    where n.nspname = any($1) and has_schema_privilege(n.oid, 'usage') and has_function_privilege(p.oid, 'execute')
) as found
"""
DESCRIPTION = "select obj_description(oid, 'pg_namespace') from pg_catalog.pg_namespace where nspname = $1"


def parse_visible(raw: bytes | None) -> frozenset[int]:
    """The oids in a row of VISIBLE.

    >>> parse_visible(b"[3, 1]"), parse_visible(None)
    (frozenset({1, 3}), frozenset())
    """
    return frozenset(orjson.loads(raw)) if raw else frozenset()
