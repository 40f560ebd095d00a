"""Policies that cost too much, trust what users say about themselves, or let everybody in."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, LiteralString, NamedTuple

from basalt.postgres.advice.policy_expression import Filter, find_bare_calls, find_filters, wrap_calls
from basalt.postgres.advice.sql_check import Row, SqlCheck

# The project writes policies on tables of the platform too. Those that let service_role in, where it has no attribute
# for that, are Basalt's own.
POLICIES: Final[LiteralString] = """
with policies as (
    select n.nspname as schema, c.relname, p.oid, p.polrelid, p.polname, p.polcmd, p.polpermissive, p.polroles,
        c.relrowsecurity, n.nspname = any (%(schemas)s) or n.nspname in ('storage', 'realtime') as is_in_api,
        format('%%I on %%I.%%I', p.polname, n.nspname, c.relname) as subject,
        pg_get_expr(p.polqual, p.polrelid) as reads, pg_get_expr(p.polwithcheck, p.polrelid) as writes
    from pg_catalog.pg_policy as p
    join pg_catalog.pg_class as c on c.oid = p.polrelid
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where (n.nspname <> all (%(platform)s)
            or n.nspname || '.' || c.relname in ('storage.objects', 'storage.buckets', 'realtime.messages'))
        and p.polroles <> coalesce((select array[oid] from pg_catalog.pg_roles where rolname = 'service_role'), '{}')
        and not exists (select from pg_catalog.pg_depend as d
            where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
)"""

EXPRESSIONS: Final[LiteralString] = (
    POLICIES
    + """
select p.*, p.polcmd::text as command,
    exists (
        select from pg_catalog.pg_depend as d
        join pg_catalog.pg_attribute as a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
        where d.classid = 'pg_catalog.pg_policy'::regclass and d.objid = p.oid
            and d.refobjid = to_regclass('auth.users') and a.attname = 'raw_user_meta_data') as reads_metadata
from policies as p
order by p.subject
"""
)

OPEN_WRITES: Final[LiteralString] = (
    POLICIES
    + """
select p.*, p.polcmd::text as command,
    (select string_agg(case when role = 0 then 'public' else pg_get_userbyid(role)::text end, ', ')
        from unnest(p.polroles) as role) as roles,
    (select string_agg(case when role = 0 then 'public' else quote_ident(pg_get_userbyid(role)) end, ', ')
        from unnest(p.polroles) as role) as quoted_roles,
    format('%%I.%%I', p.schema, p.relname) as relation, quote_ident(p.polname || ', reading') as reading
from policies as p
where p.polpermissive and p.polcmd <> 'r' and p.is_in_api and p.relrowsecurity
    and exists (select from unnest(p.polroles) as role
        where role = 0 or pg_get_userbyid(role) in ('anon', 'authenticated'))
order by p.subject
"""
)

# With each column that a policy names, its own table's or another's, whether an index begins with it.
COLUMNS: Final[LiteralString] = (
    POLICIES
    + """
select p.*, (
    select jsonb_agg(jsonb_build_array(n.nspname, c.relname, a.attname, format('%%I.%%I', n.nspname, c.relname),
        quote_ident(a.attname), format_type(a.atttypid, null), exists (
        select from pg_catalog.pg_index as i
        where i.indrelid = c.oid and i.indkey[0] = a.attnum and i.indisvalid
            and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) = format('(%%I IS NOT NULL)', a.attname)))))
    from pg_catalog.pg_depend as d
    join pg_catalog.pg_class as c on c.oid = d.refobjid and c.relkind in ('r', 'p', 'm')
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace and n.nspname <> all (%(platform)s)
    join pg_catalog.pg_attribute as a on a.attrelid = c.oid and a.attnum = d.refobjsubid and a.attnum > 0
    where d.classid = 'pg_catalog.pg_policy'::regclass and d.objid = p.oid
        and d.refclassid = 'pg_catalog.pg_class'::regclass) as columns
from policies as p
where p.polcmd <> 'a' and p.reads is not null
order by p.subject
"""
)

# A policy for public is one for each role that another policy of its table names.
SEVERAL_PERMISSIVE: Final[LiteralString] = (
    POLICIES
    + """,
answers as (
    select p.polrelid, p.schema, p.relname, command, role.rolname,
        array_agg(p.polname::text order by p.polname) as names
    from policies as p
    join (select distinct q.polrelid, coalesce(r.rolname, 'public') as rolname
        from policies as q cross join unnest(q.polroles) as id left join pg_catalog.pg_roles as r on r.oid = id
        where r.oid is null or not r.rolbypassrls) as role using (polrelid)
    cross join unnest(case p.polcmd when 'r' then array['select'] when 'a' then array['insert']
        when 'w' then array['update'] when 'd' then array['delete']
        else array['select', 'insert', 'update', 'delete'] end) as command
    where p.polpermissive and (p.polroles && array[0::oid] or p.polroles && array(
        select oid from pg_catalog.pg_roles as r where r.rolname = role.rolname))
    group by p.polrelid, p.schema, p.relname, command, role.rolname
    having count(*) > 1
)
select a.schema, format('%%I.%%I', a.schema, a.relname) as subject,
    format('has several permissive policies for %%s by %%s: %%s', string_agg(distinct a.command, ', '),
        string_agg(distinct a.rolname, ', '),
        (select string_agg(format('"%%s"', name), ', ') from unnest(a.names) as name)) as what
