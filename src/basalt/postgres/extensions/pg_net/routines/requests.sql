-- Requests are sent by Basalt's worker. Without one a call is refused: a queue that nobody empties would only pretend.

create or replace function net.refuse(routine text) returns bigint
language plpgsql
set search_path = ''
as $$
begin
    raise exception 'net.% needs Basalt''s worker, which this version does not have yet', routine
        using errcode = 'feature_not_supported';
end
$$;

comment on function net.refuse(text) is 'The error that the functions of this schema raise for now.';

create or replace function net.http_get(
    url text, params jsonb default '{}', headers jsonb default '{}', timeout_milliseconds integer default 5000)
returns bigint
language sql
set search_path = ''
as $$
    select net.refuse('http_get')
$$;

comment on function net.http_get(text, jsonb, jsonb, integer) is 'Queues a GET request and returns its id.';

create or replace function net.http_post(
    url text, body jsonb default '{}', params jsonb default '{}',
    headers jsonb default '{"Content-Type": "application/json"}', timeout_milliseconds integer default 5000)
returns bigint
language sql
set search_path = ''
as $$
    select net.refuse('http_post')
$$;

comment on function net.http_post(text, jsonb, jsonb, jsonb, integer) is 'Queues a POST request and returns its id.';

create or replace function net.http_delete(
    url text, params jsonb default '{}', headers jsonb default '{}', timeout_milliseconds integer default 5000,
    body jsonb default null)
returns bigint
language sql
set search_path = ''
as $$
    select net.refuse('http_delete')
$$;

comment on function net.http_delete(text, jsonb, jsonb, integer, jsonb) is 'Queues a DELETE request and returns its id.';

create or replace function net.http_collect_response(request_id bigint, async boolean default true)
returns net.http_response_result
language plpgsql
set search_path = ''
as $$
begin
    perform net.refuse('http_collect_response');
    return null;
end
$$;

comment on function net.http_collect_response(bigint, boolean) is 'The answer to a queued request.';

grant execute on all functions in schema net
    to supabase_functions_admin, postgres, anon, authenticated, service_role;
