-- The entry point that PostgREST clients call for GraphQL.
create or replace function graphql_public.graphql(
    "operationName" text default null, query text default null, variables jsonb default null, extensions jsonb default null)
returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    return jsonb_build_object('errors', jsonb_build_array(jsonb_build_object(
        'message', 'GraphQL is not part of this version of Basalt.')));
end
$$;

comment on function graphql_public.graphql(text, text, jsonb, jsonb) is 'GraphQL over RPC: answers with an error for now.';

grant execute on function graphql_public.graphql(text, text, jsonb, jsonb) to postgres, anon, authenticated, service_role;
