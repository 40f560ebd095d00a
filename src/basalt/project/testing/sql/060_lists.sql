-- Lists: these tables, columns, policies … and no others; who may do what; who owns what.

create function extensions._tap_shown(what text, entry name) returns text
language sql immutable
as $$ select case what when 'privileges' then entry::text else quote_ident(entry) end $$;

create function extensions._tap_list(what text, have name[], want name[], d text) returns text
language sql
as $$
    select extensions._tap_result(
        extra is null and missing is null, d,
        concat_ws(E'\n', '    Extra ' || what || E':\n        ' || extra, '    Missing ' || what || E':\n        ' || missing))
    from (
        select
            (select string_agg(extensions._tap_shown(what, x), E'\n        ' order by x) from unnest(have) as x where x <> all (want)) as extra,
            (select string_agg(extensions._tap_shown(what, x), E'\n        ' order by x) from unnest(want) as x where x <> all (have)) as missing
    ) as difference
$$;

create function extensions._tap_relations(s name, kinds text) returns name[]
language sql stable
as $$
    select array(
        select c.relname
        from pg_catalog.pg_class as c
        join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
        where strpos(kinds, c.relkind::text) > 0
            and case when s is null then
                pg_catalog.pg_table_is_visible(c.oid) and n.nspname not in ('pg_catalog', 'information_schema', 'extensions')
                and n.nspname not like 'pg\_%'
            else n.nspname = s end)
$$;

-- (schema, names, description), (schema, names), (names, description), (names).
do $make$
declare
    kind record;
begin
    for kind in
        values
            ('tables', $$extensions._tap_relations(s, 'rp')$$),
            ('views', $$extensions._tap_relations(s, 'v')$$),
            ('materialized_views', $$extensions._tap_relations(s, 'm')$$),
            ('sequences', $$extensions._tap_relations(s, 'S')$$),
            ('foreign_tables', $$extensions._tap_relations(s, 'f')$$),
            ('functions', $$array(select distinct p.proname from pg_catalog.pg_proc as p
                join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
                where case when s is null then pg_catalog.pg_function_is_visible(p.oid)
                    and n.nspname not in ('pg_catalog', 'information_schema', 'extensions') else n.nspname = s end)$$),
            ('enums', $$array(select t.typname from pg_catalog.pg_type as t
                join pg_catalog.pg_namespace as n on n.oid = t.typnamespace
                where t.typtype = 'e' and case when s is null then pg_catalog.pg_type_is_visible(t.oid)
                    and n.nspname not in ('pg_catalog', 'information_schema') else n.nspname = s end)$$),
            ('extensions', $$array(select e.extname from pg_catalog.pg_extension as e
                join pg_catalog.pg_namespace as n on n.oid = e.extnamespace where s is null or n.nspname = s)$$)
    loop
        execute format($code$
            create function extensions.%1$s_are(s name, names name[], d text) returns text
            language sql as $body$ select extensions._tap_list('%1$s', %2$s, names, d) $body$;
            create function extensions.%1$s_are(s name, names name[]) returns text
            language sql
            as $body$ select extensions.%1$s_are(s, names, 'Schema ' || quote_ident(s) || ' should have the correct %1$s') $body$;
            create function extensions.%1$s_are(names name[], d text) returns text
            language sql as $body$ select extensions.%1$s_are(null::name, names, d) $body$;
            create function extensions.%1$s_are(names name[]) returns text
            language sql as $body$ select extensions.%1$s_are(null::name, names, 'There should be the correct %1$s') $body$;
        $code$, kind.column1, kind.column2);
    end loop;
    for kind in
        values
            ('schemas', $$array(select nspname from pg_catalog.pg_namespace
                where nspname not like 'pg\_%%' and nspname <> 'information_schema')$$),
            ('roles', 'array(select rolname from pg_catalog.pg_roles)')
    loop
        execute format($code$
            create function extensions.%1$s_are(names name[], d text) returns text
            language sql as $body$ select extensions._tap_list('%1$s', %2$s, names, d) $body$;
            create function extensions.%1$s_are(names name[]) returns text
            language sql as $body$ select extensions.%1$s_are(names, 'There should be the correct %1$s') $body$;
        $code$, kind.column1, replace(kind.column2, '%%', '%'));
    end loop;
    -- Of one table: (schema, table, names, description), (schema, table, names), (table, names, description), (table, names).
    for kind in
        values
            ('columns', $$array(select a.attname from extensions._tap_relation(s, t) as r
                join pg_catalog.pg_attribute as a on a.attrelid = r.oid where a.attnum > 0 and not a.attisdropped)$$),
            ('indexes', $$array(select c.relname from extensions._tap_relation(s, t) as r
                join pg_catalog.pg_index as x on x.indrelid = r.oid join pg_catalog.pg_class as c on c.oid = x.indexrelid)$$),
            ('triggers', $$array(select g.tgname from extensions._tap_relation(s, t) as r
                join pg_catalog.pg_trigger as g on g.tgrelid = r.oid where not g.tgisinternal)$$),
            ('policies', $$array(select p.polname from extensions._tap_relation(s, t) as r
                join pg_catalog.pg_policy as p on p.polrelid = r.oid)$$)
    loop
        execute format($code$
            create function extensions.%1$s_are(s name, t name, names name[], d text) returns text
            language sql as $body$ select extensions._tap_list('%1$s', %2$s, names, d) $body$;
            create function extensions.%1$s_are(s name, t name, names name[]) returns text
            language sql
            as $body$
                select extensions.%1$s_are(s, t, names, 'Table ' || extensions._tap_name(s, t) || ' should have the correct %1$s')
            $body$;
            create function extensions.%1$s_are(t name, names name[], d text) returns text
            language sql as $body$ select extensions.%1$s_are(null::name, t, names, d) $body$;
            create function extensions.%1$s_are(t name, names name[]) returns text
            language sql as $body$ select extensions.%1$s_are(null::name, t, names) $body$;
        $code$, kind.column1, kind.column2);
    end loop;
