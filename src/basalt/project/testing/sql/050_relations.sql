-- What is in the schema: tables, views, columns, keys, indexes, triggers, types, roles, extensions. Where pgTAP takes a name
-- with and without its schema and with and without a description, a loop makes the variants.

create function extensions._tap_relation(schema_name name, relation_name name) returns pg_class
language sql stable
as $$
    select c.*
    from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where c.relname = relation_name and c.relkind in ('r', 'p', 'v', 'm', 'f', 'c', 'S')
        and case when schema_name is null then pg_catalog.pg_table_is_visible(c.oid) else n.nspname = schema_name end
    order by n.nspname
    limit 1
$$;

create function extensions._tap_has_kind(schema_name name, relation_name name, kinds text) returns boolean
language sql stable
as $$
    select exists (
        select
        from pg_catalog.pg_class as c
        join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
        where c.relname = relation_name and strpos(kinds, c.relkind::text) > 0
            and case when schema_name is null then pg_catalog.pg_table_is_visible(c.oid) else n.nspname = schema_name end)
$$;

create function extensions._tap_column(schema_name name, relation_name name, column_name name) returns pg_attribute
language sql stable
as $$
    select a.*
    from extensions._tap_relation(schema_name, relation_name) as r
    join pg_catalog.pg_attribute as a on a.attrelid = r.oid
    where a.attname = column_name and a.attnum > 0 and not a.attisdropped
$$;

create function extensions._tap_name(schema_name name, object_name name) returns text
language sql immutable
as $$ select concat_ws('.', quote_ident(schema_name), quote_ident(object_name)) $$;

create function extensions._tap_has_type(schema_name name, type_name name, kinds text) returns boolean
language sql stable
as $$
    select exists (
        select
        from pg_catalog.pg_type as t
        join pg_catalog.pg_namespace as n on n.oid = t.typnamespace
        where t.typname = type_name and strpos(kinds, t.typtype::text) > 0
            and case when schema_name is null then pg_catalog.pg_type_is_visible(t.oid) else n.nspname = schema_name end)
$$;

create function extensions._tap_has_extension(schema_name name, extension_name name) returns boolean
language sql stable
as $$
    select exists (
        select
        from pg_catalog.pg_extension as e
        join pg_catalog.pg_namespace as n on n.oid = e.extnamespace
        where e.extname = extension_name and (schema_name is null or n.nspname = schema_name))
$$;

-- `has_x`, `hasnt_x`: (schema, name, description), (schema, name), (name, description), (name).
do $make$
declare
    kind record;
begin
    for kind in
        values
            ('table', 'Table', $$extensions._tap_has_kind(s, o, 'rp')$$),
            ('view', 'View', $$extensions._tap_has_kind(s, o, 'v')$$),
            ('materialized_view', 'Materialized view', $$extensions._tap_has_kind(s, o, 'm')$$),
            ('foreign_table', 'Foreign table', $$extensions._tap_has_kind(s, o, 'f')$$),
            ('sequence', 'Sequence', $$extensions._tap_has_kind(s, o, 'S')$$),
            ('relation', 'Relation', $$extensions._tap_has_kind(s, o, 'rpvmfSc')$$),
            ('type', 'Type', $$extensions._tap_has_type(s, o, 'bcderm')$$),
            ('enum', 'Enum', $$extensions._tap_has_type(s, o, 'e')$$),
            ('domain', 'Domain', $$extensions._tap_has_type(s, o, 'd')$$),
            ('composite', 'Composite type', $$extensions._tap_has_kind(s, o, 'c')$$),
            ('extension', 'Extension', $$extensions._tap_has_extension(s, o)$$)
    loop
        execute format($code$
            create function extensions.has_%1$s(s name, o name, d text) returns text
            language sql as $body$ select extensions.ok(%3$s, d) $body$;
            create function extensions.has_%1$s(o name, d text) returns text
            language sql as $body$ select extensions.has_%1$s(null::name, o, d) $body$;
            create function extensions.has_%1$s(o name) returns text
            language sql as $body$ select extensions.has_%1$s(null::name, o, '%2$s ' || quote_ident(o) || ' should exist') $body$;
            create function extensions.hasnt_%1$s(s name, o name, d text) returns text
            language sql as $body$ select extensions.ok(not %3$s, d) $body$;
            create function extensions.hasnt_%1$s(o name, d text) returns text
            language sql as $body$ select extensions.hasnt_%1$s(null::name, o, d) $body$;
            create function extensions.hasnt_%1$s(o name) returns text
            language sql as $body$ select extensions.hasnt_%1$s(null::name, o, '%2$s ' || quote_ident(o) || ' should not exist') $body$;
        $code$, kind.column1, kind.column2, kind.column3);
        if kind.column1 not in ('relation', 'materialized_view') then
            execute format($code$
                create function extensions.has_%1$s(s name, o name) returns text
                language sql as $body$ select extensions.ok(%3$s, '%2$s ' || extensions._tap_name(s, o) || ' should exist') $body$;
                create function extensions.hasnt_%1$s(s name, o name) returns text
                language sql as $body$ select extensions.ok(not %3$s, '%2$s ' || extensions._tap_name(s, o) || ' should not exist') $body$;
            $code$, kind.column1, kind.column2, kind.column3);
        end if;
    end loop;
