-- The functions of pg_net around answers and the worker. They run with the caller's rights: whoever may not read the table of
-- answers collects none.

create or replace function net._await_response(request_id bigint) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    while not exists (select from net._http_response as r where r.id = request_id) loop
        perform pg_sleep(0.05);
    end loop;
    return true;
end
$$;

comment on function net._await_response(bigint) is 'Waits for the answer to a request that was committed before.';

create or replace function net._http_collect_response(request_id bigint, async boolean default true)
returns net.http_response_result
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    answer net._http_response;
begin
    if not async then
        perform net._await_response(request_id);
    end if;
    select r.* into answer from net._http_response as r where r.id = request_id order by r.created desc limit 1;
    if not found then
        return ('ERROR', 'request matching request_id not found', null)::net.http_response_result;
    elsif answer.error_msg is not null then
        return ('ERROR', answer.error_msg, null)::net.http_response_result;
    end if;
    return (
        'SUCCESS', 'ok', (answer.status_code, answer.headers, answer.content)::net.http_response
    )::net.http_response_result;
end
$$;

comment on function net._http_collect_response(bigint, boolean) is 'The answer to a request; `async := false` waits for it.';

create or replace function net.http_collect_response(request_id bigint, async boolean default true)
returns net.http_response_result
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    raise notice 'The net.http_collect_response function is deprecated.';
    return net._http_collect_response(request_id, async);
end
$$;

comment on function net.http_collect_response(bigint, boolean) is 'The answer to a request; select from net._http_response instead.';

create or replace function net._is_worker_up() returns boolean
language sql
set search_path = pg_catalog, pg_temp
as $$
    select exists (
        select from pg_catalog.pg_stat_activity as a
        where a.datname = current_database() and a.application_name = 'basalt/outgoing-listener')
$$;

comment on function net._is_worker_up() is 'Whether a worker of Basalt is connected to this database.';

create or replace function net.check_worker_is_up() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if not net._is_worker_up() then
        raise exception 'the pg_net background worker is not up'
            using detail = 'no worker of Basalt is connected to this database, requests wait',
                hint = 'Start the project, or run `basalt worker` beside it.';
    end if;
end
$$;

comment on function net.check_worker_is_up() is 'Raises an error when no worker is there to send requests.';

create or replace function net.wait_until_running() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    while not net._is_worker_up() loop
        perform pg_sleep(0.05);
        perform pg_stat_clear_snapshot();
    end loop;
end
$$;

comment on function net.wait_until_running() is 'Waits until a worker is there.';

create or replace function net.wake() returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
    select pg_notify('basalt_outgoing', '')
$$;

comment on function net.wake() is 'Has the worker look at the queue at once, after the commit.';

create or replace function net.worker_restart() returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    perform net.wake();
    return true;
end
$$;

comment on function net.worker_restart() is 'Wakes the worker. It needs no restart: its settings are in config.toml.';

grant execute on all functions in schema net to supabase_functions_admin;
grant execute on function
    net._await_response(bigint), net._http_collect_response(bigint, boolean), net.http_collect_response(bigint, boolean),
    net._is_worker_up(), net.check_worker_is_up(), net.wait_until_running(), net.wake(), net.worker_restart(),
    net._urlencode_string(varchar), net._encode_url_with_params_array(text, text[])
    to postgres, anon, authenticated, service_role;
