"""Policies that cost too much, trust what users say about themselves, or let everybody in."""

from collections.abc import Sequence
from typing import Final, LiteralString

from basalt.postgres.advice.sql_check import RELATIONS, SqlCheck

POLICIES: Final[LiteralString] = (
    RELATIONS
    + """,
policies as (
    select r.oid as relation, r.nspname, r.relname, r.reltuples, r.relrowsecurity, r.is_in_api, p.oid, p.polname,
        p.polcmd,
        p.polpermissive, p.polroles, pg_get_expr(p.polqual, p.polrelid) as reads,
        pg_get_expr(p.polwithcheck, p.polrelid) as writes,
        coalesce((select string_agg(case when role = 0 then 'public' else pg_get_userbyid(role) end, ', ')
            from unnest(p.polroles) as role), 'public') as roles,
        format('%%I on %%I.%%I', p.polname, r.nspname, r.relname) as subject
    from relations as r join pg_catalog.pg_policy as p on p.polrelid = r.oid
)"""
)

# A call that stands in a select of its own is planned once, as an initplan; any other one runs for every row.
BARE_CALL: Final[LiteralString] = (
    r"(?<!SELECT \(*)((auth\.(uid|jwt|role|email)\(\))|(current_setting\([^()]*\)))"
)

BARE_CALLS: Final[LiteralString] = (
    POLICIES
    + """
select p.subject,
    'calls ' || (regexp_match(concat_ws(' ', p.reads, p.writes), %(call)s))[1] || ' for every row' as what,
    format('alter policy %%s%%s%%s;', p.subject,
        ' using (' || regexp_replace(p.reads, %(call)s, '(select \\1)', 'g') || ')',
        ' with check (' || regexp_replace(p.writes, %(call)s, '(select \\1)', 'g') || ')') as remedy
from policies as p
where concat_ws(' ', p.reads, p.writes) ~ %(call)s
order by 1
"""
).replace("%(call)s", f"'{BARE_CALL}'")

USER_METADATA: Final[LiteralString] = (
    POLICIES
    + """
select p.subject,
    'decides by user_metadata, which users write themselves' as what,
    'update auth.users set raw_app_meta_data = …;  -- and ask auth.jwt() -> ''app_metadata'' in the policy' as remedy
from policies as p
where concat_ws(' ', p.reads, p.writes) ~ 'user_metadata|raw_user_meta_data'
order by 1
"""
)

ALWAYS_TRUE: Final[LiteralString] = (
    POLICIES
    + """
select p.subject,
    'lets ' || p.roles || ' '
        || case p.polcmd when 'a' then 'insert any row' when 'w' then 'update any row' when 'd' then 'delete any row'
            else 'read, insert, update and delete any row' end as what,
    format('drop policy %%s;  -- and make one that says whose rows', p.subject) as remedy
from policies as p
where p.polpermissive and p.polcmd <> 'r' and p.is_in_api and p.relrowsecurity
    and (p.polroles && array[0::oid] or p.polroles && (select array_agg(oid) from pg_catalog.pg_roles
        where rolname in ('anon', 'authenticated')))
    and case when p.polcmd = 'a' then p.writes = 'true' else p.reads = 'true' and coalesce(p.writes,
        'true') = 'true' end
order by 1
"""
)

# Columns of the policy's own table that it compares with the caller.
COLUMNS_WITHOUT_INDEX: Final[LiteralString] = (
    POLICIES
    + """
select format('%%I.%%I', p.nspname, p.relname) as subject,
    format('is filtered by %%I in policy "%%s", and no index begins with that column', a.attname, min(p.polname))
        as what,
    format('create index on %%I.%%I (%%I);', p.nspname, p.relname, a.attname) as remedy,
    case when max(p.reltuples) >= 10000 then 'warning' else 'info' end as severity
from policies as p
join pg_catalog.pg_depend as d on d.classid = 'pg_catalog.pg_policy'::regclass and d.objid = p.oid
    and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = p.relation and d.refobjsubid > 0
join pg_catalog.pg_attribute as a on a.attrelid = p.relation and a.attnum = d.refobjsubid
where p.polcmd <> 'a'
    and p.reads ~ format(
        '(auth\\.(uid|jwt|role|email)\\(\\)[^=]{0,80}= \\(?%%s\\M)|(\\m%%s\\)?(::text)? = [^=]{0,12}auth\\.)',
        a.attname, a.attname)
    and not exists (
        select from pg_catalog.pg_index as i
        where i.indrelid = p.relation and i.indkey[0] = a.attnum and i.indpred is null and i.indisvalid)
group by p.nspname, p.relname, a.attname
order by 1
"""
)

SEVERAL_PERMISSIVE: Final[LiteralString] = (
    POLICIES
    + """,
answers as (
    select p.nspname, p.relname, command, case when role = 0 then 'public' else pg_get_userbyid(role) end as role,
        p.polname
    from policies as p
    cross join unnest(p.polroles) as role
    cross join unnest(case p.polcmd when 'r' then array['select'] when 'a' then array['insert']
        when 'w' then array['update'] when 'd' then array['delete']
        else array['select', 'insert', 'update', 'delete'] end) as command
    where p.polpermissive
)
select format('%%I.%%I', nspname, relname) as subject,
    format('has several permissive policies for %%s by %%s: %%s', command, role,
        string_agg(format('"%%s"', polname), ', ' order by polname)) as what,
    '-- join them into one policy with `or`' as remedy
from answers
group by nspname, relname, command, role
having count(*) > 1
order by 1, 2
"""
)

POLICY_CHECKS: Final[Sequence[SqlCheck]] = (
    SqlCheck(
        name="auth_rls_initplan",
        group="policies",
        severity="warning",
        title="Policies that call auth.uid() and the like for every row",
        why="In a select of its own it is called once a statement; on large tables that is a hundred times faster.",
        statement=BARE_CALLS,
    ),
    SqlCheck(
        name="rls_references_user_metadata",
        group="policies",
        severity="error",
        title="Policies that trust user_metadata",
        why="Every user may set their own user_metadata, and with it whatever the policy asks for.",
        statement=USER_METADATA,
    ),
    SqlCheck(
        name="rls_policy_always_true",
        group="policies",
        severity="warning",
        title="Policies that let everybody write",
        why="A policy that is always true protects as much as none.",
        statement=ALWAYS_TRUE,
    ),
    SqlCheck(
        name="policy_column_without_index",
        group="policies",
        severity="warning",
        title="Columns of policies without an index",
        why="Every request of a client filters by the policy; without an index it reads the whole table.",
        statement=COLUMNS_WITHOUT_INDEX,
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
