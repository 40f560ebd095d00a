-- pg_graphql keeps no tables; its functions are in routines/.
grant usage on schema graphql to postgres, anon, authenticated, service_role;
