-- The roles of a Supabase project. `pg_temp.ensure_role(name, options, privileged)` creates a role that is not there yet;
-- the privileged options (those that only a superuser may give) are tried apart, so that a managed server can refuse them.

-- What a request runs as.
select pg_temp.ensure_role('anon', 'nologin inherit');
select pg_temp.ensure_role('authenticated', 'nologin inherit');
select pg_temp.ensure_role('service_role', 'nologin inherit', 'bypassrls');
select pg_temp.ensure_role('authenticator', 'login noinherit');

-- Who owns what. On an external server the owner of the URL does the work of the first two, which then only have to exist.
select pg_temp.ensure_role('supabase_admin', 'nologin createdb createrole', 'superuser login replication bypassrls');
select pg_temp.ensure_role('postgres', 'nologin createdb createrole', 'login replication bypassrls');
select pg_temp.ensure_role('supabase_auth_admin', 'login noinherit createrole');
select pg_temp.ensure_role('supabase_storage_admin', 'login noinherit createrole');
select pg_temp.ensure_role('supabase_functions_admin', 'login noinherit createrole');
select pg_temp.ensure_role('supabase_realtime_admin', 'nologin noinherit');

-- Tools.
select pg_temp.ensure_role('supabase_replication_admin', 'login', 'replication');
select pg_temp.ensure_role('supabase_read_only_user', 'login', 'bypassrls');
select pg_temp.ensure_role('supabase_etl_admin', 'nologin', 'replication');
select pg_temp.ensure_role('dashboard_user', 'nologin createdb createrole', 'replication');
select pg_temp.ensure_role('pgbouncer', 'login');
select pg_temp.ensure_role('pgsodium_keyiduser', 'nologin');
select pg_temp.ensure_role('pgsodium_keyholder', 'nologin');
select pg_temp.ensure_role('pgsodium_keymaker', 'nologin');