end
$make$;

-- Without a schema: (name, description), (name).
do $make$
declare
    kind record;
begin
    for kind in
        values
            ('schema', 'Schema', 'exists (select from pg_catalog.pg_namespace where nspname = o)'),
            ('role', 'Role', 'exists (select from pg_catalog.pg_roles where rolname = o)'),
            ('user', 'User', 'exists (select from pg_catalog.pg_roles where rolname = o and rolcanlogin)'),
            ('language', 'Procedural language', 'exists (select from pg_catalog.pg_language where lanname = o)')
    loop
        execute format($code$
            create function extensions.has_%1$s(o name, d text) returns text
            language sql as $body$ select extensions.ok(%3$s, d) $body$;
            create function extensions.has_%1$s(o name) returns text
            language sql as $body$ select extensions.ok(%3$s, '%2$s ' || quote_ident(o) || ' should exist') $body$;
            create function extensions.hasnt_%1$s(o name, d text) returns text
            language sql as $body$ select extensions.ok(not %3$s, d) $body$;
            create function extensions.hasnt_%1$s(o name) returns text
            language sql as $body$ select extensions.ok(not %3$s, '%2$s ' || quote_ident(o) || ' should not exist') $body$;
        $code$, kind.column1, kind.column2, kind.column3);
    end loop;
end
$make$;

-- Columns: (schema, table, column, description), (table, column, description), (table, column). `x` is the column's
-- pg_attribute; where there is no such column, `absent` decides.
do $make$
declare
    kind record;
begin
    for kind in
        values
            ('has_column', 'Column %s should exist', 'true', 'false'),
            ('hasnt_column', 'Column %s should not exist', 'false', 'true'),
            ('col_not_null', 'Column %s should be NOT NULL', 'x.attnotnull', 'false'),
            ('col_is_null', 'Column %s should allow NULL', 'not x.attnotnull', 'false'),
            ('col_has_default', 'Column %s should have a default', 'x.atthasdef', 'false'),
            ('col_hasnt_default', 'Column %s should not have a default', 'not x.atthasdef', 'false')
    loop
        execute format($code$
            create function extensions.%1$s(s name, t name, c name, d text) returns text
            language sql
            as $body$
                select extensions._tap_result(
                    case when x.attnum is null then %4$s else %3$s end, d,
                    case when x.attnum is null and '%1$s' not like 'has%%' then
                        '    Column ' || concat_ws('.', extensions._tap_name(s, t), quote_ident(c)) || ' does not exist' end)
                from (values (1)) as one left join extensions._tap_column(s, t, c) as x on true
            $body$;
            create function extensions.%1$s(t name, c name, d text) returns text
            language sql as $body$ select extensions.%1$s(null::name, t, c, d) $body$;
            create function extensions.%1$s(t name, c name) returns text
            language sql
            as $body$ select extensions.%1$s(null::name, t, c, format('%2$s', quote_ident(t) || '.' || quote_ident(c))) $body$;
        $code$, kind.column1, kind.column2, kind.column3, kind.column4);
    end loop;
