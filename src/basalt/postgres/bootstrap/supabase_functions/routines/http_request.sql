-- The trigger function of database webhooks. A migration may attach it to any table; without a worker to send the request it
-- says so and lets the row pass, because an error here would make the table read-only.
set local role supabase_functions_admin;

create or replace function supabase_functions.http_request() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    raise warning 'webhook % on %.% was not sent: supabase_functions.http_request needs Basalt''s worker, which this version does not have yet',
        tg_name, tg_table_schema, tg_table_name
        using errcode = 'feature_not_supported';
    return coalesce(new, old);
end
$$;

comment on function supabase_functions.http_request() is
    'Database webhook: arguments are url, method, headers, params and timeout in milliseconds. Not sent by this version.';

grant execute on function supabase_functions.http_request() to postgres, anon, authenticated, service_role;
