-- The roles of a Supabase project. `pg_temp.ensure_role(name, options, …)` creates a role that is not there yet; each further
-- option is tried apart, because a managed server gives some of them to nobody.

-- What a request runs as.
select pg_temp.ensure_role('anon', 'nologin inherit');
select pg_temp.ensure_role('authenticated', 'nologin inherit');
select pg_temp.ensure_role('service_role', 'nologin inherit', 'bypassrls');
select pg_temp.ensure_role('authenticator', 'login noinherit');

-- Who owns what. In the private cluster supabase_admin is the superuser that initdb made. On an external server the owner named by
-- the URL does the work of these two, which then only have to exist: grants and dumps name them.
select pg_temp.ensure_role('supabase_admin', 'nologin');
do $$
begin
    if session_user = 'supabase_admin' then
        perform pg_temp.ensure_role('postgres', 'login createdb createrole', 'replication', 'bypassrls');
    else
        perform pg_temp.ensure_role('postgres', 'nologin');
    end if;
end
$$;
select pg_temp.ensure_role('supabase_auth_admin', 'login noinherit', 'createrole');
select pg_temp.ensure_role('supabase_storage_admin', 'login noinherit', 'createrole');
select pg_temp.ensure_role('supabase_functions_admin', 'login noinherit', 'createrole');
select pg_temp.ensure_role('supabase_realtime_admin', 'nologin noinherit');

-- Tools.
select pg_temp.ensure_role('supabase_replication_admin', 'login', 'replication');
select pg_temp.ensure_role('supabase_read_only_user', 'login', 'bypassrls');
select pg_temp.ensure_role('supabase_etl_admin', 'nologin', 'replication');
select pg_temp.ensure_role('dashboard_user', 'nologin', 'createdb', 'createrole', 'replication');
select pg_temp.ensure_role('pgbouncer', 'login');
select pg_temp.ensure_role('pgsodium_keyiduser', 'nologin');
select pg_temp.ensure_role('pgsodium_keyholder', 'nologin');
select pg_temp.ensure_role('pgsodium_keymaker', 'nologin');
