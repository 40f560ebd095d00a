-- People for tests of policies, with the names and answers of basejump's supabase_test_helpers: an account, acting as it, as the
-- service role or as nobody; row-level security; a clock that stands still.

create schema tests;
grant usage on schema tests to anon, authenticated, service_role;

create function tests.create_supabase_user(identifier text, email text default null, phone text default null, metadata jsonb default null)
returns uuid
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_id constant uuid := gen_random_uuid();
begin
    insert into auth.users (id, aud, role, email, phone, raw_user_meta_data, raw_app_meta_data, created_at, updated_at)
    values (
        v_id, 'authenticated', 'authenticated', coalesce(email, v_id || '@test.com'), phone,
        jsonb_build_object('test_identifier', identifier) || coalesce(metadata, '{}'), '{}', now(), now());
    return v_id;
end
$$;
comment on function tests.create_supabase_user(text, text, text, jsonb) is 'An account that the other routines find by `identifier`.';

create function tests.get_supabase_user(identifier text) returns json
language plpgsql stable
security definer
set search_path = ''
as $$
declare
    v_user json;
begin
    select json_build_object(
        'id', u.id, 'email', u.email, 'phone', u.phone,
        'raw_user_meta_data', u.raw_user_meta_data, 'raw_app_meta_data', u.raw_app_meta_data)
    into v_user
    from auth.users as u
    where u.raw_user_meta_data ->> 'test_identifier' = identifier
    limit 1;
    if v_user is null then
        raise exception 'User with identifier % not found', identifier;
    end if;
    return v_user;
end
$$;

create function tests.get_supabase_uid(identifier text) returns uuid
language sql stable
security definer
set search_path = ''
as $$ select (tests.get_supabase_user(identifier) ->> 'id')::uuid $$;

create function tests.authenticate_as(identifier text) returns void
language plpgsql
as $$
declare
    v_user constant json := tests.get_supabase_user(identifier);
begin
    perform set_config(
        'request.jwt.claims',
        json_build_object(
            'sub', v_user ->> 'id', 'role', 'authenticated', 'email', v_user ->> 'email', 'phone', v_user ->> 'phone',
            'user_metadata', v_user -> 'raw_user_meta_data', 'app_metadata', v_user -> 'raw_app_meta_data')::text,
        true);
    perform set_config('role', 'authenticated', true);
end
$$;
comment on function tests.authenticate_as(text) is 'What follows in the transaction runs as this account does.';

create function tests.authenticate_as_service_role() returns void
language plpgsql
as $$
begin
    perform set_config('request.jwt.claims', '{"role": "service_role"}', true);
    perform set_config('role', 'service_role', true);
end
$$;

create function tests.clear_authentication() returns void
language plpgsql
as $$
begin
    perform set_config('request.jwt.claims', '', true);
    perform set_config('role', 'anon', true);
end
$$;
comment on function tests.clear_authentication() is 'What follows runs as a visitor who is not signed in: role anon.';

create function tests.rls_enabled(testing_schema text) returns text
language sql
as $$
    select extensions.is(
        (select count(*)::int from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
        where n.nspname = testing_schema and c.relkind in ('r', 'p') and not c.relrowsecurity),
        0, 'All tables in the ' || testing_schema || ' schema should have row level security enabled')
$$;
create function tests.rls_enabled(testing_schema text, testing_table text) returns text
language sql
as $$
    select extensions.is(
        (select count(*)::int from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
        where n.nspname = testing_schema and c.relname = testing_table and c.relrowsecurity),
        1, testing_table || ' table in the ' || testing_schema || ' schema should have row level security enabled')
$$;

create schema test_overrides;
grant usage on schema test_overrides to anon, authenticated, service_role;

create function test_overrides.now() returns timestamptz
language plpgsql stable
as $$
begin
    return coalesce(nullif(current_setting('tests.frozen_time', true), '')::timestamptz, pg_catalog.now());
end
$$;

create function tests.freeze_time(frozen_time timestamptz) returns void
language plpgsql
as $$
begin
    if current_setting('search_path') not like 'test\_overrides,%' then
        perform set_config('tests.original_search_path', current_setting('search_path'), true);
        perform set_config('search_path', 'test_overrides,' || current_setting('search_path') || ',pg_catalog', true);
    end if;
    perform set_config('tests.frozen_time', frozen_time::text, true);
end
$$;
comment on function tests.freeze_time(timestamptz) is
    'now() is this instant, wherever the search path is not pinned: a routine with a pinned one needs test_overrides in it, first.';

create function tests.unfreeze_time() returns void
language plpgsql
as $$
begin
    perform set_config('tests.frozen_time', '', true);
    if nullif(current_setting('tests.original_search_path', true), '') is not null then
        perform set_config('search_path', current_setting('tests.original_search_path'), true);
    end if;
end
$$;

grant execute on all functions in schema tests, test_overrides to anon, authenticated, service_role;
