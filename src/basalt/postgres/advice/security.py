"""Who sees more than was meant: tables without policies in front of them, views and functions that go past them."""

from collections.abc import Sequence
from typing import Final, LiteralString

from basalt.postgres.advice.sql_check import RELATIONS, SqlCheck

WITHOUT_ROW_SECURITY: Final[LiteralString] = (
    RELATIONS
    + """
select format('%%I.%%I', r.nspname, r.relname) as subject,
    case when exists (select from pg_catalog.pg_policy as p where p.polrelid = r.oid)
        then 'has policies, but row-level security is off, so that they count for nothing'
        else 'has no row-level security, and the API serves its schema' end as what,
    format('alter table %%I.%%I enable row level security;', r.nspname, r.relname) as remedy
from relations as r
where r.relkind in ('r', 'p') and not r.relrowsecurity and r.is_exposed
order by 1
"""
)

WITHOUT_POLICY: Final[LiteralString] = (
    RELATIONS
    + """
select format('%%I.%%I', r.nspname, r.relname) as subject,
    'has row-level security and no policy: only service_role sees its rows' as what,
    format('create policy "owners read their own" on %%I.%%I for select to authenticated using '
        '((select auth.uid()) = user_id);  -- an example; or leave it so', r.nspname, r.relname) as remedy
from relations as r
where r.relkind in ('r', 'p') and r.relrowsecurity and r.is_in_api and not r.relispartition
    and not exists (select from pg_catalog.pg_policy as p where p.polrelid = r.oid)
order by 1
"""
)

# What a view reads, also through other views. A view with security_invoker asks as the caller from there on.
VIEW_SOURCES: Final[LiteralString] = (
    RELATIONS.replace("with relations", "with recursive relations")
    + """,
reads as (
    select distinct w.ev_class as reader, d.refobjid as source
    from pg_catalog.pg_rewrite as w
    join pg_catalog.pg_depend as d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = w.oid
        and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid <> w.ev_class
),
sources (reader, source) as (
    select r.reader, r.source from reads as r
    union
    select s.reader, r.source from sources as s
    join reads as r on r.reader = s.source
    join pg_catalog.pg_class as c on c.oid = s.source
    where coalesce(not c.reloptions && array['security_invoker=true', 'security_invoker=on'], true)
),
views as (
    select v.*, exists (
        select from pg_catalog.pg_roles as o where o.rolname in ('anon', 'authenticated')
            and has_table_privilege(o.oid, v.oid, 'select')) as is_readable
    from relations as v
    where v.relkind in ('v', 'm') and v.is_in_api
        and coalesce(not v.reloptions && array['security_invoker=true', 'security_invoker=on'], true)
)"""
)

VIEW_PAST_POLICIES: Final[LiteralString] = (
    VIEW_SOURCES
    + """
select format('%%I.%%I', v.nspname, v.relname) as subject,
    'reads ' || string_agg(format('%%I.%%I', n.nspname, c.relname), ', ' order by n.nspname, c.relname)
        || ' with its owner''s rights, past the policies' as what,
    format('alter view %%I.%%I set (security_invoker = true);', v.nspname, v.relname) as remedy
from views as v
join sources as s on s.reader = v.oid
join pg_catalog.pg_class as c on c.oid = s.source and c.relrowsecurity
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
where v.relkind = 'v' and v.is_readable
group by v.nspname, v.relname
order by 1
"""
)

USERS_EXPOSED: Final[LiteralString] = (
    VIEW_SOURCES
    + """
select format('%%I.%%I', v.nspname, v.relname) as subject,
    'shows rows of auth.users through the API' as what,
    format('revoke all on %%I.%%I from anon, authenticated;', v.nspname, v.relname) as remedy
from views as v join sources as s on s.reader = v.oid
where s.source = to_regclass('auth.users') and v.is_readable
order by 1
"""
)

MATERIALIZED_VIEW: Final[LiteralString] = (
    RELATIONS
    + """
select format('%%I.%%I', r.nspname, r.relname) as subject,
    case r.relkind when 'm' then 'is a materialized view that the API serves; it has no policies'
        else 'is a foreign table that the API serves; it has no policies' end as what,
    format('revoke all on %%I.%%I from anon, authenticated;  -- or move it to a schema that is not exposed',
        r.nspname, r.relname) as remedy
from relations as r
where r.relkind = %(kind)s::text::"char" and r.is_exposed
order by 1
"""
)