end
$make$;

-- A type as `format_type` writes it, from any of its spellings: int8 → bigint, varchar( 10 ) → character varying(10).
create function extensions._tap_type(spelling text) returns text
language plpgsql stable
as $$
declare
    modifier constant text := regexp_replace(substring(spelling from '\([^)]*\)'), '\s', '', 'g');
    plain constant text := regexp_replace(spelling, '\s*\([^)]*\)', '');
    type_of constant regtype := to_regtype(plain);
    named text := coalesce(type_of::text, spelling);
begin
    if type_of is null or modifier is null then
        return named;
    elsif named ~ ' with(out)? time zone' then
        return regexp_replace(named, '^(time|timestamp)', '\1' || modifier);
    end if;
    return regexp_replace(named, '(\[\])?$', modifier || '\1');
end
$$;

create function extensions.col_type_is(s name, t name, c name, type text, d text) returns text
language sql
as $$
    select extensions._tap_result(
        x.attnum is not null
            and (extensions._tap_type(format_type(x.atttypid, x.atttypmod)) = extensions._tap_type(type)
                or format_type(x.atttypid, x.atttypmod) = type),
        d,
        case
            when x.attnum is null then '   Column ' || concat_ws('.', extensions._tap_name(s, t), quote_ident(c)) || ' does not exist'
            else '        have: ' || format_type(x.atttypid, x.atttypmod) || E'\n        want: ' || extensions._tap_type(type)
        end)
    from (values (1)) as one left join extensions._tap_column(s, t, c) as x on true
$$;
create function extensions.col_type_is(s name, t name, c name, type_schema name, type text, d text) returns text
language sql as $$ select extensions.col_type_is(s, t, c, type_schema || '.' || type, d) $$;
create function extensions.col_type_is(s name, t name, c name, type text) returns text
language sql
as $$
    select extensions.col_type_is(
        s, t, c, type, 'Column ' || extensions._tap_name(s, t) || '.' || quote_ident(c) || ' should be type ' || type)
$$;
create function extensions.col_type_is(t name, c name, type text, d text) returns text
language sql as $$ select extensions.col_type_is(null::name, t, c, type, d) $$;
create function extensions.col_type_is(t name, c name, type text) returns text
language sql
as $$
    select extensions.col_type_is(
        null::name, t, c, type, 'Column ' || quote_ident(t) || '.' || quote_ident(c) || ' should be type ' || type)
$$;

create function extensions.col_default_is(s name, t name, c name, want text, d text) returns text
language plpgsql
as $$
declare
    expression text;
    have text;
begin
    select pg_get_expr(v.adbin, v.adrelid) into expression
    from extensions._tap_column(s, t, c) as x
    join pg_catalog.pg_attrdef as v on v.adrelid = x.attrelid and v.adnum = x.attnum;
    have := expression;
    if expression ~ '^(''|-?\d|true$|false$|NULL)' then
        execute 'select (' || expression || ')::text' into have;
    end if;
    return extensions._tap_result(
        want is not distinct from have or want = expression, d,
        '        have: ' || coalesce(have, 'NULL') || E'\n        want: ' || coalesce(want, 'NULL'));
end
$$;
create function extensions.col_default_is(s name, t name, c name, want anyelement, d text) returns text
language sql as $$ select extensions.col_default_is(s, t, c, want::text, d) $$;
create function extensions.col_default_is(t name, c name, want text, d text) returns text
language sql as $$ select extensions.col_default_is(null::name, t, c, want, d) $$;
create function extensions.col_default_is(t name, c name, want anyelement, d text) returns text
language sql as $$ select extensions.col_default_is(null::name, t, c, want::text, d) $$;
create function extensions.col_default_is(t name, c name, want text) returns text
language sql
as $$
    select extensions.col_default_is(
        null::name, t, c, want,
        'Column ' || quote_ident(t) || '.' || quote_ident(c) || ' should default to ' || coalesce(quote_literal(want), 'NULL'))
$$;

