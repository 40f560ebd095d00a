-- Before PostgreSQL 16 whoever may create roles may also join those that read the server's files and run its programs, and with
-- them everything that PostgreSQL's user can: Vault's key, the cluster's own settings. `postgres` creates roles here, as
-- on Supabase, so in the private cluster these three count as superusers: only a superuser grants such a role.
do $$
begin
    if session_user = 'supabase_admin' and current_setting('server_version_num')::integer < 160000
        and (select r.rolsuper from pg_catalog.pg_roles as r where r.rolname = session_user)
    then
        update pg_catalog.pg_authid set rolsuper = true
        where rolname in ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program') and not rolsuper;
    end if;
end
$$;
