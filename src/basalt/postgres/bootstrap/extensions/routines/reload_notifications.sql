-- The schema cache of every gateway follows DDL from any tool: PostgREST's documentation, "Automatic Schema Cache Reloading".
-- Event triggers need a superuser; on a managed server without that right the gateways are told by the migration runner.

create or replace function extensions.pgrst_ddl_watch() returns event_trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if exists (
        select from pg_catalog.pg_event_trigger_ddl_commands() as command
        where command.schema_name is distinct from 'pg_temp'
            and command.command_tag in (
                'CREATE SCHEMA', 'ALTER SCHEMA', 'CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE',
                'CREATE FOREIGN TABLE', 'ALTER FOREIGN TABLE', 'CREATE VIEW', 'ALTER VIEW', 'CREATE MATERIALIZED VIEW',
                'ALTER MATERIALIZED VIEW', 'CREATE FUNCTION', 'ALTER FUNCTION', 'CREATE PROCEDURE', 'ALTER PROCEDURE',
                'CREATE TRIGGER', 'CREATE TYPE', 'ALTER TYPE', 'CREATE DOMAIN', 'ALTER DOMAIN', 'CREATE RULE',
                'CREATE EXTENSION', 'ALTER EXTENSION', 'COMMENT')
    ) then
        notify pgrst, 'reload schema';
    end if;
end
$$;

comment on function extensions.pgrst_ddl_watch() is 'Tells the gateways to reload their schema cache after DDL.';

create or replace function extensions.pgrst_drop_watch() returns event_trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if exists (
        select from pg_catalog.pg_event_trigger_dropped_objects() as dropped
        where not dropped.is_temporary
            and dropped.object_type in (
                'schema', 'table', 'table column', 'foreign table', 'view', 'materialized view', 'function', 'procedure',
                'trigger', 'type', 'domain', 'rule', 'table constraint', 'extension')
    ) then
        notify pgrst, 'reload schema';
    end if;
end
$$;

comment on function extensions.pgrst_drop_watch() is 'Tells the gateways to reload their schema cache after a drop.';

select pg_temp.attempt('drop event trigger if exists pgrst_ddl_watch');
select pg_temp.attempt('drop event trigger if exists pgrst_drop_watch');
select pg_temp.attempt(
    'create event trigger pgrst_ddl_watch on ddl_command_end execute function extensions.pgrst_ddl_watch()');
select pg_temp.attempt('create event trigger pgrst_drop_watch on sql_drop execute function extensions.pgrst_drop_watch()');
