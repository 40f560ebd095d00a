-- What `net.http_…` and `supabase_functions.http_request` have in common: URLs, headers, and a second chance.

create or replace function basalt.url_encode(string text) returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select case
        when string collate "C" ~ '^[A-Za-z0-9_.~-]*$' then string
        else (
            select string_agg(
                case
                    when letter collate "C" ~ '[A-Za-z0-9_.~-]' then letter
                    else upper(regexp_replace(encode(convert_to(letter, 'UTF8'), 'hex'), '(..)', '%\1', 'g'))
                end, '' order by place)
            from string_to_table(string, null) with ordinality as letters (letter, place))
        end
$$;

comment on function basalt.url_encode(text) is 'Percent-encodes all but the unreserved characters of RFC 3986 §2.3.';

create or replace function basalt.append_to_query(url text, params text[]) returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select case
        when params = '{}' then url
        else concat(
            parts[1],
            case when parts[1] !~ '\?' then '?' when parts[1] ~ '[?&]$' then '' else '&' end,
            array_to_string(params, '&'),
            parts[2])
        end
    from regexp_match(url, '^([^#]*)(.*)$') as parts
$$;

comment on function basalt.append_to_query(text, text[]) is 'The URL with `name=value` pairs that are encoded already.';

create or replace function basalt.build_url(url text, params jsonb) returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select case
        when params is null or params = '{}' then url
        else basalt.append_to_query(url, array(
            select basalt.url_encode(p.key) || '=' || basalt.url_encode(p.value)
            from jsonb_each_text(params) with ordinality as p (key, value, place)
            where p.value is not null
            order by p.place))
        end
$$;

comment on function basalt.build_url(text, jsonb) is 'The URL with parameters, encoded; those that are null are left out.';

create or replace function basalt.add_request_id(headers jsonb) returns jsonb
language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    seen jsonb := nullif(current_setting('request.headers', true), '');
    request_id text := seen ->> 'x-request-id';
    traceparent text := seen ->> 'traceparent';
begin
    if request_id ~ '^[!-~]{1,200}$' and not coalesce(headers ? 'x-request-id', false) then
        headers := coalesce(headers, '{}') || jsonb_build_object('x-request-id', request_id);
    end if;
    if traceparent ~ '^[0-9a-f]{2}(-[0-9a-f]{32})(-[0-9a-f]{16})-[0-9a-f]{2}$'
        and not coalesce(headers ? 'traceparent', false) then
        headers := coalesce(headers, '{}') || jsonb_build_object('traceparent', traceparent);
    end if;
    return headers;
exception
    when invalid_text_representation then  -- somebody else's setting of that name
        return headers;
end
$$;

comment on function basalt.add_request_id(jsonb) is 'Headers with the id of the API''s request that is being served, and its trace, if any.';

create or replace function basalt.retry_webhook(id bigint) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    with revived as (
        delete from basalt.dead_webhooks as d where d.id = retry_webhook.id returning d.*
    )
    insert into basalt.webhook_requests (
        id, webhook_id, request_id, hook_name, table_name, method, url, headers, body, timeout_milliseconds, max_attempts,
        created_at)
    select r.id, r.webhook_id, r.request_id, r.hook_name, r.table_name, r.method, r.url, r.headers, r.body,
        r.timeout_milliseconds, r.max_attempts, r.created_at
    from revived as r;
    return found;
end
$$;

comment on function basalt.retry_webhook(bigint) is
    'Sends a webhook that was given up again, with all its attempts and under its old id. False where there is none.';

revoke execute on function basalt.url_encode(text), basalt.append_to_query(text, text[]), basalt.build_url(text, jsonb),
    basalt.add_request_id(jsonb), basalt.retry_webhook(bigint) from public;
grant execute on function basalt.url_encode(text), basalt.append_to_query(text, text[]), basalt.build_url(text, jsonb),
    basalt.add_request_id(jsonb) to supabase_functions_admin;
grant execute on function basalt.retry_webhook(bigint) to postgres, service_role;
