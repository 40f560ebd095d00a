-- PostGIS, and the schema that holds what the API must not offer.

create extension if not exists postgis with schema extensions;

create schema private;
comment on schema private is 'Routines behind policies, triggers and RPCs. Not in api.schemas: no client can call them.';
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
    'Raises an error that REST answers with p_status (SQLSTATE PTnnn) and functions answer as {"error":{"code","message","details"}}.';

create function private.is_operator()
returns boolean
language sql
stable
set search_path = ''
as $$
    select coalesce(current_setting('role', true), 'none') in ('service_role', 'none')
$$;
comment on function private.is_operator() is
    'True for the service role and for direct connections (psql, scheduled jobs). Reads the setting "role", which '
    'security definer does not change, instead of claims.';

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

create function private.require_self_or_operator(p_user_id uuid)
returns uuid
language plpgsql
stable
set search_path = ''
as $$
begin
    if private.is_operator() then
        if p_user_id is null then
            perform private.fail('VALIDATION_ERROR', 400, 'p_user_id is required');
        end if;
        return p_user_id;
    end if;
    if p_user_id is not null and p_user_id is distinct from private.require_user() then
        perform private.fail('FORBIDDEN', 403, 'Only your own records can be read');
    end if;
    return private.require_user();
end
$$;
comment on function private.require_self_or_operator(uuid) is
    'The user whose records are meant: the caller, or anybody for the service role. FORBIDDEN (403) otherwise.';

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

create function private.point_at(p_lat double precision, p_lng double precision)
returns extensions.geography
language plpgsql
immutable
set search_path = ''
as $$
begin
    if p_lat is null or p_lng is null or not (p_lat between -90 and 90) or not (p_lng between -180 and 180) then
        perform private.fail(
            'VALIDATION_ERROR', 400, 'A position needs a latitude from -90 to 90 and a longitude from -180 to 180',
            jsonb_build_object('lat', p_lat, 'lng', p_lng));
    end if;
    return extensions.st_setsrid(extensions.st_makepoint(p_lng, p_lat), 4326)::extensions.geography;
end
$$;
comment on function private.point_at(double precision, double precision) is
    'A WGS 84 point from latitude and longitude in degrees; VALIDATION_ERROR (400) outside their ranges (NaN included).';

create function private.singapore_day(p_at timestamptz)
returns date
language sql
immutable
set search_path = ''
as $$
    select (p_at at time zone 'Asia/Singapore')::date
$$;
comment on function private.singapore_day(timestamptz) is
    'The calendar day in Asia/Singapore, which Malaysia shares: streaks and leaderboards count in these days.';

create function public.is_within_distance(
    p_point1 extensions.geography,
    p_point2 extensions.geography,
    p_distance_meters double precision
)
returns boolean
language sql
immutable
strict
parallel safe
set search_path = ''
as $$
    select extensions.st_dwithin(p_point1, p_point2, p_distance_meters)
$$;
comment on function public.is_within_distance(extensions.geography, extensions.geography, double precision) is
    'Whether two points (WKT "POINT(lng lat)" or what REST answers for a geography) lie within so many metres, on the spheroid.';

revoke all on all routines in schema private from public;