-- The columns of every constraint of a kind, in its order.
create function extensions._tap_keys(s name, t name, kind "char") returns setof name[]
language sql stable
as $$
    select array(
        select a.attname
        from unnest(k.conkey) with ordinality as u (attnum, position)
        join pg_catalog.pg_attribute as a on a.attrelid = k.conrelid and a.attnum = u.attnum
        order by u.position)
    from extensions._tap_relation(s, t) as r
    join pg_catalog.pg_constraint as k on k.conrelid = r.oid and k.contype = kind
$$;

create function extensions._tap_key_result(s name, t name, columns name[], kind "char", is_wanted boolean, d text) returns text
language sql
as $$
    select extensions._tap_result(
        (columns = any_of.found) = is_wanted, d,
        case when is_wanted then
            '        have: ' || coalesce(any_of.shown, 'NULL') || E'\n        want: {' || array_to_string(columns, ',') || '}' end)
    from (
        select
            case when bool_or(k = columns) then columns else '{}'::name[] end as found,
            string_agg(k::text, ' ') as shown
        from extensions._tap_keys(s, t, kind) as k) as any_of
$$;

-- (schema, table, columns, description), … and the same with one column, and whether a table has such a constraint at all.
do $make$
declare
    kind record;
begin
    for kind in
        values
            ('col_is_pk', 'p', 'true', 'should be a primary key'),
            ('col_isnt_pk', 'p', 'false', 'should not be a primary key'),
            ('col_is_fk', 'f', 'true', 'should be a foreign key'),
            ('col_isnt_fk', 'f', 'false', 'should not be a foreign key'),
            ('col_is_unique', 'u', 'true', 'should have a unique constraint'),
            ('col_has_check', 'c', 'true', 'should have a check constraint')
    loop
        execute format($code$
            create function extensions.%1$s(s name, t name, c name[], d text) returns text
            language sql as $body$ select extensions._tap_key_result(s, t, c, '%2$s', %3$s, d) $body$;
            create function extensions.%1$s(s name, t name, c name[]) returns text
            language sql
            as $body$
                select extensions.%1$s(s, t, c,
                    'Columns ' || extensions._tap_name(s, t) || '(' || array_to_string(c, ', ') || ') %4$s')
            $body$;
            create function extensions.%1$s(t name, c name[], d text) returns text
            language sql as $body$ select extensions.%1$s(null::name, t, c, d) $body$;
            create function extensions.%1$s(t name, c name[]) returns text
            language sql as $body$ select extensions.%1$s(null::name, t, c) $body$;
            create function extensions.%1$s(s name, t name, c name, d text) returns text
            language sql as $body$ select extensions.%1$s(s, t, array[c], d) $body$;
            create function extensions.%1$s(t name, c name, d text) returns text
            language sql as $body$ select extensions.%1$s(null::name, t, array[c], d) $body$;
            create function extensions.%1$s(t name, c name) returns text
            language sql
            as $body$
                select extensions.%1$s(null::name, t, array[c], 'Column ' || quote_ident(t) || '(' || quote_ident(c) || ') %4$s')
            $body$;
        $code$, kind.column1, kind.column2, kind.column3, kind.column4);
    end loop;
    for kind in
        values
            ('has_pk', 'p', '', 'should have a primary key'),
            ('hasnt_pk', 'p', 'not', 'should not have a primary key'),
            ('has_fk', 'f', '', 'should have a foreign key constraint'),
            ('hasnt_fk', 'f', 'not', 'should not have a foreign key constraint'),
            ('has_unique', 'u', '', 'should have a unique constraint'),
            ('has_check', 'c', '', 'should have a check constraint')
    loop
        execute format($code$
            create function extensions.%1$s(s name, t name, d text) returns text
            language sql as $body$ select extensions.ok(%3$s exists (select from extensions._tap_keys(s, t, '%2$s')), d) $body$;
            create function extensions.%1$s(t name, d text) returns text
            language sql as $body$ select extensions.%1$s(null::name, t, d) $body$;
            create function extensions.%1$s(t name) returns text
            language sql as $body$ select extensions.%1$s(null::name, t, 'Table ' || quote_ident(t) || ' %4$s') $body$;
        $code$, kind.column1, kind.column2, kind.column3, kind.column4);
    end loop;
end
$make$;

