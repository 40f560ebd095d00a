-- What every Supabase project also has from the start. Where the server does not offer them, the files of Basalt's own
-- extensions make the same objects afterwards.
do $$
begin
    if has_database_privilege('postgres', current_database(), 'create') and pg_has_role('postgres', 'member') then
        set local role postgres;
    end if;
    perform pg_temp.attempt('create extension if not exists supabase_vault with schema vault');
    perform pg_temp.attempt('create extension if not exists pg_graphql with schema graphql');
    reset role;
end
$$;
