-- What the change stream of Realtime needs inside the database.

-- A message in the log, in its place among the rows of its transaction, that tables, types, policies, publications or
-- privileges have changed: the gateways then forget what they know of them. `pg_temp` and Basalt's own daily partitions
-- concern nobody. When a publication gets a table, changes of that table may have passed untold until now: the message then
-- names it and the partitioned tables above it, or every table as "*". It runs with the owner's rights, because a server may have taken pg_logical_emit_message from the public.
create or replace function realtime.mark_altered() returns event_trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    published jsonb;
begin
    if current_setting('wal_level') <> 'logical' then
        return;
    end if;
    if tg_event = 'sql_drop' then
        if not exists (
            select from pg_catalog.pg_event_trigger_dropped_objects() as dropped
            where not dropped.is_temporary
                and dropped.object_identity not like '%realtime.messages\_2%'
                and dropped.object_type in (
                    'schema', 'table', 'table column', 'table constraint', 'view', 'materialized view', 'policy', 'publication',
                    'publication relation', 'publication namespace', 'type', 'domain constraint', 'cast', 'function')
        ) then
            return;
        end if;
    elsif not exists (
        select from pg_catalog.pg_event_trigger_ddl_commands() as command
        where command.schema_name is distinct from 'pg_temp'
            and (command.object_identity like 'realtime.messages\_2%') is not true
    ) then
        return;
    end if;
    if tg_tag in ('CREATE PUBLICATION', 'ALTER PUBLICATION') and tg_event <> 'sql_drop' then
        select pg_catalog.jsonb_agg(distinct pg_catalog.jsonb_build_array(
            coalesce(n.nspname, '*'), coalesce(c.relname, '*')))
        into published
        from pg_catalog.pg_event_trigger_ddl_commands() as command
        left join pg_catalog.pg_publication_rel as p
            on command.classid = 'pg_catalog.pg_publication_rel'::pg_catalog.regclass and p.oid = command.objid
        left join lateral (
            select p.prrelid as oid
            union
            select a.relid from pg_catalog.pg_partition_ancestors(p.prrelid) as a) as told on true
        left join pg_catalog.pg_class as c on c.oid = told.oid
        left join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
        where command.object_identity ~ '(^|in publication )supabase_realtime$';
    end if;
    perform pg_catalog.pg_logical_emit_message(true, 'basalt', coalesce(published::text, ''));
end
$$;

comment on function realtime.mark_altered() is
    'Realtime: Tells the gateways, in the log, that what they know of tables, policies or privileges is out of date.';

select pg_temp.attempt('drop event trigger if exists realtime_altered');
select pg_temp.attempt('drop event trigger if exists realtime_dropped');
select pg_temp.attempt($trigger$
    create event trigger realtime_altered on ddl_command_end
    when tag in (
        'ALTER SCHEMA', 'CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE', 'CREATE VIEW', 'ALTER VIEW',
        'CREATE MATERIALIZED VIEW', 'ALTER MATERIALIZED VIEW', 'CREATE POLICY', 'ALTER POLICY', 'CREATE PUBLICATION',
        'ALTER PUBLICATION', 'GRANT', 'REVOKE', 'CREATE TYPE', 'ALTER TYPE', 'CREATE DOMAIN', 'ALTER DOMAIN', 'CREATE CAST',
        'CREATE FUNCTION', 'ALTER FUNCTION', 'CREATE EXTENSION', 'ALTER EXTENSION')
    execute function realtime.mark_altered()
$trigger$);
select pg_temp.attempt('create event trigger realtime_dropped on sql_drop execute function realtime.mark_altered()');

-- For types whose JSON only PostgreSQL can tell: composite types and those with a cast to json. A value that its type does
-- not take any more, because the type was altered since, stays text.
create or replace function realtime.render_value(type_oid oid, value text) returns jsonb
language plpgsql stable
as $$
declare
    type_name text;
    rendered jsonb;
begin
    select pg_catalog.format('%I.%I', n.nspname, t.typname) into type_name
    from pg_catalog.pg_type as t
    join pg_catalog.pg_namespace as n on n.oid = t.typnamespace
    where t.oid = type_oid;
    execute pg_catalog.format('select pg_catalog.to_jsonb($1::%s)', type_name) into rendered using value;
    return rendered;
exception
    when others then
        return pg_catalog.to_jsonb(value);
end
$$;

comment on function realtime.render_value(oid, text) is
    'Realtime: A value of that type, given in text format, as to_jsonb makes it.';