create function extensions.fk_ok(fs name, ft name, fc name[], ps name, pt name, pc name[], d text) returns text
language sql
as $$
    with keys as (
        select
            array(
                select a.attname from unnest(k.conkey) with ordinality as u (n, p)
                join pg_catalog.pg_attribute as a on a.attrelid = k.conrelid and a.attnum = u.n order by u.p) as columns,
            k.confrelid,
            array(
                select a.attname from unnest(k.confkey) with ordinality as u (n, p)
                join pg_catalog.pg_attribute as a on a.attrelid = k.confrelid and a.attnum = u.n order by u.p) as targets
        from extensions._tap_relation(fs, ft) as r
        join pg_catalog.pg_constraint as k on k.conrelid = r.oid and k.contype = 'f'
    ),
    wanted as (select (extensions._tap_relation(ps, pt)).oid as oid)
    select extensions._tap_result(
        exists (select from keys, wanted where columns = fc and confrelid = wanted.oid and targets = pc),
        d,
        '        have: ' || coalesce(
            (select string_agg(format('%s(%s) REFERENCES %s(%s)', extensions._tap_name(fs, ft), array_to_string(columns, ', '),
                confrelid::regclass, array_to_string(targets, ', ')), E'\n              ') from keys where columns = fc),
            extensions._tap_name(fs, ft) || '(' || array_to_string(fc, ', ') || ') REFERENCES NOTHING')
        || E'\n        want: ' || format('%s(%s) REFERENCES %s(%s)', extensions._tap_name(fs, ft), array_to_string(fc, ', '),
            extensions._tap_name(ps, pt), array_to_string(pc, ', ')))
$$;
create function extensions.fk_ok(fs name, ft name, fc name[], ps name, pt name, pc name[]) returns text
language sql
as $$
    select extensions.fk_ok(fs, ft, fc, ps, pt, pc, format('%s(%s) should reference %s(%s)', extensions._tap_name(fs, ft),
        array_to_string(fc, ', '), extensions._tap_name(ps, pt), array_to_string(pc, ', ')))
$$;
create function extensions.fk_ok(fs name, ft name, fc name, ps name, pt name, pc name, d text) returns text
language sql as $$ select extensions.fk_ok(fs, ft, array[fc], ps, pt, array[pc], d) $$;
create function extensions.fk_ok(fs name, ft name, fc name, ps name, pt name, pc name) returns text
language sql as $$ select extensions.fk_ok(fs, ft, array[fc], ps, pt, array[pc]) $$;
create function extensions.fk_ok(ft name, fc name[], pt name, pc name[], d text) returns text
language sql as $$ select extensions.fk_ok(null::name, ft, fc, null::name, pt, pc, d) $$;
create function extensions.fk_ok(ft name, fc name[], pt name, pc name[]) returns text
language sql as $$ select extensions.fk_ok(null::name, ft, fc, null::name, pt, pc) $$;
create function extensions.fk_ok(ft name, fc name, pt name, pc name, d text) returns text
language sql as $$ select extensions.fk_ok(null::name, ft, array[fc], null::name, pt, array[pc], d) $$;
create function extensions.fk_ok(ft name, fc name, pt name, pc name) returns text
language sql as $$ select extensions.fk_ok(null::name, ft, array[fc], null::name, pt, array[pc]) $$;

create function extensions._tap_index(s name, t name, i name) returns pg_index
language sql stable
as $$
    select x.*
    from extensions._tap_relation(s, t) as r
    join pg_catalog.pg_index as x on x.indrelid = r.oid
    join pg_catalog.pg_class as c on c.oid = x.indexrelid
    where c.relname = i
$$;

create function extensions._tap_index_columns(x pg_index) returns name[]
language sql stable
as $$
    select array_agg(trim(both '"' from pg_get_indexdef(x.indexrelid, p, true))::name order by p)
    from generate_series(1, x.indnkeyatts) as p
$$;