from answers as a
group by a.schema, a.relname, a.names
order by 2, 3
"""
)

TRUE: Final = ("true", "(1 = 1)")
MEANT_BY: Final = {
    "a": "insert any row",
    "w": "update any row",
    "d": "delete any row",
    "*": "read, insert, update and delete any row",
}
# The claim by its key or in a path, and the column of auth.users that it comes from.
METADATA: Final = re.compile(r"'\{?\"?user_metadata(?=[\"',}])")
METADATA_COLUMN: Final = re.compile(r"\braw_user_meta_data\b")


def _judge_calls(rows: Sequence[Row]) -> Iterator[Row]:
    for row in rows:
        calls = [call for text in (row["reads"], row["writes"]) if text for call in find_bare_calls(text)]
        if calls:
            yield {**row, "what": f"calls {calls[0]} for every row", "remedy": _render_alter(row)}


def _judge_metadata(rows: Sequence[Row]) -> Iterator[Row]:
    for row in rows:
        text = f"{row['reads']} {row['writes']}"
        if METADATA.search(text) or row["reads_metadata"]:
            what = "decides by user_metadata, which users write themselves"
            yield {**row, "what": what, "remedy": _render_alter(row)}


def _judge_writes(rows: Sequence[Row]) -> Iterator[Row]:
    """Rows as they are, are judged by `using`; as they become, by `with check`, and by `using` where there is none."""
    for row in rows:
        command, reads, writes = row["command"], row["reads"], row["writes"]
        any_old = command == "a" or reads in TRUE
        any_new = command == "d" or (writes if command == "a" or writes is not None else reads) in TRUE
        everybody = f"lets {row['roles']}"
        if any_old and any_new:
            remedy = f"drop policy {row['subject']};"
            yield {**row, "what": f"{everybody} {MEANT_BY[command]}", "remedy": remedy}
        elif any_old and command != "a":
            what = f"{everybody} {'update or delete' if command == '*' else 'update'} any row"
            remedy = _render_alter({**row, "reads": writes})
            if command == "*":
                remedy += f"\n{_render_read_policy(row)}"
            yield {**row, "what": what, "remedy": remedy}
        elif any_new and command != "d":
            what = f"{everybody} write rows that are anybody's"
            yield {**row, "what": what, "remedy": _render_alter({**row, "writes": reads})}


class ColumnFact(NamedTuple):
    """`relation` and `column` are quoted."""

    relation: str
    column: str
    type: str
    is_led: bool


def _indexable(each: Filter, facts: Mapping[Filter, ColumnFact]) -> Filter | None:
    """An index of a varchar column serves comparisons as text, which the cast says; another cast wants its own."""
    column = replace(each, as_text=False)
    fact = facts.get(column)
    return column if fact and (not each.as_text or fact.type == "character varying") else None


def _judge_columns(rows: Sequence[Row]) -> Iterator[Row]:
    told: set[Filter] = set()
    for row in rows:
        facts = {Filter(*names[:3]): ColumnFact(*names[3:]) for names in row["columns"] or []}
        for group in find_filters(row["reads"], row["schema"], row["relname"]):
            usable = [column for each in group if (column := _indexable(each, facts))]
            if not usable or any(facts[column].is_led for column in usable) or usable[0] in told:
                continue
            told.add(usable[0])
            fact = facts[usable[0]]
            yield {
                "schema": usable[0].schema,
                "subject": fact.relation,
                "what": f"is filtered by {fact.column} in policy {row['subject']}, and no index begins with it",
                "remedy": f"create index on {fact.relation} ({fact.column});",
            }


def _render_alter(row: Row) -> str:
    """All that is to be mended in its expressions at once, so that what two checks propose is the same."""
    using = f" using ({_mend(row['reads'])})" if row["reads"] else ""
    check = f" with check ({_mend(row['writes'])})" if row["writes"] else ""
    return f"alter policy {row['subject']}{using}{check};"


def _render_read_policy(row: Row) -> str:
    return f"create policy {row['reading']} on {row['relation']} for select to {row['quoted_roles']} using (true);"


def _mend(text: str) -> str:
    text = METADATA.sub(lambda found: found[0].replace("user_metadata", "app_metadata"), text)
    return wrap_calls(METADATA_COLUMN.sub("raw_app_meta_data", text))


POLICY_CHECKS: Final[Sequence[SqlCheck]] = (
    SqlCheck(
        name="auth_rls_initplan",
        group="policies",
        severity="warning",
        title="Policies that call auth.uid() and the like for every row",
        why="In a select of its own it is called once a statement; on large tables that is a hundred times faster.",
        statement=EXPRESSIONS,
        judge=_judge_calls,
    ),
    SqlCheck(
        name="rls_references_user_metadata",
        group="policies",
        severity="error",
        title="Policies that trust user_metadata",
        why="Every user may set their own user_metadata; app_metadata is written by the back end alone.",
        statement=EXPRESSIONS,
        judge=_judge_metadata,
    ),
    SqlCheck(
        name="rls_policy_always_true",
        group="policies",
        severity="warning",
        title="Policies that let everybody write",
        why="A policy that is always true protects as much as none.",
        statement=OPEN_WRITES,
        judge=_judge_writes,
    ),
    SqlCheck(
        name="policy_column_without_index",
        group="policies",
        severity="warning",
        title="Columns of policies without an index",
        why="Every request of a client filters by the policy; without an index it reads the whole table.",
        statement=COLUMNS,
        judge=_judge_columns,
    ),
    SqlCheck(
        name="multiple_permissive_policies",
        group="policies",
        severity="info",
        title="Several permissive policies for one role and command",
        why="PostgreSQL evaluates all of them for every row; one with `or` costs less and is read in one place.",
        statement=SEVERAL_PERMISSIVE,
    ),
)