end
$make$;

create function extensions._tap_policy(s name, t name, p name) returns pg_policy
language sql stable
as $$
    select x.* from extensions._tap_relation(s, t) as r join pg_catalog.pg_policy as x on x.polrelid = r.oid where x.polname = p
$$;

create function extensions.policy_cmd_is(s name, t name, p name, command text, d text) returns text
language sql
as $$
    select extensions.is(
        case x.polcmd when 'r' then 'SELECT' when 'a' then 'INSERT' when 'w' then 'UPDATE' when 'd' then 'DELETE' when '*' then 'ALL' end,
        upper(command), d)
    from (values (1)) as one left join extensions._tap_policy(s, t, p) as x on true
$$;
create function extensions.policy_cmd_is(s name, t name, p name, command text) returns text
language sql
as $$
    select extensions.policy_cmd_is(
        s, t, p, command, 'Policy ' || quote_ident(p) || ' for table ' || extensions._tap_name(s, t)
        || ' should apply to ' || upper(command) || ' command')
$$;
create function extensions.policy_cmd_is(t name, p name, command text, d text) returns text
language sql as $$ select extensions.policy_cmd_is(null::name, t, p, command, d) $$;
create function extensions.policy_cmd_is(t name, p name, command text) returns text
language sql as $$ select extensions.policy_cmd_is(null::name, t, p, command) $$;

create function extensions.policy_roles_are(s name, t name, p name, roles name[], d text) returns text
language sql
as $$
    select extensions._tap_list(
        'policy roles',
        array(
            -- As pgTAP: a policy for `public` has no roles.
            select pg_get_userbyid(r) from unnest((extensions._tap_policy(s, t, p)).polroles) as r where r <> 0),
        roles, d)
