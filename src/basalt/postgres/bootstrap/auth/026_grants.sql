-- Nobody but the Auth service and the project's owner reads these tables; row-level security without a policy is the second lock.
set local role supabase_auth_admin;

do $$
declare
    table_name regclass;
begin
    for table_name in
        select c.oid from pg_catalog.pg_class as c
        where c.relnamespace = 'auth'::regnamespace and c.relkind = 'r' and not c.relrowsecurity
            and pg_catalog.pg_get_userbyid(c.relowner) = 'supabase_auth_admin'
    loop
        execute format('alter table %s enable row level security', table_name);
    end loop;
end
$$;

grant all on all tables in schema auth to postgres, dashboard_user;
grant select on all tables in schema auth to postgres with grant option;
grant all on all sequences in schema auth to postgres, dashboard_user;
