"""Who sees more than was meant: tables without policies in front of them, views that go past them, extensions in the
API."""

from collections.abc import Sequence
from typing import Final, LiteralString

from basalt.postgres.advice.sql_check import RELATIONS, SqlCheck

WITHOUT_ROW_SECURITY: Final[LiteralString] = (
    RELATIONS
    + """
select r.nspname as schema, format('%%I.%%I', r.nspname, r.relname) as subject,
    'has no row-level security, and the API serves its schema' as what,
    format('alter table %%I.%%I enable row level security;', r.nspname, r.relname) as remedy
from relations as r
where r.relkind in ('r', 'p') and not r.relrowsecurity and r.is_exposed
    and not exists (select from pg_catalog.pg_policy as p where p.polrelid = r.oid)
order by 2
"""
)

POLICIES_IN_VAIN: Final[LiteralString] = (
    RELATIONS
    + """
select r.nspname as schema, format('%%I.%%I', r.nspname, r.relname) as subject,
    'has policies, but row-level security is off, so that they count for nothing' as what,
    format('alter table %%I.%%I enable row level security;', r.nspname, r.relname) as remedy
from relations as r
where not r.relrowsecurity and exists (select from pg_catalog.pg_policy as p where p.polrelid = r.oid)
order by 2
"""
)

# A policy for service_role alone lets no client in. The proposed one changes nothing, and says that it is meant.
WITHOUT_POLICY: Final[LiteralString] = (
    RELATIONS
    + """
select r.nspname as schema, format('%%I.%%I', r.nspname, r.relname) as subject,
    'has row-level security and no policy: only service_role sees its rows' as what,
    format('create policy "only the back end" on %%I.%%I for all to anon, authenticated using (false);',
        r.nspname, r.relname) as remedy
from relations as r
where r.relkind in ('r', 'p') and r.relrowsecurity and r.is_in_api and not r.relispartition
    and not exists (select from pg_catalog.pg_policy as p where p.polrelid = r.oid and p.polroles <> coalesce(
        (select array[o.oid] from pg_catalog.pg_roles as o where o.rolname = 'service_role'), '{}'))
order by 2
"""
)

# What a view reads, also through other views. A view with security_invoker asks as the caller from there on. Options
# are kept as they were written: `true`, `on`, `1`, …
VIEW_SOURCES: Final[LiteralString] = (
    RELATIONS.replace("with relations", "with recursive relations")
    + """,
invokers as (
    select c.oid from pg_catalog.pg_class as c cross join pg_options_to_table(c.reloptions)
    where c.relkind = 'v' and option_name = 'security_invoker' and option_value::boolean
),
reads as (
    select distinct w.ev_class as reader, d.refobjid as source
    from pg_catalog.pg_rewrite as w
    join pg_catalog.pg_depend as d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = w.oid
        and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid <> w.ev_class
),
views as (
    select v.* from relations as v
    where v.relkind in ('v', 'm') and v.is_exposed and v.oid not in (select i.oid from invokers as i)
),
sources (reader, source) as (
    select r.reader, r.source from reads as r join views as v on v.oid = r.reader
    union
    select s.reader, r.source from sources as s join reads as r on r.reader = s.source
    where r.reader not in (select i.oid from invokers as i)
)"""
)

VIEW_PAST_POLICIES: Final[LiteralString] = (
    VIEW_SOURCES
    + """
select v.nspname as schema, format('%%I.%%I', v.nspname, v.relname) as subject,
    'reads ' || string_agg(format('%%I.%%I', n.nspname, c.relname), ', ' order by n.nspname, c.relname)
        || ' with its owner''s rights, past the policies' as what,
    format('alter view %%I.%%I set (security_invoker = true);', v.nspname, v.relname) as remedy
from views as v
join sources as s on s.reader = v.oid
join pg_catalog.pg_class as c on c.oid = s.source and c.relrowsecurity
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
where v.relkind = 'v'
group by v.nspname, v.relname
order by 2
"""
)

USERS_EXPOSED: Final[LiteralString] = (
    VIEW_SOURCES
    + """
select v.nspname as schema, format('%%I.%%I', v.nspname, v.relname) as subject,
    'shows rows of auth.users through the API' as what,
    format('revoke all on %%I.%%I from public, anon, authenticated;', v.nspname, v.relname) as remedy
from views as v join sources as s on s.reader = v.oid and s.source = to_regclass('auth.users')
order by 2
"""
)

WITHOUT_POLICIES_OF_THEIR_OWN: Final[LiteralString] = (
    RELATIONS
    + """
select r.nspname as schema, format('%%I.%%I', r.nspname, r.relname) as subject,
    case r.relkind when 'm' then 'is a materialized view that the API serves; it has no policies'
        else 'is a foreign table that the API serves; it has no policies' end as what,
    format('revoke all on %%I.%%I from public, anon, authenticated;', r.nspname, r.relname) as remedy
from relations as r
where r.relkind = %(kind)s::text::"char" and r.is_exposed
order by 2
"""
)

# Some have a schema of their own, wherever they say that they are. One that cannot be moved is made anew, which
# PostgreSQL refuses while a column or an index needs it.
EXTENSION_IN_PUBLIC: Final[LiteralString] = """
select 'public' as schema, e.extname as subject,
    'is installed in schema public, where the API serves its functions' as what,
    case
        when not e.extrelocatable
            then format('drop extension %%I; create extension %%I with schema extensions;', e.extname, e.extname)
        -- Parts of a trusted extension are the superuser's: its owner cannot move them.
        when not (select rolsuper from pg_catalog.pg_roles where oid = e.extowner) and exists (
                select from pg_catalog.pg_proc as p join pg_catalog.pg_roles as r on r.oid = p.proowner
                where p.oid = to_regprocedure('basalt.move_extension(text, text)') and r.rolsuper)
            then format('select basalt.move_extension(%%L);', e.extname)
        else format('alter extension %%I set schema extensions;', e.extname)
    end as remedy
from pg_catalog.pg_extension as e
where e.extnamespace = to_regnamespace('public') and 'public' = any (%(schemas)s)
    and exists (
        select from pg_catalog.pg_depend as d
        left join pg_catalog.pg_proc as p on d.classid = 'pg_catalog.pg_proc'::regclass and p.oid = d.objid
        left join pg_catalog.pg_class as c on d.classid = 'pg_catalog.pg_class'::regclass and c.oid = d.objid
        left join pg_catalog.pg_type as t on d.classid = 'pg_catalog.pg_type'::regclass and t.oid = d.objid
        where d.refclassid = 'pg_catalog.pg_extension'::regclass and d.refobjid = e.oid and d.deptype = 'e'
            and coalesce(p.pronamespace, c.relnamespace, t.typnamespace) = e.extnamespace)
order by 2
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
        name="policy_exists_rls_disabled",
        group="security",
        severity="error",
        title="Tables whose policies are switched off",
        why="Whoever has a grant on it reads and changes all rows, whatever the policies say.",
        statement=POLICIES_IN_VAIN,
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
        statement=WITHOUT_POLICIES_OF_THEIR_OWN.replace("%(kind)s", "'m'"),
    ),
    SqlCheck(
        name="foreign_table_in_api",
        group="security",
        severity="warning",
        title="Foreign tables that the API serves",
        why="PostgreSQL has no row-level security for them: everybody who may select sees all rows.",
        statement=WITHOUT_POLICIES_OF_THEIR_OWN.replace("%(kind)s", "'f'"),
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