$$;
create function extensions.policy_roles_are(s name, t name, p name, roles name[]) returns text
language sql
as $$
    select extensions.policy_roles_are(
        s, t, p, roles, 'Policy ' || quote_ident(p) || ' for table ' || extensions._tap_name(s, t) || ' should have the correct roles')
$$;
create function extensions.policy_roles_are(t name, p name, roles name[], d text) returns text
language sql as $$ select extensions.policy_roles_are(null::name, t, p, roles, d) $$;
create function extensions.policy_roles_are(t name, p name, roles name[]) returns text
language sql as $$ select extensions.policy_roles_are(null::name, t, p, roles) $$;

create function extensions.schema_privs_are(s name, r name, privileges name[], d text) returns text
language sql
as $$
    select extensions._tap_list(
        'privileges', array(select x::name from unnest('{CREATE,USAGE}'::text[]) as x where has_schema_privilege(r, s, x)),
        privileges, d)
$$;
create function extensions.schema_privs_are(s name, r name, privileges name[]) returns text
language sql
as $$
    select extensions.schema_privs_are(
        s, r, privileges, format('Role %I should be granted %s on schema %I', r,
        coalesce(nullif(array_to_string(privileges, ', '), ''), 'no privileges'), s))
$$;

create function extensions._tap_table_privileges() returns text[]
language sql stable
as $$
    select '{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]
        || case when current_setting('server_version_num')::int >= 170000 then array['MAINTAIN'] else '{}'::text[] end
$$;

-- (schema, object, role, privileges, description), …: of tables as a whole and of sequences.
do $make$
declare
    kind record;
begin
    for kind in
        values
            ('table', 'has_table_privilege', 'extensions._tap_table_privileges()'),
            ('sequence', 'has_sequence_privilege', $$'{USAGE,SELECT,UPDATE}'::text[]$$),
            ('any_column', 'has_any_column_privilege', $$'{SELECT,INSERT,UPDATE,REFERENCES}'::text[]$$)
    loop
        execute format($code$
            create function extensions.%1$s_privs_are(s name, t name, r name, privileges name[], d text) returns text
            language sql
            as $body$
                select extensions._tap_list('privileges', array(select x::name from unnest(%3$s) as x
                    where %2$s(r, (extensions._tap_relation(s, t)).oid, x)), privileges, d)
            $body$;
            create function extensions.%1$s_privs_are(s name, t name, r name, privileges name[]) returns text
            language sql
            as $body$
                select extensions.%1$s_privs_are(s, t, r, privileges, 'Role ' || quote_ident(r) || ' should be granted '
                    || coalesce(nullif(array_to_string(privileges, ', '), ''), 'no privileges')
                    || ' on %4$s ' || extensions._tap_name(s, t))
            $body$;
            create function extensions.%1$s_privs_are(t name, r name, privileges name[], d text) returns text
            language sql as $body$ select extensions.%1$s_privs_are(null::name, t, r, privileges, d) $body$;
            create function extensions.%1$s_privs_are(t name, r name, privileges name[]) returns text
            language sql as $body$ select extensions.%1$s_privs_are(null::name, t, r, privileges) $body$;
        $code$, kind.column1, kind.column2, kind.column3, replace(kind.column1, 'any_column', 'table'));
    end loop;
end
$make$;

create function extensions.column_privs_are(s name, t name, c name, r name, privileges name[], d text) returns text
language sql
as $$
    select extensions._tap_list(
        'privileges',
        array(
            select x::name from unnest('{SELECT,INSERT,UPDATE,REFERENCES}'::text[]) as x
            where has_column_privilege(r, (extensions._tap_relation(s, t)).oid, c, x)),
        privileges, d)
