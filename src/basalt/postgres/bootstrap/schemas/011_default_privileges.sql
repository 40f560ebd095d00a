-- What `postgres` and `supabase_admin` create in `public` belongs to the API: row-level security decides the rest.

do $$
declare
    creator text;
    kind text;
begin
    foreach creator in array array['postgres', 'supabase_admin', session_user::text]
    loop
        foreach kind in array array['tables', 'routines', 'sequences']
        loop
            execute format(
                'alter default privileges for role %I in schema public, graphql, graphql_public, storage '
                'grant all on %s to postgres, anon, authenticated, service_role', creator, kind);
            execute format(
                'alter default privileges for role %I in schema realtime grant all on %s to postgres, dashboard_user',
                creator, kind);
            execute format(
                'alter default privileges for role %I in schema supabase_functions '
                'grant all on %s to postgres, anon, authenticated, service_role', creator, kind);
        end loop;
    end loop;
    foreach kind in array array['tables', 'routines', 'sequences']
    loop
        execute format(
            'alter default privileges for role supabase_auth_admin in schema auth grant all on %s to postgres, dashboard_user',
            kind);
    end loop;
end
$$;

-- `public` may hold tables from before the bootstrap (an external database): they get the same rights once.
grant all on all tables in schema public to postgres, anon, authenticated, service_role;
grant all on all routines in schema public to postgres, anon, authenticated, service_role;
grant all on all sequences in schema public to postgres, anon, authenticated, service_role;
