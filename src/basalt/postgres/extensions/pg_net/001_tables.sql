-- The tables of pg_net: requests that wait and the answers that came. There they are unlogged, so that a crash of the server
-- empties them. Here a request that was committed is sent.
do $$
begin
    if to_regnamespace('net') is null then
        create schema net;
    end if;
end
$$;

create domain net.http_method as text check (upper(value) in ('GET', 'POST', 'DELETE'));
create type net.request_status as enum ('PENDING', 'SUCCESS', 'ERROR');
create type net.http_response as (status_code integer, headers jsonb, body text);
create type net.http_response_result as (status net.request_status, message text, response net.http_response);

create table net.http_request_queue (
    id bigserial primary key,
    method net.http_method not null,
    url text not null,
    headers jsonb,
    body bytea,
    timeout_milliseconds integer not null
) with (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

comment on table net.http_request_queue is 'Requests that wait to be sent.';

create table net._http_response (
    id bigint,
    status_code integer,
    content_type text,
    headers jsonb,
    content text,
    timed_out boolean,
    error_msg text,
    created timestamptz not null default now()
);

comment on table net._http_response is 'Answers of the last hours.';
create index _http_response_id_idx on net._http_response (id);
create index _http_response_created_idx on net._http_response (created);

grant usage on schema net to supabase_functions_admin, postgres, anon, authenticated, service_role;
grant create on schema net to supabase_functions_admin;

-- pg_net grants all of both tables to everybody. Answers may hold secrets: here they are the administrators'.
grant all on net._http_response to postgres with grant option;
grant select, insert, update, delete, truncate on net.http_request_queue to postgres with grant option;
grant usage, select, update on sequence net.http_request_queue_id_seq to postgres with grant option;
grant select, insert, update, delete, truncate on net.http_request_queue, net._http_response to service_role;
grant usage, select on sequence net.http_request_queue_id_seq to service_role;
grant insert on net.http_request_queue to supabase_functions_admin;
grant usage on sequence net.http_request_queue_id_seq to supabase_functions_admin;