$$;
create function extensions.column_privs_are(s name, t name, c name, r name, privileges name[]) returns text
language sql
as $$
    select extensions.column_privs_are(
        s, t, c, r, privileges, format('Role %I should be granted %s on column %s.%I', r,
        coalesce(nullif(array_to_string(privileges, ', '), ''), 'no privileges'), extensions._tap_name(s, t), c))
$$;
create function extensions.column_privs_are(t name, c name, r name, privileges name[], d text) returns text
language sql as $$ select extensions.column_privs_are(null::name, t, c, r, privileges, d) $$;
create function extensions.column_privs_are(t name, c name, r name, privileges name[]) returns text
language sql as $$ select extensions.column_privs_are(null::name, t, c, r, privileges) $$;

do $make$
declare
    kind record;
begin
    for kind in values ('table', 'Table', 'rp'), ('view', 'View', 'v'), ('materialized_view', 'Materialized view', 'm'),
        ('sequence', 'Sequence', 'S'), ('relation', 'Relation', 'rpvmSf')
    loop
        execute format($code$
            create function extensions.%1$s_owner_is(s name, t name, r name, d text) returns text
            language sql
            as $body$
                select extensions.is(
                    (select pg_get_userbyid(x.relowner) from extensions._tap_relation(s, t) as x
                    where strpos('%3$s', x.relkind::text) > 0), r, d)
            $body$;
            create function extensions.%1$s_owner_is(s name, t name, r name) returns text
            language sql
            as $body$
                select extensions.%1$s_owner_is(s, t, r, '%2$s ' || extensions._tap_name(s, t) || ' should be owned by ' || quote_ident(r))
            $body$;
            create function extensions.%1$s_owner_is(t name, r name, d text) returns text
            language sql as $body$ select extensions.%1$s_owner_is(null::name, t, r, d) $body$;
            create function extensions.%1$s_owner_is(t name, r name) returns text
            language sql as $body$ select extensions.%1$s_owner_is(null::name, t, r) $body$;
        $code$, kind.column1, kind.column2, kind.column3);
    end loop;
end
$make$;

create function extensions.schema_owner_is(s name, r name, d text) returns text
language sql
as $$ select extensions.is((select pg_get_userbyid(nspowner) from pg_catalog.pg_namespace where nspname = s), r, d) $$;
create function extensions.schema_owner_is(s name, r name) returns text
language sql
as $$ select extensions.schema_owner_is(s, r, 'Schema ' || quote_ident(s) || ' should be owned by ' || quote_ident(r)) $$;

create function extensions._tap_members(r name) returns name[]
language sql stable
as $$
    select array(
        select m.rolname from pg_catalog.pg_auth_members as a
        join pg_catalog.pg_roles as g on g.oid = a.roleid
        join pg_catalog.pg_roles as m on m.oid = a.member
        where g.rolname = r)
$$;
create function extensions.is_member_of(r name, members name[], d text) returns text
language sql
as $$
    select extensions._tap_result(
        missing is null, d, '    Users missing from the ' || quote_ident(r) || E' group:\n        ' || missing)
    from (
        select string_agg(x, E'\n        ') as missing from unnest(members) as x where x <> all (extensions._tap_members(r))) as m
$$;
create function extensions.is_member_of(r name, members name[]) returns text
language sql
as $$
    select extensions.is_member_of(
        r, members, 'Should have members of role ' || quote_ident(r))
$$;
create function extensions.is_member_of(r name, member name, d text) returns text
language sql as $$ select extensions.is_member_of(r, array[member], d) $$;
create function extensions.is_member_of(r name, member name) returns text
language sql as $$ select extensions.is_member_of(r, array[member]) $$;
create function extensions.isnt_member_of(r name, members name[], d text) returns text
language sql as $$ select extensions.ok(not (extensions._tap_members(r) && members), d) $$;
create function extensions.isnt_member_of(r name, member name) returns text
language sql
as $$
    select extensions.isnt_member_of(
        r, array[member], 'Should not have member of role ' || quote_ident(r))
$$;
