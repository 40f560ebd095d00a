-- On Supabase service_role passes row-level security by attribute. A managed server may refuse that attribute; then each table
-- with row-level security gets a policy that says the same.

create or replace function basalt.ensure_service_policies() returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    table_name regclass;
    made integer := 0;
begin
    if (select rolbypassrls or rolsuper from pg_catalog.pg_roles where rolname = 'service_role') then
        return 0;
    end if;
    for table_name in
        select c.oid from pg_catalog.pg_class as c
        where c.relrowsecurity and c.relkind in ('r', 'p')
            and c.relnamespace::regnamespace::text not in ('auth', 'vault', 'cron')
            and pg_catalog.pg_has_role(c.relowner, 'usage')
            and not exists (
                select from pg_catalog.pg_policy as p
                where p.polrelid = c.oid and p.polname = 'service_role passes row-level security')
    loop
        execute format(
            'create policy "service_role passes row-level security" on %s to service_role using (true) with check (true)',
            table_name);
        made := made + 1;
    end loop;
    return made;
end
$$;

comment on function basalt.ensure_service_policies() is
    'Lets service_role pass row-level security where it may not have the attribute; run after migrations. Returns how many '
    'tables needed it.';

revoke execute on function basalt.ensure_service_policies() from public;
