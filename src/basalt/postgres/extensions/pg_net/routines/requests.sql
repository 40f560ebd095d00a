-- The functions of pg_net that ask for a request. It is queued in the caller's transaction and sent by Basalt's worker after the
-- commit, once. The functions belong to supabase_functions_admin and run with its rights: their callers need none on the tables.

create or replace function net._queue_request(
    method text, url text, params jsonb, headers jsonb, body bytea, timeout_milliseconds integer)
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    new_id bigint := nextval('net.http_request_queue_id_seq');
    state basalt.outgoing_state;
begin
    if url !~ '^[A-Za-z][A-Za-z0-9+.-]*:' then
        raise exception 'invalid URL "%": Malformed input to a URL function', url
            using errcode = 'invalid_parameter_value';
    elsif url !~* '^https?://' then
        raise exception 'invalid URL "%": Unsupported URL scheme', url
            using errcode = 'invalid_parameter_value';
    elsif url ~ '[\x01-\x20\x7f]' then
        raise exception 'invalid URL "%": Malformed input to a URL function', url
            using errcode = 'invalid_parameter_value';
    end if;
    select s.* into state from basalt.outgoing_state as s where s.kind = 'request';
    if state.max_waiting > 0 and new_id - state.claimed_id > state.max_waiting then
        raise exception 'too many requests wait to be sent: %', new_id - state.claimed_id - 1
            using errcode = 'configuration_limit_exceeded',
                hint = 'Is a worker running? See net.check_worker_is_up() and the setting webhooks.max_waiting.';
    end if;
    insert into net.http_request_queue (id, method, url, headers, body, timeout_milliseconds)
    values (
        new_id, _queue_request.method, basalt.build_url(_queue_request.url, params),
        basalt.add_request_id(_queue_request.headers), _queue_request.body, _queue_request.timeout_milliseconds);
    if state.wants_wakeup then
        perform pg_notify('basalt_outgoing', '');
    end if;
    return new_id;
end
$$;

comment on function net._queue_request(text, text, jsonb, jsonb, bytea, integer) is
    'What net.http_get, http_post and http_delete have in common.';

create or replace function net.http_get(
    url text, params jsonb default '{}', headers jsonb default '{}', timeout_milliseconds integer default 5000)
returns bigint
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
    select net._queue_request('GET', url, params, headers, null, timeout_milliseconds)
$$;

comment on function net.http_get(text, jsonb, jsonb, integer) is 'Queues a GET request and returns its id.';

create or replace function net.http_post(
    url text, body jsonb default '{}', params jsonb default '{}',
    headers jsonb default '{"Content-Type": "application/json"}', timeout_milliseconds integer default 5000)
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    content_type text := (
        select h.value from jsonb_each_text(headers) as h (name, value) where lower(h.name) = 'content-type' limit 1);
begin
    if content_type <> 'application/json' then
        raise exception 'Content-Type header must be "application/json"';
    elsif content_type is null then
        headers := coalesce(headers, '{}') || '{"Content-Type": "application/json"}';
    end if;
    return net._queue_request('POST', url, params, headers, convert_to(body::text, 'UTF8'), timeout_milliseconds);
end
$$;

comment on function net.http_post(text, jsonb, jsonb, jsonb, integer) is
    'Queues a POST request with a JSON body and returns its id.';

create or replace function net.http_delete(
    url text, params jsonb default '{}', headers jsonb default '{}', timeout_milliseconds integer default 5000,
    body jsonb default null)
returns bigint
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
    select net._queue_request('DELETE', url, params, headers, convert_to(body::text, 'UTF8'), timeout_milliseconds)
$$;

comment on function net.http_delete(text, jsonb, jsonb, integer, jsonb) is 'Queues a DELETE request and returns its id.';

create or replace function net._urlencode_string(string varchar) returns text
language sql immutable security definer
set search_path = pg_catalog, pg_temp
as $$
    select basalt.url_encode(string)
$$;

comment on function net._urlencode_string(varchar) is 'Percent-encodes a part of a URL.';

create or replace function net._encode_url_with_params_array(url text, params_array text[]) returns text
language sql immutable security definer
set search_path = pg_catalog, pg_temp
as $$
    select basalt.append_to_query(url, array_remove(params_array, null))
$$;

comment on function net._encode_url_with_params_array(text, text[]) is 'The URL with `name=value` pairs that are encoded already.';

alter function net._queue_request(text, text, jsonb, jsonb, bytea, integer) owner to supabase_functions_admin;
alter function net.http_get(text, jsonb, jsonb, integer) owner to supabase_functions_admin;
alter function net.http_post(text, jsonb, jsonb, jsonb, integer) owner to supabase_functions_admin;
alter function net.http_delete(text, jsonb, jsonb, integer, jsonb) owner to supabase_functions_admin;
alter function net._urlencode_string(varchar) owner to supabase_functions_admin;
alter function net._encode_url_with_params_array(text, text[]) owner to supabase_functions_admin;

revoke execute on function
    net._queue_request(text, text, jsonb, jsonb, bytea, integer),
    net.http_get(text, jsonb, jsonb, integer),
    net.http_post(text, jsonb, jsonb, jsonb, integer),
    net.http_delete(text, jsonb, jsonb, integer, jsonb)
    from public;
grant execute on function
    net.http_get(text, jsonb, jsonb, integer),
    net.http_post(text, jsonb, jsonb, jsonb, integer),
    net.http_delete(text, jsonb, jsonb, integer, jsonb)
    to postgres, anon, authenticated, service_role;
