-- The trigger function of database webhooks. What is wrong with its arguments is an error, as on Supabase. What is wrong with the
-- receiver, the network or the sender is not: the row passes and the webhook waits.
set local role supabase_functions_admin;

create or replace function supabase_functions.http_request() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    url text := nullif(tg_argv[0], 'null');
    method text := nullif(tg_argv[1], 'null');
    headers jsonb := coalesce(nullif(tg_argv[2], 'null')::jsonb, '{"Content-Type": "application/json"}');
    params jsonb := coalesce(nullif(tg_argv[3], 'null')::jsonb, '{}');
    timeout_ms integer := coalesce(nullif(tg_argv[4], 'null')::integer, 5000);
    retries integer := nullif(tg_argv[5], 'null')::integer;
    payload jsonb;
    new_id bigint;
    request_id bigint;
    state basalt.outgoing_state;
begin
    if url is null then
        raise exception 'url argument is missing';
    end if;
    if method is null then
        raise exception 'method argument is missing';
    end if;
    if method not in ('GET', 'POST') then
        raise exception 'method argument % is invalid', method;
    end if;
    if jsonb_typeof(headers) <> 'object' or jsonb_typeof(params) <> 'object' then
        raise exception 'headers and params arguments must be JSON objects';
    end if;

    select s.* into state from basalt.outgoing_state as s where s.kind = 'webhook';
    new_id := nextval('basalt.webhook_requests_id_seq');
    if state.max_waiting > 0 and new_id - state.claimed_id > state.max_waiting then
        perform nextval('basalt.webhooks_left_out_seq');
        raise warning 'webhook % on %.% was left out: % wait to be sent', tg_name, tg_table_schema, tg_table_name,
            new_id - state.claimed_id - 1;
        return coalesce(new, old);
    end if;

    if method = 'POST' then
        payload := jsonb_build_object(
            'old_record', old, 'record', new, 'type', tg_op, 'table', tg_table_name, 'schema', tg_table_schema);
        if not exists (select from jsonb_object_keys(headers) as name where lower(name) = 'content-type') then
            headers := headers || '{"Content-Type": "application/json"}';
        end if;
    end if;
    -- The number under which pg_net's table of answers shows it, where the project has created that extension.
    request_id := nextval(to_regclass('net.http_request_queue_id_seq'));
    insert into basalt.webhook_requests (
        id, request_id, hook_name, table_name, method, url, headers, body, timeout_milliseconds, max_attempts)
    values (
        new_id, request_id, tg_name, tg_table_schema || '.' || tg_table_name, method, basalt.build_url(url, params),
        basalt.add_request_id(headers), payload::text, timeout_ms, case when retries >= 0 then retries + 1 end);
    insert into supabase_functions.hooks (hook_table_id, hook_name, request_id)
    values (tg_relid::bigint, tg_name, request_id);
    if state.wants_wakeup then
        perform pg_notify('basalt_outgoing', '');
    end if;
    return coalesce(new, old);
end
$$;

comment on function supabase_functions.http_request() is
    'Database webhook: arguments are url, method (GET or POST), headers, params, timeout in milliseconds and number of retries.';

revoke execute on function supabase_functions.http_request() from public;
grant execute on function supabase_functions.http_request() to postgres, anon, authenticated, service_role;