ROUTINES: Final[LiteralString] = """
with routines as (
    select p.oid, n.nspname, p.proname, p.prorettype, p.proconfig, n.nspname = any (%(schemas)s) as is_in_api,
        case p.prokind when 'p' then 'procedure' else 'function' end as kind,
        format('%%I.%%I(%%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) as signature,
        exists (select from pg_catalog.pg_roles as r
            where r.rolname in ('anon', 'authenticated') and has_function_privilege(r.oid, p.oid, 'execute'))
                as is_callable
    from pg_catalog.pg_proc as p join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
    where p.prosecdef and n.nspname <> all (%(platform)s) and n.nspname not like 'pg\\_%%'
        and not exists (select from pg_catalog.pg_depend as d
            where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
)"""

SEARCH_PATH: Final[LiteralString] = (
    ROUTINES
    + """
select r.signature as subject,
    'runs as its owner and looks names up where its caller says' as what,
    format('alter %%s %%s set search_path = %%L;  -- names in it then need their schema', r.kind, r.signature, '')
        as remedy,
    case when r.is_in_api and r.is_callable and r.prorettype <> 'trigger'::regtype then 'error' else 'warning' end
        as severity
from routines as r
where not exists (select from unnest(r.proconfig) as setting where setting like 'search_path=%%')
order by 1
"""
)

CALLABLE_DEFINER: Final[LiteralString] = (
    ROUTINES
    + """
select r.signature as subject,
    'runs as its owner, past policies, and anybody with the publishable key may call it' as what,
    format('revoke execute on %%s %%s from public, anon, authenticated;  -- unless that is meant', r.kind, r.signature)
        as remedy
from routines as r
where r.is_in_api and r.is_callable and r.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
order by 1
"""
)

EXTENSION_IN_PUBLIC: Final[LiteralString] = """
select e.extname as subject,
    'is installed in schema public, where the API serves its functions' as what,
    case when e.extrelocatable then format('alter extension %%I set schema extensions;', e.extname)
        else format('-- drop extension %%I; create extension %%I with schema extensions;', e.extname,
            e.extname) end as remedy
from pg_catalog.pg_extension as e join pg_catalog.pg_namespace as n on n.oid = e.extnamespace
where n.nspname = any (%(schemas)s) and n.nspname = 'public'
order by 1
"""

SECURITY_CHECKS: Final[Sequence[SqlCheck]] = (
    SqlCheck(
        name="rls_disabled_in_public",
        group="security",
        severity="error",
        title="Tables that the API serves without row-level security",
        why="Whoever has the publishable key, which is in every client, reads and changes all of its rows.",
        statement=WITHOUT_ROW_SECURITY,
    ),
    SqlCheck(
        name="rls_enabled_no_policy",
        group="security",
        severity="info",
        title="Tables with row-level security and no policy",
        why="Clients see no rows and cannot write any; that is right for tables of the back end alone.",
        statement=WITHOUT_POLICY,
    ),
    SqlCheck(
        name="security_definer_view",
        group="security",
        severity="error",
        title="Views that go past row-level security",
        why="A view asks with its owner's rights, whom policies do not bind: everybody sees all rows through it.",
        statement=VIEW_PAST_POLICIES,
    ),
    SqlCheck(
        name="auth_users_exposed",
        group="security",
        severity="error",
        title="Views that show auth.users",
        why="Addresses, numbers and metadata of all users are for Auth alone.",
        statement=USERS_EXPOSED,
        needs=["auth.users"],
    ),
    SqlCheck(
        name="materialized_view_in_api",
        group="security",
        severity="warning",
        title="Materialized views that the API serves",
        why="PostgreSQL has no row-level security for them: everybody who may select sees all rows.",
        statement=MATERIALIZED_VIEW.replace("%(kind)s", "'m'"),
    ),
    SqlCheck(
        name="foreign_table_in_api",
        group="security",
        severity="warning",
        title="Foreign tables that the API serves",
        why="PostgreSQL has no row-level security for them: everybody who may select sees all rows.",
        statement=MATERIALIZED_VIEW.replace("%(kind)s", "'f'"),
    ),
    SqlCheck(
        name="function_search_path_mutable",
        group="security",
        severity="error",
        title="security definer without a search_path of its own",
        why="Whoever may create objects on the search path, in pg_temp for one, has it run theirs as the owner.",
        statement=SEARCH_PATH,
    ),
    SqlCheck(
        name="security_definer_executable",
        group="security",
        severity="info",
        title="security definer routines that clients may call",
        why="What such a routine does is not bound by policies: it has to check the caller itself.",
        statement=CALLABLE_DEFINER,
    ),
    SqlCheck(
        name="extension_in_public",
        group="security",
        severity="warning",
        title="Extensions in schema public",
        why="The API offers their functions to everybody, and their names may collide with the project's.",
        statement=EXTENSION_IN_PUBLIC,
    ),
)
