-- The schema that holds what the API must not offer, and what every table and routine shares.

create schema private;
comment on schema private is
    'Routines behind policies, triggers and RPCs. Not in api.schemas: no client can call them.';
grant usage on schema private to anon, authenticated, service_role;

create function private.fail(p_code text, p_status int, p_message text, p_details jsonb default null)
returns void
language plpgsql
set search_path = ''
as $$
begin
    raise exception using
        errcode = 'PT' || p_status,
        message = p_code || ': ' || p_message,
        detail = coalesce(p_details, '{}'::jsonb)::text;
end
$$;
comment on function private.fail(text, int, text, jsonb) is
    'Raises an error that REST answers with p_status (SQLSTATE PTnnn) and functions answer as '
    '{"error":{"code","message","details"}}.';

create function private.require_user()
returns uuid
language plpgsql
stable
set search_path = ''
as $$
declare
    v_user_id constant uuid := (select auth.uid());
begin
    -- A token outlives a deleted account by up to an hour.
    if v_user_id is null or not exists (select from public.users where id = v_user_id) then
        perform private.fail('UNAUTHORIZED', 401, 'Sign in first');
    end if;
    return v_user_id;
end
$$;
comment on function private.require_user() is 'The signed-in user; UNAUTHORIZED (401) without one.';

create function private.touch_updated_at()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.created_at := old.created_at;
    new.updated_at := now();
    return new;
end
$$;
comment on function private.touch_updated_at() is 'Before update: created_at stays, updated_at moves.';

create function private.month_after(p_start timestamptz, p_months int)
returns timestamptz
language sql
immutable
set search_path = ''
as $$
    select (p_start at time zone 'UTC' + make_interval(months => p_months)) at time zone 'UTC'
$$;
comment on function private.month_after(timestamptz, int) is
    'So many calendar months later, in UTC whatever the session''s zone is. From the 31st a shorter month ends '
    'earlier, and the '
    'next one is the 31st again, for months are counted from the first day.';

revoke all on all routines in schema private from public;