create function extensions.has_index(s name, t name, i name, columns name[], d text) returns text
language sql
as $$
    select extensions._tap_result(
        x.indexrelid is not null and extensions._tap_index_columns(x) = columns, d,
        case when x.indexrelid is null then '    Index ' || quote_ident(i) || ' ON ' || extensions._tap_name(s, t) || ' not found'
            else format(E'        have: %s(%s)\n        want: %s(%s)', quote_ident(i) || ' ON ' || extensions._tap_name(s, t),
                array_to_string(extensions._tap_index_columns(x), ', '), quote_ident(i) || ' ON ' || extensions._tap_name(s, t),
                array_to_string(columns, ', ')) end)
    from (values (1)) as one left join extensions._tap_index(s, t, i) as x on true
$$;
create function extensions.has_index(s name, t name, i name, columns name[]) returns text
language sql as $$ select extensions.has_index(s, t, i, columns, 'Index ' || quote_ident(i) || ' should exist') $$;
create function extensions.has_index(s name, t name, i name, c name, d text) returns text
language sql as $$ select extensions.has_index(s, t, i, array[c], d) $$;
create function extensions.has_index(s name, t name, i name, d text) returns text
language sql as $$ select extensions.ok((extensions._tap_index(s, t, i)).indexrelid is not null, d) $$;
create function extensions.has_index(s name, t name, i name) returns text
language sql as $$ select extensions.has_index(s, t, i, 'Index ' || quote_ident(i) || ' should exist') $$;
create function extensions.has_index(t name, i name, columns name[], d text) returns text
language sql as $$ select extensions.has_index(null::name, t, i, columns, d) $$;
create function extensions.has_index(t name, i name, columns name[]) returns text
language sql as $$ select extensions.has_index(null::name, t, i, columns) $$;
create function extensions.has_index(t name, i name, d text) returns text
language sql as $$ select extensions.has_index(null::name, t, i, d) $$;
create function extensions.has_index(t name, i name) returns text
language sql as $$ select extensions.has_index(null::name, t, i, 'Index ' || quote_ident(i) || ' should exist') $$;
create function extensions.hasnt_index(s name, t name, i name, d text) returns text
language sql as $$ select extensions.ok((extensions._tap_index(s, t, i)).indexrelid is null, d) $$;
create function extensions.hasnt_index(s name, t name, i name) returns text
language sql as $$ select extensions.hasnt_index(s, t, i, 'Index ' || quote_ident(i) || ' should not exist') $$;
create function extensions.hasnt_index(t name, i name, d text) returns text
language sql as $$ select extensions.hasnt_index(null::name, t, i, d) $$;
create function extensions.hasnt_index(t name, i name) returns text
language sql as $$ select extensions.hasnt_index(null::name, t, i, 'Index ' || quote_ident(i) || ' should not exist') $$;

create function extensions.is_indexed(s name, t name, columns name[], d text) returns text
language sql
as $$
    select extensions.ok(
        exists (
            select from extensions._tap_relation(s, t) as r
            join pg_catalog.pg_index as x on x.indrelid = r.oid
            where extensions._tap_index_columns(x) = columns),
        d)
$$;
create function extensions.is_indexed(s name, t name, columns name[]) returns text
language sql
as $$
    select extensions.is_indexed(
        s, t, columns, 'Should have an index on ' || extensions._tap_name(s, t) || '(' || array_to_string(columns, ', ') || ')')
$$;
create function extensions.is_indexed(s name, t name, c name, d text) returns text
language sql as $$ select extensions.is_indexed(s, t, array[c], d) $$;
create function extensions.is_indexed(t name, columns name[]) returns text
language sql as $$ select extensions.is_indexed(null::name, t, columns) $$;
create function extensions.is_indexed(t name, c name) returns text
language sql as $$ select extensions.is_indexed(null::name, t, array[c]) $$;

do $make$
declare
    kind record;
begin
    for kind in values ('index_is_unique', 'x.indisunique', 'unique'), ('index_is_primary', 'x.indisprimary', 'on a primary key'),
        ('index_is_partial', 'x.indpred is not null', 'partial')
    loop
        execute format($code$
            create function extensions.%1$s(s name, t name, i name, d text) returns text
            language sql
            as $body$
                select extensions.ok(coalesce(x.indexrelid is not null and %2$s, false), d)
                from (values (1)) as one left join extensions._tap_index(s, t, i) as x on true
            $body$;
            create function extensions.%1$s(s name, t name, i name) returns text
            language sql as $body$ select extensions.%1$s(s, t, i, 'Index ' || quote_ident(i) || ' should be %3$s') $body$;
            create function extensions.%1$s(t name, i name) returns text
            language sql as $body$ select extensions.%1$s(null::name, t, i) $body$;
        $code$, kind.column1, kind.column2, kind.column3);
    end loop;
