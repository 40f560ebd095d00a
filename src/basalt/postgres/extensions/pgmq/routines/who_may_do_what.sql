-- The rights, last of the files by its name. As on Supabase `postgres` owns all of it: migrations that a dashboard of Supabase wrote
-- replace functions of pgmq_public and grant on those of pgmq, and what runs as its definer is no superuser's.

grant usage, create on schema pgmq, pgmq_public to postgres;
grant usage on schema pgmq, pgmq_public to anon, authenticated, service_role;
grant usage on schema pgmq to pg_monitor;
grant all on pgmq.meta, pgmq.notify_insert_throttle, pgmq.notify_delete_throttle, pgmq.topic_bindings
    to postgres, service_role;
grant select on pgmq.meta, pgmq.notify_insert_throttle, pgmq.notify_delete_throttle, pgmq.topic_bindings to pg_monitor;

-- A function of pgmq gives no right that its caller lacks, so that everybody may call it, also the roles of a project's own; only
-- the lock by which queues are made one at a time is for those who make them.
revoke execute on function pgmq.acquire_queue_lock(text) from public;
grant execute on function pgmq.acquire_queue_lock(text) to postgres, service_role;

do $$
declare
    object record;
begin
    -- On a server that is not ours its owner does the work of `postgres` and keeps them.
    if not (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
        return;
    end if;
    for object in
        select 'table' as kind, c.oid::regclass::text as name from pg_catalog.pg_class as c
        where c.relnamespace = 'pgmq'::regnamespace and c.relkind = 'r' and c.relowner = current_user::regrole
        union all
        select 'type', format_type(t.oid, null) from pg_catalog.pg_type as t join pg_catalog.pg_class as c on c.oid = t.typrelid
        where t.typnamespace = 'pgmq'::regnamespace and c.relkind = 'c' and t.typowner = current_user::regrole
        union all
        select 'function', p.oid::regprocedure::text from pg_catalog.pg_proc as p
        where p.pronamespace in ('pgmq'::regnamespace, 'pgmq_public'::regnamespace) and p.proowner = current_user::regrole
    loop
        execute format('alter %s %s owner to postgres', object.kind, object.name);
    end loop;
end
$$;
