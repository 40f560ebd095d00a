-- Who may become whom.

grant anon, authenticated, service_role to authenticator;
grant anon, authenticated, service_role to supabase_storage_admin;
grant authenticator to supabase_storage_admin;

-- `postgres` administers the request roles and is a member of the roles that own auth, storage and realtime objects: a
-- trigger on auth.users or a policy on storage.objects needs the rights of the table's owner, not a superuser.
select pg_temp.attempt('grant anon, authenticated, service_role, authenticator to postgres with admin option');
select pg_temp.attempt('grant supabase_auth_admin, supabase_storage_admin, supabase_realtime_admin to postgres');
select pg_temp.attempt('grant supabase_functions_admin to postgres');
select pg_temp.attempt('grant pgsodium_keyiduser, pgsodium_keyholder, pgsodium_keymaker to postgres with admin option');
select pg_temp.attempt('grant pgsodium_keyholder to service_role');
select pg_temp.attempt('grant pg_monitor, pg_read_all_data, pg_signal_backend to postgres');
select pg_temp.attempt('grant pg_read_all_data to supabase_read_only_user, supabase_etl_admin');
