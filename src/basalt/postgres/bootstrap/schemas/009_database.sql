-- `postgres` owns the project's database as on Supabase: it may set options on it and create trusted extensions in it. Where the
-- owner named by a URL cannot give the database away, that owner does the work of `postgres`.
do $$
begin
    perform pg_temp.attempt(format('grant all on database %I to postgres, dashboard_user', current_database()));
    perform pg_temp.attempt(format('grant create, connect, temporary on database %I to supabase_admin, supabase_auth_admin, '
        'supabase_storage_admin, supabase_realtime_admin, supabase_functions_admin', current_database()));
end
$$;
