-- The entry point of pg_graphql.

create or replace function graphql.resolve(
    query text, variables jsonb default '{}', "operationName" text default null, extensions jsonb default null)
returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'graphql.resolve needs Basalt''s GraphQL, which this version does not have yet'
        using errcode = 'feature_not_supported';
end
$$;

comment on function graphql.resolve(text, jsonb, text, jsonb) is 'Answers a GraphQL query.';

grant execute on function graphql.resolve(text, jsonb, text, jsonb) to postgres, anon, authenticated, service_role;