end
$make$;

create function extensions._tap_trigger(s name, t name, g name) returns pg_trigger
language sql stable
as $$
    select x.*
    from extensions._tap_relation(s, t) as r
    join pg_catalog.pg_trigger as x on x.tgrelid = r.oid
    where x.tgname = g and not x.tgisinternal
$$;
do $make$
declare
    kind record;
begin
    for kind in values ('has_trigger', 'not', 'should have trigger'), ('hasnt_trigger', '', 'should not have trigger') loop
        execute format($code$
            create function extensions.%1$s(s name, t name, g name, d text) returns text
            language sql as $body$ select extensions.ok((extensions._tap_trigger(s, t, g)).oid is %2$s null, d) $body$;
            create function extensions.%1$s(s name, t name, g name) returns text
            language sql
            as $body$ select extensions.%1$s(s, t, g, 'Table ' || extensions._tap_name(s, t) || ' %3$s ' || quote_ident(g)) $body$;
            create function extensions.%1$s(t name, g name, d text) returns text
            language sql as $body$ select extensions.%1$s(null::name, t, g, d) $body$;
            create function extensions.%1$s(t name, g name) returns text
            language sql
            as $body$ select extensions.%1$s(null::name, t, g, 'Table ' || quote_ident(t) || ' %3$s ' || quote_ident(g)) $body$;
        $code$, kind.column1, kind.column2, kind.column3);
    end loop;
end
$make$;

create function extensions.trigger_is(s name, t name, g name, fs name, f name, d text) returns text
language sql
as $$
    select extensions._tap_result(
        coalesce(p.proname = f and (fs is null or n.nspname = fs), false), d,
        case when p.oid is null then '    trigger ' || quote_ident(g) || ' not found'
            else '        have: ' || extensions._tap_name(n.nspname, p.proname) || E'\n        want: ' || extensions._tap_name(fs, f) end)
    from (values (1)) as one
    left join extensions._tap_trigger(s, t, g) as x on true
    left join pg_catalog.pg_proc as p on p.oid = x.tgfoid
    left join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
$$;
create function extensions.trigger_is(s name, t name, g name, fs name, f name) returns text
language sql
as $$
    select extensions.trigger_is(
        s, t, g, fs, f, 'Trigger ' || quote_ident(g) || ' should call ' || extensions._tap_name(fs, f) || '()')
$$;
create function extensions.trigger_is(t name, g name, f name, d text) returns text
language sql as $$ select extensions.trigger_is(null::name, t, g, null::name, f, d) $$;
create function extensions.trigger_is(t name, g name, f name) returns text
language sql as $$ select extensions.trigger_is(null::name, t, g, null::name, f) $$;

create function extensions.enum_has_labels(s name, e name, labels name[], d text) returns text
language sql
as $$
    with found as (
        select array(
            select l.enumlabel from pg_catalog.pg_enum as l
            join pg_catalog.pg_type as t on t.oid = l.enumtypid
            join pg_catalog.pg_namespace as n on n.oid = t.typnamespace
            where t.typname = e and case when s is null then pg_catalog.pg_type_is_visible(t.oid) else n.nspname = s end
            order by l.enumsortorder) as have
    )
    select extensions.is(have, labels, d) from found
$$;
create function extensions.enum_has_labels(s name, e name, labels name[]) returns text
language sql
as $$
    select extensions.enum_has_labels(
        s, e, labels, 'Enum ' || extensions._tap_name(s, e) || ' should have labels (' || array_to_string(labels, ', ') || ')')
$$;
create function extensions.enum_has_labels(e name, labels name[], d text) returns text
language sql as $$ select extensions.enum_has_labels(null::name, e, labels, d) $$;
create function extensions.enum_has_labels(e name, labels name[]) returns text
language sql as $$ select extensions.enum_has_labels(null::name, e, labels) $$;
