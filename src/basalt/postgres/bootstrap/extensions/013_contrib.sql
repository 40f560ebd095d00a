-- The two extensions that every Supabase project has, in `extensions`. Made as role `postgres` where it may, which then can
-- comment on them and drop them.
do $$
begin
    if has_database_privilege('postgres', current_database(), 'create') and pg_has_role('postgres', 'member') then
        set local role postgres;
    end if;
    perform pg_temp.attempt('create extension if not exists pgcrypto with schema extensions');
    perform pg_temp.attempt('create extension if not exists "uuid-ossp" with schema extensions');
    reset role;
end
$$;
